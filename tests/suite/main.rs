//! The tests of the library, in one program: each that is built takes a first `cargo test` some seconds more.
//!
//! `cargo test --test suite kernels::` runs those of `kernels.rs`.

#[path = "../support/process.rs"]
mod process;
#[path = "../support/specified.rs"]
mod specified;
#[path = "../support/mod.rs"]
mod support;

#[cfg(feature = "rayon")]
mod alone;
mod digests;
#[cfg(feature = "rayon")]
mod global_pool;
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
#[cfg(feature = "rayon")]
mod soak;
mod tensors;
