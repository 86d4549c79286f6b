//! What the demonstrations share. They are programs: `iris`, `digits`, `schedules` and `digest`, in `src/bin`.

#[cfg(feature = "plot")]
pub mod picture;
