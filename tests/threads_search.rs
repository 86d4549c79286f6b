//! The time of a fit is its own: while it waits for the threads that help it, its thread begins no other.

#[path = "support/own_process.rs"]
mod own_process;

use own_process::in_own_process;
use rayon::ThreadPoolBuilder;
use rootstep::learning_rate::{KFold, Search};
use std::cell::Cell;
use std::convert::Infallible;

thread_local! {
    /// Whether a fit has begun on this thread and not ended.
    static FITTING: Cell<bool> = const { Cell::new(false) };
}

#[test]
fn no_fit_begins_within_another() {
    in_own_process("no_fit_begins_within_another", &[], || {
        let folds = KFold::new(8).unwrap().split(8).unwrap();
        let gradient = vec![4.0; 1 << 20];
        let fit = |_: &u8, _: &_| {
            let nested = FITTING.replace(true);
            let mut x = vec![0.0_f32; gradient.len()];
            for _ in 0..4 {
                rootstep::descend(&mut x, &gradient, 0.5);
            }
            FITTING.set(nested);
            Ok::<bool, Infallible>(nested)
        };
        let pool = ThreadPoolBuilder::new().num_threads(8).build().unwrap();
        let search = Search::new(&folds);
        let score = |&nested: &bool, _: &[usize]| Ok(vec![f64::from(u8::from(nested))]);
        let results = pool.install(|| search.run(0..16, fit, score)).unwrap();
        let nested: f64 =
            results.rows().iter().map(|row| row.metric().scores.iter().sum::<f64>()).sum();
        assert_eq!(nested, 0.0, "fits began within others, of 128");
    });
}
