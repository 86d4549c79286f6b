//! Splits of the rows of a data set into those to train on and those to test on.

use crate::Error;
use crate::setting::{MOST_VALUES, at_least, room_for_rows};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// The rows to train on and the rows to test on, as indices in ascending order.
///
/// All folds of a split have at most 2³² rows together, each counted in each fold that has it: their
/// numbers take 32 GiB. More of them, or more than the system says that it has memory for, are refused as too
/// many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// The rows to train on.
    pub train: Vec<usize>,
    /// The rows to test on.
    pub test: Vec<usize>,
}

impl Fold {
    /// Tests on some of the `rows`, in any order, and trains on all others.
    fn testing(rows: usize, tested: &[usize]) -> Self {
        let mut is_test = vec![false; rows];
        for &row in tested {
            is_test[row] = true;
        }
        let (test, train) = (0..rows).partition(|&row| is_test[row]);
        Self { train, test }
    }
}

/// K-fold cross-validation in which each fold holds nearly the same share of each class.
///
/// Every row is tested on in exactly one fold, and in each fold the number of rows of a class is
/// within one of its share. Without [`shuffled`](Self::shuffled) the folds are exactly those of
/// scikit-learn's `StratifiedKFold` (1.9).
///
/// Source: R. Kohavi, *A Study of Cross-Validation and Bootstrap for Accuracy Estimation and Model
/// Selection* (IJCAI 1995).
///
/// ```
/// use rootstep_tuning::StratifiedKFold;
///
/// let species = ["cat", "cat", "dog", "cat", "dog", "cat"];
/// let folds = StratifiedKFold::new(2)?.split(&species)?;
/// assert_eq!(folds[0].test, [0, 1, 2]);
/// assert_eq!(folds[1].test, [3, 4, 5]);
/// assert_eq!(folds[1].train, folds[0].test);
/// # Ok::<(), rootstep_tuning::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StratifiedKFold {
    folds: usize,
    seed: Option<u64>,
}

impl StratifiedKFold {
    /// `folds` folds, the rows of each class taken in their order.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if `folds < 2`.
    pub fn new(folds: usize) -> Result<Self, Error> {
        at_least("number of folds", folds, 2)?;
        Ok(Self { folds, seed: None })
    }

    /// The rows of each class are dealt to the folds at random: by PCG64, seeded with `seed`.
    #[must_use]
    pub const fn shuffled(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// One [`Fold`] for each of the folds; `labels` holds the class of each row.
    ///
    /// A class of fewer rows than there are folds is missing from some of them: see
    /// [`warning`](Self::warning).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if there are more folds than rows, or than rows of every class;
    /// or [too many](Fold) rows.
    pub fn split<L: Eq + Hash>(&self, labels: &[L]) -> Result<Vec<Fold>, Error> {
        room_for_rows(self.folds.min(labels.len()), labels.len())?;
        let classes = rows_of_classes(labels);
        let largest = classes.iter().map(Vec::len).max().unwrap_or(0);
        let what = format!("the size of the largest class of {} rows", labels.len());
        at_most(self.folds, largest, &what)?;
        let tests = self.assign(&classes);
        Ok(tests.iter().map(|test| Fold::testing(labels.len(), test)).collect())
    }

    /// What scikit-learn warns of: that a class has fewer rows than there are folds, so that some test on
    /// none of them.
    ///
    /// ```
    /// use rootstep_tuning::StratifiedKFold;
    ///
    /// let warning = StratifiedKFold::new(3)?.warning(&["a", "a", "a", "b"]);
    /// assert_eq!(warning.as_deref(), Some("the smallest class has 1 row, fewer than the 3 folds"));
    /// # Ok::<(), rootstep_tuning::Error>(())
    /// ```
    #[must_use]
    pub fn warning<L: Eq + Hash>(&self, labels: &[L]) -> Option<String> {
        let smallest = rows_of_classes(labels).iter().map(Vec::len).min()?;
        let rows = if smallest == 1 { "row" } else { "rows" };
        (smallest < self.folds).then(|| {
            format!("the smallest class has {smallest} {rows}, fewer than the {} folds", self.folds)
        })
    }

    /// The rows that each fold is tested on.
    ///
    /// How many rows of a class each fold gets follows scikit-learn: lay the rows down sorted by
    /// class and deal them to the folds in turn. The rows of a class then fill the folds in order.
    fn assign(&self, classes: &[Vec<usize>]) -> Vec<Vec<usize>> {
        let mut random = self.seed.map(Pcg64::seed_from_u64);
        let mut tests = vec![Vec::new(); self.folds];
        let mut dealt = 0;
        for class in classes {
            let mut folds: Vec<usize> =
                (dealt..dealt + class.len()).map(|i| i % self.folds).collect();
            dealt += class.len();
            match &mut random {
                Some(random) => folds.shuffle(random),
                None => folds.sort_unstable(),
            }
            for (&row, fold) in class.iter().zip(folds) {
                tests[fold].push(row);
            }
        }
        tests
    }
}

/// K-fold cross-validation: every row is tested on in exactly one fold, and the folds differ by one row
/// at most.
///
/// Without [`shuffled`](Self::shuffled) the folds are runs of neighbouring rows, exactly those of
/// scikit-learn's `KFold` (1.9).
///
/// ```
/// use rootstep_tuning::KFold;
///
/// let folds = KFold::new(2)?.split(5)?;
/// assert_eq!(folds[0].test, [0, 1, 2]);
/// assert_eq!(folds[1].test, [3, 4]);
/// # Ok::<(), rootstep_tuning::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KFold {
    folds: usize,
    seed: Option<u64>,
}

