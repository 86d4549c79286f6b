//! A learning rate that follows the losses.

use crate::error::Error;
use crate::setting::{below_one, positive};

/// A learning rate that falls when a loss has stopped falling: PyTorch's `ReduceLROnPlateau`.
///
/// ```
/// use rootstep::optimizer::Plateau;
///
/// let mut plateau = Plateau::new(0.1, 0.5, 2)?;
/// let rates = [3.0, 2.0, 2.0, 2.0, 2.0, 2.0].map(|loss| plateau.observe(loss));
/// assert_eq!(rates, [0.1, 0.1, 0.1, 0.1, 0.05, 0.05]);
/// # Ok::<(), rootstep::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "PlateauState", into = "PlateauState"))]
pub struct Plateau(PlateauState);

/// The settings of a [`Plateau`], and what it has seen.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
struct PlateauState {
    #[cfg_attr(feature = "serde", serde(with = "crate::exact"))]
    rate: f64,
    #[cfg_attr(feature = "serde", serde(with = "crate::exact"))]
    factor: f64,
    patience: u64,
    #[cfg_attr(feature = "serde", serde(with = "crate::exact"))]
    threshold: f64,
    cooldown: u64,
    #[cfg_attr(feature = "serde", serde(with = "crate::exact"))]
    lowest_rate: f64,
    /// The lowest loss so far; infinite before the first that is less.
    #[cfg_attr(feature = "serde", serde(with = "crate::exact"))]
    best: f64,
    bad: u64,
    cooling: u64,
}

impl Plateau {
    /// Starts at `rate`, and multiplies it by `factor` after more than `patience` losses in a row that
    /// are not lower than the lowest by at least 0.01%. (As in PyTorch, a rate that would fall by less than 1e-8
    /// stays.)
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] unless the rate is finite and above 0 and the factor within (0, 1).
    pub fn new(rate: f64, factor: f64, patience: u64) -> Result<Self, Error> {
        let (threshold, lowest_rate) = (1e-4, 0.0);
        let (best, bad, cooling, cooldown) = (f64::INFINITY, 0, 0, 0);
        Self(PlateauState {
            rate,
            factor,
            patience,
            threshold,
            cooldown,
            lowest_rate,
            best,
            bad,
            cooling,
        })
        .checked()
    }

    fn checked(self) -> Result<Self, Error> {
        let PlateauState { rate, factor, threshold, lowest_rate, best, .. } = self.0;
        positive::<f64>("the learning rate", rate)?;
        if !(factor > 0.0 && factor < 1.0) {
            return Err(Error::invalid("the factor of a plateau", factor, "above 0 and below 1"));
        }
        below_one::<f64>("the threshold of a plateau", threshold)?;
        if best.is_nan() {
            return Err(Error::invalid("the lowest loss of a plateau", best, "any number but NaN"));
        }
        if !(0.0..=rate).contains(&lowest_rate) {
            let allowed = format!("0 to {rate}, the learning rate");
            return Err(Error::invalid("the lowest rate of a plateau", lowest_rate, allowed));
        }
        Ok(self)
    }

    /// A loss must be lower than the lowest by this share of it to count; 1e-4 by default.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] unless it is within [0, 1).
    pub fn threshold(mut self, threshold: f64) -> Result<Self, Error> {
        self.0.threshold = threshold;
        self.checked()
    }

    /// So many losses after a fall do not count; 0 by default.
    #[must_use]
    pub const fn cooldown(mut self, losses: u64) -> Self {
        self.0.cooldown = losses;
        self
    }

    /// The rate falls no further than this; 0 by default.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] unless it is within 0 and the rate.
    pub fn lowest_rate(mut self, rate: f64) -> Result<Self, Error> {
        self.0.lowest_rate = rate;
        self.checked()
    }

    /// The learning rate.
    #[must_use]
    pub const fn rate(&self) -> f64 {
        self.0.rate
    }

    /// Takes the loss of an epoch, and returns the learning rate of the next. A loss of NaN or +∞ is not
    /// lower than any.
    ///
    /// A loss counts as lower than the lowest so far, `best`, if it is below `best * (1 - threshold)`, as in
    /// PyTorch, or below `best * (1 + threshold)` where `best` is negative. (With PyTorch's `rel` mode the bound
    /// is above a negative `best`, so that a loss that stands still would count as falling.)
    pub fn observe(&mut self, loss: f64) -> f64 {
        /// A fall by less than this is none.
        const LEAST_FALL: f64 = 1e-8;
        let seen = &mut self.0;
        // For losses below 0 PyTorch's `best * (1 - threshold)` would be above the best.
        let share = |best: f64| 1.0 - seen.threshold.copysign(best);
        if loss < seen.best * share(seen.best) {
            seen.best = loss;
            seen.bad = 0;
        } else {
            seen.bad = seen.bad.saturating_add(1);
        }
        if seen.cooling > 0 {
            seen.cooling -= 1;
            seen.bad = 0;
        }
        if seen.bad > seen.patience {
            let lower = (seen.rate * seen.factor).max(seen.lowest_rate);
            if seen.rate - lower > LEAST_FALL {
                seen.rate = lower;
            }
            seen.cooling = seen.cooldown;
            seen.bad = 0;
        }
        seen.rate
    }
}

#[cfg(feature = "serde")]
impl TryFrom<PlateauState> for Plateau {
    type Error = Error;

    fn try_from(state: PlateauState) -> Result<Self, Error> {
        Self(state).checked()
    }
}

#[cfg(feature = "serde")]
impl From<Plateau> for PlateauState {
    fn from(plateau: Plateau) -> Self {
        plateau.0
    }
}
