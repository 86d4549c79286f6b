//! Parameters in 16 bits, in each way that they are stored: the optimizer against a scalar model written from the
//! documentation, and its state in every form.

use crate::layout::Layout;
use crate::support::{executors, random_bits, random_values, same, unit_values};
use half::{bf16, f16};
use rootstep::optimizer::{
    Momentum, MomentumFormat, NonFinite, Optimizer, Power, Rule, State, Step, Storage,
};
use rootstep::{Element, Error, Executor, reference};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

/// An element type of 16 bits.
trait Half: Layout + Element<Compute = f32> {
    /// All that it allows.
    const STORAGES: &'static [Storage];
    fn stochastic(x: f32, draw: u16) -> u16;
}

const SEEDS: [u64; 2] = [7, u64::MAX - 3];

impl Half for bf16 {
    const STORAGES: &'static [Storage] = &[
        Storage::Nearest,
        Storage::Stochastic { seed: SEEDS[0] },
        Storage::Split16,
        Storage::Split8,
        Storage::Master,
        Storage::Stochastic { seed: SEEDS[1] },
    ];
    fn stochastic(x: f32, draw: u16) -> u16 {
        reference::stochastic_bf16(x, draw)
    }
}

impl Half for f16 {
    const STORAGES: &'static [Storage] = &[
        Storage::Nearest,
        Storage::Stochastic { seed: SEEDS[0] },
        Storage::Master,
        Storage::Stochastic { seed: SEEDS[1] },
    ];
    fn stochastic(x: f32, draw: u16) -> u16 {
        reference::stochastic_f16(x, draw)
    }
}

fn bits<T: Half>(x: T) -> u16 {
    Layout::bits(x).try_into().unwrap()
}

fn widened<T: Half>(bits: u16) -> f32 {
    T::of_bits(bits.into()).read()
}

/// The bits of the nearest number.
fn nearest<T: Half>(x: f32) -> u16 {
    bits(T::rounded(x))
}

fn halves<T: Half>(numbers: &[f32]) -> Vec<T> {
    numbers.iter().map(|&x| T::rounded(x)).collect()
}

fn units(length: usize, seed: u64) -> Vec<f32> {
    let mut value = unit_values(seed);
    (0..length).map(|_| value()).collect()
}

/// A tensor as the documentation steps it.
#[derive(Clone)]
struct Tensor {
    rule: Rule,
    /// Its place in the model.
    place: u32,
    bits: Vec<u16>,
    /// The numbers that the bits have a part of; none before they are first needed, or where there are no others.
    numbers: Option<Vec<f32>>,
    m: Option<Vec<f32>>,
}

/// What is set for all tensors of a model at a step.
#[derive(Clone, Copy)]
struct Common {
    taken: u64,
    factor: f64,
    clip_value: f64,
}

impl Tensor {
    fn new<T: Half>(rule: Rule, place: usize, parameters: &[T]) -> Self {
        let bits = parameters.iter().copied().map(bits).collect();
        Self { rule, place: place.try_into().unwrap(), bits, numbers: None, m: None }
    }

    fn number<T: Half>(&self, i: usize) -> f32 {
        self.numbers.as_ref().map_or_else(|| widened::<T>(self.bits[i]), |numbers| numbers[i])
    }

    fn store<T: Half>(&mut self, i: usize, x: f32, taken: u64) {
        let (bits, number) = match self.rule.storage {
            Storage::Nearest => (nearest::<T>(x), None),
            Storage::Stochastic { seed } => {
                let draw = reference::draw(seed, taken, self.place, i as u64);
                (T::stochastic(x, draw), None)
            }
            Storage::Split16 => {
                let (high, low) = reference::split16(x);
                (high, Some(reference::join16(high, low)))
            }
            Storage::Split8 => {
                let (high, low) = reference::split8(x);
                (high, Some(reference::join8(high, low)))
            }
            Storage::Master => (nearest::<T>(x), Some(x)),
            other => panic!("{other:?} is not in this model"),
        };
        self.bits[i] = bits;
        if let Some(number) = number {
            self.numbers.as_mut().unwrap()[i] = number;
        }
    }

    fn begin<T: Half>(&mut self) {
        if !matches!(self.rule.storage, Storage::Nearest | Storage::Stochastic { .. }) {
            let numbers = self.bits.iter().map(|&bits| widened::<T>(bits)).collect();
            self.numbers.get_or_insert(numbers);
        }
    }

    fn step<T: Half>(&mut self, gradient: &[f32], common: Common) {
        let step = if self.m.is_none() { Step::first(&self.rule) } else { Step::later(&self.rule) };
        let step = step.unwrap().with_gradient_factor(common.factor).unwrap();
        let step = step.with_clip_value(common.clip_value).unwrap();
        self.begin::<T>();
        let mut m = self.m.clone().unwrap_or_else(|| vec![0.0; gradient.len()]);
        for (i, &g) in gradient.iter().enumerate() {
            let x;
            (x, m[i]) = reference::step(&step, self.number::<T>(i), m[i], g);
            self.store::<T>(i, x, common.taken);
        }
        match self.rule.momentum_format {
            MomentumFormat::Bf16 => {
                for m in &mut m {
                    *m = reference::bf16_momentum(*m);
                }
            }
            MomentumFormat::Int8 => m.chunks_mut(128).for_each(reference::int8_momentum),
            _ => {}
        }
        self.m = (self.rule.momentum != 0.0).then_some(m);
    }

    /// The bytes of the optimizer's for it.
    fn bytes(&self) -> usize {
        let each = match self.rule.storage {
            Storage::Split16 => 2,
            Storage::Split8 => 1,
            Storage::Master => 4,
            _ => 0,
        };
        self.numbers.as_ref().map_or(0, |numbers| numbers.len() * each)
    }

