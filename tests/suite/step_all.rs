//! The step without an owner of its state: the bits of `reference::step` in every format of the momentum, and
//! errors that leave everything as it was.

use crate::support::{
    Guarded, TestElement, block_values, executors, random_bits, random_values, same,
};
use rootstep::optimizer::{INT8_BLOCK, MomentumMut, Power, Rule, Step, TensorStep};
use rootstep::{Error, Executor, reference};

/// Momentum in memory of the caller's.
#[derive(Debug, Clone)]
enum Memory<T> {
    None,
    Full(Vec<T>),
    Bf16(Vec<u16>),
    Int8(Vec<i8>, Vec<f32>),
}

impl<T: TestElement> Memory<T> {
    /// Each format, with what a step may have left there.
    fn all(length: usize, seed: u64) -> [Self; 4] {
        let mut bits = random_bits(seed);
        let blocks = length.div_ceil(INT8_BLOCK);
        [
            Self::None,
            Self::Full(random_values(length, seed)),
            Self::Bf16((0..length).map(|_| (bits() >> 48) as u16).collect()),
            Self::Int8(
                (0..length).map(|_| (bits() >> 56) as i8).collect(),
                (0..blocks).map(|_| (bits() >> 40) as f32 / 1e6).collect(),
            ),
        ]
    }

    fn lend(&mut self) -> MomentumMut<'_, T> {
        match self {
            Self::None => MomentumMut::None,
            Self::Full(m) => MomentumMut::Full(m),
            Self::Bf16(m) => MomentumMut::Bf16(m),
            Self::Int8(codes, scales) => MomentumMut::Int8 { codes, scales },
        }
    }

    /// The numbers that it stands for.
    fn numbers(&self, length: usize) -> Vec<T> {
        match self {
            Self::None => vec![T::NAN; length],
            Self::Full(m) => m.clone(),
            Self::Bf16(m) => {
                m.iter().map(|&m| T::from_f32(f32::from_bits(u32::from(m) << 16))).collect()
            }
            Self::Int8(codes, scales) => {
                let unit = |i: usize| scales[i / INT8_BLOCK] / 127.0;
                let number = |(i, &code): (usize, &i8)| T::from_f32(f32::from(code) * unit(i));
                codes.iter().enumerate().map(number).collect()
            }
        }
    }

    /// What is left of numbers that are kept in this format.
    fn kept(&self, mut numbers: Vec<T>) -> Vec<T> {
        match self {
            Self::None | Self::Full(_) => {}
            Self::Bf16(_) => numbers.iter_mut().for_each(|m| *m = reference::bf16_momentum(*m)),
            Self::Int8(..) => numbers.chunks_mut(INT8_BLOCK).for_each(reference::int8_momentum),
        }
        numbers
    }
}

/// Steps with every kind of term.
fn steps<T: TestElement>() -> Vec<Step<T>> {
    let rules = [
        Rule::powerstep(0.1).with_weight_decay(0.01),
        Rule::pbsgd(0.1, Power::Half).with_momentum(0.9).with_dampening(0.3),
        Rule::sgd(0.1).with_momentum(0.5).with_nesterov().with_decoupled_weight_decay(0.02),
        Rule::sign_sgd(0.1).with_momentum(0.9).maximizing(),
        Rule::pbsgd(0.1, Power::ThreeQuarters),
    ];
    let both = rules.iter().flat_map(|rule| [Step::first(rule), Step::later(rule)]);
    both.map(|step| step.unwrap().with_gradient_factor(0.7).unwrap().with_clip_value(2.5).unwrap())
        .collect()
}

/// A tensor before the step.
struct Tensor<T> {
    step: Step<T>,
    x: Guarded<T>,
    g: Guarded<T>,
    m: Memory<T>,
}

