//! `descend` gives the bits of `reference` for any values, length, offsets and level.

#![no_main]

mod call;

use call::{Operation, fuzz};

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz(data, Operation::Descend, Operation::Descend));
