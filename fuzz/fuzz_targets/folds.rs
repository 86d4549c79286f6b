//! Folds of any settings and labels: refused exactly where the documentation says so; else train and
//! test are ascending and disjoint, every row is where the split promises, groups stay together,
//! classes keep their shares, time runs forward, and a seed gives the same folds again.

#![no_main]

use arbitrary::Arbitrary;
use rootstep_tuning::{
    Error, Fold, GroupKFold, HoldOut, KFold, StratifiedHoldOut, StratifiedKFold, TimeSeriesSplit,
    leave_one_out, repeated,
};
use std::collections::BTreeMap;

#[derive(Debug, Arbitrary)]
enum Case<'a> {
    KFold { folds: Count, seed: Option<u64>, rows: u16 },
    StratifiedKFold { folds: Count, seed: Option<u64>, labels: &'a [u8] },
    GroupKFold { folds: Count, groups: &'a [u8] },
    TimeSeriesSplit { folds: Count, gap: Count, rows: u16 },
    LeaveOneOut { rows: u16 },
    Repeated { times: u8, folds: Count, seed: u64, rows: u16 },
    HoldOut { test: Count, seed: u64, rows: u16 },
    StratifiedHoldOut { test: Count, seed: u64, labels: &'a [u8] },
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Count {
    Small(u8),
    Medium(u16),
    Any(usize),
}

impl Count {
    fn value(self) -> usize {
        match self {
            Self::Small(count) => count.into(),
            Self::Medium(count) => count.into(),
            Self::Any(count) => count,
        }
    }
}

const MOST_ROWS: usize = 2000;

/// The rows of all folds together: a few MiB at most.
const MOST_PLACES: usize = 400_000;

fn too_many(folds: usize, rows: usize) -> bool {
    folds <= rows && folds * rows > MOST_PLACES
}

libfuzzer_sys::fuzz_target!(|case: Case| {
    match case {
        Case::KFold { folds, seed, rows } => k_fold(folds.value(), seed, rows),
        Case::StratifiedKFold { folds, seed, labels } => stratified(folds.value(), seed, labels),
        Case::GroupKFold { folds, groups } => grouped(folds.value(), groups),
        Case::TimeSeriesSplit { folds, gap, rows } => in_time(folds.value(), gap.value(), rows),
        Case::LeaveOneOut { rows } => {
            let rows = usize::from(rows) % 600;
            let folds = accepted(leave_one_out(rows), rows >= 2);
            for (row, fold) in folds.iter().enumerate() {
                assert_eq!(fold.test, [row]);
            }
            assert_eq!(folds.len(), if rows >= 2 { rows } else { 0 });
            check_all_tested(&folds, rows);
        }
        Case::Repeated { times, folds, seed, rows } => {
            again_and_again(times % 5, folds.value(), seed, rows);
        }
        Case::HoldOut { test, seed, rows } => {
            let rows = usize::from(rows) % (MOST_ROWS + 1);
            let split = || HoldOut::new(test.value(), seed).split(rows);
            held_out(split, test.value(), &vec![0; rows]);
        }
        Case::StratifiedHoldOut { test, seed, labels } => {
            let labels = &labels[..labels.len().min(MOST_ROWS)];
            let split = || StratifiedHoldOut::new(test.value(), seed).split(labels);
            held_out(split, test.value(), labels);
        }
    }
});

/// What was accepted, which it must be if and only if it is allowed.
fn accepted<T: Default>(split: Result<T, Error>, allowed: bool) -> T {
    match split {
        Ok(_) if !allowed => panic!("accepted, and not allowed"),
        Ok(folds) => folds,
        Err(Error::InvalidSetting { .. }) if !allowed => T::default(),
        Err(error) => panic!("allowed, and not accepted: {error}"),
    }
}

fn check(fold: &Fold, rows: usize) {
    for side in [&fold.train, &fold.test] {
        assert!(!side.is_empty(), "a side without rows");
        assert!(side.windows(2).all(|pair| pair[0] < pair[1]), "not ascending: {side:?}");
        assert!(side.last().is_none_or(|&last| last < rows), "a row that is not there: {side:?}");
    }
    assert!(fold.train.iter().all(|row| fold.test.binary_search(row).is_err()), "in both sides");
}

/// Each fold has all rows, and each row is tested on once.
fn check_all_tested(folds: &[Fold], rows: usize) {
    for fold in folds {
        check(fold, rows);
        assert_eq!(fold.train.len() + fold.test.len(), rows);
    }
    if !folds.is_empty() {
        let mut tested: Vec<usize> = folds.iter().flat_map(|fold| &fold.test).copied().collect();
        tested.sort_unstable();
        assert!(tested.into_iter().eq(0..rows), "not each row is tested on once");
    }
}

/// All within one of each other.
fn check_even(sizes: impl Iterator<Item = usize> + Clone) {
    let (smallest, largest) = (sizes.clone().min().unwrap_or(0), sizes.max().unwrap_or(0));
    assert!(largest - smallest <= 1, "{smallest} to {largest} rows");
}

fn rows_of(labels: &[u8]) -> BTreeMap<u8, Vec<usize>> {
    let mut rows: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
    for (row, &label) in labels.iter().enumerate() {
        rows.entry(label).or_default().push(row);
    }
    rows
}

fn tested_of(class: &[usize], fold: &Fold) -> usize {
    class.iter().filter(|row| fold.test.binary_search(row).is_ok()).count()
}

fn k_fold(folds: usize, seed: Option<u64>, rows: u16) {
    let rows = usize::from(rows) % (MOST_ROWS + 1);
    if too_many(folds, rows) {
        return;
    }
    let split = || {
        let plain = KFold::new(folds)?;
        seed.map_or(plain, |seed| plain.shuffled(seed)).split(rows)
    };
    let found = accepted(split(), folds >= 2 && folds <= rows);
    assert_eq!(found, split().unwrap_or_default());
    check_all_tested(&found, rows);
    check_even(found.iter().map(|fold| fold.test.len()));
    if seed.is_none() {
        assert!(found.iter().flat_map(|fold| &fold.test).copied().is_sorted(), "out of order");
    }
}

fn stratified(folds: usize, seed: Option<u64>, labels: &[u8]) {
    let labels = &labels[..labels.len().min(MOST_ROWS)];
    if too_many(folds, labels.len()) {
        return;
    }
    let classes = rows_of(labels);
    let largest = classes.values().map(Vec::len).max().unwrap_or(0);
    let split = || {
        let plain = StratifiedKFold::new(folds)?;
        seed.map_or(plain, |seed| plain.shuffled(seed)).split(labels)
    };
    let found = accepted(split(), folds >= 2 && folds <= largest);
    assert_eq!(found, split().unwrap_or_default());
    check_all_tested(&found, labels.len());
    check_even(found.iter().map(|fold| fold.test.len()));
    for class in classes.values() {
        check_even(found.iter().map(|fold| tested_of(class, fold)));
    }
}

fn grouped(folds: usize, groups: &[u8]) {
    let groups = &groups[..groups.len().min(MOST_ROWS)];
    let rows_of_groups = rows_of(groups);
    if too_many(folds, groups.len()) {
        return;
    }
    let split = GroupKFold::new(folds).and_then(|split| split.split(groups));
    let found = accepted(split, folds >= 2 && folds <= rows_of_groups.len());
    check_all_tested(&found, groups.len());
    for (group, rows) in &rows_of_groups {
        let parts = found.iter().filter(|fold| tested_of(rows, fold) > 0).count();
        assert!(parts == usize::from(!found.is_empty()), "group {group} is in {parts} folds");
    }
    // The largest groups go to the fold with the fewest rows: no two folds differ by more than a group.
    let sizes = found.iter().map(|fold| fold.test.len());
    let largest_group = rows_of_groups.values().map(Vec::len).max().unwrap_or(0);
    assert!(sizes.clone().max().unwrap_or(0) <= sizes.min().unwrap_or(0) + largest_group);
}

fn in_time(folds: usize, gap: usize, rows: u16) {
    let rows = usize::from(rows) % (MOST_ROWS + 1);
    if too_many(folds, rows) {
        return;
    }
    let enough = folds >= 2 && folds < rows;
    let size = if enough { rows / (folds + 1) } else { 0 };
    let first = rows.saturating_sub(folds.saturating_mul(size));
    let split = TimeSeriesSplit::new(folds).and_then(|split| split.gap(gap).split(rows));
    let found = accepted(split, enough && gap < first);
    let mut next = first;
    for fold in &found {
        check(fold, rows);
        assert!(fold.test.iter().copied().eq(next..next + size));
        assert!(fold.train.iter().copied().eq(0..next - gap));
        next += size;
    }
    assert!(found.is_empty() || (found.len() == folds && next == rows));
}

fn again_and_again(times: u8, folds: usize, seed: u64, rows: u16) {
    let rows = usize::from(rows) % 200;
    let split = |seed| KFold::new(folds)?.shuffled(seed).split(rows);
    let allowed = times > 0 && folds >= 2 && folds <= rows;
    let found = accepted(repeated(times.into(), seed, split), allowed);
    for (i, part) in (0..).zip(found.chunks(folds.max(1))) {
        assert_eq!(split(seed.wrapping_add(i)).ok().as_deref(), Some(part));
    }
    assert_eq!(found.len(), if allowed { usize::from(times) * folds } else { 0 });
}

fn held_out(split: impl Fn() -> Result<Fold, Error>, test: usize, labels: &[u8]) {
    let rows = labels.len();
    let allowed = test >= 1 && test < rows;
    let fold = accepted(split().map(Some), allowed);
    assert_eq!(fold.as_ref(), split().as_ref().ok());
    let Some(fold) = fold else { return };
    check(&fold, rows);
    assert_eq!((fold.train.len(), fold.test.len()), (rows - test, test));
    for class in rows_of(labels).values() {
        let (tested, share) = (tested_of(class, &fold), class.len() * test);
        let within = share / rows..=share.div_ceil(rows);
        assert!(within.contains(&tested), "{tested} of a class of {}, not {within:?}", class.len());
    }
}
