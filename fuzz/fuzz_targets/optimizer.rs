//! An optimizer gives the bits of `reference::step` in any sequence of steps, changes of its settings,
//! and saving and resuming, for any rules, groups, formats of momentum, clipping and policies, at every
//! level. What it refuses, shapes that do not fit above all, changes nothing.

#![no_main]

use arbitrary::Arbitrary;
use rootstep::optimizer::{MomentumFormat, NonFinite, Optimizer, Power, PowerOf, Rule};
use rootstep::{Error, reference};
use rootstep_fuzz::executor;
use rootstep_fuzz::number::Number;
use rootstep_fuzz::specified::{Common, Specified};
use rootstep_fuzz::support::{Guarded, TestElement, long_length, same, same_inspection};
use rootstep_fuzz::values::Values;

#[derive(Debug, Arbitrary)]
struct Case {
    double: bool,
    settings: Settings,
    /// One value of these makes the first tensor so long that it is split over threads.
    long: u8,
    /// The length of each tensor, and its group; and whether there are any but those of `others`.
    tensors: [(u16, u8); 2],
    others: Vec<(u16, u8)>,
    only_others: bool,
    parameters: Values,
    /// Most mistakes show from the second step on alone.
    rounds: [Round; 2],
    later: Vec<Round>,
}

/// What happens before a step, if anything does, and the elements of its gradients, one after the
/// other.
#[derive(Debug, Arbitrary)]
struct Round {
    before: Option<Operation>,
    gradients: Values,
    /// A bit for each tensor that has no gradient at this step.
    missing: u8,
}

#[derive(Debug, Arbitrary)]
struct Settings {
    /// Multiples of 8 leave the settings as they come; of most, one is out of range.
    tame: u8,
    first: Recipe,
    others: Vec<Recipe>,
    gradient_scale: Option<Number>,
    clip_value: Option<Number>,
    clip_norm: Option<Number>,
    non_finite: Policy,
    inspect: bool,
    executor: u8,
    /// What the names of the tensors begin with, if they have names.
    names: Option<String>,
}

#[derive(Debug, Arbitrary)]
struct Recipe {
    learning_rate: Number,
    power: PowerKind,
    of_momentum: bool,
    momentum: Momentum,
    weight_decay: Option<Number>,
    decoupled_weight_decay: Option<Number>,
    maximize: bool,
    format: Format,
}

#[derive(Debug, Arbitrary)]
enum PowerKind {
    Zero,
    Quarter,
    Half,
    ThreeQuarters,
    One,
    Smoothed(Number),
}

#[derive(Debug, Arbitrary)]
enum Momentum {
    None,
    Plain(Number),
    Dampened(Number, Number),
    Nesterov(Number),
}

#[derive(Debug, Arbitrary)]
enum Format {
    Full,
    Bf16,
    Int8,
}

#[derive(Debug, Clone, Copy, PartialEq, Arbitrary)]
enum Policy {
    Propagate,
    Skip,
    Error,
}

#[derive(Debug, Arbitrary)]
enum Operation {
    WrongShape(WrongShape),
    SetLearningRate(Number),
    SetGroupLearningRate(u8, Number),
    SetGradientScale(Number),
    Resume(Way),
}

#[derive(Debug, Arbitrary)]
enum WrongShape {
    GradientLength(u8, u8),
    GradientCount,
    /// Parameters and gradient fit each other, but not the last step.
    Length(u8, u8),
    Count,
}

/// How the state gets from one optimizer to the next.
#[derive(Debug, Arbitrary)]
enum Way {
    Memory,
    Json,
    Safetensors,
}

libfuzzer_sys::fuzz_target!(|case: Case| {
    if case.double {
        check::<f64>(&case);
    } else {
        check::<f32>(&case);
    }
});

