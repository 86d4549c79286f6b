//! The journal of a search: a line of JSON for what the search is, and one for each fit that is done. The
//! last key of each is its checksum.

use crate::Error;
use crate::fit::Fit;
use crate::folds::Fold;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
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
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
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
            TryLockError::WouldBlock => {
                failed("it is in use, by another process or by another search of this one")
            }
            TryLockError::Error(error) => io(error),
        })?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(io)?;
        let (whole, known) = contents(path, &text, header)?;
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
        self.write(&Line::new(number, fit))
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

/// How many bytes of a journal are whole lines, and the fits that these have, by their numbers.
fn contents(
    path: &Path,
    text: &[u8],
    header: &Header,
) -> Result<(usize, HashMap<usize, Fit>), Error> {
    // What is behind the last end of a line was not written to its end.
    let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    if whole == 0 && !to_line(path, header)?.starts_with(text) {
        return Err(refused(path, "line 1 is not that of a search"));
    }
    Ok((whole, fits(path, &text[..whole], header)?))
}

/// The fits of the whole lines of a journal, by their numbers.
fn fits(path: &Path, text: &[u8], header: &Header) -> Result<HashMap<usize, Fit>, Error> {
    let mut lines = (1..).zip(text.split_inclusive(|&byte| byte == b'\n'));
    let Some((_, first)) = lines.next() else { return Ok(HashMap::new()) };
    let (object, all_checked) = checked(path, 1, first)?;
    let found: Header = serde_json::from_slice(&object)
        .map_err(|error| unreadable(path, "line 1 is not that of a search", error))?;
    if found != *header {
        let difference = difference(&found, header);
        return Err(refused(path, &format!("it is that of another search: {difference}")));
    }
    let mut known: HashMap<usize, (usize, Line)> = HashMap::new();
    for (number, line) in lines {
        let (object, is_checked) = checked(path, number, line)?;
        let line: Line = serde_json::from_slice(&object).map_err(|error| {
            unreadable(path, &format!("line {number} is not that of a fit"), error)
        })?;
        if all_checked && !is_checked {
            return Err(refused(path, &format!("line {number} has no checksum, as line 1 has")));
        }
        if !header.fits(&line) {
            return Err(refused(path, &format!("line {number} does not fit the search")));
        }
        if let Some((before, known)) = known.get(&line.number)
            && !line.may_follow(known)
        {
            let problem = format!("lines {before} and {number} contradict each other");
            return Err(refused(path, &problem));
        }
        known.insert(line.number, (number, line));
    }
    Ok(known.into_iter().map(|(number, (_, line))| (number, line.into())).collect())
}

impl Header {
    /// Whether the line may be that of a fit of this search.
    fn fits(&self, line: &Line) -> bool {
        let (fits, metrics) = (self.candidates.len() * self.folds, self.metrics.len());
        let train = line.train.as_ref().map(Vec::len);
        let train_fits = train == self.train_scores.then_some(metrics);
        line.number < fits && line.test.len() == metrics && train_fits
    }
}

impl Line {
    fn new(number: usize, fit: &Fit) -> Self {
        let bits = |floats: &[f64]| floats.iter().map(|value| value.to_bits()).collect();
        Self {
            number,
            test: bits(&fit.test),
            train: fit.train.as_deref().map(bits),
            fit_seconds: fit.seconds.to_bits(),
            score_seconds: fit.score_seconds.to_bits(),
            failure: fit.failure.clone(),
        }
    }

    /// Whether there may be this line of a fit behind another: the same again, or that of a fit which has
    /// failed, and was tried again by a search that a failure would have ended.
    fn may_follow(&self, before: &Self) -> bool {
        self == before || (before.failure.is_some() && self.failure.is_none())
    }
}

