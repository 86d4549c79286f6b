//! The tests of the library, in one program: each that is built takes a first `cargo test` some seconds more.
//! (What starts the global pool, and what measures the memory of its process, are programs of their own.)
//!
//! `cargo test --test suite kernels::` runs those of `kernels.rs`.

#[path = "../support/process.rs"]
mod process;
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
#[cfg(feature = "rayon")]
mod parallel;
mod schedules;
mod tensors;
