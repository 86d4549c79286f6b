//! What a program says: its text, its problems, and its exit code.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _, stderr, stdout};
use std::process::ExitCode;

/// The report of a program. What there is is printed at once, and a failure does not keep back what comes
/// after it: it is named, and the exit code says that there was one.
#[derive(Debug, Default)]
pub struct Report {
    failed: bool,
    /// Nobody reads the text any more, or it cannot be written.
    closed: bool,
}

impl Report {
    /// Prints `text`. A reader that has seen enough, such as `head`, is no failure; a full disk is one.
    pub fn print(&mut self, text: &str) {
        if self.closed {
            return;
        }
        let mut out = stdout().lock();
        if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            self.closed = true;
            if error.kind() != ErrorKind::BrokenPipe {
                self.fail(format!("cannot print: {error}"));
            }
        }
    }

    /// Names what may not be as it was meant.
    pub fn warn(&self, problem: impl Display) {
        self.note(format_args!("warning: {problem}"));
    }

    /// Says what is beside the text, which may go to a file.
    pub fn note(&self, text: impl Display) {
        // There is no other place to say that this one fails.
        let _ = writeln!(stderr(), "{text}");
    }

    /// Names what failed.
    pub fn fail(&mut self, problem: impl Display) {
        self.failed = true;
        self.note(format_args!("error: {problem}"));
    }

    /// What was attempted; where it failed, that is named.
    pub fn attempt<T, E: Display>(&mut self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.fail(error)).ok()
    }

    /// 0, or 2 if anything failed, as for a wrong command line.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(if self.failed { 2 } else { 0 })
    }
}
