//! A search where there are no threads for it: it ends, with the same scores.

use crate::own_process::in_own_process;
use rootstep_tuning::{KFold, SearchResults, search};

fn scores() -> Vec<Vec<f64>> {
    let folds = KFold::new(5).unwrap().split(50).unwrap();
    let results: SearchResults<u32> =
        search(0..7, &folds, |&candidate, fold| f64::from(candidate) + fold.test[0] as f64)
            .unwrap();
    results.rows().iter().map(|row| row.metric().scores.clone()).collect()
}

fn expected() -> Vec<Vec<f64>> {
    (0..7).map(|candidate| (0..5).map(|fold| f64::from(candidate + 10 * fold)).collect()).collect()
}

/// A process may have no more threads, here since none can have as large a stack: rayon panics then.
#[test]
#[cfg(target_pointer_width = "64")]
fn a_search_without_a_pool() {
    let stack = [("RUST_MIN_STACK", "140737488355328")];
    in_own_process("threads::a_search_without_a_pool", &stack, || {
        assert!(std::thread::Builder::new().spawn(|| ()).is_err(), "there is such a stack");
        assert_eq!(scores(), expected());
        assert_eq!(scores(), expected());
    });
}

/// The threads of a pool are not there in a forked process.
#[test]
#[cfg(unix)]
fn a_search_in_a_forked_process() {
    in_own_process("threads::a_search_in_a_forked_process", &[], || {
        let own = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for in_pool in [false, true] {
            let call = || if in_pool { own.install(scores) } else { scores() };
            let fork = || {
                assert_eq!(call(), expected());
                let Ok(fork::Fork::Parent(child)) = fork::fork() else {
                    let child = || assert_eq!(scores(), expected());
                    let result = std::panic::catch_unwind(child);
                    std::process::exit(i32::from(result.is_err()));
                };
                assert_eq!(fork::waitpid(child).unwrap(), 0, "the child failed");
            };
            for _ in 0..20 {
                if in_pool { own.install(fork) } else { fork() }
            }
        }
    });
}
