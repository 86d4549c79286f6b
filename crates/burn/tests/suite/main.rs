//! Each result is compared by its bits with that of the bare step on slices, and with the specification.

mod errors;
mod per_tensor;
mod records;
mod support;
mod whole_module;
