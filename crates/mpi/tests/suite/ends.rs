//! Ranks that do not come, stop, leave or are killed: the others end with an error that says so, within the limit.

use crate::launch::{Run, case, digits, signal};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// With this the ranks that are left go on when one dies.
const SURVIVING: [&str; 1] = ["--enable-recovery"];
/// What the ranks wait here, and how much more a loaded machine may need.
const LIMIT: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_secs(20);

fn assert_all_say(reports: &[Option<String>], but: usize, expected: &[&str]) {
    for (rank, report) in reports.iter().enumerate().filter(|(rank, _)| *rank != but) {
        let report = report.as_ref().unwrap_or_else(|| panic!("rank {rank} said nothing"));
        assert!(expected.iter().all(|text| report.contains(text)), "rank {rank}: {report}");
    }
}

pub fn a_rank_that_does_not_come() {
    let (reports, ended) = case("late", 3, &SURVIVING);
    assert!(ended.took < LIMIT * 2 + SLACK, "{:?}", ended.took);
    assert_all_say(&reports, 1, &["the agreement before the first step"]);
    let of_zero =
        "nothing came from rank 1 within 2s, in the agreement before the first step, after 0 steps";
    assert_eq!(reports[0].as_deref(), Some(of_zero));
    // By way of rank 0.
    let of_two = reports[2].as_ref().unwrap();
    assert!(
        of_two.contains("rank 0 has ended") && of_two.contains("nothing came from rank 1"),
        "{of_two}"
    );
}

/// It is there, but does nothing.
pub fn a_rank_that_stops() {
    let (reports, ended) = case("stopped", 3, &SURVIVING);
    assert!(ended.took < LIMIT * 2 + SLACK, "{:?}", ended.took);
    assert_all_say(&reports, 1, &["in the exchange of the sums of gradients", "rank 1"]);
    assert!(
        reports
            .iter()
            .flatten()
            .any(|report| report.contains("nothing came from rank 1 within 2s"))
    );
}

/// By an error of its own, or by a panic. The others need not wait.
pub fn a_rank_that_leaves() {
    for (name, why) in [("returning", "its training was ended"), ("panicking", "it has panicked")] {
        let (reports, ended) = case(name, 3, &SURVIVING);
        assert!(ended.took < SLACK, "{:?}", ended.took);
        let expected = format!("rank 1 has ended, in the exchange of the sums of gradients: {why}");
        assert_all_say(&reports, 1, &[&expected]);
    }
}

/// At any time, a rank of several: none of the others hangs, and any number of ranks can go on with the same bits.
pub fn ranks_killed_at_random() {
    const KILLS: u64 = 20;
    let arguments = ["--storage", "split16", "--momentum", "int8", "--clip", "0.5", "--limit", "2"];
    let run = |ranks: usize, options: &[&str], more: &[&str]| {
        Run::new(ranks, &digits(), &[&arguments[..], more].concat(), options)
    };
    let whole = run(1, &[], &["--steps", "40"]).end().succeeded().text();
    let mut random = 12_345_u64;
    let mut next = |below: u64| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let (mut killed, mut resumed) = (0, 0);
    for kill in 0..KILLS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let ranks = 2 + usize::try_from(next(3)).unwrap();
        // Half of the time `mpirun` ends the others, half of the time they must find out.
        let options: &[&str] = if kill % 2 == 0 { &SURVIVING } else { &[] };
        let more = ["--steps", "40", "--save", path, "--pause", "10"];
        let mut started = run(ranks, options, &more).start();
        // (The start of MPI itself waits without a limit: a rank that dies within it is its launcher's business.)
        started.wait_for_lines(1 + usize::try_from(next(35)).unwrap());
        let began = Instant::now();
        thread::sleep(Duration::from_millis(next(30)));
        let processes = started.ranks();
        if started.is_running() && !processes.is_empty() {
            signal("KILL", processes[usize::try_from(next(processes.len() as u64)).unwrap()]);
            killed += 1;
        }
        let ended = started.end();
        assert!(began.elapsed() < LIMIT * 2 + SLACK, "{:?}: {}", ended.took, ended.errors());
        let there = fs::read_dir(path)
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("step-"));
        resumed += u64::from(there);
        let others = 1 + usize::try_from(next(4)).unwrap();
        let rest = run(others, &[], &["--steps", "40", "--resume", path]).end().succeeded().text();
        assert!(!rest.is_empty() && whole.ends_with(&rest), "{rest}");
    }
    println!("{killed} ranks killed, {resumed} trainings resumed from a checkpoint");
    assert!(killed >= KILLS / 2 && resumed >= KILLS / 4);
}
