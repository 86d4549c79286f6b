//! Candidates, schedules and the range test of any settings: what is accepted is finite, within its
//! range and in its order, and its ends are the ones given; what is out of range is refused.

#![no_main]

use arbitrary::Arbitrary;
use rootstep::optimizer::{Plateau, Schedule};
use rootstep_fuzz::number::Number;
use rootstep_tuning::{
    Error, RangeTest, linear_grid, log_uniform, logarithmic_grid, product, uniform,
};

#[derive(Debug, Arbitrary)]
enum Case {
    LogarithmicGrid {
        from: Number,
        to: Number,
        count: Count,
    },
    LinearGrid {
        from: Number,
        to: Number,
        negative: bool,
        count: Count,
    },
    Uniform {
        from: Number,
        to: Number,
        negative: bool,
        count: Count,
        seed: u64,
    },
    LogUniform {
        from: Number,
        to: Number,
        count: Count,
        seed: u64,
    },
    Product {
        first: u8,
        second: u8,
    },
    Schedule {
        kind: Kind,
        steps: Vec<Steps>,
    },
    Sequence {
        parts: Vec<(Kind, Steps)>,
        last: Kind,
        warm_up: Option<(Number, Steps)>,
        at: Vec<Steps>,
    },
    Plateau {
        settings: PlateauSettings,
        losses: Vec<Number>,
    },
    RangeTest {
        settings: RangeSettings,
        losses: Vec<Number>,
    },
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Count {
    Some(u16),
    Any(usize),
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Steps {
    Some(u16),
    Any(u64),
}

#[derive(Debug, Clone, Arbitrary)]
enum Kind {
    Constant(Number),
    Linear(Number, Number, Steps),
    Polynomial(Number, Number, Steps, Number),
    Step(Number, Number, Steps),
    MultiStep(Number, Number, Vec<Steps>),
    Piecewise(Number, Vec<(Steps, Number)>),
    Exponential(Number, Number),
    Cosine(Number, Number, Steps),
    CosineRestarts(Number, Number, Steps, Steps),
    OneCycle(Number, Number, Number, Steps, Number),
    InverseSqrt(Number, Number),
}

#[derive(Debug, Arbitrary)]
struct PlateauSettings {
    rate: Number,
    factor: Number,
    patience: Steps,
    threshold: Option<Number>,
    cooldown: Option<Steps>,
    lowest_rate: Option<Number>,
}

#[derive(Debug, Arbitrary)]
struct RangeSettings {
    from: Number,
    to: Number,
    steps: Count,
    smoothing: Option<Number>,
    divergence: Option<Number>,
}

impl Count {
    /// Nothing if it would be allowed and take long.
    fn value(self) -> Option<usize> {
        match self {
            Self::Some(count) => Some(usize::from(count) % 2000),
            Self::Any(count) => Some(count).filter(|count| !(2000..=1_000_000).contains(count)),
        }
    }
}

impl Steps {
    fn value(self) -> u64 {
        match self {
            Self::Some(steps) => steps.into(),
            Self::Any(steps) => steps,
        }
    }
}

libfuzzer_sys::fuzz_target!(|case: Case| {
    check(case);
});

/// Nothing if a count would take long.
fn check(case: Case) -> Option<()> {
    match case {
        Case::LogarithmicGrid { from, to, count } => {
            let (from, to, count) = (from.value(), to.value(), count.value()?);
            check_grid(logarithmic_grid(from, to, count), from, to, count, from > 0.0);
        }
        Case::LinearGrid { from, to, negative, count } => {
            let (from, to) = (signed(from.value(), negative), to.value());
            let count = count.value()?;
            check_grid(linear_grid(from, to, count), from, to, count, true);
        }
        Case::Uniform { from, to, negative, count, seed } => {
            let (from, to) = (signed(from.value(), negative), to.value());
            let count = count.value()?;
            check_random(|| uniform(from, to, count, seed), from, to, count, true);
        }
        Case::LogUniform { from, to, count, seed } => {
            let (from, to, count) = (from.value(), to.value(), count.value()?);
            check_random(|| log_uniform(from, to, count, seed), from, to, count, from > 0.0);
        }
        Case::Product { first, second } => {
            let (a, b): (Vec<u8>, Vec<u8>) = ((0..first).collect(), (0..second).collect());
            let pairs = product(&a, &b).expect("few enough");
            let expected = a.iter().flat_map(|&a| b.iter().map(move |&b| (a, b)));
            assert!(pairs.into_iter().eq(expected));
        }
        Case::Schedule { kind, steps } => {
            if let Some((schedule, range)) = kind.build() {
                for step in [Steps::Some(0), Steps::Any(u64::MAX)].iter().chain(&steps) {
                    range.check(schedule.at(step.value()));
                }
            }
        }
        Case::Sequence { parts, last, warm_up, at } => check_sequence(&parts, &last, warm_up, &at),
        Case::Plateau { settings, losses } => check_plateau(&settings, &losses),
        Case::RangeTest { settings, losses } => check_range_test(&settings, &losses)?,
    }
    Some(())
}

fn signed(value: f64, negative: bool) -> f64 {
    if negative { -value } else { value }
}

fn check_grid(grid: Result<Vec<f64>, Error>, from: f64, to: f64, count: usize, start: bool) {
    let allowed = start && from < to && from.is_finite() && to.is_finite();
    let allowed = allowed && (2..=1_000_000).contains(&count);
    let values = match grid {
        Ok(values) => values,
        // Where values would be equal the grid is refused, too.
        Err(Error::InvalidSetting { .. }) => {
            let room = to - from > from.abs().max(to.abs()) * 1e-9 && to - from > 1e-300;
            assert!(!(allowed && room), "refused: {count} from {from} to {to}");
            return;
        }
        Err(error) => panic!("{error:?}"),
    };
    assert!(allowed, "accepted: {count} from {from} to {to}");
    assert_eq!((values.len(), values[0], values[count - 1]), (count, from, to));
    assert!(values.windows(2).all(|pair| pair[0] < pair[1]), "not rising: {values:?}");
}

fn check_random(
    draw: impl Fn() -> Result<Vec<f64>, Error>,
    from: f64,
    to: f64,
    count: usize,
    start: bool,
) {
    let allowed = start && from < to && from.is_finite() && to.is_finite();
    let allowed = allowed && (1..=1_000_000).contains(&count);
    match draw() {
        Ok(values) => {
            assert!(allowed && values.len() == count, "accepted: {count} from {from} to {to}");
            assert!(values.iter().all(|value| (from..=to).contains(value)), "{values:?}");
            assert_eq!(draw().ok(), Some(values), "the same seed");
        }
        Err(Error::InvalidSetting { .. }) => {
            assert!(!allowed, "refused: {count} from {from} to {to}");
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// The lowest and the highest value of a schedule, a rounding aside.
struct Range(f64, f64);

impl Range {
    fn of(rates: &[f64]) -> Self {
        let lowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = rates.iter().copied().fold(0.0, f64::max);
        Self(lowest, highest)
    }

    /// Of `from`, multiplied by `factor` again and again.
    fn scaled(from: f64, factor: f64) -> Self {
        match () {
            () if from == 0.0 => Self(0.0, 0.0),
            () if factor <= 1.0 => Self(0.0, from),
            () => Self(from, f64::MAX),
        }
    }

    fn check(&self, rate: f64) {
        let &Self(lowest, highest) = self;
        assert!(rate.is_finite() && rate >= 0.0, "{rate}");
        let rounding = 4.0 * f64::EPSILON * highest + 4.0 * f64::from_bits(1);
        let within = lowest - rounding..=highest + rounding;
        assert!(within.contains(&rate), "{rate} is not within {lowest} and {highest}");
    }
}

impl Kind {
    /// The schedule if it is accepted, and where its values are.
    fn build(&self) -> Option<(Schedule, Range)> {
        let (schedule, rates, range) = match self {
            Self::Constant(rate) => {
                let rate = rate.value();
                (Schedule::constant(rate), vec![rate], Range::of(&[rate]))
            }
            Self::Linear(from, to, steps) => {
                let (from, to) = (from.value(), to.value());
                let schedule = Schedule::linear(from, to, steps.value());
                (schedule, vec![from, to], Range::of(&[from, to]))
            }
            Self::Polynomial(from, to, steps, power) => {
                let (from, to) = (from.value(), to.value());
                let schedule = Schedule::polynomial(from, to, steps.value(), power.value());
                (schedule, vec![from, to], Range::of(&[from, to]))
            }
            Self::Step(from, factor, every) => {
                let (from, factor) = (from.value(), factor.value());
                let schedule = Schedule::step(from, factor, every.value());
                (schedule, vec![from], Range::scaled(from, factor))
            }
            Self::MultiStep(from, factor, milestones) => {
                let (from, factor) = (from.value(), factor.value());
                let milestones = milestones.iter().map(|step| step.value());
                let schedule = Schedule::multi_step(from, factor, milestones);
                (schedule, vec![from], Range::scaled(from, factor))
            }
            Self::Piecewise(first, later) => {
                let later = later.iter().map(|(step, rate)| (step.value(), rate.value()));
                let schedule = Schedule::piecewise(first.value(), later.clone());
                let rates = [first.value()].into_iter().chain(later.map(|(_, rate)| rate));
                let rates: Vec<f64> = rates.collect();
                let range = Range::of(&rates);
                (schedule, rates, range)
            }
            Self::Exponential(from, factor) => {
                let (from, factor) = (from.value(), factor.value());
                (Schedule::exponential(from, factor), vec![from], Range::scaled(from, factor))
            }
            Self::Cosine(from, to, steps) => {
                let (from, to) = (from.value(), to.value());
                let schedule = Schedule::cosine(from, to, steps.value());
                (schedule, vec![from, to], Range::of(&[from, to]))
            }
            Self::CosineRestarts(from, to, period, growth) => {
                let (from, to) = (from.value(), to.value());
                let schedule = Schedule::cosine_restarts(from, to, period.value(), growth.value());
                (schedule, vec![from, to], Range::of(&[from, to]))
            }
            Self::OneCycle(initial, peak, last, steps, share) => {
                let rates = [initial.value(), peak.value(), last.value()];
                let [initial, peak, last] = rates;
                let (steps, share) = (steps.value(), share.value());
                let schedule = Schedule::one_cycle(initial, peak, last, steps, share);
                (schedule, rates.to_vec(), Range::of(&rates))
            }
            Self::InverseSqrt(from, shift) => {
                let from = from.value();
                let schedule = Schedule::inverse_sqrt(from, shift.value());
                (schedule, vec![from], Range::of(&[0.0, from]))
            }
        };
        match schedule {
            Ok(schedule) => {
                assert!(rates.iter().all(|rate| (0.0..=f64::MAX).contains(rate)), "{rates:?}");
                Some((schedule, range))
            }
            Err(error) => {
                assert!(matches!(error, rootstep::Error::InvalidSetting { .. }), "{error:?}");
                None
            }
        }
    }
}

/// Each part at its own steps, and then the last one.
fn check_sequence(
    parts: &[(Kind, Steps)],
    last: &Kind,
    warm_up: Option<(Number, Steps)>,
    at: &[Steps],
) {
    let built = parts.iter().map(|(kind, steps)| Some((kind.build()?.0, steps.value())));
    let (Some(built), Some((last, _))) = (built.collect::<Option<Vec<_>>>(), last.build()) else {
        return;
    };
    let sequence = Schedule::sequence(built.clone(), last.clone());
    assert_eq!(sequence.is_ok(), built.iter().all(|&(_, steps)| steps > 0));
    let Ok(sequence) = sequence else { return };
    for step in at {
        let mut step = step.value();
        let (whole, part) = (
            sequence.at(step),
            built.iter().find(|&&(_, steps)| {
                let within = step < steps;
                step -= if within { 0 } else { steps };
                within
            }),
        );
        let expected = part.map_or(&last, |(part, _)| part).at(step);
        assert_eq!(whole.to_bits(), expected.to_bits(), "part {part:?}, step {step} of it");
    }
    if let Some((from, steps)) = warm_up
        && let Ok(warmed) = sequence.clone().warm_up(from.value(), steps.value())
    {
        assert_eq!(warmed.at(0).to_bits(), from.value().to_bits());
        assert_eq!(warmed.at(steps.value()).to_bits(), sequence.at(0).to_bits());
    }
}

/// The rate never rises, and stays between the lowest and the first.
fn check_plateau(settings: &PlateauSettings, losses: &[Number]) {
    let (rate, factor) = (settings.rate.value(), settings.factor.value());
    let built = Plateau::new(rate, factor, settings.patience.value());
    let allowed = rate > 0.0 && rate.is_finite() && factor > 0.0 && factor < 1.0;
    assert_eq!(built.is_ok(), allowed);
    let Ok(mut plateau) = built else { return };
    if let Some(threshold) = settings.threshold {
        let built = plateau.threshold(threshold.value());
        assert_eq!(built.is_ok(), (0.0..1.0).contains(&threshold.value()));
        plateau = built.unwrap_or(plateau);
    }
    plateau = plateau.cooldown(settings.cooldown.map_or(0, Steps::value));
    let mut lowest = 0.0;
    if let Some(given) = settings.lowest_rate {
        let built = plateau.lowest_rate(given.value());
        assert_eq!(built.is_ok(), (0.0..=rate).contains(&given.value()));
        if let Ok(built) = built {
            (plateau, lowest) = (built, given.value());
        }
    }
    let mut before = rate;
    for loss in losses {
        let rate = plateau.observe(loss.value());
        assert!((lowest..=before).contains(&rate), "{rate} is not within {lowest} and {before}");
        assert!(plateau.rate() == rate && rate >= 0.0);
        before = rate;
    }
}

/// The rates rise, nothing is trained behind a loss that is not finite, and what is suggested is a rate
/// of the test.
fn check_range_test(settings: &RangeSettings, losses: &[Number]) -> Option<()> {
    let (from, to) = (settings.from.value(), settings.to.value());
    let count = settings.steps.value()?;
    let Ok(mut test) = RangeTest::new(from, to, count) else {
        assert!(logarithmic_grid(from, to, count).is_err());
        return None;
    };
    if let Some(share) = settings.smoothing {
        let built = test.clone().smoothing(share.value());
        assert_eq!(built.is_ok(), (0.0..1.0).contains(&share.value()));
        test = built.unwrap_or(test);
    }
    if let Some(factor) = settings.divergence {
        let built = test.clone().divergence(factor.value());
        assert_eq!(built.is_ok(), factor.value() > 1.0 && factor.value().is_finite());
        test = built.unwrap_or(test);
    }
    let mut asked = Vec::new();
    let result = test.run(|rate| {
        asked.push(rate);
        losses.get((asked.len() - 1) % losses.len().max(1)).map_or(1.0, |loss| loss.value())
    });
    let points = result.points();
    assert!(points.iter().map(|point| point.rate).eq(asked.iter().copied()));
    assert!(asked.windows(2).all(|pair| pair[0] < pair[1]) && (1..=count).contains(&asked.len()));
    let (_, before) = points.split_last().expect("a step at least");
    assert!(before.iter().all(|point| point.loss.is_finite() && point.smoothed.is_finite()));
    assert!(result.diverged() || points.len() == count);
    for rate in [result.steepest(), result.valley()].into_iter().flatten() {
        assert!(asked.contains(&rate), "{rate} is no rate of the test");
    }
    if let Some(rate) = result.minimum_tenth() {
        assert!(asked.iter().any(|asked| asked / 10.0 == rate), "{rate} is no tenth of a rate");
    }
    Some(())
}
