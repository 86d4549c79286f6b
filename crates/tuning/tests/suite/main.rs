//! The tests of the library, in one program.

#[path = "../../../../tests/support/own_process.rs"]
mod own_process;
#[path = "../../../../tests/support/process.rs"]
mod process;
#[path = "../../../../tests/support/random_bits.rs"]
mod random_bits;
#[cfg(feature = "journal")]
#[path = "../../../../tests/support/temporary.rs"]
mod temporary;

mod counts;
mod failures;
#[cfg(feature = "journal")]
mod journal;
mod messages;
mod range_test;
mod ranks;
mod search;
mod seeds;
mod table;
#[cfg(feature = "rayon")]
mod threads;
