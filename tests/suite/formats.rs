//! Elements of 16 bits, and the ways to store parameters: the conversions of `reference` by the crate `half`, its
//! draws by published answers, and the step, in each kind of memory, by both.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "bits are cut, and numbers rounded, on purpose"
)]

use crate::support::{executors, random_bits, random_values};
use crate::tensor::{GRADIENTS, MOMENTA, Momentum, Numbers, Place, STORED, Storage, Tensor};
use half::{bf16, f16};
use rootstep::optimizer::{
    Draws, INT8_BLOCK, MomentumMut, Power, Rule, Step, StorageMut, TensorStep,
};
use rootstep::{Error, Executor, Level, reference};

/// Whether two numbers are the same, or both NaN.
fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

/// The conversions of `reference` to the nearest are those of the crate `half`.
fn check_nearest(x: f32) {
    let (b, f) = (bf16::from_f32(x), f16::from_f32(x));
    let (our_b, our_f) = (reference::bf16(x), reference::f16(x));
    if x.is_nan() {
        // Quiet NaN.
        assert!(our_b & 0x7fc0 == 0x7fc0 && our_f & 0x7e00 == 0x7e00, "{:#x}", x.to_bits());
    } else {
        assert_eq!((our_b, our_f), (b.to_bits(), f.to_bits()), "{x:e} ({:#x})", x.to_bits());
    }
}

/// The f32 at and next to every number of 16 bits, and at every middle of two.
fn borders() -> impl Iterator<Item = f32> {
    let of_halves = (0..=u16::MAX).flat_map(|bits| {
        let middle = |a: f32, b: f32| f64::midpoint(a.into(), b.into()) as f32;
        let [b, next_b] = [bits, bits.wrapping_add(1)].map(reference::from_bf16);
        let [f, next_f] = [bits, bits.wrapping_add(1)].map(reference::from_f16);
        [b, middle(b, next_b), f, middle(f, next_f)]
    });
    let limits = [65_504.0, 65_519.99, 65_520.0, 65_536.0, f32::MAX, f32::INFINITY, f32::NAN];
    let all = of_halves.chain(limits.into_iter().flat_map(|x: f32| [x, -x]));
    all.flat_map(|x| [-1, 0, 1].map(|by| f32::from_bits(x.to_bits().wrapping_add_signed(by))))
}

#[test]
fn conversions_are_those_of_half() {
    for bits in 0..=u16::MAX {
        let (b, f) = (bf16::from_bits(bits).to_f32(), f16::from_bits(bits).to_f32());
        assert!(same(reference::from_bf16(bits), b) && same(reference::from_f16(bits), f));
        // There and back.
        if !b.is_nan() {
            assert_eq!(reference::bf16(b), bits);
        }
        if !f.is_nan() {
            assert_eq!(reference::f16(f), bits);
        }
    }
    borders().for_each(check_nearest);
    let mut bits = random_bits(160);
    (0..3_000_000).for_each(|_| check_nearest(f32::from_bits((bits() >> 32) as u32)));
}