/// One tensor for each step and format, of lengths in turn.
fn model<T: TestElement>(lengths: &[usize]) -> Vec<Tensor<T>> {
    let mut tensors = Vec::new();
    for (i, step) in steps::<T>().into_iter().enumerate() {
        for format in 0..4 {
            let seed = 1000 * i as u64 + format as u64;
            // Each format meets each length.
            let length = lengths[(5 * i + format) % lengths.len()];
            if step.has_momentum() == (format > 0) || i % 4 == 0 && format > 0 {
                let values = if format == 3 { block_values } else { random_values };
                let x = Guarded::new(&values(length, seed), i % T::LANES);
                let g = Guarded::new(&values(length, seed + 104), format % T::LANES);
                let m = Memory::all(length, seed + 200).into_iter().nth(format).unwrap();
                tensors.push(Tensor { step, x, g, m });
            }
        }
    }
    tensors
}

fn lend<T: TestElement>(tensors: &mut [Tensor<T>]) -> Vec<TensorStep<'_, T>> {
    let lend = tensors
        .iter_mut()
        .map(|Tensor { step, x, g, m }| TensorStep::new(*step, x.slice_mut(), g.slice(), m.lend()));
    lend.collect()
}

/// Takes the steps at once, and compares each element with the specification.
fn check<T: TestElement>(executor: Executor, lengths: &[usize]) {
    let mut tensors = model::<T>(lengths);
    let before = model::<T>(lengths);
    executor.step_all(&mut lend(&mut tensors)).unwrap();
    for (i, (before, after)) in before.iter().zip(&tensors).enumerate() {
        after.x.assert_intact();
        let step = &before.step;
        let length = before.x.slice().len();
        let old_m = before.m.numbers(length);
        let new = before.x.slice().iter().zip(before.g.slice()).zip(&old_m);
        let (new_x, new_m): (Vec<T>, Vec<T>) =
            new.map(|((&x, &g), &m)| reference::step(step, x, m, g)).unzip();
        let new_m = if step.has_momentum() { before.m.kept(new_m) } else { old_m };
        let found_m = after.m.numbers(length);
        for k in 0..length {
            let (x, m) = (after.x.slice()[k], found_m[k]);
            assert!(
                same(x, new_x[k]) && same(m, new_m[k]),
                "{executor:?}, tensor {i} of {length}, element {k}, {step:?}: {x:?} {m:?}, not {:?} {:?}",
                new_x[k],
                new_m[k]
            );
        }
    }
}

fn every_format<T: TestElement>() {
    for executor in executors() {
        check::<T>(executor, &[1, 0, 127, 128, 129, 40, 300, 1025, 77]);
    }
}

#[test]
fn every_format_f32() {
    every_format::<f32>();
}

#[test]
fn every_format_f64() {
    every_format::<f64>();
}

#[cfg(feature = "rayon")]
#[test]
fn any_threads() {
    const LONG: [usize; 5] = [170_001, 5, 133_000, 128, 98_777];
    let elements: usize = model::<f32>(&LONG).iter().map(|tensor| tensor.x.slice().len()).sum();
    assert!(elements > 1 << 20, "{elements} f32 are not split over threads");
    for threads in [2, 3, 8] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for &level in rootstep::Level::available() {
            pool.install(|| check::<f32>(Executor::new(level), &LONG));
            pool.install(|| check::<f64>(Executor::new(level), &LONG));
        }
    }
}

/// What is in the memory of the momentum before the first step does not matter.
#[test]
fn the_first_step_does_not_read_its_momentum() {
    let step = Step::first(&Rule::sgd(0.5).with_momentum(0.9)).unwrap();
    for executor in executors() {
        let (mut x, mut m) = ([-0.0_f32, 1.0, 2.0], [f32::NAN, f32::INFINITY, 7.0]);
        let momentum = MomentumMut::Full(&mut m);
        executor.step(&step, &mut x, &[-0.0, 4.0, -4.0], momentum).unwrap();
        assert_eq!((x, m), ([0.0, -1.0, 4.0], [-0.0, 4.0, -4.0]));
        assert_eq!(m[0].to_bits(), (-0.0_f32).to_bits());
    }
}

