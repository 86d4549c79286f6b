//! No journal makes a search panic. One that is refused stays as it was, byte for byte. One that is
//! gone on from keeps its whole lines, loses nothing but a line that was not written to its end, and
//! has only the missing fits done; then it is complete. One whose lines are all those of the search,
//! cut wherever it may be, ends with the table of a search that was never interrupted. (Edited lines have the
//! checksum of what they are then, or they would all be refused for it; whole files have that of before.)

#![no_main]

use arbitrary::Arbitrary;
use rootstep_fuzz::edits::{Edit, edited};
use rootstep_fuzz::temporary::Temporary;
use rootstep_tuning::{Error, Fold, KFold, OnFailure, Row, Search, SearchResults};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug, Arbitrary)]
enum Case {
    Edited(Vec<Edit>),
    /// Edits of one of the lines, which stays a line.
    LineEdited(u8, Vec<Edit>),
    /// The whole lines of these numbers, in this order, and some bytes of the next.
    Lines(Vec<u8>, u8, u8),
    /// A line with another number in it: of a fit, of scores, or the header's.
    NumberChanged(u8, Field, u8),
    Bytes(Vec<u8>),
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Field {
    Number,
    Score,
    Version,
    Folds,
}

const CANDIDATES: [i32; 3] = [2, 3, 50];
const FOLDS: usize = 2;
const FITS: usize = CANDIDATES.len() * FOLDS;

libfuzzer_sys::fuzz_target!(|case: Case| {
    let valid = valid();
    let lines: Vec<&[u8]> = valid.split_inclusive(|&byte| byte == b'\n').collect();
    let before = match &case {
        Case::Edited(edits) => edited(valid, edits),
        Case::LineEdited(number, edits) => {
            let mut lines: Vec<Vec<u8>> = lines.iter().map(|line| line.to_vec()).collect();
            let line = &mut lines[usize::from(*number) % (1 + FITS)];
            *line = signed(&edited(object(line).as_bytes(), edits));
            lines.concat()
        }
        Case::Lines(numbers, torn, length) => {
            let line = |number: &u8| lines[usize::from(*number) % (1 + FITS)];
            let torn = &line(torn)[..usize::from(*length).min(line(torn).len())];
            let whole = numbers.iter().take(20).flat_map(line);
            whole.chain(torn).copied().collect()
        }
        Case::NumberChanged(line, field, number) => {
            let mut lines: Vec<Vec<u8>> = lines.iter().map(|line| line.to_vec()).collect();
            let line = &mut lines[usize::from(*line) % (1 + FITS)];
            let mut changed: serde_json::Value =
                serde_json::from_str(&object(line)).expect("valid");
            match field {
                Field::Number => changed["number"] = (*number).into(),
                // The bits of a tiny number.
                Field::Score => changed["test"] = vec![*number; 2].into(),
                Field::Version => changed["version"] = (*number).into(),
                Field::Folds => changed["folds"] = (*number).into(),
            }
            *line = signed(changed.to_string().as_bytes());
            lines.concat()
        }
        Case::Bytes(bytes) => bytes.clone(),
    };
    check(&before, &lines);
});

/// Runs the search, and says how many fits were done.
fn run(file: Option<&Path>) -> Result<(SearchResults<i32>, usize), Error> {
    let folds = KFold::new(FOLDS)?.split(10)?;
    let fits = AtomicUsize::new(0);
    let fit = |&candidate: &i32, fold: &Fold| {
        fits.fetch_add(1, Ordering::Relaxed);
        if candidate > 40 { Err("diverged") } else { Ok(candidate * (1 + fold.test[0] as i32)) }
    };
    let score = |&model: &i32, rows: &[usize]| {
        Ok(vec![1.0 / f64::from(model), f64::from(model) - rows.len() as f64])
    };
    let search =
        Search::new(&folds).metrics(["a", "b"]).train_scores().on_failure(OnFailure::Worst);
    let results = match file {
        Some(file) => search.run_with_journal(file, CANDIDATES, fit, score),
        None => search.run(CANDIDATES, fit, score),
    };
    Ok((results?, fits.into_inner()))
}

/// A whole journal, the same in each process: its lines in the order of the fits, their times 0.
fn valid() -> &'static [u8] {
    static VALID: OnceLock<Vec<u8>> = OnceLock::new();
    VALID.get_or_init(|| {
        let file = Temporary::new("fuzz-valid-journal");
        run(Some(&file.0)).expect("a search with a new journal");
        let text = std::fs::read_to_string(&file.0).expect("the journal");
        let (header, fits) = text.split_once('\n').expect("the first line");
        let mut lines: Vec<(u64, String)> = fits.lines().map(timeless).collect();
        lines.sort();
        assert_eq!(lines.len(), FITS);
        let fits = lines.into_iter().flat_map(|(_, line)| signed(line.as_bytes()));
        header.bytes().chain(*b"\n").chain(fits).collect()
    })
}

