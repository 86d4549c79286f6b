//! What the demonstrations share. They are programs: `iris`, `digits`, `schedules` and `digest`, in `src/bin`.

pub mod arguments;
#[cfg(feature = "plot")]
pub mod axis;
pub mod names;
pub mod output;
#[cfg(feature = "plot")]
pub mod picture;
pub mod report;
pub mod table;

use rootstep::Level;

/// The instruction set of this process. A library ignores a `ROOTSTEP_LEVEL` that it cannot follow; of a
/// program it is an error like any other.
///
/// # Errors
///
/// If `ROOTSTEP_LEVEL` names no instruction set, or one that this machine does not have.
pub fn level() -> Result<Level, String> {
    Level::from_env().map_err(|error| format!("ROOTSTEP_LEVEL: {error}"))
}