fn check<T: TestElement>(case: &Case) {
    if let Some(mut run) = Run::<T>::new(case) {
        let most = if case.long == LONG { 2 } else { 12 };
        for round in case.rounds.iter().chain(&case.later).take(most) {
            round.before.iter().for_each(|operation| run.apply(operation));
            run.step(&round.gradients, round.missing);
        }
        assert_eq!(run.optimizer.steps(), run.steps);
        assert_eq!(run.optimizer.groups(), run.rules);
    }
}

const LONG: u8 = 7;

impl Settings {
    /// A setting within 0 and `most`, unless the settings are left as they come.
    fn number(&self, number: Number, most: f64) -> f64 {
        if self.tame.is_multiple_of(8) { number.value() } else { number.tame(most) }
    }
}

impl Recipe {
    fn rule(&self, settings: &Settings) -> Rule {
        let size = |number| settings.number(number, 10.0);
        let share = |number| settings.number(number, 0.999);
        let power = match self.power {
            PowerKind::Zero => Power::Zero,
            PowerKind::Quarter => Power::Quarter,
            PowerKind::Half => Power::Half,
            PowerKind::ThreeQuarters => Power::ThreeQuarters,
            PowerKind::One => Power::One,
            PowerKind::Smoothed(epsilon) => Power::Smoothed { epsilon: size(epsilon) },
        };
        let mut rule = Rule::pbsgd(size(self.learning_rate), power);
        if self.of_momentum {
            rule.power_of = PowerOf::Momentum;
        }
        match self.momentum {
            Momentum::None => {}
            Momentum::Plain(momentum) => rule.momentum = share(momentum),
            Momentum::Dampened(momentum, dampening) => {
                (rule.momentum, rule.dampening) = (share(momentum), share(dampening));
            }
            Momentum::Nesterov(momentum) => {
                (rule.momentum, rule.nesterov) = (share(momentum), true);
            }
        }
        let or_none = |number: Option<Number>| number.map_or(0.0, size);
        rule.weight_decay = or_none(self.weight_decay);
        rule.decoupled_weight_decay = or_none(self.decoupled_weight_decay);
        rule.maximize = self.maximize;
        rule.momentum_format = match self.format {
            Format::Full => MomentumFormat::Full,
            Format::Bf16 => MomentumFormat::Bf16,
            Format::Int8 => MomentumFormat::Int8,
        };
        rule
    }
}

/// An optimizer and its specification, on their way.
struct Run<'a, T: TestElement> {
    settings: &'a Settings,
    group_of: Vec<usize>,
    /// With the learning rates as they are now.
    rules: Vec<Rule>,
    common: Common,
    clip_norm: Option<f64>,
    optimizer: Optimizer<T>,
    parameters: Vec<Guarded<T>>,
    specified: Vec<Specified<T>>,
    steps: u64,
    /// Those of each tensor.
    own_steps: Vec<u64>,
}

