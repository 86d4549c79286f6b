//! Learning rates that change from step to step.

use crate::error::Error;
use crate::exact::Exact;
use crate::setting::{not_negative, positive};
use std::f64::consts::PI;

/// A learning rate for each step: a function of the number of steps already taken.
///
/// Where `PyTorch` or optax has a schedule of the same name, the values are the same but for rounding. Behind
/// its last step a schedule stays at its last value.
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
#[cfg_attr(feature = "serde", serde(try_from = "Parts", into = "Parts"))]
pub struct Schedule(Parts);

/// Each part for its number of steps, begun at its own step 0, and then the last. Sequences of sequences
/// are one sequence, so that nothing is nested.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
struct Parts {
    #[cfg_attr(feature = "serde", serde(default))]
    parts: Vec<(Kind, u64)>,
    last: Kind,
}

/// More parts than any training has: a larger number is a mistake.
const MOST_PARTS: usize = 4096;

/// The schedules, each by its formula in [`Schedule::at`].
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
enum Kind {
    Polynomial { from: Exact, to: Exact, steps: u64, power: Exact },
    Step { from: Exact, factor: Exact, every: u64 },
    Piecewise { first: Exact, later: Vec<(u64, Exact)> },
    Exponential { from: Exact, factor: Exact },
    Cosine { from: Exact, to: Exact, steps: u64 },
    CosineRestarts { from: Exact, to: Exact, period: u64, growth: u64 },
    OneCycle { initial: Exact, peak: Exact, last: Exact, steps: u64, warm_up_share: Exact },
    InverseSqrt { from: Exact, shift: Exact },
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
        Self::of(Kind::Polynomial { from: Exact(from), to: Exact(to), steps, power: Exact(power) })
    }

    /// `from * factor^(step / every)`, the quotient rounded down: PyTorch's `StepLR`.
    ///
    /// # Errors
    ///
    /// As [`constant`](Self::constant); the factor must be finite and above 0.
    pub fn step(from: f64, factor: f64, every: u64) -> Result<Self, Error> {
        Self::of(Kind::Step { from: Exact(from), factor: Exact(factor), every })
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
        let later = later.into_iter().map(|(step, rate)| (step, Exact(rate))).collect();
        Self::of(Kind::Piecewise { first: Exact(first), later })
    }

    /// `from * factor^step`: PyTorch's `ExponentialLR`.
    ///
    /// # Errors
    ///
    /// As [`constant`](Self::constant); the factor must be finite and above 0.
    pub fn exponential(from: f64, factor: f64) -> Result<Self, Error> {
        Self::of(Kind::Exponential { from: Exact(from), factor: Exact(factor) })
    }

    /// `to + (from - to) * (1 + cos(π * step / steps)) / 2`: optax's `cosine_decay_schedule`, and
    /// PyTorch's `CosineAnnealingLR` up to its last step (Loshchilov and Hutter, ICLR 2017).
    ///
    /// # Errors
    ///
    /// As [`constant`](Self::constant).
    pub fn cosine(from: f64, to: f64, steps: u64) -> Result<Self, Error> {
        Self::of(Kind::Cosine { from: Exact(from), to: Exact(to), steps })
    }

    /// [`cosine`](Self::cosine) over `period` steps, begun anew for ever, each period `growth` times as
    /// long as the one before: PyTorch's `CosineAnnealingWarmRestarts`.
    ///
    /// # Errors
    ///
    /// As [`constant`](Self::constant); the growth must be 1 or more.
    pub fn cosine_restarts(from: f64, to: f64, period: u64, growth: u64) -> Result<Self, Error> {
        Self::of(Kind::CosineRestarts { from: Exact(from), to: Exact(to), period, growth })
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
        Self::of(Kind::OneCycle {
            initial: Exact(initial),
            peak: Exact(peak),
            last: Exact(last),
            steps,
            warm_up_share: Exact(warm_up_share),
        })
    }

    /// `from * sqrt(shift / (shift + step))`: with as many steps of [`warm_up`](Self::warm_up) as the
    /// shift, the schedule of the transformer (Vaswani et al., NeurIPS 2017).
    ///
    /// # Errors
    ///
    /// As [`constant`](Self::constant); the shift must be finite and above 0.
    pub fn inverse_sqrt(from: f64, shift: f64) -> Result<Self, Error> {
        Self::of(Kind::InverseSqrt { from: Exact(from), shift: Exact(shift) })
    }

    /// Each part for its number of steps, begun at its own step 0, and then the last one: optax's
    /// `join_schedules`, PyTorch's `SequentialLR`.
    ///
    /// # Errors
    ///
    /// As [`constant`](Self::constant); there may be 4096 parts, those of sequences among them counted one
    /// by one.
    pub fn sequence(
        parts: impl IntoIterator<Item = (Self, u64)>,
        last: Self,
    ) -> Result<Self, Error> {
        let mut flat = Vec::new();
        for (Self(Parts { parts, last }), steps) in parts {
            whole_steps(steps)?;
            let mut left = steps;
            for (kind, steps) in parts.into_iter().chain([(last, u64::MAX)]) {
                let steps = steps.min(left);
                left -= steps;
                if steps > 0 {
                    flat.push((kind, steps));
                }
            }
            few_parts(flat.len())?;
        }
        flat.extend(last.0.parts);
        few_parts(flat.len())?;
        Ok(Self(Parts { parts: flat, last: last.0.last }))
    }

    /// `steps` steps from `from` to where this schedule begins, at equal distances, and then this one.
    ///
    /// # Errors
    ///
    /// As [`sequence`](Self::sequence).
    pub fn warm_up(self, from: f64, steps: u64) -> Result<Self, Error> {
        Self::sequence([(Self::linear(from, self.at(0), steps)?, steps)], self)
    }

    /// The learning rate after `step` steps, the first being number 0.
    #[must_use]
    pub fn at(&self, step: u64) -> f64 {
        let mut step = step;
        for (part, steps) in &self.0.parts {
            if step < *steps {
                return part.at(step);
            }
            step -= steps;
        }
        self.0.last.at(step)
    }

    /// The schedule, if its settings are valid.
    fn of(kind: Kind) -> Result<Self, Error> {
        kind.check()?;
        Ok(Self(Parts { parts: Vec::new(), last: kind }))
    }
}

