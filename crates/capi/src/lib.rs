//! The C library `rootstep`: operations, `inspect` and steps on memory of the caller's, by a header of C that
//! compiles as C++, too.
//!
//! This crate is built by cargo-c and called from C; README.md shows how. Here is how it is made:
//!
//! - All modules but `constants` are at the border to C, and `unsafe` is in them alone: `operations`, `inspect`, `step`,
//!   `executor` and `status` have the `extern "C"` functions, `memory` makes slices of pointers, `sized` reads structs,
//!   and `tensor` puts both together. They check all that they are given before anything is written.
//! - A function gives a [`Status`]. What was wrong is the [message](rootstep_last_error) of the thread. No panic
//!   goes through to the caller.
//! - What the caller fills in is a struct that begins with its own `size`, so that it can lie on a stack or in an
//!   array, and can grow: a struct of an older header is read as if the rest of it were zeros. What owns threads is an
//!   opaque [`Executor`], with a function that frees it.

mod constants;
mod executor;
mod inspect;
mod memory;
mod operations;
mod sized;
mod status;
mod step;
mod tensor;

pub use constants::{MomentumFormat, Power, PowerOf, Storage, Type};
pub use executor::{
    Executor, Level, rootstep_executor_free, rootstep_executor_level, rootstep_executor_new,
    rootstep_level_available, rootstep_level_name,
};
pub use inspect::{
    Inspection, rootstep_inspect_bf16, rootstep_inspect_f16, rootstep_inspect_f32,
    rootstep_inspect_f64,
};
pub use operations::*;
pub use status::{Status, rootstep_last_error, rootstep_status_name, rootstep_version};
pub use step::{
    Rule, Tensor, rootstep_int8_scales, rootstep_rule_pbsgd, rootstep_rule_powerstep,
    rootstep_rule_sgd, rootstep_rule_sign_sgd, rootstep_step, rootstep_step_all,
};

/// The elements that share a scale in momentum of int8: a tensor of `length` elements has `length / 128` scales,
/// rounded up, which `rootstep_int8_scales` counts.
pub const INT8_BLOCK: usize = 128;
const _: () = assert!(INT8_BLOCK == rootstep::optimizer::INT8_BLOCK);