impl KFold {
    /// `folds` folds.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if `folds < 2`.
    pub fn new(folds: usize) -> Result<Self, Error> {
        at_least("number of folds", folds, 2)?;
        Ok(Self { folds, seed: None })
    }

    /// The rows are dealt to the folds at random: by PCG64, seeded with `seed`.
    #[must_use]
    pub const fn shuffled(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// One [`Fold`] for each of the folds, of so many rows.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if there are more folds than rows, or [too many](Fold) rows.
    pub fn split(&self, rows: usize) -> Result<Vec<Fold>, Error> {
        at_most(self.folds, rows, "the number of rows")?;
        room_for_rows(self.folds, rows)?;
        let mut order: Vec<usize> = (0..rows).collect();
        if let Some(seed) = self.seed {
            order.shuffle(&mut Pcg64::seed_from_u64(seed));
        }
        let (size, larger) = (rows / self.folds, rows % self.folds);
        let fold = |k: usize| {
            let start = k * size + k.min(larger);
            Fold::testing(rows, &order[start..start + size + usize::from(k < larger)])
        };
        Ok((0..self.folds).map(fold).collect())
    }
}

/// K-fold cross-validation that never splits a group: rows that belong together, such as those of one
/// patient, are tested on in the same fold.
///
/// The largest groups go first, each to the fold with the fewest rows so far, as in scikit-learn's
/// `GroupKFold` (1.9). Of groups of one size the last in order goes first.
///
/// ```
/// use rootstep_tuning::GroupKFold;
///
/// let patients = ["ann", "ann", "bob", "bob", "bob", "cem"];
/// let folds = GroupKFold::new(2)?.split(&patients)?;
/// assert_eq!(folds[0].test, [2, 3, 4]);
/// assert_eq!(folds[1].test, [0, 1, 5]);
/// # Ok::<(), rootstep_tuning::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupKFold {
    folds: usize,
}

impl GroupKFold {
    /// `folds` folds.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if `folds < 2`.
    pub fn new(folds: usize) -> Result<Self, Error> {
        at_least("number of folds", folds, 2)?;
        Ok(Self { folds })
    }

    /// One [`Fold`] for each of the folds; `groups` holds the group of each row.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if there are more folds than groups, or [too many](Fold) rows.
    pub fn split<G: Ord>(&self, groups: &[G]) -> Result<Vec<Fold>, Error> {
        room_for_rows(self.folds.min(groups.len()), groups.len())?;
        let mut rows_of: BTreeMap<&G, Vec<usize>> = BTreeMap::new();
        for (row, group) in groups.iter().enumerate() {
            rows_of.entry(group).or_default().push(row);
        }
        at_most(self.folds, rows_of.len(), "the number of groups")?;
        let mut groups_by_size: Vec<Vec<usize>> = rows_of.into_values().collect();
        groups_by_size.sort_by_key(Vec::len);
        let mut tests = vec![Vec::new(); self.folds];
        for rows in groups_by_size.into_iter().rev() {
            if let Some(smallest) = tests.iter_mut().min_by_key(|test| test.len()) {
                smallest.extend(rows);
            }
        }
        Ok(tests.iter().map(|test| Fold::testing(groups.len(), test)).collect())
    }
}

