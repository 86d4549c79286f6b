//! The whole optimizer against an oracle of its own, written from the documentation alone: every operation in
//! exact arithmetic on integers, rounded once by a rule that is written out in `tests/support/exact.rs`. None of its
//! square roots, products and sums is the machine's, and of the library it has but names.

use crate::exact::{BF16, Binary, F32, F64, UPPER24, power_of_two};
use crate::support::{TestElement, executors, random_bits};
use half::bf16;
use rootstep::optimizer::{
    MomentumFormat, NonFinite, Optimizer, Power, PowerOf, Rule, State, Storage,
};
use rootstep::{Element, Error, Executor, Float as _};

/// The numbers are f64, which have a place for every number of the smaller formats.
struct Tensor {
    /// Its place in the model.
    place: u32,
    x: Vec<f64>,
    /// The parameters, of which `x` may have more bits.
    stored: Vec<f64>,
    /// Empty before the first step.
    m: Vec<f64>,
}

/// What is set for the whole model.
struct Common {
    gradient_scale: f64,
    clip_norm: Option<f64>,
    clip_value: Option<f64>,
    non_finite: NonFinite,
}

/// What is rounded to the format of the parameters.
struct Numbers {
    factor: f64,
    limit: f64,
    weight_decay: f64,
    momentum: f64,
    taken: f64,
    decoupled: f64,
    rate: f64,
}

fn power(of: Binary, power: Power, v: f64) -> f64 {
    let root = |v: f64| of.sqrt(v.abs()).copysign(v);
    match power {
        Power::Zero if v == 0.0 || v.is_nan() => v,
        Power::Zero => 1.0_f64.copysign(v),
        Power::Quarter => root(root(v)),
        Power::Half => root(v),
        Power::ThreeQuarters => of.mul(root(v), of.sqrt(root(v).abs())),
        Power::One => v,
        Power::Smoothed { epsilon } => of.div(v, of.sqrt(of.add(v.abs(), of.round(epsilon)))),
        other => panic!("{other:?} is not in this oracle"),
    }
}

/// An element: the new parameter and what goes into the momentum.
#[allow(clippy::many_single_char_names, reason = "the names of the specification")]
fn element(
    of: Binary,
    rule: &Rule,
    n: &Numbers,
    first: bool,
    x: f64,
    m: f64,
    g: f64,
) -> (f64, f64) {
    let mut g = of.mul(n.factor, g);
    if g.abs() > n.limit {
        g = n.limit.copysign(g);
    }
    let mut d = if rule.power_of == PowerOf::Gradient { power(of, rule.power, g) } else { g };
    if n.weight_decay != 0.0 {
        d = of.add(d, of.mul(n.weight_decay, x));
    }
    let (mut m, mut u) = (m, d);
    if n.momentum != 0.0 {
        m = if first { -0.0 } else { m };
        m = of.add(of.mul(n.momentum, m), of.mul(n.taken, d));
        u = if rule.nesterov { of.add(d, of.mul(n.momentum, m)) } else { m };
    }
    if rule.power_of == PowerOf::Momentum {
        u = power(of, rule.power, u);
    }
    if n.decoupled != 0.0 {
        u = of.add(u, of.mul(n.decoupled, x));
    }
    (of.add(x, -of.mul(n.rate, u)), m)
}

/// What is left of a block of momentum in bytes.
fn int8(block: &mut [f64]) {
    let narrow: Vec<f64> = block.iter().map(|&m| F32.round(m)).collect();
    let finite = narrow.iter().all(|m| m.is_finite());
    let scale = narrow.iter().fold(0.0_f64, |scale, m| scale.max(m.abs()));
    let factor = F32.div(127.0, F32.add(scale, F32.round(1e-12)));
    for (m, narrow) in block.iter_mut().zip(narrow) {
        let code = F32.mul(narrow, factor);
        // The nearest integer, ties to even: no number of f32 so small has more than 16 places behind the point
        // that f64 would not keep.
        *m = if finite {
            F32.mul(code.round_ties_even() + 0.0, F32.div(scale, 127.0))
        } else {
            f64::NAN
        };
    }
}

/// A magnitude in units of bf16's last place at it, rounded by `round` to whole ones.
fn bf16_by(x: f64, round: impl FnOnce(f64) -> f64) -> f64 {
    if !x.is_finite() || x == 0.0 {
        return x;
    }
    let exponent = i64::try_from(x.abs().to_bits() >> 52).unwrap() - 1023;
    let unit = power_of_two(exponent.max(-126) - 7);
    let rounded = round(x.abs() / unit) * unit;
    (if rounded < power_of_two(128) { rounded } else { f64::INFINITY }).copysign(x)
}

