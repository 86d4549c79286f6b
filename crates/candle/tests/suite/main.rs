//! The tests, as one program.

mod bits;
mod errors;
mod gradients;
mod model;
mod saved;
mod support;
