//! The contenders as the driver sees them: processes that answer lines.

use crate::report::Report;
use crate::{Data, worker};
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The contender without a root: the limit that memory sets.
pub const LIMIT: &str = "axpy (no root)";

/// The Python peers, by their names in `peer.py`.
const PYTHON: [&str; 9] = [
    "NumPy",
    "NumPy, out=",
    "numexpr",
    "numba",
    "JAX",
    "PyTorch",
    "torch.compile",
    "PyTorch fused SGD (no root)",
    "MKL",
];

/// A running contender.
pub struct Contender {
    pub name: String,
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Starts all contenders, or those whose names contain one of the words; rootstep first. One that
/// does not start is skipped.
pub fn all(python: &Path, only: &[String], report: &mut Report) -> Result<Vec<Contender>> {
    let this = std::env::current_exe()?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peer.py");
    let rust = worker::NAMES.iter().map(|name| (name, this.as_path(), "--worker"));
    let python = PYTHON.iter().map(|name| (name, python, script));
    let mut contenders = Vec::new();
    for (&name, program, argument) in rust.chain(python) {
        let own = name == worker::NAMES[0];
        if own || only.is_empty() || only.iter().any(|word| name.contains(word)) {
            match Contender::start(name, Command::new(program).args([argument, name])) {
                Ok(contender) => contenders.push(contender),
                Err(error) => report.skip(name, &error),
            }
        }
    }
    Ok(contenders)
}

impl Contender {
    fn start(name: &str, command: &mut Command) -> Result<Self> {
        // Threads that spin behind a parallel region would take the time of the next contender.
        command.envs([
            ("OMP_WAIT_POLICY", "passive"),
            ("KMP_BLOCKTIME", "0"),
            ("GOMP_SPINCOUNT", "0"),
        ]);
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let (Some(commands), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            bail!("{name} has no standard input or output")
        };
        Ok(Self { name: name.to_owned(), process, commands, answers: BufReader::new(answers) })
    }

    /// Hands over the data, and returns the share of elements whose bits are the specified ones
    /// after a step.
    pub fn prepare(&mut self, data: &Data) -> Result<f64> {
        let expected = if self.name.contains("no root") { "axpy" } else { "step" };
        let files = ["parameters", "gradient", expected].map(|name| data.file(name));
        let [parameters, gradient, expected] = files.each_ref().map(|file| file.display());
        let length = data.length;
        let answer =
            self.ask(&format!("prepare\t{length}\t{parameters}\t{gradient}\t{expected}"), "ready")?;
        let (same, ulps) = answer.split_once(' ').context("an answer of two numbers")?;
        let (same, ulps): (f64, u64) = (same.parse()?, ulps.parse()?);
        ensure!(ulps <= 2, "its step is up to {ulps} units in the last place off");
        Ok(same / length as f64)
    }

    /// How many steps take long enough to be timed.
    pub fn repeats(&mut self) -> Result<u32> {
        const LONG_ENOUGH: f64 = 0.004;
        let mut repeats = 1;
        while self.turn(repeats)? < LONG_ENOUGH {
            repeats *= 2;
        }
        Ok(repeats)
    }

    /// Takes so many steps and returns the seconds.
    pub fn turn(&mut self, repeats: u32) -> Result<f64> {
        Ok(self.ask(&format!("turn\t{repeats}"), "took")?.parse()?)
    }

    fn ask(&mut self, command: &str, expected: &str) -> Result<String> {
        let mut answer = String::new();
        let sent = writeln!(self.commands, "{command}");
        if sent.and_then(|()| self.answers.read_line(&mut answer)).is_err() || answer.is_empty() {
            bail!("it ended by itself ({})", self.process.wait()?);
        }
        match answer.trim_end().split_once(' ') {
            Some((kind, rest)) if kind == expected => Ok(rest.to_owned()),
            Some(("error", error)) => bail!("{error}"),
            _ => bail!("it answered {answer:?} to {command:?}"),
        }
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left to be done.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