/// Cross-validation of rows in the order of time: each fold is tested on the rows behind those that it is
/// trained on, exactly as in scikit-learn's `TimeSeriesSplit` (1.9).
///
/// ```
/// use rootstep_tuning::TimeSeriesSplit;
///
/// let folds = TimeSeriesSplit::new(2)?.split(7)?;
/// assert_eq!((&folds[0].train[..], &folds[0].test[..]), (&[0, 1, 2][..], &[3, 4][..]));
/// assert_eq!((&folds[1].train[..], &folds[1].test[..]), (&[0, 1, 2, 3, 4][..], &[5, 6][..]));
/// # Ok::<(), rootstep_tuning::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeSeriesSplit {
    folds: usize,
    gap: usize,
}

impl TimeSeriesSplit {
    /// `folds` folds.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if `folds < 2`.
    pub fn new(folds: usize) -> Result<Self, Error> {
        at_least("number of folds", folds, 2)?;
        Ok(Self { folds, gap: 0 })
    }

    /// So many rows before those of the test are left out of the training.
    #[must_use]
    pub const fn gap(self, rows: usize) -> Self {
        Self { gap: rows, ..self }
    }

    /// One [`Fold`] for each of the folds, of so many rows.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if there are fewer rows than folds and one more, if the gap leaves
    /// nothing to train on, or of [too many](Fold) rows.
    pub fn split(&self, rows: usize) -> Result<Vec<Fold>, Error> {
        at_most(self.folds, rows.saturating_sub(1), "the number of rows less one")?;
        let size = rows / (self.folds + 1);
        let first = rows - self.folds * size;
        if self.gap >= first {
            let allowed = format!("less than {first}, the rows before the first test");
            return Err(Error::invalid("the gap before the test", self.gap, allowed));
        }
        room_for_rows(self.folds, rows)?;
        let fold = |k: usize| {
            let start = first + k * size;
            Fold { train: (0..start - self.gap).collect(), test: (start..start + size).collect() }
        };
        Ok((0..self.folds).map(fold).collect())
    }
}

/// As many folds as rows, each tested on one of them: scikit-learn's `LeaveOneOut`.
///
/// # Errors
///
/// [`Error::InvalidSetting`] if there are fewer than two rows, or [too many](Fold): 65,536 are
/// allowed.
///
/// ```
/// let folds = rootstep_tuning::leave_one_out(3)?;
/// assert_eq!((&folds[1].train[..], &folds[1].test[..]), (&[0, 2][..], &[1][..]));
/// # Ok::<(), rootstep_tuning::Error>(())
/// ```
pub fn leave_one_out(rows: usize) -> Result<Vec<Fold>, Error> {
    at_least("number of rows", rows, 2)?;
    KFold { folds: rows, seed: None }.split(rows)
}

/// The folds of `times` splits, one after the other, each with a seed of its own: `seed`, `seed + 1` and
/// so on.
///
/// # Errors
///
/// [`Error::InvalidSetting`] if `times` is 0, or the folds have [too many](Fold) rows; and those of
/// `split`.
///
/// ```
/// use rootstep_tuning::{KFold, repeated};
///
/// let folds = repeated(3, 42, |seed| KFold::new(5)?.shuffled(seed).split(100))?;
/// assert_eq!(folds.len(), 15);
/// assert_ne!(folds[0].test, folds[5].test);
/// # Ok::<(), rootstep_tuning::Error>(())
/// ```
pub fn repeated(
    times: u64,
    seed: u64,
    mut split: impl FnMut(u64) -> Result<Vec<Fold>, Error>,
) -> Result<Vec<Fold>, Error> {
    at_least("number of repetitions", times, 1)?;
    let mut folds = split(seed)?;
    let places: usize = folds.iter().map(|fold| fold.train.len() + fold.test.len()).sum();
    match usize::try_from(times) {
        // The others will have as many.
        Ok(times) if places > 0 => room_for_rows(times, places)?,
        Ok(0..=MOST_VALUES) => {}
        _ => {
            let allowed = format!("at most {MOST_VALUES} of splits without rows");
            return Err(Error::invalid("number of repetitions", times, allowed));
        }
    }
    for repetition in 1..times {
        folds.extend(split(seed.wrapping_add(repetition))?);
    }
    Ok(folds)
}