/// What is before the checksum of a line, as an object.
fn object(line: &[u8]) -> String {
    let line = std::str::from_utf8(line).expect("valid");
    format!("{}}}", line.split(",\"crc32\":").next().expect("the first part"))
}

/// The line of an object, with its checksum.
fn signed(object: &[u8]) -> Vec<u8> {
    let sum = format!(",\"crc32\":\"{:08x}\"}}\n", crc32fast::hash(object));
    let front = object.split_last().map_or(object, |(_, front)| front);
    [front, sum.as_bytes()].concat()
}

/// The number of a line, and the line without what differs from run to run.
fn timeless(line: &str) -> (u64, String) {
    let mut fit: serde_json::Value =
        serde_json::from_str(&object(line.as_bytes())).expect("a line of a journal");
    for time in ["fit_seconds", "score_seconds"] {
        fit[time] = 0.into();
    }
    (fit["number"].as_u64().expect("its number"), fit.to_string())
}

/// All but the times, floats by their bits.
fn table(results: &SearchResults<i32>) -> Vec<(i32, Vec<u64>, Vec<Option<String>>)> {
    let row = |row: &Row<i32>| {
        let metrics = row.metrics.iter().flat_map(|metric| {
            let means = [metric.mean, metric.standard_deviation, metric.train_mean];
            let scores = metric.scores.iter().chain(&metric.train_scores).copied();
            scores.chain(means).map(f64::to_bits).chain([metric.rank as u64]).collect::<Vec<_>>()
        });
        (row.candidate, metrics.collect(), row.failures.clone())
    };
    results.rows().iter().map(row).collect()
}

fn check(before: &[u8], lines: &[&[u8]]) {
    let file = Temporary::new("fuzz-journal");
    std::fs::write(&file.0, before).expect("the temporary folder");
    let result = run(Some(&file.0));
    let after = std::fs::read(&file.0).expect("the journal");
    let whole = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let (whole, torn) = before.split_at(whole);
    let (results, fits) = match result {
        Ok(done) => done,
        Err(error) => {
            assert!(matches!(error, Error::Journal { .. }), "{error:?}");
            assert!(after == before, "refused, and changed all the same");
            // What is left of the journal of this search is not refused.
            assert!(!lines.concat().starts_with(before), "{error}");
            return;
        }
    };
    assert!(after.starts_with(whole), "lost lines that were written to their end");
    assert!(
        !whole.is_empty() || lines[0].starts_with(torn),
        "taken for the beginning of a journal, and overwritten"
    );
    let mut known = BTreeSet::new();
    let mut own = true;
    for line in whole.split_inclusive(|&byte| byte == b'\n').skip(1) {
        let fit: serde_json::Value = serde_json::from_slice(line).expect("it was accepted");
        known.insert(fit["number"].as_u64());
        own &= lines.contains(&line);
    }
    assert_eq!(fits, FITS - known.len(), "each missing fit is done once");
    if own {
        static UNINTERRUPTED: OnceLock<SearchResults<i32>> = OnceLock::new();
        let expected = UNINTERRUPTED.get_or_init(|| run(None).expect("a search").0);
        assert_eq!(table(&results), table(expected));
    }
    // The file is complete now.
    let (again, fits) = run(Some(&file.0)).expect("a complete journal");
    assert_eq!((table(&again), fits), (table(&results), 0));
    assert!(std::fs::read(&file.0).expect("the journal") == after, "it was complete");
}
