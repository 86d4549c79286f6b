//! The learning-rate range test.

use crate::Error;
use crate::grid::logarithmic_grid;
use crate::setting::below_one;

/// Trains with a learning rate that grows from step to step, and watches the loss: below the useful
/// rates it stands still, then it falls, then it explodes.
///
/// Source: L. N. Smith, *Cyclical Learning Rates for Training Neural Networks* (WACV 2017); the
/// smoothing, the stop and the suggestions are those of fastai's `lr_find`.
///
/// ```
/// use rootstep_tuning::RangeTest;
///
/// // Minimises x², whose gradient is 2x, by steps that grow from 1e-4 to 10.
/// let mut x = 1.0_f64;
/// let found = RangeTest::new(1e-4, 10.0, 100)?.run(|rate| {
///     let loss = x * x;
///     x -= rate * 2.0 * x;
///     loss
/// });
/// assert!(found.diverged());
/// let rate = found.steepest().expect("a hundred steps are enough");
/// assert!((1e-3..1.0).contains(&rate));
/// # Ok::<(), rootstep_tuning::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RangeTest {
    rates: Vec<f64>,
    smoothing: f64,
    divergence: f64,
}

impl RangeTest {
    /// At most `steps` steps, their learning rates from `from` to `to` at equal ratios.
    ///
    /// # Errors
    ///
    /// As [`logarithmic_grid`].
    pub fn new(from: f64, to: f64, steps: usize) -> Result<Self, Error> {
        Ok(Self { rates: logarithmic_grid(from, to, steps)?, smoothing: 0.98, divergence: 4.0 })
    }

    /// The share of the old average in the smoothed loss; 0.98 by default, 0 smooths nothing.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] unless it is within [0, 1).
    pub fn smoothing(mut self, share: f64) -> Result<Self, Error> {
        below_one("the smoothing of a range test", share)?;
        self.smoothing = share;
        Ok(self)
    }

    /// The test ends when the smoothed loss is more than so many times its lowest; 4 by default. (Where
    /// the lowest is negative: when it is above it by one less than so many times its magnitude.)
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] unless it is finite and above 1.
    pub fn divergence(mut self, factor: f64) -> Result<Self, Error> {
        if !(factor > 1.0 && factor.is_finite()) {
            let allowed = "a finite number above 1";
            return Err(Error::invalid("the divergence of a range test", factor, allowed));
        }
        self.divergence = factor;
        Ok(self)
    }

    /// Runs the test: `train` takes a step with the rate that it is given, and returns the loss before
    /// it. It is not called again after a loss that is not finite, or after divergence.
    pub fn run(&self, mut train: impl FnMut(f64) -> f64) -> RangeTestResult {
        let unsettled = self.rates.len() / 10;
        let mut result = RangeTestResult { points: Vec::new(), diverged: false, unsettled };
        let (mut smoothed, mut weights, mut lowest) = (0.0, 0.0, f64::INFINITY);
        for &rate in &self.rates {
            let loss = train(rate);
            // The weights of the losses so far, by which their weighted sum is divided: 1 - smoothing^n.
            let before = self.smoothing * weights;
            weights = before + (1.0 - self.smoothing);
            smoothed = between(loss, smoothed, before / weights);
            result.points.push(RangePoint { rate, loss, smoothed });
            lowest = smoothed.min(lowest);
            let factor = if lowest < 0.0 { 2.0 - self.divergence } else { self.divergence };
            if !smoothed.is_finite() || smoothed > factor * lowest {
                result.diverged = true;
                break;
            }
        }
        result
    }
}

/// `share` of the way from `start` to `end`: exactly `start` where they are equal, or `share` is 0.
fn between(start: f64, end: f64, share: f64) -> f64 {
    let distance = end - start;
    if distance.is_finite() {
        start + share * distance
    } else {
        // The ends are finite, or no value between them is.
        (1.0 - share) * start + share * end
    }
}

/// A step of a [`RangeTest`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RangePoint {
    /// The learning rate.
    pub rate: f64,
    /// The loss before the step.
    pub loss: f64,
    /// The exponential average of the losses up to here, without bias.
    pub smoothed: f64,
}

