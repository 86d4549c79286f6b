//! `descend_into` gives the bits of `reference` for any values, length, offsets and level.

#![no_main]

use rootstep_fuzz::call::{Operation, fuzz};

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz(
    data,
    Operation::DescendInto,
    Operation::DescendInto
));
