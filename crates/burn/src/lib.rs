//! The optimizers of [`rootstep`] for [burn](https://burn.dev): PowerStep, pbSGD, signSGD and SGD on tensors of the
//! backend Flex, in place.
//!
//! - [`WholeModule`] steps all parameters of a module in one parallel pass. It clips by the norm of all gradients, and
//!   says what is wrong as an error.
//! - [`PerTensor`] is an optimizer by burn's own trait, for
//!   [`ModuleOptimizer`](burn::optim::ModuleOptimizer) and the `Learner`.
//!
//! ```
//! use burn::nn::LinearConfig;
//! use burn::optim::GradientsParams;
//! use burn::tensor::{Device, Tensor};
//! use rootstep::optimizer::{Optimizer, Rule};
//! use rootstep_burn::WholeModule;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = Device::flex().autodiff();
//! let mut model = LinearConfig::new(2, 1).init(&device);
//! let mut optimizer = WholeModule::new(Optimizer::<f32>::builder(Rule::powerstep(0.01)), &model)?;
//! for _ in 0..3 {
//!     let loss = model.forward(Tensor::<2>::from_data([[1.0, -2.0]], &device)).square().mean();
//!     let gradients = GradientsParams::from_grads(loss.backward(), &model);
//!     (model, _) = optimizer.step(model, gradients)?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What is guaranteed
//!
//! - **The same bits** as those of [`rootstep::Executor::step_all`] on slices, and so of
//!   [`rootstep::reference::step`], on every instruction set and for any number of threads.
//! - **In place.** Memory that no one else has is written in place. If it is shared, as by a clone of the module, it
//!   is copied first, and the others keep what they had.
//! - **Nothing is half-written**: what a step is given is checked before anything is written.
//! - **States fit again.** Those of [`WholeModule`] go by the paths of the parameters. Those of
//!   [`PerTensor`] are burn's records, which go by ids: [`adopt_ids`] gives them those of a module that was
//!   loaded from a file without ids.

mod context;
mod error;
mod format;
mod path;
mod per_tensor;
mod record;
mod state;
mod whole_module;

pub use error::{Error, Rejected};
pub use format::{Computed, Format};
pub use path::parameter_names;
pub use per_tensor::PerTensor;
pub use record::adopt_ids;
pub use state::TensorState;
pub use whole_module::WholeModule;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
