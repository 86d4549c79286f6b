//! The contenders as the driver sees them: processes that answer lines.

use crate::element::Element;
use crate::report::Report;
use crate::{Data, worker};
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// A compiler that starts cold on a busy machine answers in a minute or two.
const PATIENCE: Duration = Duration::from_mins(5);

/// The contender without a root: the limit that memory sets.
pub const LIMIT: &str = "axpy (no root)";

/// In the names of the contenders with momentum, which move 20 bytes per element instead of 12. (Their
/// first step is one without.)
pub const MOMENTUM: &str = "momentum";

/// The Python peers, by their names in `peer.py`.
const PYTHON: &[&str] = &[
    "NumPy",
    "NumPy, out=",
    "numexpr",
    "numba",
    "JAX",
    "PyTorch",
    "torch.compile",
    "PyTorch fused SGD (no root)",
    "PyTorch fused SGD, momentum (no root)",
    "MKL",
];

/// Those in bf16.
const PYTHON_IN_BF16: &[&str] =
    &["numba, bf16 by its bits", "JAX", "PyTorch", "torch.compile", "PyTorch fused SGD (no root)"];

/// The variables by which the libraries are told how many threads to use. All get the same.
const THREADS: [&str; 6] = [
    "RAYON_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
];

/// Threads that spin behind a parallel region would take the time of the next contender; and this
/// is about the CPU.
const QUIET: [(&str, &str); 4] = [
    ("OMP_WAIT_POLICY", "passive"),
    ("KMP_BLOCKTIME", "0"),
    ("GOMP_SPINCOUNT", "0"),
    ("JAX_PLATFORMS", "cpu"),
];

/// The threads that each contender may use.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A running contender.
pub struct Contender {
    pub name: String,
    process: Child,
    commands: ChildStdin,
    answers: Receiver<String>,
    complaints: File,
}

/// Starts all contenders, or those whose names contain one of the words; rootstep first. One that
/// does not start is skipped.
pub fn all(
    python: &Path,
    element: Element,
    only: &[String],
    report: &mut Report,
) -> Result<Vec<Contender>> {
    let this = std::env::current_exe()?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peer.py");
    let names = worker::names(element);
    let others = match element {
        Element::F32 => PYTHON,
        Element::Bf16 => PYTHON_IN_BF16,
    };
    let rust = names.iter().map(|name| (name, this.as_path(), "--worker"));
    let python = others.iter().map(|name| (name, python, script));
    let known: Vec<&str> = names.iter().chain(others).copied().collect();
    for word in only {
        ensure!(
            known.iter().any(|name| name.contains(word.as_str())),
            "--only: no contender's name contains {word:?}; there are {known:?}"
        );
    }
    let mut contenders = Vec::new();
    for (&name, program, argument) in rust.chain(python) {
        let own = name == names[0];
        if own || only.is_empty() || only.iter().any(|word| name.contains(word)) {
            let arguments = [argument, name, "--element", &element.to_string()];
            match Contender::start(name, Command::new(program).args(arguments)) {
                Ok(contender) => contenders.push(contender),
                Err(error) => report.skip(name, &error),
            }
        }
    }
    Ok(contenders)
}

impl Contender {
    fn start(name: &str, command: &mut Command) -> Result<Self> {
        let threads = threads().to_string();
        for variable in THREADS {
            command.env(variable, &threads);
        }
        let complaints = tempfile::tempfile()?;
        let mut process = command
            .envs(QUIET)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints.try_clone()?)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let (Some(commands), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            bail!("{name} has no standard input or output")
        };
        // Reading has no time limit, waiting for a thread that reads has one.
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            // The driver hangs up when it has no more questions.
            lines.map(|line| sender.send(line)).find(Result::is_err)
        });
        Ok(Self { name: name.to_owned(), process, commands, answers, complaints })
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
        ensure!(
            ulps <= data.element.tolerated(),
            "its step is up to {ulps} units in the last place off"
        );
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
        let verb = command.split('\t').next().unwrap_or(command);
        // A process that has ended does not listen; that there is no answer tells.
        let _ = writeln!(self.commands, "{command}");
        let answer = match self.answers.recv_timeout(PATIENCE) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => {
                bail!("it did not answer {verb:?} within {} s", PATIENCE.as_secs())
            }
            Err(RecvTimeoutError::Disconnected) => {
                bail!("it ended by itself ({}){}", self.process.wait()?, self.last_words())
            }
        };
        match answer.split_once(' ') {
            Some((kind, rest)) if kind == expected => Ok(rest.to_owned()),
            Some(("error", error)) => bail!("{error}"),
            _ => bail!("it answered {answer:?} to {verb:?}"),
        }
    }

    /// The last line on its standard error.
    fn last_words(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = self.complaints.rewind().and_then(|()| self.complaints.read_to_end(&mut bytes));
        let text = String::from_utf8_lossy(&bytes);
        let last = text.lines().rfind(|line| !line.trim().is_empty());
        read.ok().and(last).map_or_else(String::new, |line| format!(": {}", line.trim()))
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left to be done.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
