//! The journal of a search: whenever it is killed, the search goes on and ends with the same table; and
//! no other search's file is taken.

use crate::process;
use crate::random_bits::random_bits;
use crate::temporary::Temporary;
use rootstep_tuning::{Error, Fold, KFold, OnFailure, Search, SearchResults, logarithmic_grid};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const CANDIDATES: usize = 30;
const FOLDS: usize = 4;

/// A search with failures, whose fits take `pause` each and are counted.
fn run(file: Option<&Path>, pause: Duration) -> Result<(SearchResults<f64>, usize), Error> {
    let folds = KFold::new(FOLDS).unwrap().split(40).unwrap();
    let fits = AtomicUsize::new(0);
    let fit = |&rate: &f64, fold: &Fold| {
        fits.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(pause);
        if rate > 5.0 { Err("diverged") } else { Ok(rate.sin() / (1 + fold.test[0]) as f64) }
    };
    let score = |model: &f64, rows: &[usize]| Ok(vec![*model, -model / rows.len() as f64]);
    let search =
        Search::new(&folds).metrics(["a", "b"]).train_scores().on_failure(OnFailure::Worst);
    let rates = logarithmic_grid(1e-3, 10.0, CANDIDATES).unwrap();
    let results = match file {
        Some(file) => search.run_with_journal(file, rates, fit, score),
        None => search.run(rates, fit, score),
    };
    Ok((results?, fits.into_inner()))
}

/// All but the times, floats by their bits.
fn table(results: &SearchResults<f64>) -> Vec<(u64, Vec<u64>, Vec<Option<String>>)> {
    let row = |row: &rootstep_tuning::Row<f64>| {
        let metrics = row.metrics.iter().flat_map(|metric| {
            let means = [metric.mean, metric.standard_deviation, metric.train_mean];
            let scores = metric.scores.iter().chain(&metric.train_scores).copied();
            scores.chain(means).map(f64::to_bits).chain([metric.rank as u64]).collect::<Vec<_>>()
        });
        (row.candidate.to_bits(), metrics.collect(), row.failures.clone())
    };
    results.rows().iter().map(row).collect()
}

/// The fits in a journal: its whole lines but the first.
fn fits_in(journal: &[u8]) -> usize {
    let lines = journal.split_inclusive(|&byte| byte == b'\n');
    lines.filter(|line| line.ends_with(b"\n")).count().saturating_sub(1)
}

/// Not a test by itself: the process that is killed.
#[test]
#[ignore = "run by killed_searches_go_on, in a process of its own"]
fn child() {
    let file = std::env::var_os("ROOTSTEP_TEST_JOURNAL").expect("run by killed_searches_go_on");
    run(Some(Path::new(&file)), Duration::from_millis(2)).unwrap();
}

#[test]
fn killed_searches_go_on() {
    let (uninterrupted, fits) = run(None, Duration::ZERO).unwrap();
    assert_eq!(fits, CANDIDATES * FOLDS);
    let mut bits = random_bits(7);
    let mut interrupted = 0;
    for round in 0..20 {
        let file = Temporary::new(&format!("killed-{round}"));
        // Twice, so that a search that has gone on is killed too.
        for _ in 0..2 {
            let mut child = process::command(&std::env::current_exe().unwrap())
                .args(["--ignored", "--exact", "journal::child", "--test-threads=1"])
                .env("ROOTSTEP_TEST_JOURNAL", &file.0)
                .env("RAYON_NUM_THREADS", "2") // 120 fits of 2 ms take 120 ms, wherever it runs.
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_micros(bits() % 90_000));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let lines = std::fs::read(&file.0).unwrap_or_default();
        let done = fits_in(&lines);
        let (resumed, fits) = run(Some(&file.0), Duration::ZERO).unwrap();
        assert_eq!(fits, CANDIDATES * FOLDS - done, "no finished fit is repeated");
        assert_eq!(table(&resumed), table(&uninterrupted), "round {round}, {done} fits were done");
        interrupted += usize::from(done > 0 && done < CANDIDATES * FOLDS);
        // Once more: nothing is left to do.
        let (again, fits) = run(Some(&file.0), Duration::ZERO).unwrap();
        assert_eq!((table(&again), fits), (table(&resumed), 0));
    }
    assert!(interrupted >= 5, "only {interrupted} of 20 were killed on their way");
}