/// That a number of steps is not 0.
fn whole_steps(steps: u64) -> Result<(), Error> {
    if steps == 0 {
        return Err(Error::invalid("the number of steps of a schedule", steps, "1 or more"));
    }
    Ok(())
}

fn few_parts(parts: usize) -> Result<(), Error> {
    if parts > MOST_PARTS {
        let allowed = format!("0 to {MOST_PARTS}");
        return Err(Error::invalid("the number of parts of a schedule", parts, allowed));
    }
    Ok(())
}

impl Kind {
    fn at(&self, step: u64) -> f64 {
        // Rounding must not change the ends: they are given back as they were given.
        let position = |steps: u64| step as f64 / steps as f64;
        match self {
            &Self::Polynomial { from: Exact(from), to: Exact(to), steps, power: Exact(power) } => {
                match step {
                    0 => from,
                    step if step >= steps => to,
                    _ => to + (from - to) * libm::pow(1.0 - position(steps), power),
                }
            }
            &Self::Step { from: Exact(from), factor: Exact(factor), every } => {
                scaled(from, factor, step / every)
            }
            Self::Piecewise { first, later } => {
                let passed = later.partition_point(|&(from, _)| from <= step);
                passed.checked_sub(1).map_or(first.0, |i| later[i].1.0)
            }
            &Self::Exponential { from: Exact(from), factor: Exact(factor) } => {
                scaled(from, factor, step)
            }
            &Self::Cosine { from: Exact(from), to: Exact(to), steps } => {
                half_cosine(from, to, position(steps))
            }
            &Self::CosineRestarts { from: Exact(from), to: Exact(to), period, growth } => {
                let (step, period) = in_period(step, period, growth);
                half_cosine(from, to, step as f64 / period as f64)
            }
            &Self::OneCycle {
                initial: Exact(initial),
                peak: Exact(peak),
                last: Exact(last),
                steps,
                warm_up_share: Exact(warm_up_share),
            } => {
                let top = warm_up_share * steps as f64 - 1.0;
                let down = (steps - 1) as f64 - top;
                let step = step as f64;
                if step <= top {
                    half_cosine(initial, peak, step / top)
                } else {
                    half_cosine(peak, last, (step - top) / down)
                }
            }
            &Self::InverseSqrt { from: Exact(from), shift: Exact(shift) } => {
                from * (shift / (shift + step as f64)).sqrt()
            }
        }
    }