/// Philox4x32 as its authors wrote it down, a round at a time.
fn philox4x32(rounds: u32, mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..rounds {
        let [c0, c1, c2, c3] = counter;
        let (low_0, high_0) = product(0xd251_1f53, c0);
        let (low_1, high_1) = product(0xcd9e_8d57, c2);
        counter = [high_1 ^ c1 ^ key[0], low_1, high_0 ^ c3 ^ key[1], low_0];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    counter
}

/// The lower and the upper word of a product.
fn product(a: u32, b: u32) -> (u32, u32) {
    let product = u64::from(a) * u64::from(b);
    (product as u32, (product >> 32) as u32)
}

/// What `reference::draw` documents.
fn documented_draw(seed: u64, step: u64, tensor: u32, index: u64) -> u16 {
    let c = 16 * u128::from(index / 128) + u128::from(index % 32 / 2);
    let words = philox4x32(
        7,
        [
            (c % (1 << 32)) as u32,
            ((c >> 32) % (1 << 16)) as u32 + (((step >> 32) % (1 << 16)) << 16) as u32,
            tensor,
            (step % (1 << 32)) as u32,
        ],
        [seed as u32, (seed >> 32) as u32],
    );
    let halves = words.map(|word| [word as u16, (word >> 16) as u16]);
    halves[(index % 128 / 32) as usize][(index % 2) as usize]
}

/// Random123's known answers for 7 rounds, and the draws made of them.
#[test]
fn draws_are_those_of_philox() {
    let answers: [([u32; 4], [u32; 2], [u32; 4]); 3] = [
        ([0; 4], [0; 2], [0x5f6f_b709, 0x0d89_3f64, 0x4f12_1f81, 0x4f73_0a48]),
        ([u32::MAX; 4], [u32::MAX; 2], [0x5207_ddc2, 0x4516_5e59, 0x4d8e_e751, 0x8c52_f662]),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0x4dfc_caba, 0x190a_87f0, 0xc473_62ba, 0xb6b5_242a],
        ),
    ];
    for (counter, key, answer) in answers {
        assert_eq!(philox4x32(7, counter, key), answer);
    }
    // Eight draws have the first of those counters.
    let first = [0, 1, 32, 33, 64, 65, 96, 97].map(|index| reference::draw(0, 0, 0, index));
    assert_eq!(first, [0xb709, 0x5f6f, 0x3f64, 0x0d89, 0x1f81, 0x4f12, 0x0a48, 0x4f73]);

    let mut bits = random_bits(161);
    for i in 0..200_000_u64 {
        let (seed, tensor, index) = (bits(), (bits() >> 32) as u32, bits() >> (bits() % 64));
        let step = bits() >> (bits() % 64);
        for (seed, step, tensor, index) in [(seed, step, tensor, index), (7, 3, 0, i)] {
            let draw = reference::draw(seed, step, tensor, index);
            assert_eq!(draw, documented_draw(seed, step, tensor, index), "{seed} {step} {index}");
        }
    }
    for index in [(1 << 35) - 1, 1 << 35, (1 << 51) - 1, 1 << 51, u64::MAX] {
        for step in [0, u64::from(u32::MAX), 1 << 32, (1 << 48) - 1, 1 << 48] {
            let draw = reference::draw(5, step, 1, index);
            assert_eq!(draw, documented_draw(5, step, 1, index));
        }
    }
}

/// Steps with every kind of term, with momentum or without.
fn step(with_momentum: bool, i: usize) -> Step<f32> {
    let step = if with_momentum {
        let sgd = Rule::sgd(0.1).with_momentum(0.9);
        match i % 4 {
            0 => Step::later(&Rule::powerstep(0.1).with_weight_decay(0.01)),
            1 => Step::first(&sgd.with_dampening(0.3)),
            2 => Step::later(&sgd.with_nesterov().with_decoupled_weight_decay(0.02)),
            _ => Step::later(&Rule::sign_sgd(0.1).with_momentum(0.5).maximizing()),
        }
    } else {
        match i % 3 {
            0 => Step::first(&Rule::sgd(0.01)),
            1 => Step::later(&Rule::pbsgd(0.1, Power::Half).with_weight_decay(0.01)),
            _ => Step::later(&Rule::pbsgd(0.1, Power::ThreeQuarters)),
        }
    };
    let step = step.unwrap();
    if i.is_multiple_of(2) {
        return step; // A factor of 1 and no limit: neither is computed.
    }
    step.with_gradient_factor(0.7).unwrap().with_clip_value(1e30).unwrap()
}

/// Numbers of every class in the type of this name.
fn numbers(name: &str, length: usize, seed: u64) -> Numbers {
    match name {
        "f32" => Numbers::F32(random_values(length, seed)),
        "bf16" => Numbers::Bf16(random_values(length, seed)),
        _ => Numbers::F16(random_values(length, seed)),
    }
}