/// Three fits and one that fails, and how many of them were done.
fn run_small(file: &Path) -> Result<(SearchResults<f64>, usize), Error> {
    let folds = KFold::new(2).unwrap().split(4).unwrap();
    let fits = AtomicUsize::new(0);
    let fit = |&rate: &f64, fold: &Fold| {
        fits.fetch_add(1, Ordering::Relaxed);
        if rate > 0.5 && fold.test[0] > 0 { Err("diverged at 7") } else { Ok(rate) }
    };
    let score = |model: &f64, rows: &[usize]| Ok(vec![*model, model - rows[0] as f64]);
    let search = Search::new(&folds).metrics(["a", "b"]).train_scores().context("data");
    let results = search.run_with_journal(file, [0.1, 0.7], fit, score)?;
    Ok((results, fits.into_inner()))
}

/// The lines, each with its checksum: that of the object without it, as its last key.
fn signed(lines: &str) -> Vec<u8> {
    let sign = |line: &str| {
        let (front, sum) = (line.strip_suffix('}').unwrap(), crc32fast::hash(line.as_bytes()));
        format!("{front},\"crc32\":\"{sum:08x}\"}}\n")
    };
    lines.lines().map(sign).collect::<String>().into_bytes()
}

/// The lines as journals of old had them.
fn without_checksums(journal: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(journal).unwrap();
    let strip = |line: &str| format!("{}}}\n", line.split(",\"crc32\":").next().unwrap());
    text.lines().map(strip).collect::<String>().into_bytes()
}

/// A whole journal cut at every byte: what is left is gone on from, but never misread.
#[test]
fn torn_journals() {
    let file = Temporary::new("torn");
    let (whole, fits) = run_small(&file.0).unwrap();
    assert_eq!(fits, 4);
    let bytes = std::fs::read(&file.0).unwrap();
    for cut in 0..bytes.len() {
        std::fs::write(&file.0, &bytes[..cut]).unwrap();
        let (resumed, fits) = run_small(&file.0).unwrap();
        assert_eq!(table(&resumed), table(&whole));
        assert_eq!(fits, 4 - fits_in(&bytes[..cut]));
        // The torn line has gone: each line of the file can be read.
        assert_eq!(run_small(&file.0).unwrap().1, 0);
    }
}

