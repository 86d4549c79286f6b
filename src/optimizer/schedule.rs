//! Learning rates that change from step to step.

use crate::error::Error;
use crate::setting::{below_one, not_negative, positive};
use std::f64::consts::PI;

/// A learning rate for each step: a function of the number of steps already taken.
///
/// Where `PyTorch` or optax has a schedule of the same name, the values are the same. Behind its last
/// step a schedule stays at its last value.
///
/// ```
/// use rootstep::optimizer::Schedule;
///
/// // Five steps up to 0.1, ninety-five down to nothing.
/// let schedule = Schedule::cosine(0.1, 0.0, 95)?.warm_up(0.0, 5)?;
/// assert_eq!(schedule.at(0), 0.0);
/// assert_eq!(schedule.at(5), 0.1);
/// assert_eq!(schedule.at(100), 0.0);
/// # Ok::<(), rootstep::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Kind", into = "Kind"))]
pub struct Schedule(Kind);

/// The schedules, each by its formula in [`Schedule::at`].
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
enum Kind {
    Polynomial { from: f64, to: f64, steps: u64, power: f64 },
    Step { from: f64, factor: f64, every: u64 },
    Piecewise { first: f64, later: Vec<(u64, f64)> },
    Exponential { from: f64, factor: f64 },
    Cosine { from: f64, to: f64, steps: u64 },
    CosineRestarts { from: f64, to: f64, period: u64, growth: u64 },
    OneCycle { initial: f64, peak: f64, last: f64, steps: u64, warm_up_share: f64 },
    InverseSqrt { from: f64, shift: f64 },
    Sequence { parts: Vec<(Schedule, u64)>, last: Box<Schedule> },
}

impl Schedule {
    /// `rate` at every step.
    ///
    /// # Errors
    ///
    /// Of all constructors: [`Error::InvalidSetting`], which names the setting, unless rates are finite
    /// and not below 0, and numbers of steps are 1 or more.
    pub fn constant(rate: f64) -> Result<Self, Error> {
        Self::piecewise(rate, [])
    }

    /// `from + (to - from) * step / steps`: optax's `linear_schedule`.
    ///
    /// # Errors
    ///
    /// As [`constant`](Self::constant).
    pub fn linear(from: f64, to: f64, steps: u64) -> Result<Self, Error> {
        Self::polynomial(from, to, steps, 1.0)
    }

    /// `to + (from - to) * (1 - step / steps)^power`: optax's `polynomial_schedule`, and PyTorch's
    /// `PolynomialLR` with `to = 0`.
    ///
    /// # Errors
    ///
    /// As [`constant`](Self::constant); the power must be finite and above 0.
    pub fn polynomial(from: f64, to: f64, steps: u64, power: f64) -> Result<Self, Error> {
        Self::of(Kind::Polynomial { from, to, steps, power })
    }

    /// `from * factor^(step / every)`, the quotient rounded down: PyTorch's `StepLR`.
    ///
    /// # Errors
    ///
    /// As [`constant`](Self::constant); the factor must be finite and above 0.
    pub fn step(from: f64, factor: f64, every: u64) -> Result<Self, Error> {
        Self::of(Kind::Step { from, factor, every })
    }

    /// `from`, multiplied by `factor` at each of the milestones: PyTorch's `MultiStepLR`.
    ///
    /// # Errors
    ///
    /// As [`constant`](Self::constant); the factor must be finite and above 0, and the milestones must
    /// rise.
    pub fn multi_step(
        from: f64,
        factor: f64,
        milestones: impl IntoIterator<Item = u64>,
    ) -> Result<Self, Error> {
        positive::<f64>("the factor of a schedule", factor)?;
        let rate = |(i, step)| (step, scaled(from, factor, i));
        Self::piecewise(from, (1..).zip(milestones).map(rate))
    }

