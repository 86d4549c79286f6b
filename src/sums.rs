//! Sums of many gradients in one order, whoever adds them up.
//!
//! A batch is K micro-batches, and their gradients are added up along a binary tree over their numbers: the left half of
//! the micro-batches 0..n is the largest power of two below n, and so on in each half
//! ([`reference::sum`](crate::reference::sum)). A machine that holds some micro-batches in a row adds up the [`nodes`] of
//! the tree that it has whole; what is left is added up in the tree's [order](SumOrder) by whoever steps. So the bits do
//! not depend on how many machines there are.
//!
//! ```
//! use rootstep::optimizer::{MomentumMut, Rule, Step, TensorStep};
//! use rootstep::sums::{SumOrder, Term, nodes};
//! use rootstep::{Executor, reference};
//!
//! # fn main() -> Result<(), rootstep::Error> {
//! // Five micro-batches: machine 0 holds three of them, machine 1 the others.
//! let gradients = [[0.1_f32; 300], [0.2; 300], [0.3; 300], [0.4; 300], [0.5; 300]];
//! let (mut held, mut partial) = (Vec::new(), Vec::new());
//! for machine in [0..3, 3..5] {
//!     for node in nodes(5, machine)? {
//!         let terms: Vec<_> = gradients[node.clone()].iter().map(|g| Term::new(g)).collect();
//!         let mut sum = vec![0.0_f32; 300];
//!         Executor::default().sum_all(&SumOrder::of_terms(node.len())?, &terms, &mut sum)?;
//!         held.push(node);
//!         partial.push(sum);
//!     }
//! }
//! assert_eq!(held, [0..2, 2..3, 3..4, 4..5]);
//!
//! // Whoever steps adds up what there is.
//! let order = SumOrder::of_nodes(5, &held)?;
//! let terms: Vec<_> = partial.iter().map(|sum| Term::new(sum)).collect();
//! let mut parameters = vec![1.0_f32; 300];
//! let step = Step::first(&Rule::sgd(1.0))?;
//! let tensor = TensorStep::of_sum(step, &mut parameters, &order, &terms, MomentumMut::None);
//! Executor::default().step_all(&mut [tensor])?;
//! let sum = reference::sum(&[0.1_f32, 0.2, 0.3, 0.4, 0.5]);
//! assert_eq!(parameters, [1.0 - sum; 300]);
//! # Ok(())
//! # }
//! ```

use crate::kernels::BLOCK_ELEMENTS;

pub use crate::inspection::BlockSums;
pub use crate::step::Term;
pub use crate::sum_order::{MOST_MICRO_BATCHES, SumOrder, nodes};

/// Where a tensor may be split into shards, each on a machine: at multiples of so many elements. All bits are then those of
/// the whole: the [sums of its squares](BlockSums) are taken in blocks of as many, momentum in int8 in blocks that these
/// are multiples of, and [`Draws`](crate::optimizer::Draws) of stochastic rounding start anywhere.
pub const SHARD_ELEMENTS: usize = BLOCK_ELEMENTS;