impl<'a, T: TestElement> Run<'a, T> {
    /// Before the first step; nothing if the settings are refused.
    fn new(case: &'a Case) -> Option<Self> {
        let settings = &case.settings;
        let recipes = std::iter::once(&settings.first).chain(settings.others.iter().take(2));
        let rules: Vec<Rule> = recipes.map(|recipe| recipe.rule(settings)).collect();
        let common = Common {
            gradient_scale: settings
                .gradient_scale
                .map_or(1.0, |number| settings.number(number, 1e6)),
            clip_value: settings.clip_value.map(|number| settings.number(number, 1e3)),
        };
        let clip_norm = settings.clip_norm.map(|number| settings.number(number, 1e3));
        let tensors = case.tensors.iter().filter(|_| !case.only_others);
        let tensors: Vec<_> = tensors.chain(&case.others).take(6).collect();
        let group_of: Vec<usize> =
            tensors.iter().map(|(_, group)| usize::from(*group) % rules.len()).collect();
        let lengths = tensors.iter().enumerate().map(|(i, (length, _))| match (i, case.long) {
            (0, LONG) => long_length::<T>(),
            // More than twice as much as is unpacked at a time.
            _ => usize::from(length % 2400),
        });
        let optimizer = build::<T>(settings, &rules, &group_of, common, clip_norm).ok()?;
        for rule in &rules {
            let decays = [rule.weight_decay, rule.decoupled_weight_decay];
            let sizes = [rule.learning_rate].into_iter().chain(decays);
            assert!(sizes.into_iter().all(is_size::<T>), "accepted: {rule:?}");
            let shares = [rule.momentum, rule.dampening];
            assert!(shares.iter().all(|share| (0.0..1.0).contains(share)), "accepted: {rule:?}");
        }
        let limits = [Some(common.gradient_scale), common.clip_value, clip_norm];
        assert!(limits.into_iter().flatten().all(is_positive::<T>), "accepted: {limits:?}");

        let mut parameters = Vec::new();
        for (i, tensor) in split(&case.parameters, lengths).iter().enumerate() {
            parameters.push(Guarded::new(tensor, i % T::LANES));
        }
        let specified = parameters.iter().zip(&group_of);
        let specified =
            specified.map(|(tensor, &group)| Specified::new(tensor.slice(), rules[group]));
        Some(Self {
            settings,
            specified: specified.collect(),
            own_steps: vec![0; group_of.len()],
            group_of,
            rules,
            common,
            clip_norm,
            optimizer,
            parameters,
            steps: 0,
        })
    }

    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::WrongShape(wrong) => self.refuse(wrong),
            Operation::SetLearningRate(rate) => {
                let set = self.optimizer.set_learning_rate(rate.value());
                assert_eq!(set.is_ok(), is_size::<T>(rate.value()));
                if set.is_ok() {
                    self.rules.iter_mut().for_each(|rule| rule.learning_rate = rate.value());
                }
            }
            Operation::SetGroupLearningRate(group, rate) => {
                let group = usize::from(group % 4);
                let set = self.optimizer.set_group_learning_rate(group, rate.value());
                let allowed = group < self.rules.len() && is_size::<T>(rate.value());
                assert_eq!(set.is_ok(), allowed);
                if set.is_ok() {
                    self.rules[group].learning_rate = rate.value();
                }
            }
            Operation::SetGradientScale(scale) => {
                let set = self.optimizer.set_gradient_scale(scale.value());
                assert_eq!(set.is_ok(), is_positive::<T>(scale.value()));
                if set.is_ok() {
                    self.common.gradient_scale = scale.value();
                }
            }
            Operation::Resume(way) => self.resume(way),
        }
        for (specified, &group) in self.specified.iter_mut().zip(&self.group_of) {
            specified.rule = self.rules[group];
        }
    }

    fn step(&mut self, values: &Values, missing: u8) {
        let lengths: Vec<usize> = self.parameters.iter().map(|x| x.slice().len()).collect();
        let gradients: Vec<Guarded<T>> = split(values, lengths)
            .iter()
            .enumerate()
            .map(|(i, g)| Guarded::new(g, (3 * i + 1) % T::LANES))
            .collect();
        let is_missing = |tensor: usize| missing >> tensor & 1 == 1;
        let given = gradients.iter().enumerate();
        let gradients: Vec<Option<&[T]>> =
            given.map(|(i, gradient)| (!is_missing(i)).then(|| gradient.slice())).collect();
        let of_model: Vec<usize> = (0..gradients.len()).filter(|&i| !is_missing(i)).collect();
        let present: Vec<&[T]> = gradients.iter().copied().flatten().collect();
        let mut found = reference::inspect(&present);
        if let Some((tensor, _)) = &mut found.first_non_finite {
            *tensor = of_model[*tensor];
        }
        let scale = self.common.gradient_scale;
        let (mut factor, mut clip_factor) = (scale, 1.0);
        if let Some(limit) = self.clip_norm {
            let norm = found.norm * scale;
            if norm > limit && limit / norm < f64::MIN_POSITIVE {
                (factor, clip_factor) = (limit / found.norm, limit / found.norm / scale);
            } else if norm > limit || norm.is_nan() {
                clip_factor = limit / norm;
                factor = scale * clip_factor;
            }
        }
        let vanishes = found.is_finite() && T::from_f64(factor) == T::default();
        let refused =
            found.first_non_finite.filter(|_| self.settings.non_finite != Policy::Propagate);
        let before = refused.map(|_| self.optimizer.state());

        let mut parameters: Vec<_> = self.parameters.iter_mut().map(Guarded::slice_mut).collect();
        let result = if missing == 0 {
            self.optimizer.step(&mut parameters, &present)
        } else {
            self.optimizer.step_with_missing(&mut parameters, &gradients)
        };
        if let Some(place) = refused {
            match (result, self.settings.non_finite) {
                (Ok(report), Policy::Skip) => assert!(!report.taken),
                (Err(Error::NonFiniteGradient { tensor, index, .. }), Policy::Error) => {
                    assert_eq!((tensor, index), place);
                }
                (other, policy) => panic!("{policy:?}, but {other:?}"),
            }
            assert_eq!(Some(self.optimizer.state()), before);
        } else if vanishes {
            assert!(matches!(result, Err(Error::InvalidSetting { .. })), "{result:?}");
        } else {
            let report = result.expect("the gradients fit and are allowed");
            assert!(report.taken);
            assert!(
                same(report.clip_factor, clip_factor),
                "{report:?}, specified is {clip_factor}"
            );
            let inspects = self.settings.inspect
                || self.clip_norm.is_some()
                || self.settings.non_finite != Policy::Propagate;
            assert_eq!(report.inspection.is_some(), inspects);
            assert!(report.inspection.is_none_or(|inspected| same_inspection(&inspected, &found)));
            for (i, gradient) in gradients.iter().enumerate() {
                if let Some(gradient) = gradient {
                    let first = self.own_steps[i] == 0;
                    let common = Common { gradient_scale: factor, ..self.common };
                    self.specified[i].step(gradient, common, 1.0, first);
                    self.own_steps[i] += 1;
                }
            }
            self.steps += 1;
        }
        for (i, (tensor, specified)) in self.parameters.iter().zip(&self.specified).enumerate() {
            tensor.assert_intact();
            for (k, (&x, &expected)) in tensor.slice().iter().zip(&specified.x).enumerate() {
                assert!(
                    same(x, expected),
                    "step {}, element {k} of tensor {i}: the gradient {:?} gave {x:?}, specified is \
                     {expected:?}",
                    self.steps,
                    gradients[i].map(|gradient| gradient[k]),
                );
            }
        }
    }

    /// A step with tensors that do not fit, which must fail and change nothing.
    fn refuse(&mut self, wrong: &WrongShape) {
        let mut parameters: Vec<Vec<T>> =
            self.parameters.iter().map(|tensor| tensor.slice().to_vec()).collect();
        let zeros = |tensor: &Vec<T>| vec![T::default(); tensor.len()];
        let mut gradients: Vec<Vec<T>> = parameters.iter().map(zeros).collect();
        let change = |tensors: &mut Vec<Vec<T>>, place: u8, length: u8| {
            let count = tensors.len().max(1);
            match tensors.get_mut(usize::from(place) % count) {
                // Another length: longer, or none.
                Some(tensor) if length == 0 && !tensor.is_empty() => tensor.clear(),
                Some(tensor) => tensor.extend(vec![T::default(); 1 + usize::from(length)]),
                None => tensors.push(Vec::new()),
            }
        };
        match *wrong {
            WrongShape::GradientLength(place, length) => change(&mut gradients, place, length),
            WrongShape::GradientCount => gradients.push(Vec::new()),
            // Before the first step there is nothing that they do not fit, but names.
            WrongShape::Length(..) if self.steps == 0 => return,
            WrongShape::Length(..) | WrongShape::Count
                if self.settings.names.is_none()
                    && (self.steps == 0 || self.parameters.is_empty()) =>
            {
                return;
            }
            WrongShape::Length(place, length) => {
                change(&mut parameters, place, length);
                change(&mut gradients, place, length);
            }
            WrongShape::Count => {
                parameters.push(Vec::new());
                gradients.push(Vec::new());
            }
        }
        let bits = |tensors: &[Vec<T>]| -> Vec<Vec<u64>> {
            tensors.iter().map(|tensor| tensor.iter().map(|x| x.to_bits()).collect()).collect()
        };
        let (before, state) = (bits(&parameters), self.optimizer.state());
        let error = self.optimizer.step(&mut parameters, &gradients);
        assert!(
            matches!(error, Err(Error::TensorCount { .. } | Error::TensorLength { .. })),
            "{wrong:?}: {error:?}"
        );
        assert!(bits(&parameters) == before && self.optimizer.state() == state, "{wrong:?}");
    }

    /// Saves the state, and goes on with a new optimizer.
    fn resume(&mut self, way: &Way) {
        let Self { settings, rules, group_of, common, clip_norm, .. } = self;
        let mut resumed = build(settings, rules, group_of, *common, *clip_norm)
            .expect("these settings were accepted before");
        let state = self.optimizer.state();
        match way {
            Way::Memory => resumed.restore(&state).expect("its own state"),
            Way::Json => {
                let text = serde_json::to_string(&state).expect("any state can be written");
                let read = serde_json::from_str(&text).expect("and read");
                resumed.restore(&read).expect("its own state");
            }
            Way::Safetensors => {
                let mut file = Vec::new();
                self.optimizer.write_safetensors(&mut file).expect("memory takes all");
                resumed.read_safetensors(&file[..]).expect("its own state");
            }
        }
        assert!(resumed.state() == state, "{way:?}");
        assert_eq!(resumed.momentum_bytes(), self.optimizer.momentum_bytes());
        self.optimizer = resumed;
    }
}

