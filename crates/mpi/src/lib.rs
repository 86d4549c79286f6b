//! Data-parallel training over MPI, by the steps of [`rootstep`]: **the same bits for any number of ranks.**
//!
//! A batch is K micro-batches, and K belongs to the training, not to the machines. Each rank computes the gradients of some
//! of them. Their sum is taken along a fixed tree ([`rootstep::sums`]), whoever has which; each rank has the momentum, and
//! what else a step needs, of a shard of the parameters alone (stage 1 of `ZeRO`, Rajbhandari et al., SC 2020), and
//! all ranks have all parameters.
//!
//! ```no_run
//! use mpi::Threading;
//! use rootstep::optimizer::Rule;
//! use rootstep_mpi::{Error, Trainer, leave};
//!
//! fn train(world: &impl mpi::topology::Communicator) -> Result<(), Error> {
//!     // Two tensors, and batches of 8 micro-batches, on any number of ranks.
//!     let first = [vec![0.5_f32; 100_000], vec![0.0; 10]];
//!     let builder = Trainer::<f32>::builder(Rule::powerstep(0.01), 8).with_gradient_scale(1.0 / 8.0);
//!     let mut trainer = builder.build(world, &first)?;
//!     while trainer.steps() < 100 {
//!         for micro_batch in trainer.held() {
//!             for tensor in [1, 0] {
//!                 // A backward pass has the last layers first.
//!                 let gradient = vec![micro_batch as f32; trainer.parameters(tensor).len()];
//!                 trainer.accumulate(tensor, micro_batch, &gradient)?;
//!             }
//!         }
//!         trainer.step()?;
//!     }
//!     trainer.finish()
//! }
//!
//! fn main() {
//!     let (universe, _) = mpi::initialize_with_threading(Threading::Funneled).expect("it is the first call");
//!     if let Err(error) = train(&universe.world()) {
//!         leave(universe, error);
//!     }
//! }
//! ```
//!
//! # What is guaranteed
//!
//! - **The same bits** on 1, 2, 3 or any number of ranks, with micro-batches shared out in any way, on any mix of instruction
//!   sets and numbers of threads: those of [`rootstep::optimizer::Optimizer`] stepping by
//!   [`rootstep::reference::sum`] of all gradients. So for every format of the momentum and of the parameters, with
//!   stochastic rounding (its draws go by the place in the model), with clipping by the norm of the whole gradient, and
//!   for sums that are [sent in bf16](Builder::with_sums_in_bf16). The gradients themselves are the caller's: give each
//!   micro-batch the same ones, wherever it is.
//! - **Agreement first.** Before the first step all ranks compare what they compute: the number of micro-batches, tensors,
//!   types, rules, policies, how sums are sent, the parameters, and the version. If anything differs, each of them gets
//!   an error that says what, and on which ranks. With each step they compare learning rates.
//! - **Nothing hangs.** All waiting has a [limit](Builder::with_time_limit), and what is waited for is named in the error.
//!   A rank that ends by an error or a panic tells the others, which need not wait then. (MPI's own start and end wait without
//!   a limit: end by [`leave`] after an error.)
//! - **Whole checkpoints.** [`Trainer::save`] writes a folder that is there as a whole or not at all; [`Trainer::resume`] goes on
//!   from it on another number of ranks, with the bits of a training that was not interrupted. What is damaged, missing or
//!   of another training is an error.
//!
//! # What is sent
//!
//! N parameters are in shards, as even as blocks of 32,768 elements allow: tensors are cut in such blocks, and a small tensor
//! is one. A rank sends the sums of its nodes of the tree for a shard to its owner, bucket by bucket, as soon as they are
//! complete; the owner adds up what all have sent and steps in one pass, and sends the stepped shard to all. With
//! micro-batches that make up one node on each rank (K and the ranks powers of two, say) a rank sends (n-1)/n · N sums
//! and as many parameters: what a ring's reduce-scatter and all-gather send. With other shares it sends a sum more for each
//! further node; [`Builder::with_held`] can choose shares that are nodes.
//!
//! A rank needs memory for its parameters, for a sum of each of its nodes, for those that wait in the tree (the binary
//! logarithm of its micro-batches), and for its shard of the sums of all other nodes.
//!
//! The messages go from each rank to each other one. The agreement, checkpoints and the end go by way of rank 0.
//!
//! # What it does not do
//!
//! - A rank that was lost is not replaced: all end, and go on from the newest checkpoint, on as many ranks as there are.
//! - A checkpoint is in one folder that all ranks see.
//! - Ranks of different byte orders do not agree.

mod agreement;
#[allow(unsafe_code, reason = "MPI works on memory from one call to the next")]
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
use std::io::Write as _;
use std::thread;
use std::time::Duration;

/// A type of parameters: f32, f64, bf16 or f16.
pub trait Parameter: Element<Compute: Pod> + Pod {}

impl<T: Element<Compute: Pod> + Pod> Parameter for T {}

/// A type in which sums of gradients are sent: f32, f64 or bf16.
pub trait Wire: Parameter {}

impl<W: Parameter> Wire for W {}

/// Ends this process after an error that is [fatal](Error::is_fatal), with status 1, and says which on standard error.
///
/// MPI is not finalised, since that would wait for ranks that may never come. `mpirun` then ends all other processes of its
/// job; they are left half a second to say their own errors. Where a launcher would leave them, MPI's `abort` of a
/// communicator ends all.
pub fn leave(universe: Universe, error: impl Display) -> ! {
    // In one piece: other ranks write there, too.
    let _ = std::io::stderr().write_all(format!("error: {error}\n").as_bytes());
    std::mem::forget(universe);
    thread::sleep(Duration::from_millis(500));
    std::process::exit(1)
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