    fn assert_is<T: Half, G: Element<Compute = f32>>(
        &self,
        optimizer: &Optimizer<T, G>,
        tensor: usize,
        parameters: &[T],
    ) {
        let mut numbers = vec![0.0; parameters.len()];
        optimizer.read_master(tensor, parameters, &mut numbers).unwrap();
        for (i, (x, number)) in parameters.iter().zip(numbers).enumerate() {
            let place = format!("element {i} of tensor {tensor}, {:?}", self.rule);
            let [found, own] = [bits(*x), self.bits[i]].map(widened::<T>);
            assert!(bits(*x) == self.bits[i] || same(found, own), "{place}: {found}, not {own}");
            assert!(same(number, self.number::<T>(i)), "{place}: the number is {number}");
        }
    }
}

const FORMATS: [Option<MomentumFormat>; 4] =
    [None, Some(MomentumFormat::Full), Some(MomentumFormat::Bf16), Some(MomentumFormat::Int8)];

/// Steps that are smaller than the last places of 16 bits.
fn rule(momentum: Option<MomentumFormat>) -> Rule {
    let rule = Rule::pbsgd(0.002, Power::Half).with_weight_decay(0.01);
    match momentum {
        None => rule,
        Some(format) => rule.with_momentum(0.9).with_dampening(0.1).with_momentum_format(format),
    }
}

/// Several steps of a model with a group for each storage, two tensors in each, and one more later: some gradients are
/// missing, some not finite, some clipped.
fn train<T: Half, G: Element<Compute = f32>>(
    momentum: Option<MomentumFormat>,
    executor: Executor,
    policy: NonFinite,
) {
    let ways = T::STORAGES.len();
    let (limit, clip_value, scale) = (3.0, 0.1, 0.5);
    let rules: Vec<Rule> =
        T::STORAGES.iter().map(|&storage| rule(momentum).with_storage(storage)).collect();
    let mut builder = Optimizer::<T>::builder(rules[0]).with_gradients::<G>();
    for (i, &rule) in rules.iter().enumerate().skip(1) {
        builder = builder.with_group(rule, [i, i + ways]);
    }
    let builder = builder.with_gradient_scale(scale).with_clip_norm(limit);
    let builder = builder.with_clip_value(clip_value).with_non_finite(policy);
    let mut optimizer = builder.with_executor(executor).build().unwrap();
    let length = |tensor: usize| if tensor == 2 { 0 } else { 120 + 9 * tensor };
    let tensor = |i: usize| halves::<T>(&units(length(i), 50 + i as u64));
    let mut parameters: Vec<Vec<T>> = (0..2 * ways).map(tensor).collect();
    let mut model: Vec<Tensor> =
        parameters.iter().enumerate().map(|(i, x)| Tensor::new(rules[i % ways], i, x)).collect();
    let mut taken = 0;
    for round in 0..7_u64 {
        if round == 3 {
            for group in (0..ways).rev() {
                let place = optimizer.add_tensor(group).unwrap();
                parameters.push(tensor(place));
                model.push(Tensor::new(rules[group], place, &parameters[place]));
            }
        }
        // Every other gradient is so small that it is not clipped.
        let size = if round.is_multiple_of(2) { 1.0 } else { 0.01 };
        let mut gradients: Vec<Option<Vec<G>>> = (0..model.len())
            .map(|i| {
                let values = units(length(i), 1000 * (round + 1) + i as u64);
                let gradient = values.iter().map(|&g| G::nearest(g * size)).collect();
                (round != 4 && (i as u64 + round) % 5 != 4).then_some(gradient)
            })
            .collect();
        let bad = matches!(round, 0 | 5);
        if bad {
            gradients[1].as_mut().unwrap()[17] = G::nearest(f32::INFINITY);
        }
        let before = optimizer.state();
        let result = optimizer.step_with_missing(&mut parameters, &gradients);
        match (bad, policy) {
            (true, NonFinite::Error) => {
                assert!(matches!(result, Err(Error::NonFiniteGradient { tensor: 1, .. })));
            }
            _ => assert_eq!(result.unwrap().taken, !bad),
        }
        if bad {
            assert_eq!(optimizer.state(), before);
        } else {
            let wide = |gradient: &Vec<G>| gradient.iter().map(|g| g.widen()).collect();
            let wide: Vec<Option<Vec<f32>>> =
                gradients.iter().map(|gradient| gradient.as_ref().map(wide)).collect();
            let present: Vec<&[f32]> = wide.iter().flatten().map(Vec::as_slice).collect();
            let norm = reference::inspect(&present).norm * scale;
            let factor = if norm > limit { scale * (limit / norm) } else { scale };
            for (tensor, gradient) in model.iter_mut().zip(&wide) {
                if let Some(gradient) = gradient {
                    tensor.step::<T>(gradient, Common { taken, factor, clip_value });
                }
            }
            taken += 1;
        }
        assert_eq!(optimizer.steps(), taken);
        assert_eq!(optimizer.storage_bytes(), model.iter().map(Tensor::bytes).sum::<usize>());
        if round > 0 {
            for (i, (tensor, parameters)) in model.iter().zip(&parameters).enumerate() {
                tensor.assert_is(&optimizer, i, parameters);
            }
        } else {
            let untouched: Vec<Vec<T>> = (0..2 * ways).map(tensor).collect();
            assert!(parameters == untouched);
        }
    }
    assert!(model.iter().any(|tensor| tensor.numbers.is_some()));
}

