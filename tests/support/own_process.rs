//! Tests that end, one way or the other: each in a process of its own, which is stopped when it hangs.

use crate::process;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Names the case that a process is there for.
const CASE: &str = "ROOTSTEP_TEST_CASE";

/// No case takes nearly as long, not even where the CPU is emulated.
const LIMIT: Duration = Duration::from_secs(180);

/// The variable with which glibc chooses its functions as on a CPU without FMA. (Its names have changed with
/// its versions.)
pub const WITHOUT_FMA: (&str, &str) =
    ("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-FMA,-FMA4,-FMA_Usable,-FMA4_Usable,-AVX2,-AVX2_Usable");

/// Runs `body` in a process of its own, with these environment variables: this executable again, with the
/// test `name` alone, which has to be the one that calls this. Fails if it fails, or does not end.
pub fn in_own_process(name: &str, variables: &[(&str, &str)], body: impl FnOnce()) {
    if std::env::var_os(CASE).is_some_and(|case| case == name) {
        return body();
    }
    let mut command = process::command(&std::env::current_exe().expect("this runs from a file"));
    // One thread: the test runs on the first of the process, which needs no other for itself.
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
    command.env(CASE, name).envs(variables.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (ended, output) = run(command);
    assert!(ended, "`{name}` hung for {LIMIT:?}:\n{output}");
    assert!(output.contains("test result: ok. 1 passed"), "`{name}` failed:\n{output}");
}

/// Whether the process ended by itself, and all that it wrote.
fn run(mut command: Command) -> (bool, String) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().expect("this executable starts");
    let end = Instant::now() + LIMIT;
    let mut ended = false;
    while !ended && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
        ended = child.try_wait().expect("it is a child of this process").is_some();
    }
    if !ended {
        // What it has started hangs too, and would hold its output open.
        #[cfg(unix)]
        Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status().ok();
        child.kill().ok();
    }
    let output = child.wait_with_output().expect("it is a child of this process");
    let text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    (ended, text.concat())
}
