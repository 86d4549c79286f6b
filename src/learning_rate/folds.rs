//! Splits of the rows of a data set into those to train on and those to test on.

use crate::Error;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;
use std::collections::HashMap;
use std::hash::Hash;

/// The rows to train on and the rows to test on, as indices in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// The rows to train on.
    pub train: Vec<usize>,
    /// The rows to test on.
    pub test: Vec<usize>,
}

impl Fold {
    /// Splits all rows by whether they are tested on.
    fn by(is_test: &[bool]) -> Self {
        let (test, train) = (0..is_test.len()).partition(|&row| is_test[row]);
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
/// use rootstep::learning_rate::StratifiedKFold;
///
/// let species = ["cat", "cat", "dog", "cat", "dog", "cat"];
/// let folds = StratifiedKFold::new(2)?.split(&species)?;
/// assert_eq!(folds[0].test, [0, 1, 2]);
/// assert_eq!(folds[1].test, [3, 4, 5]);
/// assert_eq!(folds[1].train, folds[0].test);
/// # Ok::<(), rootstep::Error>(())
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
        if folds < 2 {
            return Err(Error::invalid("number of folds", folds, "at least 2"));
        }
        Ok(Self { folds, seed: None })
    }

    /// The rows of each class are dealt to the folds at random: by PCG64, seeded with `seed`.
    #[must_use]
    pub const fn shuffled(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// One [`Fold`] for each of the folds; `labels` holds the class of each row.
    ///
    /// A class of fewer rows than there are folds is missing from some of them (scikit-learn warns
    /// of that).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if there are more folds than rows, or than rows of every class.
    pub fn split<L: Eq + Hash>(&self, labels: &[L]) -> Result<Vec<Fold>, Error> {
        let classes = rows_of_classes(labels);
        let largest = classes.iter().map(Vec::len).max().unwrap_or(0);
        if self.folds > largest {
            let allowed = format!(
                "at most {largest}, the size of the largest class of {} rows",
                labels.len()
            );
            return Err(Error::invalid("number of folds", self.folds, allowed));
        }
        let fold_of_row = self.assign(&classes, labels.len());
        let is_test = |fold| fold_of_row.iter().map(|&f| f == fold).collect::<Vec<_>>();
        Ok((0..self.folds).map(|fold| Fold::by(&is_test(fold))).collect())
    }

    /// The fold that each row is tested in.
    ///
    /// How many rows of a class each fold gets follows scikit-learn: lay the rows down sorted by
    /// class and deal them to the folds in turn. The rows of a class then fill the folds in order.
    fn assign(&self, classes: &[Vec<usize>], rows: usize) -> Vec<usize> {
        let mut random = self.seed.map(Pcg64::seed_from_u64);
        let mut fold_of_row = vec![0; rows];
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
                fold_of_row[row] = fold;
            }
        }
        fold_of_row
    }
}

/// Sets a number of rows aside, at random, with nearly the same share of each class.
///
/// The number of rows of a class is within one of its share: whole shares first, the rest to the
/// largest remainders (ties to the class seen first). The rows are chosen by PCG64.
///
/// ```
/// use rootstep::learning_rate::StratifiedHoldOut;
///
/// let labels = [0, 0, 0, 0, 0, 0, 1, 1, 1];
/// let fold = StratifiedHoldOut::new(3, 42).split(&labels)?;
/// assert_eq!(fold.test.iter().filter(|&&row| labels[row] == 0).count(), 2);
/// assert_eq!(fold.train.len(), 6);
/// # Ok::<(), rootstep::Error>(())
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
    /// [`Error::InvalidSetting`] if nothing would be held out, or nothing be left to train on.
    pub fn split<L: Eq + Hash>(&self, labels: &[L]) -> Result<Fold, Error> {
        let (test_rows, rows) = (self.test_rows, labels.len());
        if test_rows == 0 || test_rows >= rows {
            let allowed = format!("at least 1 and fewer than the {rows} rows");
            return Err(Error::invalid("number of rows held out", test_rows, allowed));
        }
        let classes = rows_of_classes(labels);
        let sizes: Vec<usize> = classes.iter().map(Vec::len).collect();
        let mut random = Pcg64::seed_from_u64(self.seed);
        let mut is_test = vec![false; rows];
        for (mut class, held_out) in classes.into_iter().zip(shares(&sizes, test_rows)) {
            class.shuffle(&mut random);
            for &row in &class[..held_out] {
                is_test[row] = true;
            }
        }
        Ok(Fold::by(&is_test))
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