fn build<T: TestElement>(
    settings: &Settings,
    rules: &[Rule],
    group_of: &[usize],
    common: Common,
    clip_norm: Option<f64>,
) -> Result<Optimizer<T>, Error> {
    let mut builder = Optimizer::builder(rules[0])
        .with_gradient_scale(common.gradient_scale)
        .with_non_finite(match settings.non_finite {
            Policy::Propagate => NonFinite::Propagate,
            Policy::Skip => NonFinite::Skip,
            Policy::Error => NonFinite::Error,
        })
        .with_executor(executor(settings.executor));
    for (group, &rule) in rules.iter().enumerate().skip(1) {
        let tensors = group_of.iter().enumerate().filter(|&(_, &of)| of == group);
        builder = builder.with_group(rule, tensors.map(|(tensor, _)| tensor));
    }
    if let Some(prefix) = &settings.names {
        builder = builder.with_names((0..group_of.len()).map(|i| format!("{prefix}{i}")));
    }
    if settings.inspect {
        builder = builder.with_inspection();
    }
    if let Some(limit) = common.clip_value {
        builder = builder.with_clip_value(limit);
    }
    if let Some(limit) = clip_norm {
        builder = builder.with_clip_norm(limit);
    }
    builder.build()
}

/// The values as tensors of these lengths.
fn split<T: TestElement>(values: &Values, lengths: impl IntoIterator<Item = usize>) -> Vec<Vec<T>> {
    let lengths: Vec<usize> = lengths.into_iter().collect();
    let mut values = values.of::<T>(lengths.iter().sum()).into_iter();
    lengths.iter().map(|&length| values.by_ref().take(length).collect()).collect()
}

/// Finite in `T`, and 0 or more.
fn is_size<T: TestElement>(value: f64) -> bool {
    let largest = if size_of::<T>() == 4 { f32::MAX.into() } else { f64::MAX };
    (0.0..=largest).contains(&value)
}

/// Finite and above 0 when it is rounded to `T`.
fn is_positive<T: TestElement>(value: f64) -> bool {
    let rounded = T::from_f64(value);
    rounded > T::default() && rounded * T::default() == T::default()
}