/// A tensor of a kind of each, with what any earlier steps may have left in its memory.
fn tensor(
    [stored, gradient, momentum]: [usize; 3],
    length: usize,
    margin: usize,
    seed: u64,
) -> Tensor {
    let all = length + 2 * margin;
    let mut bits = random_bits(seed);
    let (parameters, storage) = STORED[stored];
    let storage = match storage {
        "Nearest" => Storage::Nearest,
        "Stochastic" => {
            let start = if seed.is_multiple_of(2) { 128 * (seed % 1000) } else { seed };
            Storage::Stochastic(Place { seed: bits(), step: bits() >> 20, tensor: 7, start })
        }
        "Split16" => Storage::Split16((0..all).map(|_| bits() as i16).collect()),
        "Split8" => Storage::Split8((0..all).map(|_| bits() as i8).collect()),
        _ => Storage::Master(random_values(all, seed + 1)),
    };
    let format = MOMENTA[momentum];
    let momentum = match format {
        "None" => Momentum::None,
        "Full" => Momentum::Full(random_values(all, seed + 2)),
        "Bf16" => Momentum::Bf16((0..all).map(|_| (bits() >> 48) as u16).collect()),
        _ => {
            let blocks = length.div_ceil(INT8_BLOCK) + 2 * margin;
            let scales = (0..blocks).map(|_| (bits() >> 40) as f32 / 1e6).collect();
            Momentum::Int8((0..all).map(|_| bits() as i8).collect(), scales)
        }
    };
    Tensor {
        step: step(format != "None", stored + gradient + length),
        margin,
        parameters: numbers(parameters, all, seed + 3),
        storage,
        gradient: numbers(GRADIENTS[gradient], all, seed + 4),
        momentum,
    }
}

/// Every way to store parameters, with each type of gradient and format of momentum.
fn kinds() -> impl Iterator<Item = [usize; 3]> {
    (0..STORED.len()).flat_map(|stored| {
        (0..GRADIENTS.len())
            .flat_map(move |gradient| (0..MOMENTA.len()).map(move |m| [stored, gradient, m]))
    })
}

fn step_all(executor: Executor, tensors: &mut [Tensor]) {
    let mut steps: Vec<TensorStep<f32>> = tensors.iter_mut().map(Tensor::lend).collect();
    executor.step_all(&mut steps).unwrap();
}

fn assert_same(found: &[Tensor], specified: &[[Vec<u32>; 3]], how: &dyn std::fmt::Debug) {
    for (found, specified) in found.iter().zip(specified) {
        let written = found.written();
        let pairs = written.iter().zip(specified);
        for (what, (a, b)) in ["parameter", "storage", "momentum"].iter().zip(pairs) {
            if let Some(i) = a.iter().zip(b).position(|(a, b)| a != b) {
                let kind = (&found.parameters, &found.storage, &found.gradient, &found.momentum);
                let mut kind = format!("{kind:?}");
                kind.truncate(60);
                panic!(
                    "{how:?}: {what} {i} less a margin of {} is {:#x}, specified is {:#x}; {} elements of {kind}, \
                     {:?}",
                    found.margin,
                    a[i],
                    b[i],
                    found.len(),
                    found.step
                );
            }
            assert_eq!(a.len(), b.len());
        }
    }
}

/// Takes the step on all tensors at once, in each way, and compares all memory with the specification.
fn check(tensors: &[Tensor], executors: impl Iterator<Item = Executor>) {
    let mut specified = tensors.to_vec();
    specified.iter_mut().for_each(Tensor::step_by_reference);
    let specified: Vec<_> = specified.iter().map(Tensor::written).collect();
    for executor in executors {
        let mut stepped = tensors.to_vec();
        step_all(executor, &mut stepped);
        assert_same(&stepped, &specified, &executor);
    }
}

/// All kinds in one call, each of each length, at many offsets.
#[test]
fn every_kind_at_every_length() {
    // More than a block of momentum, and than a row of the widest registers beyond it.
    for length in (0..=300).chain([383, 384, 385, 511, 512, 513]) {
        let tensors: Vec<Tensor> = kinds()
            .enumerate()
            .map(|(i, kind)| tensor(kind, length, (i + length) % 67, (1000 * length + i) as u64))
            .collect();
        check(&tensors, executors());
    }
}

