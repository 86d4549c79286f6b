//! Levels: those that this machine must have are found, and the environment pins one.

use crate::process;
use rootstep::{Error, Executor, Level};
use std::process::Output;

/// The levels that this machine must have, from a source that shares nothing with the crate's own
/// detection: `ROOTSTEP_EXPECT_LEVELS` (comma-separated), else what the kernel says of the CPU.
///
/// `None` where there is no such source.
fn expected() -> Option<Vec<String>> {
    if let Ok(names) = std::env::var("ROOTSTEP_EXPECT_LEVELS") {
        return Some(names.split(',').map(str::to_owned).collect());
    }
    if !cfg!(target_arch = "x86_64") {
        return Some(vec!["portable".to_owned()]);
    }
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let flags: Vec<&str> =
        info.lines().find(|line| line.starts_with("flags"))?.split_whitespace().collect();
    let mut levels = vec!["portable".to_owned()];
    for (flag, level) in [("avx2", "avx2"), ("avx512f", "avx512")] {
        if flags.contains(&flag) {
            levels.push(level.to_owned());
        }
    }
    Some(levels)
}

/// Every test runs on each level of `Level::available()`; this one makes sure that none is missing
/// from it.
#[test]
fn expected_levels_are_available() {
    let available: Vec<&str> = Level::available().iter().map(|level| level.name()).collect();
    match expected() {
        Some(expected) => assert_eq!(available, expected),
        None => assert!(available.contains(&"portable")),
    }
}

#[test]
fn best_level_is_the_last() {
    assert_eq!(Level::available()[0], Level::portable());
    assert_eq!(Level::detect(), *Level::available().last().unwrap());
}

#[test]
fn executors_tell_what_they_are() {
    for &level in Level::available() {
        let serial = Executor::new(level).serial();
        assert_eq!((serial.level(), serial.is_parallel()), (level, false));
        let parallel = serial.parallel();
        assert_eq!((parallel.level(), parallel.is_parallel()), (level, true));
    }
}

#[test]
fn names_and_levels_are_one_to_one() {
    for &level in Level::available() {
        assert_eq!(level.name().parse(), Ok(level));
        assert_eq!(format!("{level} {level:?}"), format!("{0} {0}", level.name()));
    }
}

#[test]
fn other_names_are_errors_that_list_what_is_available() {
    let available: Vec<_> = Level::available().iter().map(|level| level.name()).collect();
    for given in ["", "AVX2", "sse2", "avx2 ", "best"] {
        let error = given.parse::<Level>().unwrap_err();
        assert!(matches!(
            &error,
            Error::UnknownLevel { given: named, available: listed, .. }
                if named == given && *listed == available
        ));
        assert!(error.to_string().contains(&format!("`{given}`")));
        assert!(error.to_string().ends_with(&available.join(", ")));
    }
    for given in ["avx2", "avx512"] {
        if !available.contains(&given) {
            let error = given.parse::<Level>().unwrap_err();
            assert!(matches!(error, Error::UnavailableLevel { .. }));
            assert!(error.to_string().contains(given));
            assert!(error.to_string().ends_with(&available.join(", ")));
        }
    }
}

/// What the child processes below run: a call that needs the level of the process.
#[test]
fn child() {
    let mut parameters = [1.0_f32; 100];
    rootstep::descend(&mut parameters, &[4.0; 100], 0.25);
    assert_eq!(parameters, [0.5; 100]);
    println!("level of the process: {}", Executor::default().level());
    println!("asked: {:?}", Level::from_env());
}

fn run_child(level: &str) -> Output {
    process::command(&std::env::current_exe().unwrap())
        .args(["--exact", "level::child", "--nocapture"])
        .env("ROOTSTEP_LEVEL", level)
        .output()
        .unwrap()
}

#[test]
fn environment_pins_the_level() {
    for level in Level::available() {
        let output = run_child(level.name());
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}");
        assert!(text.contains(&format!("level of the process: {level}\n")), "{text}");
    }
}

/// A library is a guest: a wrong name is as good as none to its functions, and an error to the programs
/// that ask.
#[test]
fn a_wrong_environment_changes_nothing() {
    let missing = ["avx2", "avx512"].into_iter().filter(|name| name.parse::<Level>().is_err());
    for name in missing.chain(["avx9000", "", " ", "AVX2"]) {
        let output = run_child(name);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}");
        let best = Level::detect();
        assert!(text.contains(&format!("level of the process: {best}\n")), "{text}");
        assert!(
            text.contains(
                format!("asked: Err({:?}", name.parse::<Level>().unwrap_err())
                    .split('{')
                    .next()
                    .unwrap()
            ),
            "{text}"
        );
    }
}
