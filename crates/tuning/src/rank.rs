//! Ranks of means, and ties.

/// A mean, give or take what rounding may have done to it and to the scores that it is of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Band {
    low: f64,
    high: f64,
}

/// How far a score may be from what it stands for, in epsilons of its magnitude: some 12 digits hold. One
/// that is computed as 1 − k/n is that far off for the best k of n = 8,000.
const ROUNDING_OF_SCORES: f64 = 4096.0;

impl Band {
    /// Of the mean of these scores; `None` if it is not finite.
    ///
    /// A sum of n terms, each of which is rounded, is off by at most n epsilons of the sum of their
    /// magnitudes.
    pub(crate) fn of(mean: f64, scores: impl ExactSizeIterator<Item = f64>) -> Option<Self> {
        let count = scores.len() as f64;
        // Each is divided by itself: the sum of their magnitudes may be beyond the largest number.
        let magnitude: f64 = scores.map(|score| score.abs() / count).sum();
        let margin = (ROUNDING_OF_SCORES + count) * f64::EPSILON * magnitude;
        mean.is_finite().then_some(Self { low: mean - margin, high: mean + margin })
    }
}

/// The ranks of means: 1 + the number of those that are better. Bands that overlap tie, and so do all that
/// are joined by a chain of them; what is `None` ranks behind all others.
pub(crate) fn ranks(means: &[Option<Band>]) -> Vec<usize> {
    let mut order: Vec<(usize, Band)> =
        means.iter().enumerate().filter_map(|(place, mean)| Some((place, (*mean)?))).collect();
    order.sort_by(|(_, a), (_, b)| b.high.total_cmp(&a.high));
    let mut ranks = vec![1 + order.len(); means.len()];
    let (mut rank, mut lowest) = (1, f64::INFINITY);
    for (better, &(place, band)) in order.iter().enumerate() {
        // All before it are higher: it ties with one of them if it reaches the lowest end of these.
        if band.high < lowest {
            rank = 1 + better;
            lowest = band.low;
        }
        lowest = lowest.min(band.low);
        ranks[place] = rank;
    }
    ranks
}
