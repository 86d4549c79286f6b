//! Tests that need a process of their own.

use crate::process;

/// Runs the ignored test of this name, and nothing else, in a process of its own.
pub fn run(test: &str) {
    let output = process::command(&std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", test])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    // A name that has changed would run nothing, and succeed.
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}