/// The history of a [`RangeTest`], and the rates that it suggests.
///
/// The first points, a tenth of the steps asked for, where the average has hardly begun, and the last
/// five, where the loss explodes, suggest nothing. Nor does a loss that never falls: a fall of less than
/// 16 [epsilons](f64::EPSILON) of the loss is one of rounding, and none.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RangeTestResult {
    points: Vec<RangePoint>,
    diverged: bool,
    /// So many points at the start suggest nothing.
    unsettled: usize,
}

impl RangeTestResult {
    /// All steps, in their order.
    #[must_use]
    pub fn points(&self) -> &[RangePoint] {
        &self.points
    }

    /// Whether the test ended before its last rate, or at it, because the loss had exploded.
    #[must_use]
    pub const fn diverged(&self) -> bool {
        self.diverged
    }

    /// The rate at which the smoothed loss falls fastest over the logarithm of the rate; `None` if there
    /// are too few points, or it never falls from one to the next.
    #[must_use]
    pub fn steepest(&self) -> Option<f64> {
        // The logarithms of the rates have equal distances: the differences are slopes.
        let falls = self.useful().windows(2).filter(|pair| pair[0].falls_to(&pair[1]));
        let slopes = falls.map(|pair| (pair[1].smoothed - pair[0].smoothed, pair[0].rate));
        slopes.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, rate)| rate)
    }

    /// A tenth of the rate at which the smoothed loss is lowest; `None` if there are too few points, or it
    /// never falls below the first of them: no rate is better than none then. (fastai suggests a tenth of
    /// the first.)
    #[must_use]
    pub fn minimum_tenth(&self) -> Option<f64> {
        let points = self.useful();
        let lowest = points.iter().min_by(|a, b| a.smoothed.total_cmp(&b.smoothed))?;
        points[0].falls_to(lowest).then_some(lowest.rate / 10.0)
    }

    /// A rate in the middle of the longest valley, the longest falling sequence of smoothed losses, not
    /// all of them neighbours: the middle of its second third. `None` if there are too few points, or
    /// the loss never falls.
    ///
    /// Takes `n log n` operations for `n` points.
    #[must_use]
    pub fn valley(&self) -> Option<f64> {
        let points = self.useful();
        let (end, length) = longest_fall(points).filter(|&(_, length)| length > 1)?;
        // As in fastai the valley begins a point before the sequence, be it before all points.
        let middle = length / 3 + length / 3 / 2;
        Some(points[(end + middle).saturating_sub(length)].rate)
    }

    fn useful(&self) -> &[RangePoint] {
        let points = self.points.get(self.unsettled..).unwrap_or_default();
        &points[..points.len().saturating_sub(5)]
    }
}

/// A fall of less than so much of the loss is that of rounding, in the loss or in its average.
const ROUNDING: f64 = 16.0 * f64::EPSILON;

impl RangePoint {
    /// The smoothed loss, give or take what rounding may have done.
    fn band(&self) -> (f64, f64) {
        let margin = ROUNDING / 2.0 * self.smoothed.abs();
        (self.smoothed - margin, self.smoothed + margin)
    }

    /// Whether the smoothed loss is lower at a later point, rounding aside.
    fn falls_to(&self, later: &Self) -> bool {
        self.band().0 > later.band().1
    }
}

/// The end of the longest sequence of points that falls from each to the next, the first of them if there
/// are several, and its length. `None` if there are no points.
///
/// Source: M. L. Fredman, *On Computing the Length of Longest Increasing Subsequences* (Discrete
/// Mathematics 11, 1975). It holds for falls of bands as well as for those of numbers.
fn longest_fall(points: &[RangePoint]) -> Option<(usize, usize)> {
    // For each length the best lower end of a band in which such a sequence ends: from the highest a
    // next point may fall. A longer sequence has one that ends higher within it, so they descend.
    let mut highest: Vec<f64> = Vec::new();
    let mut longest: Option<(usize, usize)> = None;
    for (end, point) in points.iter().enumerate() {
        let (low, high) = point.band();
        let length = 1 + highest.partition_point(|&from| from > high);
        match highest.get_mut(length - 1) {
            Some(from) => *from = from.max(low),
            None => highest.push(low),
        }
        if longest.is_none_or(|(_, most)| length > most) {
            longest = Some((end, length));
        }
    }
    longest
}