fn train_all<T: Half, G: Element<Compute = f32>>() {
    for momentum in FORMATS {
        for (i, executor) in executors().enumerate() {
            let policy = [NonFinite::Skip, NonFinite::Error][i % 2];
            train::<T, G>(momentum, executor, policy);
        }
    }
}

#[test]
fn bf16_with_every_storage() {
    train_all::<bf16, bf16>();
    train_all::<bf16, f32>();
}

#[test]
fn f16_with_every_storage() {
    train_all::<f16, f16>();
    train_all::<f16, f32>();
}

/// Tensors so long that they are split over threads.
#[test]
#[cfg(feature = "rayon")]
fn long_tensors() {
    const LENGTH: usize = 300_007;
    const { assert!(6 * 2 * LENGTH * size_of::<bf16>() >= 4 << 20) };
    let momentum = rule(Some(MomentumFormat::Bf16));
    let mut builder = Optimizer::<bf16>::builder(momentum);
    for (i, &storage) in bf16::STORAGES.iter().enumerate() {
        builder = builder.with_group(momentum.with_storage(storage), [i]);
    }
    let mut optimizer = builder.with_executor(Executor::default().parallel()).build().unwrap();
    let start: Vec<bf16> = halves(&units(LENGTH, 1));
    let mut parameters = vec![start; bf16::STORAGES.len()];
    let tensors = bf16::STORAGES.iter().zip(&parameters).enumerate();
    let mut model: Vec<Tensor> = tensors
        .map(|(i, (&storage, x))| Tensor::new(momentum.with_storage(storage), i, x))
        .collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for taken in 0..2 {
        let gradient: Vec<bf16> = halves(&units(LENGTH, 2 + taken));
        let wide: Vec<f32> = gradient.iter().map(|g| g.to_f32()).collect();
        let gradients = vec![gradient; parameters.len()];
        pool.install(|| optimizer.step(&mut parameters, &gradients)).unwrap();
        for tensor in &mut model {
            let common = Common { taken, factor: 1.0, clip_value: f64::from(f32::MAX) };
            tensor.step::<bf16>(&wide, common);
        }
    }
    for (i, (tensor, parameters)) in model.iter().zip(&parameters).enumerate() {
        tensor.assert_is(&optimizer, i, parameters);
    }
}

/// By names, in any order, the draws are those of the places in the model.
#[test]
fn draws_go_by_the_place_in_the_model() {
    let rule = rule(None).with_storage(Storage::Stochastic { seed: 3 });
    let build = || Optimizer::<bf16>::builder(rule).with_names(["a", "b"]).build().unwrap();
    let (mut one, mut other) = (build(), build());
    let start: Vec<bf16> = halves(&units(200, 1));
    let (mut x, mut a, mut b) = ([start.clone(), start.clone()], start.clone(), start);
    for seed in 5..8 {
        let gradient: Vec<bf16> = halves(&units(200, seed));
        one.step(&mut x, &[&gradient[..], &gradient]).unwrap();
        let tensors = [("b", &mut b[..], Some(&gradient[..])), ("a", &mut a[..], Some(&gradient))];
        other.step_named(tensors).unwrap();
    }
    assert!(x[0] == a && x[1] == b && a != b);
}