/// The draw of stochastic rounding for an element.
fn random(seed: u64, step: u64, place: u32, index: u64) -> f64 {
    const WORD: u64 = 1 << 32;
    let c = index / 128 * 16 + index % 32 / 2;
    let second = c / WORD % (1 << 16) + (step / WORD % (1 << 16)) * (1 << 16);
    let mut words = [c % WORD, second, place.into(), step % WORD];
    let mut key = [seed % WORD, seed / WORD];
    for _ in 0..7 {
        let (a, b) = (words[0] * 0xD251_1F53, words[2] * 0xCD9E_8D57);
        words =
            [(b / WORD) ^ words[1] ^ key[0], b % WORD, (a / WORD) ^ words[3] ^ key[1], a % WORD];
        key = [(key[0] + 0x9E37_79B9) % WORD, (key[1] + 0xBB67_AE85) % WORD];
    }
    let word = words[usize::try_from(index % 128 / 32).unwrap()];
    let half = if index.is_multiple_of(2) { word % (1 << 16) } else { word >> 16 };
    half as f64
}

/// A number as it is stored, and what is left of it.
fn store(storage: Storage, x: f64, draw: impl FnOnce(u64) -> f64) -> (f64, f64) {
    let ties_away = |x| bf16_by(x, f64::round);
    match storage {
        Storage::Nearest => (BF16.round(x), BF16.round(x)),
        Storage::Stochastic { seed } => {
            let stored = bf16_by(x, |units| {
                let distance = ((units - units.floor()) * 65_536.0).floor();
                units.floor() + f64::from(u8::from(distance + draw(seed) >= 65_536.0))
            });
            (stored, stored)
        }
        Storage::Split16 => (ties_away(x), x),
        Storage::Split8 => (ties_away(UPPER24.round(x)), UPPER24.round(x)),
        Storage::Master => (BF16.round(x), x),
        other => panic!("{other:?} is not in this oracle"),
    }
}

impl Tensor {
    /// Stores what `x` has become in step number `step`: f32 and f64 are what they are computed in.
    fn store<T: Parameter>(&mut self, storage: Storage, step: u64) {
        if T::STORAGES.len() == 1 {
            self.stored.clone_from(&self.x);
            return;
        }
        for (index, (x, stored)) in (0..).zip(self.x.iter_mut().zip(&mut self.stored)) {
            (*stored, *x) = store(storage, *x, |seed| random(seed, step, self.place, index));
        }
    }

    fn step(&mut self, of: Binary, rule: &Rule, common: &Common, factor: f64, g: &[f64]) {
        let first = self.m.is_empty();
        let sign = if rule.maximize { -1.0 } else { 1.0 };
        let numbers = Numbers {
            factor: of.round(sign * factor),
            limit: of.round(common.clip_value.unwrap_or(f64::INFINITY)),
            weight_decay: of.round(rule.weight_decay),
            momentum: of.round(rule.momentum),
            taken: if first { 1.0 } else { of.round(F64.add(1.0, -rule.dampening)) },
            decoupled: of.round(rule.decoupled_weight_decay),
            rate: of.round(rule.learning_rate),
        };
        let mut momentum = if first { vec![-0.0; g.len()] } else { self.m.clone() };
        for ((x, m), &g) in self.x.iter_mut().zip(&mut momentum).zip(g) {
            (*x, *m) = element(of, rule, &numbers, first, *x, *m, g);
        }
        if numbers.momentum != 0.0 {
            match rule.momentum_format {
                MomentumFormat::Full => {}
                MomentumFormat::Bf16 => {
                    for m in &mut momentum {
                        *m = BF16.round(F32.round(*m));
                    }
                }
                MomentumFormat::Int8 => momentum.chunks_mut(128).for_each(int8),
                other => panic!("{other:?} is not in this oracle"),
            }
            self.m = momentum;
        }
    }
}

