//! What the targets share: with the tests the operations, the specifications and the guarded memory;
//! among themselves how the fuzzer's bytes become values, settings and edits of files.

#![forbid(unsafe_code)]

pub mod call;
pub mod edits;
#[path = "../../../crates/demos/src/bin/iris/data.rs"]
pub mod iris;
pub mod number;
#[path = "../../../tests/support/specified.rs"]
pub mod specified;
#[path = "../../../tests/support/mod.rs"]
pub mod support;
#[path = "../../../tests/support/table.rs"]
pub mod table;
#[path = "../../../tests/support/temporary.rs"]
pub mod temporary;
#[path = "../../../tests/support/tensor.rs"]
pub mod tensor;
pub mod values;

/// The executor that a byte of the fuzzer chooses.
pub fn executor(choice: u8) -> rootstep::Executor {
    let executors: Vec<_> = support::executors().collect();
    executors[usize::from(choice) % executors.len()]
}