/// Each thing that can be wrong, at each place among tensors that are right: an error that names the tensor,
/// and not a bit has changed.
#[test]
fn nothing_is_written_if_anything_is_wrong() {
    let (plain, momentum) = (Rule::sgd(0.1), Rule::sgd(0.1).with_momentum(0.9));
    let (plain, momentum) = (Step::later(&plain).unwrap(), Step::later(&momentum).unwrap());
    let wrong: [(Step<f32>, usize, Memory<f32>, &str); 7] = [
        (plain, 4, Memory::None, "tensor {} has 5 parameters and a gradient of 4 elements"),
        (momentum, 6, Memory::Full(vec![1.0; 5]), "tensor {} has 5 parameters and a gradient of 6"),
        (momentum, 5, Memory::None, "the momentum of tensor {} does not fit: there is none;"),
        (momentum, 5, Memory::Full(vec![1.0; 4]), "tensor {} does not fit: it has 4 elements;"),
        (momentum, 5, Memory::Bf16(vec![1; 6]), "tensor {} does not fit: it has 6 elements;"),
        (momentum, 5, Memory::Int8(vec![1; 0], vec![1.0]), "tensor {} does not fit: it has 0 elem"),
        (momentum, 5, Memory::Int8(vec![1; 5], vec![]), "tensor {} does not fit: it has 0 scales;"),
    ];
    for executor in executors() {
        for (step, gradient, memory, message) in &wrong {
            for place in 0..3 {
                let mut parameters = [[1.0_f32; 5]; 3];
                let gradients = [vec![2.0_f32; 5], vec![2.0; 5], vec![2.0; *gradient]];
                let mut memories = [Memory::Full(vec![3.0; 5]), Memory::None, memory.clone()];
                let mut tensors: Vec<_> = parameters
                    .iter_mut()
                    .zip(&gradients)
                    .zip(&mut memories)
                    .zip([momentum, plain, *step])
                    .map(|(((x, g), m), step)| TensorStep::new(step, x, g, m.lend()))
                    .collect();
                tensors.swap(place, 2);
                let error = executor.step_all(&mut tensors).unwrap_err();
                let expected = message.replace("{}", &place.to_string());
                assert!(error.to_string().contains(&expected), "{error}, not {expected}");
                assert!(matches!(
                    error,
                    Error::TensorLength { .. } | Error::InvalidMomentum { .. }
                ));
                assert_eq!(parameters, [[1.0; 5]; 3]);
                assert!(memories[0].numbers(5).iter().all(|&m| m == 3.0));
            }
        }
    }
}

/// What a step is made of is checked when it is made.
#[test]
fn steps_of_wrong_numbers_are_errors() {
    let error = Step::<f32>::first(&Rule::sgd(-1.0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the learning rate is -1; allowed: 0 to 3.4028235e38, the largest f32"
    );
    let step = Step::<f32>::later(&Rule::sgd(1.0)).unwrap();
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-60] {
        let error = step.with_gradient_factor(wrong).unwrap_err().to_string();
        assert!(error.starts_with("the gradient factor is "), "{error}");
        let error = step.with_clip_value(wrong).unwrap_err().to_string();
        assert!(error.starts_with("the limit of the values is "), "{error}");
    }
    assert!(!step.is_first() && !step.has_momentum());
}

/// A gradient factor keeps the direction of a rule that ascends.
#[test]
fn a_gradient_factor_keeps_the_sign() {
    let rule = Rule::sgd(1.0).maximizing();
    let step = Step::first(&rule).unwrap().with_gradient_factor(0.5).unwrap();
    let mut x = [1.0_f64];
    Executor::default().step(&step, &mut x, &[4.0], MomentumMut::None).unwrap();
    assert_eq!(x, [3.0]);
}