/// Long enough to be split, over three threads.
#[cfg(feature = "rayon")]
#[test]
fn every_kind_on_threads() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for stored in 0..STORED.len() {
        let kind = [stored, stored % 3, (stored + 1) % 4];
        let tensors =
            [tensor(kind, crate::support::long_length::<f32>() / 3 + stored, 5, 9 + stored as u64)];
        pool.install(|| {
            check(&tensors, Level::available().iter().map(|&level| Executor::new(level)));
        });
    }
}

/// Every value of 16 bits as a parameter, a gradient and a momentum, with others in turn; every low part.
#[test]
fn every_value_of_16_bits() {
    let shuffled = |by: u32| (0..1 << 16).map(move |i: u32| (i * by) as u16);
    for [stored, gradient, momentum] in kinds().filter(|&[_, g, m]| g != m) {
        let mut tensor = tensor([stored, gradient, momentum], 1 << 16, 0, 50 + stored as u64);
        let fill = |numbers: &mut Numbers, by| match numbers {
            Numbers::F32(values) => {
                for (value, bits) in values.iter_mut().zip(shuffled(by)) {
                    *value = f32::from_bits(u32::from(bits) << 16 | 0x8000);
                }
            }
            Numbers::Bf16(values) => *values = shuffled(by).map(bf16::from_bits).collect(),
            Numbers::F16(values) => *values = shuffled(by).map(f16::from_bits).collect(),
        };
        fill(&mut tensor.parameters, 1);
        fill(&mut tensor.gradient, 0x6d2b);
        match &mut tensor.storage {
            Storage::Nearest | Storage::Stochastic(_) | Storage::Master(_) => {}
            Storage::Split16(low) => *low = shuffled(0xb529).map(u16::cast_signed).collect(),
            Storage::Split8(low) => *low = shuffled(0xb529).map(|bits| bits as i8).collect(),
        }
        match &mut tensor.momentum {
            Momentum::None | Momentum::Full(_) => {}
            Momentum::Bf16(momentum) => *momentum = shuffled(0x1235).collect(),
            Momentum::Int8(codes, _) => *codes = shuffled(1).map(|bits| bits as i8).collect(),
        }
        let serial = Level::available().iter().map(|&level| Executor::new(level).serial());
        check(&[tensor], serial);
    }
}

/// The step that leaves a parameter -0 as the number whose negative is the gradient: it stores any f32.
fn storing(stored: (&str, &str), values: &[f32], place: Place) -> Tensor {
    let step = Step::first(&Rule::sgd(1.0)).unwrap();
    let gradient = Numbers::F32(values.iter().map(|x| -x).collect());
    Tensor::of(step, stored, &vec![-0.0; values.len()], gradient, "None", place)
}

/// The ways to store that round.
#[cfg(feature = "rayon")]
fn roundings() -> impl Iterator<Item = (&'static str, &'static str)> {
    STORED.into_iter().filter(|&(x, storage)| x != "f32" && storage != "Master")
}

/// Every border of the formats, by every way to store it, on every level.
#[test]
fn every_border_is_stored() {
    let values: Vec<f32> = borders().collect();
    let place = Place { seed: 1, step: 2, tensor: 3, start: 128 };
    for stored in STORED {
        let serial = Level::available().iter().map(|&level| Executor::new(level).serial());
        check(&[storing(stored, &values, place)], serial);
    }
}