/// A bit of a journal is another one: it is refused and left as it is. The end of the last line is the one
/// exception: the line counts as torn, and its fit is done again. (Every bit: the unit test of the module.)
#[test]
fn flipped_bits() {
    let file = Temporary::new("flipped");
    let (whole, _) = run_small(&file.0).unwrap();
    let bytes = std::fs::read(&file.0).unwrap();
    for place in (0..bytes.len()).step_by(5).chain([bytes.len() - 1]) {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << (place % 8);
        std::fs::write(&file.0, &flipped).unwrap();
        match run_small(&file.0) {
            Ok((results, fits)) => {
                assert_eq!((place, fits), (bytes.len() - 1, 1));
                assert_eq!(table(&results), table(&whole));
            }
            Err(Error::Journal { .. }) => {
                assert!(place < bytes.len() - 1);
                assert!(std::fs::read(&file.0).unwrap() == flipped, "changed");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Journals without checksums are gone on from. One that has them has them on every line.
#[test]
fn journals_of_old() {
    let file = Temporary::new("old");
    let (whole, _) = run_small(&file.0).unwrap();
    let new = std::fs::read(&file.0).unwrap();
    let old = without_checksums(&new);
    assert_eq!(signed(std::str::from_utf8(&old).unwrap()), new);
    let old_lines: Vec<&[u8]> = old.split_inclusive(|&byte| byte == b'\n').collect();
    let new_lines: Vec<&[u8]> = new.split_inclusive(|&byte| byte == b'\n').collect();
    for count in 1..=5 {
        std::fs::write(&file.0, old_lines[..count].concat()).unwrap();
        let (resumed, fits) = run_small(&file.0).unwrap();
        assert_eq!((table(&resumed), fits), (table(&whole), 5 - count));
        // What was added has checksums.
        assert_eq!(run_small(&file.0).unwrap().1, 0);
        let after = std::fs::read(&file.0).unwrap();
        let added = after.split_inclusive(|&byte| byte == b'\n').skip(count);
        assert!(added.into_iter().all(|line| line.windows(8).any(|text| text == b"\"crc32\":")));
    }
    let mixed = [new_lines[0], new_lines[1], old_lines[2]].concat();
    std::fs::write(&file.0, &mixed).unwrap();
    let error = run_small(&file.0).unwrap_err().to_string();
    assert!(error.ends_with(": line 3 has no checksum, as line 1 has"), "{error}");
    assert_eq!(std::fs::read(&file.0).unwrap(), mixed);
}

/// Two lines of one fit: the same again is none, and a failure may be followed by what came of the next
/// attempt. All others are refused. So are keys that are there twice.
#[test]
fn contradicting_lines() {
    let file = Temporary::new("contradicting");
    let (whole, _) = run_small(&file.0).unwrap();
    let journal = without_checksums(&std::fs::read(&file.0).unwrap());
    let journal = std::str::from_utf8(&journal).unwrap();
    let path = file.0.display();
    let outcome = |lines: &str| {
        let before = signed(lines);
        std::fs::write(&file.0, &before).unwrap();
        let result = run_small(&file.0).map(|(results, _)| results);
        if result.is_err() {
            assert_eq!(std::fs::read(&file.0).unwrap(), before);
        }
        result
    };
    let refused = |lines: &str, problem: &str| {
        let error = outcome(lines).unwrap_err().to_string();
        assert_eq!(error, format!("the journal {path} cannot be used: {problem}"));
    };
    let lines: Vec<&str> = journal.lines().collect();
    // They are written in the order in which the fits end.
    let of = |fit: usize| {
        let number = format!("\"number\":{fit},");
        *lines.iter().find(|line| line.contains(&number)).unwrap()
    };
    for fit in 0..4 {
        let again = outcome(&format!("{journal}{}\n", of(fit))).unwrap();
        assert_eq!(table(&again), table(&whole));
    }
    let line = |test: u64, seconds: u32, failure: &str| {
        format!(
            "{{\"number\":1,\"test\":[{test},0],\"train\":[0,0],\"fit_seconds\":{seconds},\
             \"score_seconds\":0,\"failure\":{failure}}}"
        )
    };
    let two = |first: &str, second: &str| [lines[0], of(0), first, of(2), second].join("\n");
    let good = line(0, 1, "null");
    let failed = line(0, 1, "\"diverged\"");
    for other in [line(1, 1, "null"), line(0, 2, "null"), failed.clone()] {
        refused(&two(&good, &other), "lines 3 and 5 contradict each other");
    }
    refused(&two(&failed, &line(0, 1, "\"again\"")), "lines 3 and 5 contradict each other");
    let tried_again = outcome(&two(&failed, &line(2.5_f64.to_bits(), 1, "null"))).unwrap();
    assert_eq!(tried_again.rows()[0].metric().scores[1], 2.5);
    assert_eq!(tried_again.rows()[0].failures[1], None);
    // And then no more.
    let third = format!("{}\n{good}", two(&failed, &line(1, 1, "null")));
    refused(&third, "lines 5 and 6 contradict each other");

    for (key, value) in [("number", "1"), ("test", "[0,0]"), ("failure", "null"), ("train", "null")]
    {
        let twice = good.replacen('{', &format!("{{\"{key}\":{value},"), 1);
        let error = outcome(&format!("{}\n{twice}", lines[0])).unwrap_err().to_string();
        let problem = format!("line 2 is not that of a fit: duplicate field `{key}`");
        assert!(error.contains(&problem), "{error}");
    }
    let twice = lines[0].replacen('{', "{\"folds\":2,", 1);
    let error = outcome(&twice).unwrap_err().to_string();
    assert!(error.contains("line 1 is not that of a search: duplicate field `folds`"), "{error}");
}

/// Folds with the same rows to test on, and others to train on: the journal is that of another search.
#[test]
fn every_row_of_the_folds_counts() {
    let file = Temporary::new("rows");
    let fold =
        |train: &[usize], test: &[usize]| Fold { train: train.to_vec(), test: test.to_vec() };
    let own = [fold(&[2, 3, 4], &[0, 1]), fold(&[0, 1], &[2, 3])];
    let run = |folds: &[Fold]| {
        let fit = |&candidate: &i32, _: &Fold| Ok::<_, String>(candidate);
        let search = Search::new(folds);
        search.run_with_journal(&file.0, [1, 2], fit, |&model, _| Ok(vec![f64::from(model)]))
    };
    run(&own).unwrap();
    run(&own).unwrap();
    let [first, second] = own.clone();
    for others in [
        [fold(&[2, 3], &[0, 1]), second.clone()],
        [fold(&[2, 3, 5], &[0, 1]), second.clone()],
        [fold(&[2, 3], &[4, 0, 1]), second.clone()],
        [first.clone(), fold(&[0, 4], &[2, 3])],
        [first.clone(), fold(&[0, 1], &[2, 4])],
        [first.clone(), fold(&[0, 1, 2], &[3])],
        [first.clone(), fold(&[], &[2, 3])],
        [second, first],
    ] {
        let error = run(&others).unwrap_err().to_string();
        assert!(error.ends_with("its folds are others"), "{others:?}: {error}");
    }
}

/// Progress goes on from the fits that the journal had.
#[test]
fn progress_goes_on() {
    let file = Temporary::new("progress");
    run_small(&file.0).unwrap();
    let bytes = std::fs::read(&file.0).unwrap();
    let folds = KFold::new(2).unwrap().split(4).unwrap();
    for known in 0..=4 {
        let lines = bytes.split_inclusive(|&byte| byte == b'\n').take(1 + known);
        std::fs::write(&file.0, lines.collect::<Vec<_>>().concat()).unwrap();
        let reports = std::sync::Mutex::new(Vec::new());
        let report = |progress: rootstep_tuning::Progress| {
            reports.lock().unwrap().push((progress.done, progress.total));
        };
        let search = Search::new(&folds).metrics(["a", "b"]).train_scores().context("data");
        let fit = |&rate: &f64, _: &Fold| Ok::<_, String>(rate);
        let score = |&model: &f64, _: &[usize]| Ok(vec![model; 2]);
        search.progress(&report).run_with_journal(&file.0, [0.1, 0.7], fit, score).unwrap();
        let mut reports = reports.into_inner().unwrap();
        reports.sort_unstable();
        assert_eq!(reports, (known + 1..=4).map(|done| (done, 4)).collect::<Vec<_>>());
    }
}

/// Panics that are caught are kept like all failures, and the journal can be gone on from.
#[test]
fn caught_panics_are_kept() {
    let file = Temporary::new("panics");
    let folds = KFold::new(2).unwrap().split(4).unwrap();
    let search = Search::new(&folds).metrics(["a", "b"]).train_scores().catch_panics();
    let run = |panics: bool| {
        let fit = |&candidate: &i32, _: &Fold| {
            assert!(!(panics && candidate == 2), "two");
            Ok::<_, String>(f64::from(candidate))
        };
        search.run_with_journal(&file.0, [1, 2], fit, |&model, _| Ok(vec![model; 2])).unwrap()
    };
    for panics in [true, false] {
        let results = run(panics);
        let failures: Vec<_> = results.failures().collect();
        assert_eq!(failures, [(1, 0, "it panicked: two"), (1, 1, "it panicked: two")]);
    }
}

/// The file may have no more bytes: its last line is whole, or not there, and with more room the search
/// goes on.
#[cfg(unix)]
#[test]
fn full_disks() {
    let (uninterrupted, _) = run(None, Duration::ZERO).unwrap();
    let program = std::env::current_exe().unwrap();
    for blocks in [8, 9, 20, 33] {
        let file = Temporary::new(&format!("full-{blocks}"));
        // A write beyond the limit fails, and does not kill.
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let child = process::command(&program);
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .arg(child.get_program())
            .args(child.get_args())
            .args(["--ignored", "--exact", "journal::child", "--test-threads=1", "--nocapture"])
            .env("ROOTSTEP_TEST_JOURNAL", &file.0)
            .env("RAYON_NUM_THREADS", "2")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(text.contains("File too large"), "{text}");
        let lines = std::fs::read(&file.0).unwrap();
        assert!(lines.ends_with(b"\n"), "a part of a line is left");
        let done = fits_in(&lines);
        assert!((1..CANDIDATES * FOLDS).contains(&done), "{done} of {blocks} blocks");
        let (resumed, fits) = run(Some(&file.0), Duration::ZERO).unwrap();
        assert_eq!((table(&resumed), fits), (table(&uninterrupted), CANDIDATES * FOLDS - done));
    }
}

#[test]
fn journals_of_other_searches() {
    let file = Temporary::new("other");
    let folds = KFold::new(2).unwrap().split(6).unwrap();
    let other_folds = KFold::new(2).unwrap().shuffled(1).split(6).unwrap();
    let run = |search: &Search<'_>, candidates: &[i32]| {
        search.run_with_journal(
            &file.0,
            candidates.iter().copied(),
            |&candidate, _| Ok::<_, String>(candidate),
            |&model, _| Ok(vec![f64::from(model)]),
        )
    };
    let plain = Search::new(&folds);
    run(&plain, &[1, 2]).unwrap();
    let before = std::fs::read(&file.0).unwrap();
    let path = file.0.display();
    let refused = |search: &Search<'_>, candidates: &[i32], problem: &str| {
        let error = run(search, candidates).unwrap_err();
        assert_eq!(error.to_string(), format!("the journal {path} cannot be used: {problem}"));
        assert_eq!(std::fs::read(&file.0).unwrap(), before);
    };
    let other = "it is that of another search: ";
    refused(&plain, &[1, 3], &format!("{other}its candidates are others"));
    refused(&Search::new(&other_folds), &[1, 2], &format!("{other}its folds are others"));
    let metrics = Search::new(&folds).metrics(["loss"]);
    refused(&metrics, &[1, 2], &format!("{other}its metrics are others"));
    let train = Search::new(&folds).train_scores();
    refused(&train, &[1, 2], &format!("{other}it differs in whether the training is scored"));

    refused(
        &plain.clone().context("other data"),
        &[1, 2],
        &format!("{other}its context is another"),
    );

    let text = String::from_utf8(without_checksums(&before)).unwrap();
    let later = signed(&text.replace("\"version\":1", "\"version\":2"));
    std::fs::write(&file.0, &later).unwrap();
    let error = run(&plain, &[1, 2]).unwrap_err().to_string();
    assert!(error.ends_with(&format!("{other}its version is another")), "{error}");

    for (text, problem) in [
        ("not a journal\n", "line 1 is not that of a search"),
        ("{}\n", "line 1 is not that of a search"),
        ("{\"settings\": 1}", "line 1 is not that of a search"),
        ("x", "line 1 is not that of a search"),
    ] {
        std::fs::write(&file.0, text).unwrap();
        let error = run(&plain, &[1, 2]).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
        assert_eq!(std::fs::read(&file.0).unwrap(), text.as_bytes());
    }
    for (number, test, train) in
        [(99, "[0]", "null"), (0, "[]", "null"), (0, "[0,0]", "null"), (0, "[0]", "[0]")]
    {
        let line = format!(
            "{{\"number\":{number},\"test\":{test},\"train\":{train},\"fit_seconds\":0,\
             \"score_seconds\":0,\"failure\":null}}\n"
        );
        std::fs::write(&file.0, [before.as_slice(), &signed(&line)].concat()).unwrap();
        let error = run(&plain, &[1, 2]).unwrap_err().to_string();
        assert!(error.ends_with("line 6 does not fit the search"), "{line}: {error}");
    }

    let folder = std::env::temp_dir().join("rootstep-no-such-folder/journal");
    let error =
        plain.run_with_journal(&folder, [1], |_, _| Ok::<_, String>(()), |(), _| Ok(vec![0.0]));
    assert!(matches!(error, Err(Error::Journal { .. })));

    let device = std::path::Path::new("/dev/zero");
    if device.exists() {
        let fit = |_: &i32, _: &Fold| Ok::<_, String>(());
        let error = plain.run_with_journal(device, [1], fit, |(), _| Ok(vec![0.0])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the journal /dev/zero cannot be used: it is not a regular file"
        );
    }
}

/// A journal that another process (here, another handle) has open is not touched.
#[test]
fn one_process_at_a_time() {
    let file = Temporary::new("locked");
    run(Some(&file.0), Duration::ZERO).unwrap();
    let before = std::fs::read(&file.0).unwrap();
    let other = std::fs::OpenOptions::new().append(true).open(&file.0).unwrap();
    other.lock().unwrap();
    let error = run(Some(&file.0), Duration::ZERO).unwrap_err().to_string();
    assert!(
        error.ends_with("in use, by another process or by another search of this one"),
        "{error}"
    );
    assert_eq!(std::fs::read(&file.0).unwrap(), before);
    drop(other);
    assert_eq!(run(Some(&file.0), Duration::ZERO).unwrap().1, 0);
}

/// A failure that ends the search is not written: the next run tries that fit again.
#[test]
fn errors_are_tried_again() {
    let file = Temporary::new("retried");
    let folds = KFold::new(2).unwrap().split(6).unwrap();
    let run = |policy, disk_is_full: bool| {
        let fit = |&candidate: &i32, _: &Fold| match candidate {
            2 if disk_is_full => Err("the disk is full"),
            candidate => Ok(candidate),
        };
        let search = Search::new(&folds).on_failure(policy);
        search.run_with_journal(&file.0, [1, 2, 3], fit, |&model, _| Ok(vec![f64::from(model)]))
    };
    let error = run(OnFailure::Error, true).unwrap_err().to_string();
    assert_eq!(error, "candidate 1 failed on fold 0: the disk is full");
    // Where failures are kept, they are written, and not tried again until they would be an error.
    assert!(run(OnFailure::Skip, true).unwrap().rows()[1].failures[0].is_some());
    assert!(run(OnFailure::Skip, false).unwrap().rows()[1].failures[0].is_some());
    assert!(run(OnFailure::Error, false).unwrap().rows()[1].failures[0].is_none());
    // What came of the second attempt counts from now on.
    let results = run(OnFailure::Skip, false).unwrap();
    assert_eq!(results.failures().count(), 0);
    assert_eq!(results.rows()[1].metric().scores, [2.0, 2.0]);
    assert_eq!(results.best().unwrap().candidate, 3);
    // Nothing to search is an error before the file is begun.
    let empty = Temporary::new("empty");
    let search = Search::new(&folds);
    let none: [i32; 0] = [];
    let error =
        search.run_with_journal(&empty.0, none, |_, _| Ok::<_, String>(()), |(), _| Ok(vec![0.0]));
    assert!(matches!(error, Err(Error::InvalidSetting { .. })));
    assert!(!empty.0.exists());
}

/// Each round of halving has a journal, and goes on from it.
#[test]
fn halving_goes_on() {
    let file = Temporary::new("halving");
    let folds = KFold::new(2).unwrap().split(6).unwrap();
    let fits = AtomicUsize::new(0);
    let fit = |&candidate: &i32, _: &Fold, budget: usize| {
        fits.fetch_add(1, Ordering::Relaxed);
        Ok::<_, String>(f64::from(candidate) * budget as f64)
    };
    let search = Search::new(&folds).context("data");
    let score = |&model: &f64, _: &[usize]| Ok(vec![model]);
    let plain = search.halving(0..8, (1, 4, 2), fit, score).unwrap();
    let run = || search.halving_with_journal(&file.0, 0..8, (1, 4, 2), fit, score);
    let scores = |rounds: &[(usize, SearchResults<i32>)]| {
        let row = |row: &rootstep_tuning::Row<i32>| (row.candidate, row.metric().scores.clone());
        let round = |(budget, results): &(usize, SearchResults<i32>)| {
            (*budget, results.rows().iter().map(row).collect::<Vec<_>>())
        };
        rounds.iter().map(round).collect::<Vec<_>>()
    };
    fits.store(0, Ordering::Relaxed);
    assert_eq!(scores(&run().unwrap()), scores(&plain));
    assert_eq!(fits.swap(0, Ordering::Relaxed), 2 * (8 + 4 + 2));
    // The journal of the second round is lost: only its fits are done again.
    let round = |budget| std::path::PathBuf::from(format!("{}.{budget}", file.0.display()));
    std::fs::remove_file(round(2)).unwrap();
    assert_eq!(scores(&run().unwrap()), scores(&plain));
    assert_eq!(fits.swap(0, Ordering::Relaxed), 2 * 4);
    // The journal of one round is not that of another.
    std::fs::copy(round(1), round(2)).unwrap();
    assert!(run().unwrap_err().to_string().contains("its candidates are others"));
    for budget in [1, 2, 4] {
        std::fs::remove_file(round(budget)).unwrap();
    }
}

/// The results as JSON: numbers that are not finite become null.
#[test]
fn results_are_serialised() {
    let folds = KFold::new(2).unwrap().split(6).unwrap();
    let fit = |&rate: &f64, fold: &Fold| match fold.test[0] {
        0 if rate > 0.4 => Err("diverged"),
        _ => Ok(rate),
    };
    let search = Search::new(&folds).metrics(["accuracy", "loss"]).train_scores();
    let results =
        search.run([0.25, 0.5], fit, |&rate, rows| Ok(vec![rate, -(rows.len() as f64)])).unwrap();
    let json = serde_json::to_value(&results).unwrap();
    assert_eq!(json["metrics"], serde_json::json!(["accuracy", "loss"]));
    let row = &json["rows"][1];
    assert_eq!(row["candidate"], 0.5);
    assert_eq!(row["failures"], serde_json::json!(["diverged", null]));
    let (accuracy, loss) = (&row["metrics"][0], &row["metrics"][1]);
    assert_eq!(accuracy["scores"], serde_json::json!([null, 0.5]));
    assert_eq!((&accuracy["mean"], &accuracy["rank"]), (&serde_json::Value::Null, &2.into()));
    assert_eq!(loss["train_scores"], serde_json::json!([null, -3.0]));
    assert_eq!(row["fit_seconds"].as_array().unwrap().len(), 2);
}
