//! Data-parallel training over MPI, by the steps of [`rootstep`]: **the same bits for any number of ranks.**
//!
//! docs to come
#![doc = ""]

mod agreement;
#[allow(unsafe_code, reason = "MPI works on memory behind the back of the borrow checker")]
mod border;
mod builder;
mod checkpoint;
mod error;
mod exchange;
mod group;
mod health;
mod layout;
mod state;
mod sums;
mod trainer;

pub use builder::Builder;
pub use error::{Error, Phase};
pub use trainer::{StepReport, Trainer};

use bytemuck::Pod;
use mpi::environment::Universe;
use rootstep::Element;
use std::fmt::Display;
use std::thread;
use std::time::Duration;

/// A type of parameters: f32, f64, bf16 or f16.
pub trait Parameter: Element<Compute: Pod> + Pod {}

impl<T: Element<Compute: Pod> + Pod> Parameter for T {}

/// A type in which sums of gradients are sent: f32, f64 or bf16.
pub trait Wire: Parameter {}

impl<W: Parameter> Wire for W {}

/// Ends this process after an error that is [fatal](Error::is_fatal), and says which on standard error.
///
/// MPI is not finalised, since that would wait for ranks that may never come; `mpirun` then ends all others. They are left a
/// moment to say their own errors.
pub fn leave(universe: Universe, error: impl Display) -> ! {
    eprintln!("error: {error}");
    std::mem::forget(universe);
    thread::sleep(Duration::from_millis(500));
    std::process::exit(1)
}
