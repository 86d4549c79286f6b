//! The tests of the library, in one program.

mod bits;
mod errors;
mod kills;
mod memory;