/// All 2^32 f32 by every way to store them, on every level. `ROOTSTEP_STRIDE=N` takes every Nth alone.
#[cfg(feature = "rayon")]
#[test]
#[ignore = "2^32 values, six ways, at each level: six minutes on two cores, optimised"]
fn every_f32_is_stored() {
    use rayon::prelude::*;
    const BLOCK: u64 = 1 << 12;
    assert!(!std::hint::black_box(cfg!(debug_assertions)), "run with --release");
    let stride = std::env::var("ROOTSTEP_STRIDE").map_or(1, |stride| stride.parse().unwrap());
    let count = (1_u64 << 32).div_ceil(stride);
    (0..count.div_ceil(BLOCK)).into_par_iter().for_each(|block| {
        let indices = block * BLOCK..count.min((block + 1) * BLOCK);
        let values: Vec<f32> =
            indices.clone().map(|i| f32::from_bits((i * stride) as u32)).collect();
        for stored in roundings() {
            let place = Place { seed: 11, step: 12, tensor: 13, start: indices.start };
            let serial = Level::available().iter().map(|&level| Executor::new(level).serial());
            check(&[storing(stored, &values, place)], serial);
        }
    });
    println!("{count} values, {} ways, {} levels", roundings().count(), Level::available().len());
}

/// All 2^32 f32: the nearest as `half` has it, split and joined.
#[cfg(feature = "rayon")]
#[test]
#[ignore = "2^32 values: a minute on two cores, optimised"]
fn every_f32_is_converted() {
    use rayon::prelude::*;
    assert!(!std::hint::black_box(cfg!(debug_assertions)), "run with --release");
    (0..=u32::MAX).into_par_iter().map(f32::from_bits).for_each(|x| {
        check_nearest(x);
        check_split(x);
    });
}

/// A part of a tensor has the draws of its place, wherever it is cut.
#[test]
fn shards_have_the_bits_of_the_whole() {
    const LENGTH: usize = 1000;
    for (stored, (parameters, storage)) in STORED.into_iter().enumerate() {
        if storage != "Stochastic" {
            continue;
        }
        for first in [
            0,
            77,
            (1_u64 << 35) - 300,
            (1 << 51) - 300,
            u64::MAX - LENGTH as u64 - 5,
            u64::MAX - 300,
        ] {
            let mut whole = tensor([stored, 1, 1], LENGTH, 0, 77);
            whole.parameters = Numbers::of(parameters, &random_values::<f32>(LENGTH, 78));
            let Storage::Stochastic(place) = &mut whole.storage else { unreachable!() };
            place.start = first;
            let place = *place;
            check(std::slice::from_ref(&whole), executors());
            let draws = |start: usize| {
                Draws::new(place.seed, place.step, place.tensor)
                    .starting_at(first.wrapping_add(start as u64))
            };
            let mut specified = whole.clone();
            specified.step_by_reference();
            let specified = [specified.written()];
            for executor in executors() {
                for cuts in [[128, 512], [256, 384], [1, 999], [13, 14], [127, 130], [500, 500]] {
                    let mut cut = whole.clone();
                    let (Numbers::Bf16(g), Momentum::Full(m)) = (&cut.gradient, &mut cut.momentum)
                    else {
                        unreachable!()
                    };
                    let bounds = [0, cuts[0], cuts[1], LENGTH];
                    for (start, end) in bounds.into_iter().zip(bounds.into_iter().skip(1)) {
                        let (g, m) = (&g[start..end], MomentumMut::Full(&mut m[start..end]));
                        let step = match &mut cut.parameters {
                            Numbers::Bf16(x) => TensorStep::new(cut.step, &mut x[start..end], g, m),
                            Numbers::F16(x) => TensorStep::new(cut.step, &mut x[start..end], g, m),
                            Numbers::F32(_) => unreachable!(),
                        };
                        let storage = StorageMut::Stochastic(draws(start));
                        executor.step_all(&mut [step.with_storage(storage)]).unwrap();
                    }
                    assert_same(&[cut], &specified, &(executor, first, cuts));
                }
            }
        }
    }
}

