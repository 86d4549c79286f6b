//! The operations: each is one expression over registers; the loop and its tail are written once.
//!
//! To add an operation: a type with an [`Operation`] impl here, a scalar one-liner in
//! `reference.rs`, and a method in `executor.rs`.

mod inspect;
mod operations;
mod step;
mod update;

pub(crate) use inspect::{BLOCK_ELEMENTS, Findings, InspectBlock};
pub(crate) use operations::{Axpy, AxpyInto, Descend, DescendInto, SignedSqrt, SignedSqrtInPlace};
pub(crate) use step::{INT8_BLOCK, LeanMut, MomentumMut, StepPart};
pub(crate) use update::{CHUNK_BYTES, Operation, Part, Place, Update};
