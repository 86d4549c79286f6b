//! The tests of the library, in one program: each that is built takes a first `cargo test` some seconds more.
//!
//! `cargo test --test suite kernels::` runs those of `kernels.rs`.

#[path = "../support/exact.rs"]
mod exact;
#[path = "../support/environment.rs"]
mod floating_point;
#[cfg(not(target_family = "wasm"))]
#[path = "../support/own_process.rs"]
mod own_process;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/specified.rs"]
mod specified;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/table.rs"]
mod table;
#[path = "../support/tensor.rs"]
mod tensor;

mod digests;
mod environment;
mod formats;
#[cfg(feature = "rayon")]
mod global_pool;
mod imports;
#[cfg(feature = "rayon")]
mod inspect;
mod kernels;
mod level;
mod loss_scale;
mod messages;
mod model;
mod optimizer;
mod optimizer_state;
#[cfg(feature = "rayon")]
mod oracle;
#[cfg(feature = "rayon")]
mod parallel;
mod rows;
mod schedules;
#[cfg(feature = "rayon")]
mod soak;
mod step_all;
mod storage;
mod sums;
mod tensors;
#[cfg(feature = "rayon")]
mod threads;

use support::layout;