/// Sets a number of rows aside, at random.
///
/// ```
/// use rootstep_tuning::HoldOut;
///
/// let fold = HoldOut::new(30, 42).split(150)?;
/// assert_eq!((fold.train.len(), fold.test.len()), (120, 30));
/// # Ok::<(), rootstep_tuning::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldOut {
    test_rows: usize,
    seed: u64,
}

impl HoldOut {
    /// `test_rows` rows, chosen by PCG64, seeded with `seed`.
    #[must_use]
    pub const fn new(test_rows: usize, seed: u64) -> Self {
        Self { test_rows, seed }
    }

    /// The split, of so many rows.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if nothing would be held out, nothing be left to train on, or of
    /// [too many](Fold) rows.
    pub fn split(&self, rows: usize) -> Result<Fold, Error> {
        // All rows of one class. (No memory is taken for them.)
        StratifiedHoldOut::new(self.test_rows, self.seed).split(&vec![(); rows])
    }
}

/// Sets a number of rows aside, at random, with nearly the same share of each class.
///
/// The number of rows of a class is within one of its share: whole shares first, the rest to the
/// largest remainders (ties to the class seen first). The rows are chosen by PCG64.
///
/// ```
/// use rootstep_tuning::StratifiedHoldOut;
///
/// let labels = [0, 0, 0, 0, 0, 0, 1, 1, 1];
/// let fold = StratifiedHoldOut::new(3, 42).split(&labels)?;
/// assert_eq!(fold.test.iter().filter(|&&row| labels[row] == 0).count(), 2);
/// assert_eq!(fold.train.len(), 6);
/// # Ok::<(), rootstep_tuning::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StratifiedHoldOut {
    test_rows: usize,
    seed: u64,
}

impl StratifiedHoldOut {
    /// `test_rows` rows, chosen with `seed`.
    #[must_use]
    pub const fn new(test_rows: usize, seed: u64) -> Self {
        Self { test_rows, seed }
    }

    /// The split; `labels` holds the class of each row.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if nothing would be held out, nothing be left to train on, or of
    /// [too many](Fold) rows.
    pub fn split<L: Eq + Hash>(&self, labels: &[L]) -> Result<Fold, Error> {
        let (test_rows, rows) = (self.test_rows, labels.len());
        if test_rows == 0 || test_rows >= rows {
            let allowed = format!("at least 1 and fewer than the {rows} rows");
            return Err(Error::invalid("number of rows held out", test_rows, allowed));
        }
        room_for_rows(1, rows)?;
        let classes = rows_of_classes(labels);
        let sizes: Vec<usize> = classes.iter().map(Vec::len).collect();
        let mut random = Pcg64::seed_from_u64(self.seed);
        let mut tested = Vec::new();
        for (mut class, held_out) in classes.into_iter().zip(shares(&sizes, test_rows)) {
            class.shuffle(&mut random);
            tested.extend_from_slice(&class[..held_out]);
        }
        Ok(Fold::testing(rows, &tested))
    }
}

/// Splits `total` in proportion to `sizes`, by largest remainder. `total` is at most their sum.
fn shares(sizes: &[usize], total: usize) -> Vec<usize> {
    let sum: u128 = sizes.iter().map(|&size| size as u128).sum();
    let quota = |size: usize| size as u128 * total as u128;
    // The quotient is at most `size`.
    let mut shares: Vec<usize> =
        sizes.iter().map(|&size| usize::try_from(quota(size) / sum).unwrap_or(size)).collect();
    let mut by_remainder: Vec<usize> = (0..sizes.len()).collect();
    by_remainder.sort_by_key(|&class| std::cmp::Reverse(quota(sizes[class]) % sum));
    let missing = total - shares.iter().sum::<usize>();
    for &class in &by_remainder[..missing] {
        shares[class] += 1;
    }
    shares
}

/// The rows of each class, the classes in the order in which they are seen first.
fn rows_of_classes<L: Eq + Hash>(labels: &[L]) -> Vec<Vec<usize>> {
    let mut class_of_label = HashMap::new();
    let mut classes: Vec<Vec<usize>> = Vec::new();
    for (row, label) in labels.iter().enumerate() {
        let class = *class_of_label.entry(label).or_insert(classes.len());
        if class == classes.len() {
            classes.push(Vec::new());
        }
        classes[class].push(row);
    }
    classes
}

fn at_most(folds: usize, most: usize, what: &str) -> Result<(), Error> {
    if folds > most {
        return Err(Error::invalid("number of folds", folds, format!("at most {most}, {what}")));
    }
    Ok(())
}