/// Split into 32 bits, or with a master, the training is that of f32: numbers of every class included.
fn equals_f32<T: Half, G: Element<Compute = f32>>() {
    for (i, momentum) in FORMATS.into_iter().enumerate() {
        let rule = rule(momentum).with_power([Power::One, Power::Half][i % 2]);
        for &storage in T::STORAGES {
            if !matches!(storage, Storage::Split16 | Storage::Master) {
                continue;
            }
            let build = |rule| Optimizer::<f32>::builder(rule).with_gradients::<G>().build();
            let mut single = build(rule).unwrap();
            let builder = Optimizer::<T>::builder(rule.with_storage(storage)).with_gradients::<G>();
            let mut optimizer = builder.build().unwrap();
            // Of what shares a block of int8 with infinity nothing is left to compare.
            let usual = halves(&units(1000, 1));
            let mut parameters: [Vec<T>; 2] = [usual, halves(&random_values(1000, 2))];
            let mut expected: Vec<Vec<f32>> =
                parameters.iter().map(|x| x.iter().map(|x| x.widen()).collect()).collect();
            for seed in 0..6 {
                let values = [units(1000, 10 + seed), random_values(1000, 20 + seed)];
                let gradients: Vec<Vec<G>> = values
                    .iter()
                    .map(|values| values.iter().map(|&g| G::nearest(g)).collect())
                    .collect();
                single.step(&mut expected, &gradients).unwrap();
                optimizer.step(&mut parameters, &gradients).unwrap();
                for (i, (x, expected)) in parameters.iter().zip(&expected).enumerate() {
                    let mut numbers = vec![0.0; 1000];
                    optimizer.read_master(i, x, &mut numbers).unwrap();
                    for ((x, number), &expected) in x.iter().zip(numbers).zip(expected) {
                        assert!(same(number, expected), "{storage:?}: {number}, not {expected}");
                        let specified = match storage {
                            Storage::Split16 => reference::split16(expected).0,
                            _ => nearest::<T>(expected),
                        };
                        assert!(
                            same(widened::<T>(bits(*x)), widened::<T>(specified)),
                            "{storage:?}: {x}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn training_of_f32_in_16_bits_and_more() {
    equals_f32::<bf16, bf16>();
    equals_f32::<f16, f32>();
}

/// What the storage keeps of a number.
fn kept<T: Half>(storage: Storage, x: f32) -> (u16, f32) {
    match storage {
        Storage::Split16 => (reference::split16(x).0, x),
        Storage::Split8 => {
            let (high, low) = reference::split8(x);
            (high, reference::join8(high, low))
        }
        Storage::Master => (nearest::<T>(x), x),
        _ => (nearest::<T>(x), widened::<T>(nearest::<T>(x))),
    }
}

/// Numbers that are written are read back, before the first step and later, and are what the next step begins with.
fn masters<T: Half>() {
    let length = 3000;
    for &storage in T::STORAGES {
        let rule = rule(Some(MomentumFormat::Full)).with_storage(storage);
        let builder = || Optimizer::<T>::builder(rule);
        let mut by_index = builder().build().unwrap();
        assert_eq!(by_index.add_tensor(0).unwrap(), 0);
        for (mut optimizer, is_named) in
            [(builder().with_names(["w"]).build().unwrap(), true), (by_index, false)]
        {
            let mut parameters = vec![halves::<T>(&units(length, 1))];
            let mut model = Tensor::new(rule, 0, &parameters[0]);
            for round in 0..3 {
                // First any numbers; then such as can be trained.
                for numbers in [random_values(length, 5 + round), units(length, 6 + round)] {
                    optimizer.write_master(0, &numbers, &mut parameters[0]).unwrap();
                    let mut read = vec![0.0; length];
                    optimizer.read_master(0, &parameters[0], &mut read).unwrap();
                    model.begin::<T>();
                    for (i, &written) in numbers.iter().enumerate() {
                        let (bits, number) = kept::<T>(storage, written);
                        let found = parameters[0][i].read();
                        let own = widened::<T>(bits);
                        assert!(same(found, own), "{storage:?}, {i}: {found}, not {own}");
                        assert!(same(read[i], number), "{storage:?}, {i}: {number}");
                        model.bits[i] = bits;
                        if let Some(numbers) = &mut model.numbers {
                            numbers[i] = number;
                        }
                    }
                    assert_eq!(optimizer.storage_bytes(), model.bytes());
                    // It is part of the state, before the first step, too.
                    let mut again = if is_named { builder().with_names(["w"]) } else { builder() }
                        .build()
                        .unwrap();
                    again.restore(&optimizer.state()).unwrap();
                    assert_eq!(again.state(), optimizer.state());
                }
                let gradient = units(length, 100 + round);
                optimizer.step(&mut parameters, &[halves::<T>(&gradient)]).unwrap();
                let gradient: Vec<f32> =
                    gradient.iter().map(|&g| widened::<T>(nearest::<T>(g))).collect();
                let clip_value = f64::from(f32::MAX);
                model.step::<T>(&gradient, Common { taken: round, factor: 1.0, clip_value });
                model.assert_is(&optimizer, 0, &parameters[0]);
            }
        }
    }
}

#[test]
fn masters_in_bf16() {
    masters::<bf16>();
}

#[test]
fn masters_in_f16() {
    masters::<f16>();
}

#[test]
fn masters_in_f32_are_the_parameters() {
    let mut optimizer =
        Optimizer::<f32>::builder(Rule::sgd(0.1)).with_names(["w"]).build().unwrap();
    let (mut parameters, mut numbers) = ([0.0; 3], [0.0; 3]);
    optimizer.write_master(0, &[0.1, -0.0, f32::MAX], &mut parameters).unwrap();
    optimizer.read_master(0, &parameters, &mut numbers).unwrap();
    assert_eq!(parameters.map(f32::to_bits), [0.1, -0.0, f32::MAX].map(f32::to_bits));
    assert_eq!(numbers.map(f32::to_bits), parameters.map(f32::to_bits));
}

/// Before the first step, a momentum that is taken away leaves the length of what is kept beside the parameters.
#[test]
fn the_length_of_what_is_written() {
    for storage in [Storage::Split16, Storage::Split8, Storage::Master] {
        let rule = rule(Some(MomentumFormat::Full)).with_storage(storage);
        let build = || Optimizer::<bf16>::builder(rule).with_names(["w"]).build().unwrap();
        let mut optimizer = build();
        optimizer.write_master(0, &[0.1; 5], &mut [bf16::ZERO; 5]).unwrap();
        optimizer.replace_momentum(0, Momentum::None).unwrap();
        build().restore(&optimizer.state()).unwrap();
        let error = optimizer.step(&mut [[bf16::ONE; 3]], &[[bf16::ONE; 3]]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "tensor 0 (`w`) has 3 parameters and a gradient of 3 elements; allowed: the same number, 5 as before"
        );
    }
}

/// A tensor for each storage, with momentum in all formats.
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const LENGTHS: [usize; 6] = [20, 5, 13, 7, 9, 150];

fn rules<T: Half>() -> Vec<Rule> {
    let storages = T::STORAGES.iter().zip(FORMATS.into_iter().cycle().skip(1));
    storages.map(|(&storage, format)| rule(format).with_storage(storage)).collect()
}

fn named<T: Half>() -> Optimizer<T> {
    let rules = rules::<T>();
    let mut builder = Optimizer::builder(rules[0]).with_names(NAMES[..rules.len()].iter().copied());
    for (&rule, name) in rules.iter().zip(NAMES).skip(1) {
        builder = builder.with_named_group(rule, [name]);
    }
    builder.build().unwrap()
}

fn by_index<T: Half>() -> Optimizer<T> {
    let rules = rules::<T>();
    let mut builder = Optimizer::builder(rules[0]);
    for (i, &rule) in rules.iter().enumerate().skip(1) {
        builder = builder.with_group(rule, [i]);
    }
    builder.build().unwrap()
}

fn tensors<T: Half>(seed: u64) -> Vec<Vec<T>> {
    let lengths = LENGTHS.iter().zip(T::STORAGES);
    lengths.map(|(&length, _)| halves(&units(length, seed + length as u64))).collect()
}

fn advance<T: Half>(optimizer: &mut Optimizer<T>, parameters: &mut [Vec<T>], steps: u64) {
    for _ in 0..steps {
        optimizer.step(parameters, &tensors(1000 * (1 + optimizer.steps()))).unwrap();
    }
}

fn on_its_way<T: Half>() -> Optimizer<T> {
    let mut optimizer = named();
    advance(&mut optimizer, &mut tensors(1), 3);
    optimizer
}

fn file<T: Half>(optimizer: &Optimizer<T>) -> Vec<u8> {
    let mut file = Vec::new();
    optimizer.write_safetensors(&mut file).unwrap();
    file
}

/// From one optimizer to another.
type Way<'a, T> = &'a dyn Fn(&Optimizer<T>, &mut Optimizer<T>);

/// Saved and loaded in every way after `before` steps; the next ones are those of a run without interruption.
fn resume<T: Half>() {
    let path =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("storage-{}", T::TYPE));
    let ways: [Way<T>; 4] = [
        &|from, to| to.restore(&from.state()).unwrap(),
        &|from, to| {
            let text = serde_json::to_string(&from.state()).unwrap();
            to.restore(&serde_json::from_str(&text).unwrap()).unwrap();
        },
        &|from, to| to.read_safetensors(&file(from)[..]).unwrap(),
        &|from, to| {
            from.save_safetensors(&path).unwrap();
            to.load_safetensors(&path).unwrap();
        },
    ];
    for build in [named::<T>, by_index] {
        for before in [0, 1, 3] {
            let mut whole = tensors::<T>(1);
            advance(&mut build(), &mut whole, before + 3);
            let (mut first, mut interrupted) = (build(), tensors(1));
            advance(&mut first, &mut interrupted, before);
            for way in ways {
                let mut late = build();
                advance(&mut late, &mut tensors(7), before + 1);
                for mut second in [build(), late] {
                    way(&first, &mut second);
                    if before > 0 {
                        assert_eq!(second.state(), first.state());
                    }
                    let mut interrupted = interrupted.clone();
                    advance(&mut second, &mut interrupted, 3);
                    assert!(interrupted == whole, "{} after {before} steps", T::TYPE);
                }
            }
        }
    }
}

#[test]
fn resumed_runs_give_the_same_bits() {
    resume::<bf16>();
    resume::<f16>();
}

/// Another program finds what it expects in the file; the same state gives the same bytes.
#[test]
fn the_file_holds_the_storage_by_name() {
    let first = on_its_way::<bf16>();
    let bytes = file(&first);
    let read = SafeTensors::deserialize(&bytes).unwrap();
    let mut found: Vec<_> = read
        .iter()
        .filter(|(key, _)| !key.contains("momentum"))
        .map(|(key, view)| (key, view.dtype(), view.shape().to_vec()))
        .collect();
    found.sort_by_key(|(key, ..)| (*key).to_owned());
    let expected = [
        ("c.low", Dtype::I16, vec![13]),
        ("d.low", Dtype::I8, vec![7]),
        ("e.master", Dtype::F32, vec![9]),
    ];
    assert_eq!(found, expected);
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().as_ref().unwrap();
    let storages = NAMES.map(|name| metadata.get(&format!("{name}.storage")).map(String::as_str));
    let stochastic = ["stochastic 7", "stochastic 18446744073709551612"];
    let [low, high] = stochastic.map(Some);
    assert_eq!(storages, [None, low, Some("split16"), Some("split8"), Some("master"), high]);
    for _ in 0..10 {
        assert!(file(&on_its_way::<bf16>()) == bytes);
    }
    let mut second = named::<bf16>();
    second.read_safetensors(&bytes[..]).unwrap();
    assert!(file(&second) == bytes);
}

/// Whatever bit of the data is flipped, the file is refused; one of the header's may say the same.
#[test]
fn flipped_bits_of_a_file() {
    let optimizer = on_its_way::<bf16>();
    let (right, new, bytes) = (optimizer.state(), named::<bf16>().state(), file(&optimizer));
    let data = 8 + usize::from(bytes[0]) + 256 * usize::from(bytes[1]);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let mut optimizer = named::<bf16>();
        let taken = optimizer.read_safetensors(&flipped[..]).is_ok();
        assert!(!(taken && bit / 8 >= data), "bit {bit}");
        assert!(optimizer.state() == if taken { right.clone() } else { new.clone() }, "bit {bit}");
    }
}

/// An optimizer on its way, which must be as it was after `restore` has failed.
fn refused(restore: impl FnOnce(&mut Optimizer<bf16>) -> Result<(), Error>) -> String {
    let mut optimizer = on_its_way();
    let before = optimizer.state();
    let error = restore(&mut optimizer).unwrap_err();
    assert!(optimizer.state() == before);
    let text = error.to_string();
    text.strip_prefix("the optimizer's state cannot be restored: ").unwrap().to_owned()
}

/// The state as JSON, changed, and with its checksum or as one of version 1, which has none.
fn changed(version: u64, change: impl FnOnce(&mut Value)) -> State {
    let mut state = serde_json::to_value(on_its_way::<bf16>().state()).unwrap();
    if version == 1 {
        (state["version"], state["checksum"]) = (1.into(), Value::Null);
    }
    change(&mut state["tensors"]);
    serde_json::from_value(state).unwrap()
}

/// What is changed of the tensors of a state.
type Change = fn(&mut Value);

#[test]
fn changed_states() {
    let refused =
        |version, change: Change| refused(|optimizer| optimizer.restore(&changed(version, change)));
    let damages: [Change; 8] = [
        |t| t[1]["storage"] = json!({ "Stochastic": { "seed": 8 } }),
        |t| t[1]["storage"] = json!("Nearest"),
        |t| t[2]["storage"] = json!("Split8"),
        |t| t[2]["extra"] = Value::Null,
        |t| t[2]["extra"] = json!({ "Split8": vec![0; 26] }),
        |t| t[0]["extra"] = json!({ "Split8": vec![0; 20] }),
        |t| t[3]["extra"]["Split8"][0] = json!(t[3]["extra"]["Split8"][0].as_i64().unwrap() ^ 1),
        |t| t[4]["extra"]["Master"].as_array_mut().unwrap().swap(0, 1),
    ];
    for damage in damages {
        let problem = refused(2, damage);
        assert!(problem.starts_with("it is damaged: its checksum is "), "{problem}");
    }
    let problems: [(&str, Change); 6] = [
        ("tensor `c` has 3 elements beside the parameters; allowed: 13", |t| {
            t[2]["extra"] = json!({ "Split16": vec![0; 3] });
        }),
        ("tensor `e` has 10 elements beside the parameters; allowed: 9", |t| {
            t[4]["extra"] = json!({ "Master": vec![0; 10] });
        }),
        ("tensor `c` was stored as split8; allowed: split16, as its rule says", |t| {
            t[2]["extra"] = json!({ "Split8": vec![0; 13] });
        }),
        ("tensor `a` was stored as master; allowed: nearest, as its rule says", |t| {
            t[0]["extra"] = json!({ "Master": vec![0; 20] });
        }),
        ("tensor `b` was stored as split16; allowed: stochastic, as its rule says", |t| {
            t[1]["extra"] = json!({ "Split16": vec![0; 5] });
        }),
        ("tensor `d` was stored as nearest; allowed: split8, as its rule says", |t| {
            t[3].as_object_mut().unwrap().retain(|key, _| key != "storage" && key != "extra");
        }),
    ];
    for (expected, change) in problems {
        assert_eq!(refused(1, change), expected);
    }
    let length = "tensor `w` has more than its parameters and no length";
    let rule = rule(None).with_storage(Storage::Split8);
    let build = || Optimizer::<bf16>::builder(rule).with_names(["w"]).build().unwrap();
    let mut state = serde_json::to_value(build().state()).unwrap();
    (state["version"], state["checksum"]) = (1.into(), Value::Null);
    state["tensors"][0]["extra"] = json!({ "Split8": [0] });
    let error = build().restore(&serde_json::from_value(state).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), format!("the optimizer's state cannot be restored: {length}"));
}

/// Each storage against each other, by a state and by a file.
#[test]
fn states_of_another_storage() {
    let with = |storage| {
        let rule = rule(None).with_storage(storage);
        Optimizer::<bf16>::builder(rule).with_names(["w"]).build().unwrap()
    };
    let name = |storage| match storage {
        Storage::Stochastic { .. } => "stochastic",
        Storage::Split16 => "split16",
        Storage::Split8 => "split8",
        Storage::Master => "master",
        _ => "nearest",
    };
    for &given in bf16::STORAGES {
        let mut saved = with(given);
        saved.step(&mut [[bf16::ONE; 3]], &[[bf16::ONE; 3]]).unwrap();
        for &own in bf16::STORAGES {
            let mut by_state = with(own);
            let results = [by_state.restore(&saved.state()), {
                with(own).read_safetensors(&file(&saved)[..])
            }];
            for result in results {
                // Another seed is another training, as another rate is; what is kept is the same.
                if name(given) == name(own) {
                    result.unwrap();
                    continue;
                }
                assert_eq!(
                    result.unwrap_err().to_string(),
                    format!(
                        "the optimizer's state cannot be restored: tensor `w` was stored as {}; allowed: \
                         {}, as its rule says",
                        name(given),
                        name(own)
                    )
                );
            }
        }
    }
}

/// The file with other metadata and tensors: the change is given the metadata, and all data by their keys.
type Data = Vec<(String, Dtype, Vec<u8>)>;

fn rewritten(
    change: impl FnOnce(&mut std::collections::HashMap<String, String>, &mut Data),
) -> Vec<u8> {
    let bytes = file(&on_its_way::<bf16>());
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().as_ref().unwrap();
    let mut metadata = metadata.iter().map(|(a, b)| (a.clone(), b.clone())).collect();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = tensors.iter();
    let mut data =
        tensors.map(|(key, view)| (key.to_owned(), view.dtype(), view.data().to_vec())).collect();
    change(&mut metadata, &mut data);
    let views = data.iter().map(|(key, dtype, data)| {
        let length = data.len() * 8 / dtype.bitsize();
        (key, TensorView::new(*dtype, vec![length], data).unwrap())
    });
    safetensors::serialize(views, Some(metadata)).unwrap()
}

#[test]
fn changed_files() {
    let refused = |bytes: Vec<u8>| refused(|optimizer| optimizer.read_safetensors(&bytes[..]));
    named::<bf16>().read_safetensors(&rewritten(|_, _| {})[..]).unwrap();
    let seed = |text: &'static str| {
        rewritten(move |metadata, _| *metadata.get_mut("b.storage").unwrap() = text.to_owned())
    };
    let without =
        |end: &'static str| rewritten(move |_, data| data.retain(|(key, ..)| !key.ends_with(end)));
    let of_type = |end: &'static str, other: Dtype| {
        rewritten(move |_, data| {
            let found = data.iter_mut().find(|(key, ..)| key.ends_with(end)).unwrap();
            found.1 = other;
        })
    };
    let damaged = [
        seed("stochastic 8"),
        seed("split16"),
        rewritten(|metadata, _| drop(metadata.remove("b.storage"))),
        rewritten(|metadata, _| drop(metadata.remove("e.storage"))),
        without("c.low"),
        without("d.low"),
        without("e.master"),
        rewritten(|_, data| data.push(("a.low".to_owned(), Dtype::I8, vec![0; 20]))),
        rewritten(|_, data| data.push(("a.master".to_owned(), Dtype::F32, vec![0; 80]))),
        rewritten(|_, data| {
            for (key, ..) in data {
                match &key[..] {
                    "c.low" => "d.low".clone_into(key),
                    "d.low" => "c.low".clone_into(key),
                    _ => {}
                }
            }
        }),
    ];
    for bytes in damaged {
        let problem = refused(bytes);
        assert!(problem.starts_with("it is damaged: its checksum is "), "{problem}");
    }
    let more = |key: &'static str, dtype, bytes| {
        refused(rewritten(move |_, data| data.push((key.to_owned(), dtype, vec![0; bytes]))))
    };
    for (given, expected) in [
        (
            refused(seed("stochastic")),
            "`b.storage` is `stochastic`; allowed: split16, split8, master, stochastic and a seed",
        ),
        (
            refused(seed("stochastic 18446744073709551616")),
            "`b.storage` is `stochastic 18446744073709551616`; allowed: split16, split8, master, stochastic \
             and a seed",
        ),
        (
            refused(of_type("c.low", Dtype::I8)),
            "tensor `c` was stored as split8; allowed: split16, as its rule says",
        ),
        (refused(of_type("c.low", Dtype::U16)), "`c.low` is U16; allowed: I16 or I8"),
        (refused(of_type("d.low", Dtype::U8)), "`d.low` is U8; allowed: I16 or I8"),
        (refused(of_type("e.master", Dtype::I32)), "`e.master` is I32; allowed: F32"),
        (more("x.low", Dtype::I8, 3), "the file's metadata has no `x.length`"),
        (more("x.master", Dtype::F32, 8), "the file's metadata has no `x.length`"),
        // What is larger comes first in the file.
        (more("d.master", Dtype::F32, 28), "it has both `d.low` and `d.master`"),
        (more("e.low", Dtype::I8, 9), "it has both `e.low` and `e.master`"),
        (more("c.high", Dtype::I8, 9), "`c.high` is not part of the state of a tensor"),
    ] {
        assert_eq!(given, expected);
    }
}

