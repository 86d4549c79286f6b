//! Starts itself, and the example, under `mpirun`: each test is some such runs, one after the other.
//!
//! `cargo test --test suite -- WORD` runs those whose names have the word.

mod checkpoints;
mod digests;
mod ends;
mod launch;
mod workers;

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::Instant;

const TESTS: &[(&str, fn())] = &[
    ("workers::steps_are_those_of_one_machine", workers::steps_are_those_of_one_machine),
    ("workers::bytes_are_those_of_a_ring", workers::bytes_are_those_of_a_ring),
    ("workers::disagreements", workers::disagreements),
    ("workers::policies", workers::policies),
    (
        "workers::sums_in_the_order_of_ranks_have_other_bits",
        workers::sums_in_the_order_of_ranks_have_other_bits,
    ),
    ("ends::a_rank_that_does_not_come", ends::a_rank_that_does_not_come),
    ("ends::a_rank_that_stops", ends::a_rank_that_stops),
    ("ends::a_rank_that_leaves", ends::a_rank_that_leaves),
    ("ends::ranks_killed_at_random", ends::ranks_killed_at_random),
    ("checkpoints::damage", checkpoints::damage),
    ("checkpoints::any_number_of_ranks", checkpoints::any_number_of_ranks),
    ("digests::do_not_depend_on_the_ranks", digests::do_not_depend_on_the_ranks),
];

fn main() -> ExitCode {
    if let Ok(case) = std::env::var(launch::CASE) {
        workers::run(&case);
        return ExitCode::SUCCESS;
    }
    let words: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let chosen =
        |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let mut failed = Vec::new();
    for (name, test) in TESTS.iter().filter(|(name, _)| chosen(name)) {
        let since = Instant::now();
        let result = catch_unwind(test);
        let outcome = if result.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {outcome} ({:.1} s)", since.elapsed().as_secs_f64());
        if result.is_err() {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {failed:?}");
    ExitCode::FAILURE
}