/// The global norm, in f64.
fn norm(gradients: &[&[f64]]) -> f64 {
    let all = || gradients.iter().flat_map(|gradient| gradient.iter());
    if all().any(|g| g.is_nan()) {
        return f64::NAN;
    }
    let largest = all().fold(0.0_f64, |largest, g| largest.max(g.abs()));
    let plain = largest == 0.0 || largest.is_infinite();
    let exponent = i64::try_from(largest.to_bits() >> 52).unwrap() - 1023;
    let (least, most) = (power_of_two(-480), power_of_two(480));
    let exponent = if plain || (least..=most).contains(&largest) { 0 } else { exponent };
    let scale = power_of_two(-exponent.clamp(-1000, 1000));
    let mut squares = 0.0;
    for block in gradients.iter().flat_map(|gradient| gradient.chunks(32_768)) {
        let mut sums = vec![0.0; 16];
        for (i, &g) in block.iter().enumerate() {
            let scaled = F64.mul(g, scale);
            sums[i % 16] = F64.add(sums[i % 16], F64.mul(scaled, scaled));
        }
        while sums.len() > 1 {
            let upper = sums.split_off(sums.len() / 2);
            sums = sums.iter().zip(upper).map(|(&a, b)| F64.add(a, b)).collect();
        }
        squares = F64.add(squares, sums[0]);
    }
    F64.div(F64.sqrt(squares), scale)
}

/// What all gradients are multiplied by.
fn factor(common: &Common, norm: f64) -> f64 {
    let scale = common.gradient_scale;
    let scaled = F64.mul(norm, scale);
    match common.clip_norm {
        Some(limit) if scaled > limit && F64.div(limit, scaled) < power_of_two(-1022) => {
            F64.div(limit, norm)
        }
        Some(limit) if scaled > limit || scaled.is_nan() => F64.mul(scale, F64.div(limit, scaled)),
        _ => scale,
    }
}