/// Joined is what was split; 24 bits are the nearest, ties to even.
fn check_split(x: f32) {
    let (high, low) = reference::split16(x);
    assert!(same(reference::join16(high, low), x), "{x:e}");
    let (high, low) = reference::split8(x);
    let joined = reference::join8(high, low);
    let bits = u64::from(x.to_bits());
    let (below, rest) = (bits & !0xff, bits & 0xff);
    let up = rest > 0x80 || rest == 0x80 && below & 0x100 != 0;
    let expected = f32::from_bits((below + if up { 0x100 } else { 0 }) as u32);
    assert!(if x.is_nan() { joined.is_nan() } else { same(joined, expected) }, "{x:e}");
    // The upper part alone is within half a place of bf16 of the number.
    let nearest = i64::from(high) << 16;
    assert!(x.is_nan() || (nearest - bits as i64).abs() <= 0x8000 + 0x80, "{x:e}");
}

#[test]
fn what_is_split_is_joined() {
    borders().for_each(check_split);
    let mut bits = random_bits(163);
    (0..3_000_000).for_each(|_| check_split(f32::from_bits((bits() >> 32) as u32)));
    for nan in [0x7f80_0001, 0xffff_ffff_u32, 0x7fff_8000, 0xff80_0001] {
        assert_eq!(reference::split16(f32::from_bits(nan)), (0x7fc0, 0));
        assert_eq!(reference::split8(f32::from_bits(nan)), (0x7fc0, 0));
    }
}

/// Split parameters have the bits of f32 ones, step after step; and a master has, too.
#[test]
fn split_training_is_that_of_f32() {
    const LENGTH: usize = 1234;
    let place = Place { seed: 0, step: 0, tensor: 0, start: 0 };
    let rule = Rule::powerstep(0.01).with_nesterov().with_weight_decay(0.1);
    for executor in executors() {
        for momentum in ["Full", "Bf16", "Int8"] {
            let mut bits = random_bits(164);
            let mut values = || -> Vec<f32> {
                (0..LENGTH).map(|_| (bits() >> 40) as f32 / 8_388_608.0 - 1.0).collect()
            };
            let start = values();
            let first = Step::first(&rule).unwrap();
            let stored =
                [("f32", "Nearest"), ("bf16", "Split16"), ("bf16", "Master"), ("f16", "Master")];
            let gradient = |values: &[f32]| Numbers::of("bf16", values);
            let mut tensors = stored
                .map(|stored| Tensor::of(first, stored, &start, gradient(&start), momentum, place));
            for t in 0..20 {
                let new = values();
                for tensor in &mut tensors {
                    tensor.gradient = gradient(&new);
                    tensor.step = if t == 0 { first } else { Step::later(&rule).unwrap() };
                }
                step_all(executor, &mut tensors);
                for i in 0..LENGTH {
                    let [full, rest @ ..] =
                        tensors.each_ref().map(|tensor| tensor.read(i).to_bits());
                    assert_eq!(rest, [full; 3], "{executor:?}, step {t}, element {i}");
                }
            }
        }
    }
}

/// Over all draws the mean of what is stored is the number itself: exactly.
#[test]
fn stochastic_rounding_is_unbiased() {
    let mut bits = random_bits(165);
    let mut values: Vec<f32> = (0..20)
        .map(|_| (bits() >> 40) as f32 / 8_388_608.0 * 2_f32.powi((bits() % 20) as i32 - 10))
        .collect();
    values.extend([-1.000_061, 65_504.0, 3e-5, 6.104e-5, -6.2e-5, 2_f32.powi(-24) * 1.5, 1.0]);
    for x in values {
        let sum = |stored: &dyn Fn(u16) -> f32| {
            (0..=u16::MAX).map(|draw| f64::from(stored(draw))).sum::<f64>()
        };
        let mean =
            sum(&|draw| reference::from_bf16(reference::stochastic_bf16(x, draw))) / 65_536.0;
        assert_eq!(mean, f64::from(x), "bf16");
        let mean = sum(&|draw| reference::from_f16(reference::stochastic_f16(x, draw))) / 65_536.0;
        if x.abs() >= 2_f32.powi(-14) {
            assert_eq!(mean, f64::from(x), "f16");
        } else {
            let below = f64::from(x.abs()) - mean.abs();
            assert!((0.0..2_f64.powi(-40)).contains(&below), "f16, {x:e}: {below:e}");
        }
    }
}

