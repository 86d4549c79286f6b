//! The kernels one by one, to count their instructions under valgrind: a figure that no noise
//! moves, and that grows when a helper is no longer inlined or a loop no longer unrolled.
//!
//! Without arguments it lists the cases. `.ci/instruction-counts` runs each and compares.

use rootstep::{Executor, Level};
use rootstep_benches::{Number, Operation, Slices, check_level};

/// Long enough for blocks, single registers and both kinds of tail.
const LENGTH: usize = 1021;

fn main() {
    check_level();
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let (name, repeats) = (args.next(), args.next());
    let repeats = repeats.map_or(1, |repeats| repeats.parse().expect("the repeats are a number"));
    let mut found = false;
    for &level in Level::available() {
        for operation in Operation::ALL {
            found |= case::<f32>(level, operation, name.as_deref(), repeats);
            found |= case::<f64>(level, operation, name.as_deref(), repeats);
        }
    }
    assert!(found, "no case {name:?}; without arguments the cases are listed");
}

/// Runs the case if it has that name, lists it if there is none.
fn case<T: Number>(level: Level, operation: Operation, name: Option<&str>, repeats: usize) -> bool {
    let this = format!("{}/{}/{level}", operation.name(), T::NAME);
    let Some(name) = name else {
        println!("{this}");
        return true;
    };
    if name == this {
        let mut slices = Slices::<T>::new(LENGTH);
        for _ in 0..repeats {
            slices.call(operation, Executor::new(level).serial());
        }
    }
    name == this
}
