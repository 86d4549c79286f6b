//! Processes that tests start.

use std::path::Path;
use std::process::Command;

/// Runs `program`, built for the CPU of this test: by the emulator that `ROOTSTEP_TEST_RUNNER` names, with
/// its arguments, where the test itself runs in one.
pub fn command(program: &Path) -> Command {
    let runner = std::env::var("ROOTSTEP_TEST_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    match words.next() {
        None => Command::new(program),
        Some(emulator) => {
            let mut command = Command::new(emulator);
            command.args(words).arg(program);
            command
        }
    }
}
