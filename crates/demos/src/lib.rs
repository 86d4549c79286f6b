//! What the demonstrations share. They are programs: `iris`, `digits` and `schedules`, in `src/bin`.

#[cfg(feature = "plot")]
pub mod picture;