/// Two tensors of one length and one storage are not taken for each other.
#[test]
fn tensors_that_are_alike() {
    for storage in [Storage::Split16, Storage::Split8, Storage::Master] {
        let rule = rule(None).with_storage(storage);
        let build = || Optimizer::<bf16>::builder(rule).with_names(["a", "b"]).build().unwrap();
        let mut optimizer = build();
        let mut parameters: [Vec<bf16>; 2] = [1, 2].map(|seed| halves(&units(9, seed)));
        optimizer
            .step(&mut parameters, &[3, 4].map(|seed| halves::<bf16>(&units(9, seed))))
            .unwrap();
        let state = optimizer.state();
        let mut value = serde_json::to_value(&state).unwrap();
        let (mut by_state, mut by_file) = (build(), build());
        by_state.restore(&serde_json::from_value(value.clone()).unwrap()).unwrap();
        by_file.read_safetensors(&file(&optimizer)[..]).unwrap();
        for again in [by_state, by_file] {
            assert_eq!(again.state(), state);
            for (i, x) in parameters.iter().enumerate() {
                let [mut found, mut expected] = [[0.0; 9]; 2];
                again.read_master(i, x, &mut found).unwrap();
                optimizer.read_master(i, x, &mut expected).unwrap();
                assert_eq!(found, expected);
            }
        }
        let first = value["tensors"][0]["extra"].take();
        value["tensors"][0]["extra"] = value["tensors"][1]["extra"].take();
        value["tensors"][1]["extra"] = first;
        let error = build().restore(&serde_json::from_value(value).unwrap()).unwrap_err();
        assert!(error.to_string().contains("it is damaged: "), "{error}");
    }
}

