//! Runs of several ranks.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// The environment variable that names what this program does as a rank.
pub const CASE: &str = "ROOTSTEP_MPI_CASE";
/// The folder where ranks say what they found.
pub const REPORTS: &str = "ROOTSTEP_MPI_REPORTS";

/// No run takes longer, unless it hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// A run of a program on some ranks.
pub struct Run {
    command: Command,
    since: Instant,
}

/// What came of it.
pub struct Ended {
    pub output: Output,
    pub took: Duration,
}

impl Ended {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    pub fn succeeded(self) -> Self {
        assert!(self.output.status.success(), "{}\n{}", self.text(), self.errors());
        self
    }
}

/// The example, as cargo has built it beside this program.
pub fn digits() -> PathBuf {
    let own = env::current_exe().unwrap();
    own.parent().and_then(Path::parent).unwrap().join("examples/digits")
}

impl Run {
    /// With each rank at another level, as far as there are some.
    pub fn new(ranks: usize, program: &Path, arguments: &[&str], options: &[&str]) -> Self {
        let mut command = Command::new("mpirun");
        command.args(["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]).args(options);
        let levels: Vec<_> =
            rootstep::Level::available().iter().map(|level| level.name()).collect();
        for rank in 0..ranks {
            if rank > 0 {
                command.arg(":");
            }
            let level = format!("ROOTSTEP_LEVEL={}", levels[rank % levels.len()]);
            command.args(["-n", "1", "-x", &level]).arg(program).args(arguments);
        }
        command.env("RAYON_NUM_THREADS", "1").env("OMPI_MCA_mpi_yield_when_idle", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command, since: Instant::now() }
    }

    pub fn start(mut self) -> Started {
        self.since = Instant::now();
        let mut child = self.command.spawn().expect("mpirun is installed");
        let out = Said::read(child.stdout.take().expect("it is piped"));
        let error = Said::read(child.stderr.take().expect("it is piped"));
        Started { child, out, error, since: self.since }
    }

    pub fn end(self) -> Ended {
        self.start().end()
    }
}

/// What a program has said so far.
struct Said {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Said {
    fn read(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(length @ 1..) = pipe.read(&mut some) {
                all.lock().unwrap().extend(&some[..length]);
            }
        });
        Self { bytes, reader }
    }

    fn all(self) -> Vec<u8> {
        self.reader.join().unwrap();
        self.bytes.lock().unwrap().clone()
    }
}

pub struct Started {
    child: Child,
    out: Said,
    error: Said,
    since: Instant,
}

impl Started {
    /// The processes of the ranks, in an order of their own.
    pub fn ranks(&self) -> Vec<u32> {
        let parent = self.child.id().to_string();
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let process: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
            let of_parent = stat.rsplit_once(')')?.1.split(' ').nth(2) == Some(parent.as_str());
            of_parent.then_some(process)
        });
        processes.collect()
    }

    /// Waits until as many lines are said, or all has ended.
    pub fn wait_for_lines(&mut self, lines: usize) {
        let said = |out: &Said| out.bytes.lock().unwrap().split(|&byte| byte == b'\n').count() - 1;
        while said(&self.out) < lines && self.is_running() && self.since.elapsed() < LIMIT {
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end. What hangs is a failure.
    pub fn end(mut self) -> Ended {
        while self.is_running() && self.since.elapsed() < LIMIT {
            thread::sleep(Duration::from_millis(5));
        }
        let hung = self.is_running();
        if hung {
            for process in self.ranks() {
                signal("KILL", process);
            }
            self.child.kill().unwrap();
        }
        let status = self.child.wait().unwrap();
        let took = self.since.elapsed();
        let (stdout, stderr) = (self.out.all(), self.error.all());
        let ended = Ended { output: Output { status, stdout, stderr }, took };
        assert!(!hung, "it hung: {}\n{}", ended.text(), ended.errors());
        ended
    }
}

pub fn signal(name: &str, process: u32) {
    let _ = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status();
}

/// Runs a case of this program, and gives back what each rank that reported said.
pub fn case(name: &str, ranks: usize, options: &[&str]) -> (Vec<Option<String>>, Ended) {
    let folder = tempfile::tempdir().unwrap();
    let mut run = Run::new(ranks, &env::current_exe().unwrap(), &[], options);
    run.command.env(CASE, name).env(REPORTS, folder.path());
    let ended = run.end();
    let report = |rank: usize| fs::read_to_string(folder.path().join(rank.to_string())).ok();
    ((0..ranks).map(report).collect(), ended)
}

/// Says what a rank has found.
pub fn report(rank: usize, text: &str) {
    fs::write(Path::new(&env::var(REPORTS).unwrap()).join(rank.to_string()), text).unwrap();
}