/// A source of settings and values.
struct Draw(Box<dyn FnMut() -> u64>);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0() % end
    }

    fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[usize::try_from(self.below(values.len() as u64)).unwrap()]
    }

    /// In (0, 1).
    fn share(&mut self) -> f64 {
        ((self.0() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    /// Any number, most of them of the size that gradients have.
    fn value<T: TestElement>(&mut self) -> T {
        match self.below(16) {
            0 => T::from_bits(self.0()),
            1 => self.of(&[0.0, -0.0, 1.0, -1.0].map(T::from_f64)),
            2 => T::from_bits(self.0() & 0xff), // Subnormal.
            3 => T::from_f64((self.share() - 0.5) * f64::from(self.of(&[1e30_f32, 1e-30, 1e-38]))),
            _ => self.usual(),
        }
    }

    /// Of the size that gradients have.
    fn usual<T: TestElement>(&mut self) -> T {
        T::from_f64((self.share() - 0.5) * self.of(&[1.0, 1e-3, 10.0]))
    }

    fn rule(&mut self, storages: &[Storage]) -> Rule {
        let powers = [
            Power::Zero,
            Power::Quarter,
            Power::Half,
            Power::ThreeQuarters,
            Power::One,
            Power::Smoothed { epsilon: self.share() / 100.0 },
        ];
        let mut rule = Rule::pbsgd(self.share(), self.of(&powers));
        rule.power_of = self.of(&[PowerOf::Gradient, PowerOf::Momentum]);
        rule.momentum_format =
            self.of(&[MomentumFormat::Full, MomentumFormat::Bf16, MomentumFormat::Int8]);
        if self.below(4) > 0 {
            rule.momentum = self.share() * 0.999;
            rule.nesterov = self.below(3) == 0;
            rule.dampening =
                if rule.nesterov || self.below(2) == 0 { 0.0 } else { self.share() * 0.999 };
        }
        rule.weight_decay = if self.below(2) == 0 { 0.0 } else { self.share() / 10.0 };
        rule.decoupled_weight_decay = if self.below(2) == 0 { 0.0 } else { self.share() / 10.0 };
        rule.maximize = self.below(3) == 0;
        rule.storage = match self.of(storages) {
            Storage::Stochastic { .. } => Storage::Stochastic { seed: self.0() },
            other => other,
        };
        rule
    }

    fn common(&mut self) -> Common {
        let share = [self.share(), self.share(), self.share()];
        Common {
            gradient_scale: self.of(&[1.0, 1.0 / 3.0, share[0], 1000.0 * share[0]]),
            clip_norm: self.of(&[None, Some(share[1]), Some(10.0 * share[1])]),
            clip_value: self.of(&[None, None, Some(share[2])]),
            non_finite: self.of(&[NonFinite::Propagate, NonFinite::Skip, NonFinite::Error]),
        }
    }
}

/// The types of parameters, with the storages that they allow.
trait Parameter: Element<Compute: TestElement> {
    const STORAGES: &'static [Storage] = &[Storage::Nearest];

    fn number(self) -> f64 {
        self.widen().to_f64()
    }
}

impl Parameter for f32 {}
impl Parameter for f64 {}
impl Parameter for bf16 {
    const STORAGES: &'static [Storage] = &[
        Storage::Nearest,
        Storage::Split16,
        Storage::Split8,
        Storage::Master,
        Storage::Stochastic { seed: 0 },
    ];
}

/// The parameters, and the numbers that they are a part of, are those of the oracle, `times` over.
fn compare<T: Parameter>(
    optimizer: &Optimizer<T>,
    x: &[T],
    tensor: &Tensor,
    times: usize,
    place: impl Fn() -> String,
) {
    assert_eq!(x.len(), tensor.x.len() * times);
    let mut numbers: Vec<T::Compute> = x.iter().map(|x| x.widen()).collect();
    // Before the first step that is taken the optimizer knows no tensors.
    if optimizer.tensors() > 0 {
        optimizer.read_master(usize::try_from(tensor.place).unwrap(), x, &mut numbers).unwrap();
    }
    let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
    let expected = tensor.stored.iter().zip(&tensor.x).cycle();
    for (k, ((x, number), expected)) in x.iter().zip(numbers).zip(expected).enumerate() {
        let (x, number) = (x.number(), number.to_f64());
        assert!(
            same(x, *expected.0) && same(number, *expected.1),
            "{}, element {k}: {x:?} of {number:?}, the oracle says {expected:?}",
            place()
        );
    }
}

/// An optimizer whose tensor `i` is in group `groups[i]`.
fn build<T: Parameter>(
    rules: &[Rule],
    groups: &[usize],
    common: &Common,
    executor: Executor,
) -> Optimizer<T> {
    let mut builder = Optimizer::<T>::builder(rules[0])
        .with_gradient_scale(common.gradient_scale)
        .with_non_finite(common.non_finite)
        .with_executor(executor);
    for (group, &rule) in rules.iter().enumerate().skip(1) {
        let tensors = (0..groups.len()).filter(|&tensor| groups[tensor] == group);
        builder = builder.with_group(rule, tensors);
    }
    if let Some(limit) = common.clip_norm {
        builder = builder.with_clip_norm(limit);
    }
    if let Some(limit) = common.clip_value {
        builder = builder.with_clip_value(limit);
    }
    builder.build().unwrap()
}

/// One configuration, four steps. Each tensor is the one of the oracle `times` over: more than once it is whole
/// blocks of int8, and nothing is clipped by the norm, whose sum knows no repetition, nor stored at random.
fn check<T: Parameter>(of: Binary, seed: u64, executor: Executor, times: usize) {
    let mut draw = Draw(Box::new(random_bits(seed)));
    let ways = T::STORAGES.len();
    let storages = &T::STORAGES[..if times > 1 { ways.min(4) } else { ways }];
    let rules: Vec<Rule> = (0..=draw.below(3)).map(|_| draw.rule(storages)).collect();
    let mut common = draw.common();
    let mut lengths: Vec<usize> =
        (0..draw.below(5)).map(|_| draw.of(&[0, 1, 3, 17, 64, 130, 300])).collect();
    if times > 1 {
        (lengths, common.clip_norm) = (vec![384, 128], None);
    }
    let groups: Vec<usize> =
        lengths.iter().map(|_| usize::try_from(draw.below(rules.len() as u64)).unwrap()).collect();
    let build = || build::<T>(&rules, &groups, &common, executor);
    let mut optimizer = build();
    // Beside the largest numbers the others vanish in a norm, and in a block of int8.
    let all_usual = draw.below(3) == 0;
    let tensor = |draw: &mut Draw, length: usize| -> Vec<T> {
        let usual = all_usual || draw.below(2) == 0;
        let mut value = || if usual { draw.usual() } else { draw.value() };
        (0..length).map(|_| T::nearest(value())).collect()
    };
    let first: Vec<Vec<T>> = lengths.iter().map(|&length| tensor(&mut draw, length)).collect();
    let wide = |values: &[T]| -> Vec<f64> { values.iter().map(|value| value.number()).collect() };
    let tensors = (0..).zip(&first);
    let mut oracle: Vec<Tensor> = tensors
        .map(|(place, x)| Tensor { place, x: wide(x), stored: wide(x), m: Vec::new() })
        .collect();
    let mut model: Vec<Vec<T>> = first.iter().map(|x| x.repeat(times)).collect();
    let (mut steps, one) = (0, T::Compute::from_f64(1.0));
    for round in 0..4 {
        // Gradients with values that are not finite are common enough to be left out half of the time.
        let tame = draw.below(2) == 0;
        let gradients: Vec<Option<Vec<T>>> = lengths
            .iter()
            .map(|&length| {
                let mut gradient = tensor(&mut draw, length);
                if tame {
                    gradient
                        .iter_mut()
                        .filter(|g| !g.number().is_finite())
                        .for_each(|g| *g = T::nearest(one));
                }
                (draw.below(5) > 0).then_some(gradient)
            })
            .collect();
        let given: Vec<Option<Vec<f64>>> =
            gradients.iter().map(|gradient| gradient.as_deref().map(wide)).collect();
        let present: Vec<&[f64]> = given.iter().flatten().map(Vec::as_slice).collect();
        let bad = present.iter().flat_map(|gradient| gradient.iter()).any(|g| !g.is_finite());
        let norm = norm(&present);
        let factor = factor(&common, norm);
        let vanishes = common.clip_norm.is_some() && !bad && of.round(factor) == 0.0;
        let gradients: Vec<Option<Vec<T>>> =
            gradients.iter().map(|gradient| Some(gradient.as_ref()?.repeat(times))).collect();
        let result = optimizer.step_with_missing(&mut model, &gradients);
        if bad && common.non_finite == NonFinite::Error {
            assert!(matches!(result, Err(Error::NonFiniteGradient { .. })), "{result:?}");
        } else if bad && common.non_finite == NonFinite::Skip {
            assert!(!result.unwrap().taken);
        } else if vanishes {
            assert!(matches!(result, Err(Error::InvalidSetting { .. })), "{result:?}");
        } else {
            assert!(result.unwrap().taken);
            for ((tensor, gradient), &group) in oracle.iter_mut().zip(&given).zip(&groups) {
                if let Some(gradient) = gradient {
                    tensor.step(of, &rules[group], &common, factor, gradient);
                    tensor.store::<T>(rules[group].storage, steps);
                }
            }
            steps += 1;
        }
        for (i, (x, tensor)) in model.iter().zip(&oracle).enumerate() {
            let (round, rule) = (format!("seed {seed}, round {round}"), &rules[groups[i]]);
            let place = || format!("{round}, tensor {i}, {rule:?}, {executor:?}");
            compare(&optimizer, x, tensor, times, place);
        }
        assert_eq!(optimizer.steps(), steps);
        if draw.below(3) == 0 {
            let state = optimizer.state();
            optimizer = build();
            if times == 1 {
                let text = serde_json::to_string(&state).unwrap();
                optimizer.restore(&serde_json::from_str::<State>(&text).unwrap()).unwrap();
            } else {
                optimizer.restore(&state).unwrap();
            }
        }
    }
}

fn check_all(configurations: u64) {
    let executors: Vec<Executor> = executors().collect();
    let pools = [1, 2, 3]
        .map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
    for seed in 0..configurations {
        let executor = executors[usize::try_from(seed).unwrap() % executors.len()];
        pools[usize::try_from(seed / 7 % 3).unwrap()].install(|| {
            check::<f32>(F32, 2 * seed, executor, 1);
            check::<f64>(F64, 2 * seed + 1, executor, 1);
            if seed.is_multiple_of(3) {
                check::<bf16>(F32, 1 << 32 | seed, executor, 1);
            }
        });
    }
}

/// Tensors so long that they are split over threads.
#[test]
fn long_tensors() {
    const TIMES: usize = 2800;
    const { assert!(384 * TIMES * size_of::<f32>() >= 4 << 20) };
    let executors: Vec<Executor> = executors().filter(|executor| executor.is_parallel()).collect();
    for seed in 0..8 {
        let threads = 2 + usize::try_from(seed).unwrap() % 3;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let executor = executors[usize::try_from(seed).unwrap() % executors.len()];
        pool.install(|| {
            check::<f32>(F32, 1000 + seed, executor, TIMES);
            check::<f64>(F64, 2000 + seed, executor, TIMES / 2);
            if seed < 3 {
                check::<bf16>(F32, 3000 + seed, executor, 2 * TIMES);
            }
        });
    }
}

#[test]
fn some_hundred_configurations() {
    check_all(150);
}

#[test]
#[ignore = "20,000 configurations: minutes, optimised"]
fn thousands_of_configurations() {
    check_all(10_000);
}
