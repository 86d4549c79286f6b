//! Killed at each point and at any moment, the model is that of a whole step, and goes on to the same bits.

use crate::memory::{LEAST, expected, few, first, state, step, twins};
use rootstep_mapped::{Model, Phase, Settings};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const STEPS: u64 = 4;

const FOLDER: &str = "ROOTSTEP_MAPPED_FOLDER";
const EVERY: &str = "ROOTSTEP_MAPPED_EVERY";
/// The number of the phase that the process kills itself at.
const POINT: &str = "ROOTSTEP_MAPPED_POINT";
/// The number of the chunk that it kills itself at while the model is made.
const CHUNK: &str = "ROOTSTEP_MAPPED_CHUNK";

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

static REACHED: AtomicU64 = AtomicU64::new(0);

fn kill_at_point(_: Phase) {
    kill_at(POINT);
}

fn kill_at(point: &str) {
    if variable(point).is_some_and(|point| REACHED.fetch_add(1, Ordering::SeqCst) == point) {
        let own = std::process::id().to_string();
        Command::new("kill").args(["-KILL", &own]).status().unwrap();
        thread::sleep(Duration::from_secs(60));
        unreachable!("a killed process goes on");
    }
}

fn settings(every: u64) -> Settings {
    Settings::new(LEAST).with_steps_per_commit(every)
}

/// Makes or opens the model, and takes the steps that it lacks.
fn train(folder: &Path, settings: Settings) -> Model {
    let mut model = if let Ok(model) = Model::open(folder, settings) {
        model
    } else {
        let first = |tensor, start, values: &mut [f32]| {
            kill_at(CHUNK);
            first(tensor, start, values)
        };
        Model::create(folder, &few(), settings, first).unwrap()
    };
    while model.steps() < STEPS {
        step(&mut model, &[true; 4]).unwrap();
    }
    model.commit().unwrap();
    model
}

/// Trains in a process of its own: what the tests below start.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let settings = settings(variable(EVERY).unwrap()).with_observer(kill_at_point);
    train(Path::new(&folder), settings);
}

fn start(folder: &Path, every: u64, point: Option<(&str, u64)>) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "kills::child", "--test-threads=1"]);
    command.env(FOLDER, folder).env(EVERY, every.to_string()).env_remove(POINT);
    if let Some((kind, point)) = point {
        command.env(kind, point.to_string());
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn killed_at_each_point() {
    let (states, _) = expected(twins(&few()), STEPS);
    for every in [1, 2] {
        let mut points = 0;
        loop {
            let folder = tempfile::tempdir().unwrap();
            let ended = start(folder.path(), every, Some((POINT, points))).wait().unwrap();
            let mut model = Model::open(&folder, settings(every)).unwrap();
            let found = model.steps();
            assert!(
                state(&mut model) == states[usize::try_from(found).unwrap()],
                "killed at point {points}, with commits every {every}: not step {found}"
            );
            drop(model);
            assert!(state(&mut train(folder.path(), settings(every))) == states[4], "{points}");
            if ended.success() {
                break;
            }
            points += 1;
        }
        // At least: begun, three windows and done, for each step; and three phases for each commit.
        let least = STEPS * 5 + STEPS / every * 3;
        assert!(points >= least, "there were {points} points only, not {least}");
    }
}

/// There is no model before all of it is there, and what is left is not in the way.
#[test]
fn killed_while_it_is_made() {
    let (states, _) = expected(twins(&few()), STEPS);
    for chunk in [0, 3, 6] {
        let folder = tempfile::tempdir().unwrap();
        let ended = start(folder.path(), 1, Some((CHUNK, chunk))).wait().unwrap();
        assert!(!ended.success(), "it was not killed at chunk {chunk}");
        let error = Model::open(&folder, settings(1)).unwrap_err().to_string();
        assert!(error.contains("model.json"), "{error}");
        assert!(state(&mut train(folder.path(), settings(1))) == states[4]);
    }
}

/// As often as it takes to come to the end: each time a little later, so that none of them ends at once.
#[test]
fn killed_at_any_moment() {
    let (states, _) = expected(twins(&few()), STEPS);
    let (mut killed, mut seed) = (0, 1_u64);
    for round in 0..6 {
        let folder = tempfile::tempdir().unwrap();
        for attempt in 0.. {
            let mut child = start(folder.path(), 1 + round % 3, None);
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            thread::sleep(Duration::from_millis(attempt * 2 + (seed >> 33) % 60));
            child.kill().unwrap();
            let ended = child.wait().unwrap();
            if ended.success() {
                break;
            }
            killed += 1;
            if let Ok(mut model) = Model::open(&folder, settings(1)) {
                let found = model.steps();
                assert!(state(&mut model) == states[usize::try_from(found).unwrap()]);
            }
        }
        assert!(state(&mut train(folder.path(), settings(1))) == states[4]);
    }
    assert!(killed >= 6, "{killed} kills only");
}