/// A million draws of a tensor, of a step after another and of neighbouring tensors: the mean is within five of its
/// standard deviations, each bit is as often 0 as 1 and each byte as often as another within what chance allows (the
/// chi-square statistics are below their quantiles of 1 - 10^-6), and neighbours do not correlate.
#[test]
fn draws_are_uniform() {
    const COUNT: u64 = 1 << 20;
    let sequences: [(&str, &dyn Fn(u64) -> u16); 4] = [
        ("index", &|i| reference::draw(1, 0, 0, i)),
        ("step", &|i| reference::draw(1, i, 0, 5)),
        ("tensor", &|i| reference::draw(1, 0, i as u32, 5)),
        ("seed", &|i| reference::draw(i, 0, 0, 5)),
    ];
    for (name, draw) in sequences {
        let (mut sum, mut products, mut before) = (0.0, 0.0, 0.0);
        let (mut ones, mut bytes) = ([0_u64; 16], [[0_u64; 256]; 2]);
        for i in 0..COUNT {
            let draw = draw(i);
            let centred = f64::from(draw) - 32_767.5;
            sum += centred;
            products += centred * before;
            before = centred;
            for (bit, ones) in ones.iter_mut().enumerate() {
                *ones += u64::from(draw >> bit & 1);
            }
            bytes[0][usize::from(draw & 0xff)] += 1;
            bytes[1][usize::from(draw >> 8)] += 1;
        }
        let count = COUNT as f64;
        // The variance of a draw is (2^32 - 1) / 12.
        let variance = (2_f64.powi(32) - 1.0) / 12.0;
        let mean = sum / (count * variance).sqrt();
        let correlation = products / (variance * count.sqrt());
        assert!(mean.abs() < 5.0 && correlation.abs() < 5.0, "{name}: {mean}, {correlation}");
        let chi: f64 = ones.iter().map(|&n| (n as f64 - count / 2.0).powi(2) / (count / 4.0)).sum();
        assert!(chi < 59.0, "{name}: the bits' chi-square with 16 degrees of freedom is {chi}");
        for bytes in bytes {
            let expected = count / 256.0;
            let chi: f64 = bytes.iter().map(|&n| (n as f64 - expected).powi(2) / expected).sum();
            assert!(
                chi < 378.0,
                "{name}: the bytes' chi-square with 255 degrees of freedom is {chi}"
            );
        }
    }
}

/// The mean of many steps in bf16 is that of f32, where nearest rounding does not move at all.
#[test]
fn small_steps_are_not_lost_on_average() {
    const LENGTH: usize = 1 << 16;
    let step = Step::first(&Rule::sgd(1.0)).unwrap();
    // A sixteenth of a place.
    let change = 2_f32.powi(-12);
    let run = |storage: &str| {
        let place = Place { seed: 4, step: 0, tensor: 0, start: 0 };
        let gradient = Numbers::F32(vec![-change; LENGTH]);
        let mut tensor =
            Tensor::of(step, ("bf16", storage), &vec![1.0; LENGTH], gradient, "None", place);
        for t in 0..64 {
            tensor.draw_from(Place { step: t, ..place });
            step_all(Executor::default(), std::slice::from_mut(&mut tensor));
        }
        (0..LENGTH).map(|i| f64::from(tensor.read(i))).sum::<f64>() / LENGTH as f64
    };
    assert_eq!(run("Nearest"), 1.0);
    // Each of the 64 steps is off by a place or not: a variance of 15/256 of its square, 2^-14.
    let deviation = (64.0 * (15.0 / 256.0) / LENGTH as f64).sqrt() * 2_f64.powi(-7);
    let mean = run("Stochastic");
    assert!((mean - (1.0 + 64.0 * f64::from(change))).abs() < 5.0 * deviation, "{mean}");
}

