//! The example: the same parameters after every step, for any number of ranks.

use crate::launch::{Run, digits};

/// How numbers are kept and sent.
const WAYS: [&[&str]; 9] = [
    &["--storage", "f32", "--momentum", "full"],
    &["--storage", "f32", "--momentum", "full", "--clip", "0.5"],
    &["--storage", "f32", "--momentum", "bf16"],
    &["--storage", "f32", "--momentum", "int8", "--clip", "0.5", "--sums", "bf16"],
    &["--storage", "stochastic", "--momentum", "full"],
    &["--storage", "stochastic", "--momentum", "int8", "--clip", "0.5"],
    &["--storage", "split16", "--momentum", "bf16", "--clip", "0.5"],
    &["--storage", "split8", "--momentum", "none", "--micro-batches", "16"],
    &["--storage", "master", "--momentum", "full", "--sums", "bf16"],
];

pub fn do_not_depend_on_the_ranks() {
    for way in WAYS {
        let lines = |ranks: usize| {
            let mut arguments = way.to_vec();
            arguments.extend(["--steps", "8"]);
            Run::new(ranks, &digits(), &arguments, &[]).end().succeeded().text()
        };
        let one = lines(1);
        let steps: Vec<_> = one.lines().filter(|line| line.starts_with("step ")).collect();
        assert_eq!(steps.len(), 8, "{one}");
        assert!(
            steps.windows(2).all(|pair| pair[0].split(": ").nth(1) != pair[1].split(": ").nth(1)),
            "{one}"
        );
        assert_eq!(way.contains(&"--clip"), one.contains("clipped"), "{way:?}: {one}");
        for ranks in [2, 3, 4, 8] {
            assert_eq!(lines(ranks), one, "{way:?} on {ranks} ranks");
        }
    }
}
