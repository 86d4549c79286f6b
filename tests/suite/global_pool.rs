//! Outside any pool, a long slice is split over the global one: without this, the tests of
//! `parallel.rs` could pass on slices that are not split at all. A process of its own, since the
//! global pool starts once.

use crate::own_process::in_own_process;
use crate::support::{Operation, check, long_length, random_values};
use rayon::ThreadPoolBuilder;
use rootstep::Executor;

#[test]
fn a_long_slice_starts_the_global_pool() {
    in_own_process("global_pool::a_long_slice_starts_the_global_pool", &[], || {
        let x = random_values::<f32>(long_length::<f32>(), 14);
        let g = random_values::<f32>(long_length::<f32>(), 15);
        check(Operation::Descend(0.1), Executor::default(), &x, &g, [0; 3]);
        let global = ThreadPoolBuilder::new().build_global();
        assert!(global.is_err(), "the call did not use the global pool");
    });
}