    /// `first`, and from each of the later steps on the rate beside it.
    ///
    /// # Errors
    ///
    /// As [`constant`](Self::constant); the later steps must rise, from 1 on.
    pub fn piecewise(
        first: f64,
        later: impl IntoIterator<Item = (u64, f64)>,
    ) -> Result<Self, Error> {
        Self::of(Kind::Piecewise { first, later: later.into_iter().collect() })
    }

    /// `from * factor^step`: PyTorch's `ExponentialLR`.
    ///
    /// # Errors
    ///
    /// As [`constant`](Self::constant); the factor must be finite and above 0.
    pub fn exponential(from: f64, factor: f64) -> Result<Self, Error> {
        Self::of(Kind::Exponential { from, factor })
    }

    /// `to + (from - to) * (1 + cos(π * step / steps)) / 2`: optax's `cosine_decay_schedule`, and
    /// PyTorch's `CosineAnnealingLR` up to its last step (Loshchilov and Hutter, ICLR 2017).
    ///
    /// # Errors
    ///
    /// As [`constant`](Self::constant).
    pub fn cosine(from: f64, to: f64, steps: u64) -> Result<Self, Error> {
        Self::of(Kind::Cosine { from, to, steps })
    }

    /// [`cosine`](Self::cosine) over `period` steps, begun anew for ever, each period `growth` times as
    /// long as the one before: PyTorch's `CosineAnnealingWarmRestarts`.
    ///
    /// # Errors
    ///
    /// As [`constant`](Self::constant); the growth must be 1 or more.
    pub fn cosine_restarts(from: f64, to: f64, period: u64, growth: u64) -> Result<Self, Error> {
        Self::of(Kind::CosineRestarts { from, to, period, growth })
    }

    /// From `initial` to `peak` in a share of the steps and then to `last`, both by half a cosine:
    /// PyTorch's `OneCycleLR`, whose defaults are `peak / 25`, `peak`, `peak / 250_000`, and a share of
    /// 0.3 (Smith and Topin, 2019).
    ///
    /// # Errors
    ///
    /// As [`constant`](Self::constant); the share must leave both ways two steps or more.
    pub fn one_cycle(
        initial: f64,
        peak: f64,
        last: f64,
        steps: u64,
        warm_up_share: f64,
    ) -> Result<Self, Error> {
        Self::of(Kind::OneCycle { initial, peak, last, steps, warm_up_share })
    }

    /// `from * sqrt(shift / (shift + step))`: with as many steps of [`warm_up`](Self::warm_up) as the
    /// shift, the schedule of the transformer (Vaswani et al., NeurIPS 2017).
    ///
    /// # Errors
    ///
    /// As [`constant`](Self::constant); the shift must be finite and above 0.
    pub fn inverse_sqrt(from: f64, shift: f64) -> Result<Self, Error> {
        Self::of(Kind::InverseSqrt { from, shift })
    }

    /// Each part for its number of steps, begun at its own step 0, and then the last one: optax's
    /// `join_schedules`, PyTorch's `SequentialLR`.
    ///
    /// # Errors
    ///
    /// As [`constant`](Self::constant).
    pub fn sequence(
        parts: impl IntoIterator<Item = (Self, u64)>,
        last: Self,
    ) -> Result<Self, Error> {
        Self::of(Kind::Sequence { parts: parts.into_iter().collect(), last: Box::new(last) })
    }

    /// `steps` steps from `from` to where this schedule begins, at equal distances, and then this one.
    ///
    /// # Errors
    ///
    /// As [`constant`](Self::constant).
    pub fn warm_up(self, from: f64, steps: u64) -> Result<Self, Error> {
        Self::sequence([(Self::linear(from, self.at(0), steps)?, steps)], self)
    }