    /// What is wrong with the settings, if anything is.
    fn check(&self) -> Result<(), Error> {
        let Named { rates, steps, positive: numbers } = self.settings();
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
        if let &Self::OneCycle { steps, warm_up_share: Exact(warm_up_share), .. } = self {
            let up = warm_up_share * steps as f64;
            if !(up >= 2.0 && steps as f64 - up >= 2.0) {
                let allowed =
                    format!("a share that leaves 2 of {steps} steps or more to each side");
                return Err(Error::invalid("the share of the warm-up", warm_up_share, allowed));
            }
        }
        if let Self::Piecewise { later, .. } = self
            && let Some(pair) = later.windows(2).find(|pair| pair[0].0 >= pair[1].0)
        {
            let allowed = format!("more than {}, the one before", pair[0].0);
            return Err(Error::invalid("a step of a schedule", pair[1].0, allowed));
        }
        Ok(())
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
            &Self::Polynomial { from: Exact(from), to: Exact(to), steps, power: Exact(power) } => {
                Named {
                    rates: vec![(START, from), (END, to)],
                    steps: vec![(STEPS, steps)],
                    positive: vec![("the power of a schedule", power)],
                }
            }
            &Self::Step { from: Exact(from), factor: Exact(factor), every } => Named {
                rates: vec![(START, from)],
                steps: vec![(STEPS, every)],
                positive: vec![("the factor of a schedule", factor)],
            },
            Self::Piecewise { first, later } => Named {
                rates: [(START, first.0)]
                    .into_iter()
                    .chain(later.iter().map(|&(_, Exact(rate))| ("a rate of a schedule", rate)))
                    .collect(),
                steps: later.iter().map(|&(step, _)| ("a step of a schedule", step)).collect(),
                ..named
            },
            &Self::Exponential { from: Exact(from), factor: Exact(factor) } => Named {
                rates: vec![(START, from)],
                positive: vec![("the factor of a schedule", factor)],
                ..named
            },
            &Self::Cosine { from: Exact(from), to: Exact(to), steps } => Named {
                rates: vec![(START, from), (END, to)],
                steps: vec![(STEPS, steps)],
                ..named
            },
            &Self::CosineRestarts { from: Exact(from), to: Exact(to), period, growth } => Named {
                rates: vec![(START, from), (END, to)],
                steps: vec![
                    ("the period of a schedule", period),
                    ("the growth of a schedule's period", growth),
                ],
                ..named
            },
            &Self::OneCycle {
                initial: Exact(initial),
                peak: Exact(peak),
                last: Exact(last),
                steps,
                ..
            } => Named {
                rates: vec![(START, initial), ("the peak of a schedule", peak), (END, last)],
                steps: vec![(STEPS, steps)],
                ..named
            },
            &Self::InverseSqrt { from: Exact(from), shift: Exact(shift) } => Named {
                rates: vec![(START, from)],
                positive: vec![("the shift of a schedule", shift)],
                ..named
            },
        }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Parts> for Schedule {
    type Error = Error;

    fn try_from(Parts { parts, last }: Parts) -> Result<Self, Error> {
        few_parts(parts.len())?;
        for (kind, steps) in &parts {
            kind.check()?;
            whole_steps(*steps)?;
        }
        last.check()?;
        Ok(Self(Parts { parts, last }))
    }
}

#[cfg(feature = "serde")]
impl From<Schedule> for Parts {
    fn from(schedule: Schedule) -> Self {
        schedule.0
    }
}

/// `rate * factor^power`. Where that overflows, it is the largest number; a rate of 0 stays 0.
fn scaled(rate: f64, factor: f64, power: u64) -> f64 {
    if rate == 0.0 {
        return 0.0;
    }
    let power = power as f64;
    let whole = libm::pow(factor, power);
    // Where the power alone is beyond the numbers, its product with the rate may not be.
    let scaled = if whole.is_normal() {
        rate * whole
    } else {
        let half = libm::pow(factor, power / 2.0);
        rate * half * half
    };
    scaled.min(f64::MAX)
}

/// From `from` at position 0 to `to` at position 1 and behind it.
fn half_cosine(from: f64, to: f64, position: f64) -> f64 {
    if position <= 0.0 {
        from
    } else if position >= 1.0 {
        to
    } else {
        to + (from - to) * f64::midpoint(1.0, libm::cos(PI * position))
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