/// What was saved before there were storages.
#[test]
fn states_of_before() {
    let rule = Rule::powerstep(0.1);
    let build = || Optimizer::<f32>::builder(rule).with_names(["w"]).build().unwrap();
    for text in [
        r#"{"version":1,"element":"f32","steps":2,"tensors":[{"name":"w","length":2,"momentum":
            {"F32":[1065353216,1073741824]}}]}"#,
        r#"{"version":2,"element":"f32","steps":2,"checksum":1634554018,"tensors":[{"name":"w","length":2,
            "group":0,"format":"Full","momentum":{"F32":[1065353216,1073741824]}}]}"#,
    ] {
        let mut optimizer = build();
        optimizer.restore(&serde_json::from_str(text).unwrap()).unwrap();
        assert_eq!(optimizer.momentum(0), Some(&Momentum::Full(vec![1.0, 2.0])));
        // Such a tensor is stored as the nearest numbers, and the file has no word of it.
        let mut bytes = Vec::new();
        optimizer.write_safetensors(&mut bytes).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("storage"));
        build().read_safetensors(&bytes[..]).unwrap();
    }
    let mut half = Optimizer::<bf16>::builder(rule.with_storage(Storage::Split16)).build().unwrap();
    let text = r#"{"version":1,"element":"bf16","steps":2,"tensors":[{"length":2,"momentum":{"F32":[0,0]}}]}"#;
    let error = half.restore(&serde_json::from_str(text).unwrap()).unwrap_err().to_string();
    assert!(
        error.ends_with("tensor `0` was stored as nearest; allowed: split16, as its rule says"),
        "{error}"
    );
}