    /// The learning rate after `step` steps, the first being number 0.
    #[must_use]
    pub fn at(&self, step: u64) -> f64 {
        // Rounding must not change the ends: they are given back as they were given.
        let position = |steps: u64| step as f64 / steps as f64;
        match &self.0 {
            &Kind::Polynomial { from, to, steps, power } => match step {
                0 => from,
                step if step >= steps => to,
                _ => to + (from - to) * (1.0 - position(steps)).powf(power),
            },
            &Kind::Step { from, factor, every } => scaled(from, factor, step / every),
            Kind::Piecewise { first, later } => {
                let passed = later.partition_point(|&(from, _)| from <= step);
                passed.checked_sub(1).map_or(*first, |i| later[i].1)
            }
            &Kind::Exponential { from, factor } => scaled(from, factor, step),
            &Kind::Cosine { from, to, steps } => half_cosine(from, to, position(steps)),
            &Kind::CosineRestarts { from, to, period, growth } => {
                let (step, period) = in_period(step, period, growth);
                half_cosine(from, to, step as f64 / period as f64)
            }
            &Kind::OneCycle { initial, peak, last, steps, warm_up_share } => {
                let top = warm_up_share * steps as f64 - 1.0;
                let down = (steps - 1) as f64 - top;
                let step = step as f64;
                if step <= top {
                    half_cosine(initial, peak, step / top)
                } else {
                    half_cosine(peak, last, (step - top) / down)
                }
            }
            &Kind::InverseSqrt { from, shift } => from * (shift / (shift + step as f64)).sqrt(),
            Kind::Sequence { parts, last } => {
                let mut step = step;
                for (part, steps) in parts {
                    if step < *steps {
                        return part.at(step);
                    }
                    step -= steps;
                }
                last.at(step)
            }
        }
    }

    /// The schedule, if its settings are valid.
    fn of(kind: Kind) -> Result<Self, Error> {
        let Named { rates, steps, positive: numbers } = kind.settings();
        for (name, value) in rates {
            not_negative::<f64>(name, value)?;
        }
        for (name, value) in steps {
            if value == 0 {
                return Err(Error::invalid(name, value, "1 or more"));
            }
        }
        for (name, value) in numbers {
            positive::<f64>(name, value)?;
        }
        if let Kind::OneCycle { steps, warm_up_share, .. } = kind {
            let up = warm_up_share * steps as f64;
            if !(up >= 2.0 && steps as f64 - up >= 2.0) {
                let allowed =
                    format!("a share that leaves 2 of {steps} steps or more to each side");
                return Err(Error::invalid("the share of the warm-up", warm_up_share, allowed));
            }
        }
        if let Kind::Piecewise { later, .. } = &kind
            && let Some(pair) = later.windows(2).find(|pair| pair[0].0 >= pair[1].0)
        {
            let allowed = format!("more than {}, the one before", pair[0].0);
            return Err(Error::invalid("a step of a schedule", pair[1].0, allowed));
        }
        Ok(Self(kind))
    }
}

