//! The tests of the library, in one program: each that is built takes a first `cargo test` some seconds more.
//! (Two need a process of their own: in one of them the global pool must start, in the other it must not.)
//!
//! `cargo test --test suite kernels::` runs those of `kernels.rs`.

#[path = "../support/process.rs"]
mod process;
#[path = "../support/specified.rs"]
mod specified;
#[path = "../support/mod.rs"]
mod support;

mod digests;
#[cfg(feature = "rayon")]
mod inspect;
mod kernels;
mod level;
mod optimizer;
#[cfg(all(feature = "half", feature = "safetensors", feature = "serde"))]
mod optimizer_state;
mod schedules;
#[cfg(feature = "rayon")]
mod soak;
mod tensors;