/// The parameters are part of what a state is of, the gradients are not.
#[test]
fn states_of_another_element() {
    let state = on_its_way::<bf16>().state();
    let problem = |result: Result<(), Error>| result.unwrap_err().to_string();
    let start = "the optimizer's state cannot be restored: its parameters are";
    let builder = Optimizer::<f32>::builder(Rule::sgd(0.1)).with_gradients::<bf16>();
    assert_eq!(
        problem(builder.build().unwrap().restore(&state)),
        format!("{start} bf16; allowed: f32")
    );
    assert_eq!(problem(named::<f16>().restore(&state)), format!("{start} bf16; allowed: f16"));
    let other = on_its_way::<f16>();
    let given = problem(named::<bf16>().read_safetensors(&file(&other)[..]));
    assert_eq!(given, format!("{start} f16; allowed: bf16"));
    let rule = rule(None).with_storage(Storage::Split16);
    let mut of_halves = Optimizer::<bf16>::builder(rule).build().unwrap();
    of_halves.step(&mut [[bf16::ONE; 3]], &[[bf16::ONE; 3]]).unwrap();
    let builder = Optimizer::<bf16>::builder(rule).with_gradients::<f32>();
    let mut of_singles = builder.build().unwrap();
    of_singles.restore(&of_halves.state()).unwrap();
    assert_eq!(of_singles.state(), of_halves.state());
}