/// The settings of a schedule, by what is asked of them.
#[derive(Default)]
struct Named {
    rates: Vec<(&'static str, f64)>,
    steps: Vec<(&'static str, u64)>,
    positive: Vec<(&'static str, f64)>,
}

impl Kind {
    fn settings(&self) -> Named {
        const START: &str = "the start of a schedule";
        const END: &str = "the end of a schedule";
        const STEPS: &str = "the number of steps of a schedule";
        let named = Named::default();
        match self {
            &Self::Polynomial { from, to, steps, power } => Named {
                rates: vec![(START, from), (END, to)],
                steps: vec![(STEPS, steps)],
                positive: vec![("the power of a schedule", power)],
            },
            &Self::Step { from, factor, every } => Named {
                rates: vec![(START, from)],
                steps: vec![(STEPS, every)],
                positive: vec![("the factor of a schedule", factor)],
            },
            Self::Piecewise { first, later } => Named {
                rates: [(START, *first)]
                    .into_iter()
                    .chain(later.iter().map(|&(_, rate)| ("a rate of a schedule", rate)))
                    .collect(),
                steps: later.iter().map(|&(step, _)| ("a step of a schedule", step)).collect(),
                ..named
            },
            &Self::Exponential { from, factor } => Named {
                rates: vec![(START, from)],
                positive: vec![("the factor of a schedule", factor)],
                ..named
            },
            &Self::Cosine { from, to, steps } => Named {
                rates: vec![(START, from), (END, to)],
                steps: vec![(STEPS, steps)],
                ..named
            },
            &Self::CosineRestarts { from, to, period, growth } => Named {
                rates: vec![(START, from), (END, to)],
                steps: vec![
                    ("the period of a schedule", period),
                    ("the growth of a schedule's period", growth),
                ],
                ..named
            },
            &Self::OneCycle { initial, peak, last, steps, .. } => Named {
                rates: vec![(START, initial), ("the peak of a schedule", peak), (END, last)],
                steps: vec![(STEPS, steps)],
                ..named
            },
            &Self::InverseSqrt { from, shift } => Named {
                rates: vec![(START, from)],
                positive: vec![("the shift of a schedule", shift)],
                ..named
            },
            Self::Sequence { parts, .. } => {
                Named { steps: parts.iter().map(|&(_, steps)| (STEPS, steps)).collect(), ..named }
            }
        }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Kind> for Schedule {
    type Error = Error;

    fn try_from(kind: Kind) -> Result<Self, Error> {
        Self::of(kind)
    }
}

#[cfg(feature = "serde")]
impl From<Schedule> for Kind {
    fn from(schedule: Schedule) -> Self {
        schedule.0
    }
}

/// `rate * factor^power`. Where that overflows, it is the largest number; a rate of 0 stays 0.
fn scaled(rate: f64, factor: f64, power: u64) -> f64 {
    if rate == 0.0 { 0.0 } else { (rate * factor.powf(power as f64)).min(f64::MAX) }
}

/// From `from` at position 0 to `to` at position 1 and behind it.
fn half_cosine(from: f64, to: f64, position: f64) -> f64 {
    if position <= 0.0 {
        from
    } else if position >= 1.0 {
        to
    } else {
        to + (from - to) * f64::midpoint(1.0, (PI * position).cos())
    }
}

/// The step within its period, and the length of that.
fn in_period(step: u64, period: u64, growth: u64) -> (u64, u64) {
    if growth == 1 {
        return (step % period, period);
    }
    let (mut step, mut period) = (step, period);
    while step >= period {
        step -= period;
        period = period.saturating_mul(growth);
    }
    (step, period)
}

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
    rate: f64,
    factor: f64,
    patience: u64,
    threshold: f64,
    cooldown: u64,
    lowest_rate: f64,
    /// The lowest loss so far; none before the first.
    best: Option<f64>,
    bad: u64,
    cooling: u64,
}

impl Plateau {
    /// Starts at `rate`, and multiplies it by `factor` after more than `patience` losses in a row that
    /// are not lower than the lowest by at least 0.01%.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] unless the rate is finite and above 0 and the factor within (0, 1).
    pub fn new(rate: f64, factor: f64, patience: u64) -> Result<Self, Error> {
        let (threshold, lowest_rate) = (1e-4, 0.0);
        let (best, bad, cooling, cooldown) = (None, 0, 0, 0);
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
        let PlateauState { rate, factor, threshold, lowest_rate, .. } = self.0;
        positive::<f64>("the learning rate", rate)?;
        if !(factor > 0.0 && factor < 1.0) {
            return Err(Error::invalid("the factor of a plateau", factor, "above 0 and below 1"));
        }
        below_one::<f64>("the threshold of a plateau", threshold)?;
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

    /// Takes the loss of an epoch, and returns the learning rate of the next. A loss of NaN is not
    /// lower than any.
    pub fn observe(&mut self, loss: f64) -> f64 {
        /// A fall by less than this is none.
        const LEAST_FALL: f64 = 1e-8;
        let seen = &mut self.0;
        // For losses below 0 PyTorch's `best * (1 - threshold)` would be above the best.
        let share = |best: f64| 1.0 - seen.threshold.copysign(best);
        if seen.best.is_none_or(|best| loss < best * share(best)) && !loss.is_nan() {
            seen.best = Some(loss);
            seen.bad = 0;
        } else {
            seen.bad += 1;
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