impl From<Line> for Fit {
    fn from(line: Line) -> Self {
        let floats = |bits: Vec<u64>| bits.into_iter().map(f64::from_bits).collect();
        Self {
            test: floats(line.test),
            train: line.train.map(floats),
            seconds: f64::from_bits(line.fit_seconds),
            score_seconds: f64::from_bits(line.score_seconds),
            failure: line.failure,
        }
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

/// What is between an object of JSON and the digits of its checksum, and behind these.
const CHECKSUM: (&[u8], &[u8]) = (b",\"crc32\":\"", b"\"}\n");

/// A line of JSON, with the checksum of what it is without one.
fn to_line(path: &Path, line: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut text = serde_json::to_vec(line).map_err(|error| unusable(path, error.into()))?;
    let digits = digits(&text);
    // The brace at its end comes behind the checksum.
    text.pop();
    Ok([&text, CHECKSUM.0, &digits, CHECKSUM.1].concat())
}

/// CRC-32 (that of zlib) in eight digits. It tells every change of up to 32 neighbouring bits.
fn digits(object: &[u8]) -> Vec<u8> {
    format!("{:08x}", crc32fast::hash(object)).into_bytes()
}

/// A line without its checksum, and whether it had one. Journals of old had none.
fn checked<'a>(path: &Path, number: usize, line: &'a [u8]) -> Result<(Cow<'a, [u8]>, bool), Error> {
    let split = line.strip_suffix(CHECKSUM.1).and_then(|front| {
        let (front, digits) = front.split_at_checked(front.len().checked_sub(8)?)?;
        Some((front.strip_suffix(CHECKSUM.0)?, digits))
    });
    let Some((front, given)) = split else { return Ok((line.into(), false)) };
    let object = [front, b"}"].concat();
    if given != digits(&object) {
        return Err(refused(path, &format!("line {number} is damaged: its checksum is another")));
    }
    Ok((object.into(), true))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every single bit of a journal: if it is another one, the journal is refused. The end of the last line
    /// is the one exception: the line counts as torn.
    #[test]
    fn every_flipped_bit_is_seen() {
        let path = Path::new("journal");
        let folds =
            [Fold { train: vec![0, 1], test: vec![2] }, Fold { train: vec![2], test: vec![0] }];
        let candidates = ["0.1", "0.2\n\"x\""].into_iter().map(str::to_owned);
        let metrics = vec!["accuracy".to_owned(), "loss".to_owned()];
        let header = Header::new(candidates, &folds, metrics, true, "data".to_owned());
        let fit = |number: usize| Fit {
            test: vec![0.1 * number as f64, f64::NAN],
            train: Some(vec![1.0 / 3.0, f64::INFINITY]),
            seconds: 0.25,
            score_seconds: 1e-9,
            failure: (number == 1).then(|| "loss is NaN, \"crc32\":\"00000000\"}".to_owned()),
        };
        let line = |number: usize| Line::new(number, &fit(number));
        let mut text = to_line(path, &header).unwrap();
        for number in 0..4 {
            text.extend(to_line(path, &line(number)).unwrap());
        }
        let (whole, known) = contents(path, &text, &header).unwrap();
        assert_eq!((whole, known.len()), (text.len(), 4));
        for number in 0..4 {
            assert_eq!(Line::new(number, &known[&number]), line(number));
        }
        for place in 0..text.len() {
            for bit in 0..8 {
                text[place] ^= 1 << bit;
                let seen = contents(path, &text, &header).err().map(|error| error.to_string());
                // (Of the end of the last line.)
                assert_eq!(seen.is_none(), place == whole - 1, "bit {bit} of byte {place}");
                text[place] ^= 1 << bit;
            }
        }
        text.pop();
        let (shorter, mut fewer) = contents(path, &text, &header).unwrap();
        assert!(shorter < whole && fewer.remove(&3).is_none() && fewer.len() == 3);
    }

    /// Where a line was not written, and what there is of it not taken back, nothing may follow it: not
    /// even if the file could be written to again.
    #[test]
    fn nothing_follows_a_torn_line() {
        let name = format!("rootstep-{}-torn-flag", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, "begun").unwrap();
        let end = End { file: File::open(&path).unwrap(), torn: false }; // for reading
        let journal = Journal { path: path.clone(), end: Mutex::new(end) };
        let fit =
            Fit { test: vec![], train: None, seconds: 0.0, score_seconds: 0.0, failure: None };
        assert!(matches!(journal.append(0, &fit), Err(Error::Journal { source: Some(_), .. })));
        journal.end.lock().unwrap().file =
            OpenOptions::new().append(true).open(&path).expect("it is there");
        let error = journal.append(1, &fit).unwrap_err().to_string();
        assert!(error.ends_with("an earlier line could not be written"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"begun");
        std::fs::remove_file(&path).unwrap();
    }
}
