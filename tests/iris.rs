//! The example `iris` as a user runs it: the same output on every level, and clear errors. Its
//! modules are included too, for their unit tests.

#[path = "../examples/iris/data.rs"]
mod data;
#[allow(dead_code, reason = "the example uses the rest")]
#[path = "../examples/iris/model.rs"]
mod model;

use rootstep::Level;
use std::process::{Command, Output};

/// `cargo test` builds the examples beside the tests.
fn iris(arguments: &[&str], level: Option<&str>) -> Output {
    let mut program = std::env::current_exe().unwrap();
    program.pop(); // the test's own name
    program.pop(); // deps
    program.extend(["examples", "iris"]);
    program.set_extension(std::env::consts::EXE_EXTENSION);
    assert!(program.exists(), "{} is missing: run `cargo test` as a whole", program.display());
    let mut command = Command::new(program);
    command.args(arguments).env_remove("ROOTSTEP_LEVEL");
    if let Some(level) = level {
        command.env("ROOTSTEP_LEVEL", level);
    }
    command.output().unwrap()
}

fn output(arguments: &[&str], level: Option<&str>) -> String {
    let output = iris(arguments, level);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_level_gives_the_same_output() {
    let best = output(&[], None);
    for level in Level::available() {
        assert_eq!(output(&[], Some(level.name())), best, "{level}");
    }
}

/// A row for each learning rate, five folds each; and on flowers that it has not seen the
/// classifier is right nine times out of ten for each of several seeds.
#[test]
fn it_learns() {
    for seed in ["0", "1", "2", "3", "4"] {
        let text = output(&["--seed", seed], None);
        let rows: Vec<&str> = text.lines().filter(|line| line.matches('|').count() == 10).collect();
        assert_eq!(rows.len(), 2 + 11, "{text}");
        let (_, rest) = text.split_once("held out: ").expect("the accuracy is printed");
        let accuracy: f64 = rest[..6].parse().unwrap();
        assert!(accuracy >= 0.9, "seed {seed}: {text}");
    }
}

#[test]
fn options_are_followed() {
    let text = output(&["--grid", "0.05:0.2:3", "--folds", "3"], None);
    for part in ["| 0.05 ", "| 0.1 ", "| 0.2 ", "fold 3", "3-fold"] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    assert!(!text.contains("fold 4"));
    assert_ne!(output(&["--seed", "1"], None), output(&["--seed", "2"], None));
    assert!(output(&["--help"], None).contains("FROM:TO:COUNT"));
}

#[test]
fn bad_arguments_are_clear_errors() {
    for (arguments, part) in [
        (&["--grid", "1:2"][..], "the grid is `1:2`; allowed: FROM:TO:COUNT"),
        (&["--grid", "0:1:5"], "start of the grid is 0; allowed: finite and greater than 0"),
        (&["--grid", "-1:1:5"], "start of the grid is -1"),
        (&["--grid", "1:0.1:5"], "end of the grid is 0.1"),
        (&["--grid", "1:inf:5"], "end of the grid is inf"),
        (&["--grid", "1:2:1"], "number of values in the grid is 1; allowed: at least 2"),
        (&["--grid", "a:1:5"], "FROM is `a`; allowed: a number"),
        (&["--grid", "1::5"], "TO is ``; allowed: a number"),
        (&["--grid", "1:2:3.5"], "COUNT is `3.5`; allowed: a whole number"),
        (&["--folds", "1"], "number of folds is 1; allowed: at least 2"),
        (&["--folds", "41"], "number of folds is 41; allowed: at most 40"),
        (&["--folds", "x"], "invalid value 'x' for '--folds <K>'"),
        (&["--seed", "-1"], "invalid value '-1' for '--seed <SEED>'"),
        (&["--rate", "1"], "unexpected argument '--rate'"),
    ] {
        let output = iris(arguments, None);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(part), "`{part}` is not in: {text}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_wrong_level_is_a_clear_error() {
    let output = iris(&[], Some("avx9000"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains("unknown instruction set `avx9000`"), "{text}");
}