/// The second of two tensors is refused with this message, and both are as they were.
fn refused<T: rootstep::Element<Compute = f32>>(
    step: Step<f32>,
    gradient: &[f32; 3],
    mut parameters: [T; 3],
    storage: StorageMut<'_>,
    message: &str,
) {
    let (mut first, before) = ([1.0_f32; 3], parameters);
    let second = TensorStep::new(step, &mut parameters, gradient, MomentumMut::None);
    let tensors = &mut [
        TensorStep::new(step, &mut first, gradient, MomentumMut::None),
        second.with_storage(storage),
    ];
    let error = Executor::default().step_all(tensors).unwrap_err();
    assert!(matches!(error, Error::InvalidStorage { tensor: 1, .. }), "{error:?}");
    assert_eq!(error.to_string(), message);
    assert_eq!((first, parameters), ([1.0; 3], before));
}

/// Where a storage does not fit its parameters, an error names what is allowed, and nothing is written: neither there
/// nor in the tensors before.
#[test]
fn a_storage_that_does_not_fit_is_an_error() {
    let draws = StorageMut::Stochastic(Draws::new(0, 0, 0));
    let step = Step::first(&Rule::sgd(1.0)).unwrap();
    let gradient = [1.0_f32; 3];
    let for_others = |allowed| {
        format!(
            "the storage of tensor 1 does not fit: it is one for other parameters; allowed: those in {allowed}"
        )
    };
    let of_length = |given| {
        format!(
            "the storage of tensor 1 does not fit: it has {given} elements; allowed: 3, as the parameters"
        )
    };
    let (either, bf16_alone) = (for_others("bf16 or f16"), for_others("bf16"));
    let (mut low16, mut low8, mut master) = ([7_i16; 4], [7_i8; 4], [7.0_f32; 4]);
    let numbers = [1.0_f32; 3];
    refused(step, &gradient, numbers, draws, &either);
    refused(step, &gradient, numbers, StorageMut::Master(&mut master[..3]), &either);
    refused(step, &gradient, numbers, StorageMut::Split16(&mut low16[..3]), &bf16_alone);
    refused(step, &gradient, numbers, StorageMut::Split8(&mut low8[..3]), &bf16_alone);
    let halves = [f16::ONE; 3];
    refused(step, &gradient, halves, StorageMut::Split16(&mut low16[..3]), &bf16_alone);
    refused(step, &gradient, halves, StorageMut::Split8(&mut low8[..3]), &bf16_alone);
    refused(step, &gradient, halves, StorageMut::Master(&mut master[..2]), &of_length(2));
    refused(step, &gradient, halves, StorageMut::Master(&mut master), &of_length(4));
    let brains = [bf16::ONE; 3];
    for (length, message) in [(2, of_length(2)), (4, of_length(4)), (0, of_length(0))] {
        refused(step, &gradient, brains, StorageMut::Split16(&mut low16[..length]), &message);
        refused(step, &gradient, brains, StorageMut::Split8(&mut low8[..length]), &message);
        refused(step, &gradient, brains, StorageMut::Master(&mut master[..length]), &message);
    }
    assert_eq!((low16, low8, master), ([7; 4], [7; 4], [7.0; 4]));

    // In f64 nothing but the nearest is there.
    let step = Step::first(&Rule::sgd(1.0)).unwrap();
    let mut parameters = [1.0_f64; 3];
    for (storage, allowed) in [
        (StorageMut::Stochastic(Draws::new(0, 0, 0)), "bf16 or f16"),
        (StorageMut::Master(&mut master[..3]), "bf16 or f16"),
        (StorageMut::Split16(&mut low16[..3]), "bf16"),
        (StorageMut::Split8(&mut low8[..3]), "bf16"),
    ] {
        let tensor = TensorStep::new(step, &mut parameters, &[1.0_f64; 3], MomentumMut::None);
        let error = Executor::default().step_all(&mut [tensor.with_storage(storage)]).unwrap_err();
        assert_eq!(error.to_string(), for_others(allowed).replace("tensor 1", "tensor 0"));
    }
    assert_eq!(parameters, [1.0; 3]);
}
