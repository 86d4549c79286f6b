//! Training of models that do not fit into memory: [rootstep]'s steps on files that are mapped a window at a time,
//! **with the same bits as in memory**, and whole after a kill at any moment.
//!
//! ```
//! use rootstep::optimizer::{MomentumFormat, Rule, Step};
//! use rootstep_mapped::{Model, Settings, Tensor, Type};
//!
//! # fn main() -> Result<(), rootstep_mapped::Error> {
//! # let folder = tempfile::tempdir().unwrap();
//! let tensors = [Tensor::new(Type::F32, 100_000).with_momentum(MomentumFormat::Full)];
//! let settings = Settings::new(64 << 20); // At most 64 MiB of memory.
//! let mut model = match Model::open(&folder, settings) {
//!     Ok(model) => model, // As its last committed step left it.
//!     Err(_) => Model::create(&folder, &tensors, settings, |_tensor, _start, values| {
//!         values.fill(1.0);
//!         Ok(())
//!     })?,
//! };
//! let rule = Rule::powerstep(0.01);
//! while model.steps() < 3 {
//!     let step = if model.steps() == 0 { Step::first(&rule) } else { Step::later(&rule) };
//!     let step = step.map_err(rootstep_mapped::Error::Step)?;
//!     model.step_with(&[step], |chunk, gradient: &mut [f32]| {
//!         for (i, g) in gradient.iter_mut().enumerate() {
//!             *g = chunk.parameter(i) - 3.0; // Of (x - 3)²/2.
//!         }
//!         Ok(())
//!     })?;
//! }
//! let mut found = [0.0];
//! model.read(0, 99_999, &mut found)?;
//! assert!(found[0] > 1.0);
//! # Ok(())
//! # }
//! ```
//!
//! - **Bounded memory.** [`Settings::new`] says how much: windows are mapped, stepped and left, the next one is
//!   asked for ahead, and what was written goes to the disk behind.
//! - **Killed at any moment, it is the model of a step.** A step counts when it is committed, which is one write of 40
//!   bytes; until then the files of the step before it are untouched. What a kill has interrupted is
//!   [seen](Model::was_interrupted), and taken again: to the bit. [`design`] says how, and what it costs.
//! - **Clear errors.** A full disk is seen when the model is made: room for all that is ever written is taken then. A file
//!   that was cut, that may not be written, or that another process has, is an [`Error`] with its name, before anything is
//!   written.
//!
//! Gradients come from [slices](Model::step), or [chunk by chunk](Model::step_with) from wherever they are: a file, a
//! network, or a backward pass that goes through the layers. Parameters are f32, bf16 or f16, momentum and storage of any
//! kind that rootstep has.
//!
//! # What is not covered
//!
//! - The lock is advisory, as all of Unix are: a program that ignores it can change or cut the files while they are
//!   mapped. Bytes that are cut while a step reads them end the process by SIGBUS. The committed step is lost if
//!   its own file was cut, and not otherwise.
//! - A file system that copies on write (btrfs, ZFS) takes new room for what is written again, so a full disk can be met
//!   in a step there. It is an error then, or SIGBUS in a step between two commits; the committed step stays.
//! - Bits that the disk changes are not seen: that is the file system's business. The header and the commits have
//!   checksums; the state has none.
//! - Unix alone. Linux has all of it; elsewhere some advice is left out.
//! - The files are those of machines of one byte order.

#![cfg(unix)]

mod chunk;
#[cfg(doc)]
#[doc = include_str!("../DESIGN.md")]
pub mod design {}
mod error;
mod files;
mod layout;
mod map;
mod model;
mod settings;

pub use chunk::{Beside, Chunk, Momentum, Parameters};
pub use error::{Cause, Error};
pub use layout::{CHUNK_ELEMENTS, Tensor, Type};
pub use model::Model;
pub use settings::{Phase, Settings};