/// A new optimizer's state is that of the beginning: nothing is kept of what was beside the parameters.
#[test]
fn beginning_anew() {
    let mut optimizer = by_index::<bf16>();
    advance(&mut optimizer, &mut tensors(1), 2);
    optimizer.restore(&by_index::<bf16>().state()).unwrap();
    assert_eq!((optimizer.steps(), optimizer.storage_bytes()), (0, 0));
    let (mut again, mut expected) = (tensors(1), tensors(1));
    advance(&mut optimizer, &mut again, 3);
    advance(&mut by_index(), &mut expected, 3);
    assert!(again == expected);
}

/// As many draws as there are steps that can be counted.
#[test]
fn late_steps_have_draws_of_their_own() {
    let rule = rule(None).with_storage(Storage::Stochastic { seed: 1 });
    let start: Vec<bf16> = halves(&units(300, 1));
    let gradient: Vec<f32> = units(300, 2).iter().map(|&g| bf16::from_f32(g).to_f32()).collect();
    for taken in [u64::from(u32::MAX), (1 << 47) + 3, u64::MAX] {
        let mut optimizer = Optimizer::<bf16>::builder(rule).build().unwrap();
        let text = format!(
            r#"{{"version":1,"element":"bf16","steps":{taken},"tensors":[{{"length":300,"momentum":null,
            "storage":{{"Stochastic":{{"seed":1}}}}}}]}}"#
        );
        optimizer.restore(&serde_json::from_str(&text).unwrap()).unwrap();
        let mut model = Tensor::new(rule, 0, &start);
        let mut parameters = [start.clone()];
        optimizer.step(&mut parameters, &[halves::<bf16>(&gradient)]).unwrap();
        let clip_value = f64::from(f32::MAX);
        model.step::<bf16>(&gradient, Common { taken, factor: 1.0, clip_value });
        model.assert_is(&optimizer, 0, &parameters[0]);
        assert_eq!(optimizer.steps(), taken.saturating_add(1));
    }
}

/// A rule that changes: what is not begun may be stored in another way.
#[test]
fn rules_that_change() {
    let seed = |seed| Storage::Stochastic { seed };
    let start: Vec<bf16> = halves(&units(50, 1));
    let rules = [Storage::Nearest, seed(1), seed(2), Storage::Split8]
        .map(|storage| rule(None).with_storage(storage));
    let mut optimizer = Optimizer::<bf16>::builder(rules[0]).build().unwrap();
    let (mut parameters, mut model) = ([start.clone()], Tensor::new(rules[0], 0, &start));
    let mut bits = random_bits(3);
    for (taken, rule) in (0..).zip(rules) {
        optimizer.set_rule(0, rule).unwrap();
        model.rule = rule;
        let gradient: Vec<bf16> = halves(&units(50, bits()));
        optimizer.step(&mut parameters, &[&gradient[..]]).unwrap();
        let gradient: Vec<f32> = gradient.iter().map(|g| g.to_f32()).collect();
        let clip_value = f64::from(f32::MAX);
        model.step::<bf16>(&gradient, Common { taken, factor: 1.0, clip_value });
        model.assert_is(&optimizer, 0, &parameters[0]);
    }
    let before = optimizer.state();
    for rule in &rules[..3] {
        assert!(optimizer.set_rule(0, *rule).is_err());
        assert_eq!((optimizer.groups()[0], optimizer.state()), (rules[3], before.clone()));
    }
}

/// However many elements there are.
#[test]
fn debug_output_is_short() {
    for storage in [Storage::Split16, Storage::Split8, Storage::Master] {
        let rule = rule(Some(MomentumFormat::Full)).with_storage(storage);
        let mut optimizer = Optimizer::<bf16>::builder(rule).build().unwrap();
        optimizer.step(&mut [vec![bf16::ONE; 5000]], &[vec![bf16::ONE; 5000]]).unwrap();
        let [of_optimizer, of_state] =
            [format!("{optimizer:?}"), format!("{:?}", optimizer.state())];
        assert!(of_optimizer.len() < 900, "{of_optimizer}");
        assert!(
            of_optimizer.contains("element: \"bf16\"") && of_optimizer.contains("elements: 5000")
        );
        let bytes = format!("storage_bytes: {}", optimizer.storage_bytes());
        assert!(of_optimizer.contains(&bytes), "{of_optimizer}");
        assert_eq!(
            of_state,
            "State { version: 2, element: \"bf16\", steps: 1, tensors: 1, elements: 5000, .. }"
        );
    }
}
