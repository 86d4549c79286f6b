//! The journal of a search: a line of JSON for what the search is, and one for each fit that is done.

use crate::Error;
use crate::fit::Fit;
use crate::folds::Fold;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The version of the format.
const VERSION: u32 = 1;

/// What a search is: a journal is that of one search.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    version: u32,
    candidates: Vec<String>,
    folds: usize,
    /// A hash of the rows of the folds.
    rows: u64,
    metrics: Vec<String>,
    train_scores: bool,
    /// What the user says of the rest.
    context: String,
}

impl Header {
    pub(crate) fn new(
        candidates: impl Iterator<Item = String>,
        folds: &[Fold],
        metrics: Vec<String>,
        train_scores: bool,
        context: String,
    ) -> Self {
        Self {
            version: VERSION,
            candidates: candidates.collect(),
            folds: folds.len(),
            rows: hash(folds),
            metrics,
            train_scores,
            context,
        }
    }
}

/// FNV-1a over the lengths and the rows. (The standard library's hasher may change.)
fn hash(folds: &[Fold]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |number: usize| {
        for byte in (number as u64).to_le_bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for rows in folds.iter().flat_map(|fold| [&fold.train, &fold.test]) {
        add(rows.len());
        rows.iter().copied().for_each(&mut add);
    }
    hash
}

/// A fit in the journal; floats by their bits.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    number: usize,
    test: Vec<u64>,
    train: Option<Vec<u64>>,
    fit_seconds: u64,
    score_seconds: u64,
    failure: Option<String>,
}

/// An open journal, locked: no other process has it open.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    end: Mutex<End>,
}

/// Where the next line goes.
#[derive(Debug)]
struct End {
    file: File,
    /// A line that could not be written may have left a part of itself behind: nothing may follow it.
    torn: bool,
}

impl Journal {
    /// Opens the journal of the search that `header` describes, or begins one. Returns the fits that it
    /// has, too, by their numbers.
    pub(crate) fn open(path: &Path, header: &Header) -> Result<(Self, HashMap<usize, Fit>), Error> {
        let failed = |problem: &str| refused(path, problem);
        let io = |error| unusable(path, error);
        let mut options = OpenOptions::new();
        let mut file =
            options.create(true).truncate(false).read(true).write(true).open(path).map_err(io)?;
        // A device may have no end.
        if !file.metadata().map_err(io)?.is_file() {
            return Err(failed("it is not a regular file"));
        }
        lock(&file).map_err(|error| match error {
            TryLockError::WouldBlock => failed("another process is using it"),
            TryLockError::Error(error) => io(error),
        })?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(io)?;
        // What is behind the last end of a line was not written to its end.
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        if whole == 0 && !to_line(path, header)?.starts_with(&text) {
            return Err(failed("line 1 is not that of a search"));
        }
        let mut lines = text[..whole].split_inclusive(|&byte| byte == b'\n');
        if let Some(first) = lines.next() {
            let found: Header = serde_json::from_slice(first)
                .map_err(|error| unreadable(path, "line 1 is not that of a search", error))?;
            if found != *header {
                let difference = difference(&found, header);
                return Err(failed(&format!("it is that of another search: {difference}")));
            }
        }
        let fits = header.candidates.len() * header.folds;
        let mut known = HashMap::new();
        for (number, line) in (2..).zip(lines) {
            let line: Line = serde_json::from_slice(line).map_err(|error| {
                unreadable(path, &format!("line {number} is not that of a fit"), error)
            })?;
            let metrics = header.metrics.len();
            let train_fits =
                line.train.as_ref().map(Vec::len) == header.train_scores.then_some(metrics);
            if line.number >= fits || line.test.len() != metrics || !train_fits {
                return Err(failed(&format!("line {number} does not fit the search")));
            }
            let floats = |bits: Vec<u64>| bits.into_iter().map(f64::from_bits).collect();
            let fit = Fit {
                test: floats(line.test),
                train: line.train.map(floats),
                seconds: f64::from_bits(line.fit_seconds),
                score_seconds: f64::from_bits(line.score_seconds),
                failure: line.failure,
            };
            known.insert(line.number, fit);
        }
        file.set_len(whole as u64).map_err(io)?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        let end = Mutex::new(End { file, torn: false });
        let journal = Self { path: path.to_owned(), end };
        if whole == 0 {
            journal.write(header)?;
        }
        Ok((journal, known))
    }

    pub(crate) fn append(&self, number: usize, fit: &Fit) -> Result<(), Error> {
        let bits = |floats: &[f64]| floats.iter().map(|value| value.to_bits()).collect();
        self.write(&Line {
            number,
            test: bits(&fit.test),
            train: fit.train.as_deref().map(bits),
            fit_seconds: fit.seconds.to_bits(),
            score_seconds: fit.score_seconds.to_bits(),
            failure: fit.failure.clone(),
        })
    }

    /// Writes a line in one piece, or nothing.
    fn write(&self, line: &impl Serialize) -> Result<(), Error> {
        let text = to_line(&self.path, line)?;
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let End { file, torn } = &mut *end;
        if *torn {
            return Err(refused(&self.path, "an earlier line could not be written"));
        }
        let start = file.stream_position().map_err(|error| unusable(&self.path, error))?;
        if let Err(error) = file.write_all(&text) {
            let undone = file.set_len(start).and_then(|()| file.seek(SeekFrom::Start(start)));
            *torn = undone.is_err();
            return Err(unusable(&self.path, error));
        }
        Ok(())
    }
}

/// Locks the file. Tried for a second: where this process has just closed it, and starts another one, that
/// one holds the lock until its program is loaded.
fn lock(file: &File) -> Result<(), TryLockError> {
    for _ in 0..100 {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            done => return done,
        }
    }
    file.try_lock()
}

/// A line of JSON.
fn to_line(path: &Path, line: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut text = serde_json::to_vec(line).map_err(|error| unusable(path, error.into()))?;
    text.push(b'\n');
    Ok(text)
}

/// The first thing in which a journal differs from the search.
fn difference(found: &Header, own: &Header) -> &'static str {
    match () {
        () if found.version != own.version => "its version is another",
        () if found.candidates != own.candidates => "its candidates are others",
        () if (found.folds, found.rows) != (own.folds, own.rows) => "its folds are others",
        () if found.metrics != own.metrics => "its metrics are others",
        () if found.train_scores != own.train_scores => {
            "it differs in whether the training is scored"
        }
        () => "its context is another",
    }
}

/// A journal that is not taken.
fn refused(path: &Path, problem: &str) -> Error {
    Error::Journal { file: path.to_owned(), problem: problem.to_owned(), source: None }
}

/// A file that cannot be read or written.
fn unusable(path: &Path, source: io::Error) -> Error {
    Error::Journal { file: path.to_owned(), problem: source.to_string(), source: Some(source) }
}

/// A line that is not what it should be.
fn unreadable(path: &Path, problem: &str, source: serde_json::Error) -> Error {
    let problem = format!("{problem}: {source}");
    Error::Journal { file: path.to_owned(), problem, source: Some(source.into()) }
}
