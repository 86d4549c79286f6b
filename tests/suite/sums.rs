//! Sums in the order of a tree: the bits of `reference::sum`, whoever adds up which part, and of the step after it.

use crate::floating_point::Environment;
use crate::support::{
    Guarded, TestElement, TestFormat, executors, long_length, random_bits, random_values, same,
};
use half::{bf16, f16};
use rootstep::optimizer::{
    Draws, INT8_BLOCK, MomentumMut, Power, Rule, Step, StorageMut, TensorStep,
};
use rootstep::sums::{SumOrder, Term, nodes};
use rootstep::{Element, Executor, Float, reference};
use std::ops::Range;

/// Numbers whose sums depend on the order: of all magnitudes, few of them special.
fn gradients<T: TestFormat>(count: usize, length: usize, seed: u64) -> Vec<Guarded<T>> {
    let values =
        |i: usize| Guarded::new(&random_values::<T>(length, seed + i as u64), i % T::LANES);
    (0..count).map(values).collect()
}

/// Ordinary numbers: no sum of them is NaN, and most are rounded.
fn ordinary<T: TestFormat>(count: usize, length: usize, seed: u64) -> Vec<Vec<T>> {
    let mut bits = random_bits(seed);
    let mut value = || {
        let fraction = (bits() >> 11) as f64 / (1_u64 << 53) as f64;
        T::nearest(<T::Compute as Float>::from_f64((fraction - 0.5) * 1.7))
    };
    (0..count).map(|_| (0..length).map(|_| value()).collect()).collect()
}

fn specified<T: TestElement>(columns: &[&[T]], length: usize) -> Vec<T> {
    let column = |i: usize| columns.iter().map(|term| term[i]).collect::<Vec<_>>();
    (0..length).map(|i| reference::sum(&column(i))).collect()
}

fn assert_same<T: TestFormat>(found: &[T], specified: &[T], what: &str) {
    assert_eq!(found.len(), specified.len());
    for (i, (&found, &specified)) in found.iter().zip(specified).enumerate() {
        assert!(same(found, specified), "{what}, element {i}: {found:?}, not {specified:?}");
    }
}

fn check_sum<T: TestElement>(executor: Executor, count: usize, length: usize) {
    let terms = gradients::<T>(count, length, 7 * count as u64);
    let slices: Vec<&[T]> = terms.iter().map(Guarded::slice).collect();
    let mut out = Guarded::new(&random_values::<T>(length, 3), count % T::LANES);
    let order = SumOrder::of_terms(count).unwrap();
    let lent: Vec<_> = slices.iter().map(|term| Term::new(term)).collect();
    executor.sum_all(&order, &lent, out.slice_mut()).unwrap();
    out.assert_intact();
    assert_same(out.slice(), &specified(&slices, length), &format!("{executor:?}, {count} terms"));
}

#[test]
fn sums_of_every_number_of_terms() {
    for executor in executors() {
        for count in (1..=17).chain([31, 32, 33, 63, 64]) {
            check_sum::<f32>(executor, count, 300 + count);
            check_sum::<f64>(executor, count, 300 + count);
        }
    }
}

/// About the ends of registers, of rows, and of the pieces that are added up at a time.
#[test]
fn sums_of_every_length() {
    for executor in executors() {
        for length in (0..40).chain([127, 128, 129, 511, 512, 513, 1023, 1024, 1537]) {
            check_sum::<f32>(executor, 7, length);
            check_sum::<f64>(executor, 6, length);
        }
    }
}

#[test]
fn long_sums() {
    for executor in executors() {
        check_sum::<f32>(executor, 3, long_length::<f32>());
        check_sum::<f64>(executor, 3, long_length::<f64>());
    }
}

/// So many bytes that terms are prefetched.
#[test]
fn sums_beyond_the_caches() {
    for executor in executors() {
        check_sum::<f32>(executor, 9, 500_003);
    }
}

/// Terms of other types are read exactly.
#[test]
fn terms_of_several_types() {
    let length = 1000;
    let (a, b) = (gradients::<bf16>(2, length, 1), gradients::<f16>(2, length, 2));
    let c = gradients::<f32>(1, length, 3);
    let widened: Vec<Vec<f32>> = [
        a[0].slice().iter().map(|x| x.to_f32()).collect(),
        b[0].slice().iter().map(|x| x.to_f32()).collect(),
        c[0].slice().to_vec(),
        a[1].slice().iter().map(|x| x.to_f32()).collect(),
        b[1].slice().iter().map(|x| x.to_f32()).collect(),
    ]
    .into();
    let widened: Vec<&[f32]> = widened.iter().map(Vec::as_slice).collect();
    let terms = [
        Term::new(a[0].slice()),
        Term::new(b[0].slice()),
        Term::new(c[0].slice()),
        Term::new(a[1].slice()),
        Term::new(b[1].slice()),
    ];
    for executor in executors() {
        let mut out = vec![0.0; length];
        executor.sum_all(&SumOrder::of_terms(5).unwrap(), &terms, &mut out).unwrap();
        assert_same(&out, &specified(&widened, length), &format!("{executor:?}"));
    }
}

/// What a machine sends: the sums of the nodes that it holds.
fn partial<T: TestElement>(
    executor: Executor,
    terms: &[Vec<T>],
    held: Range<usize>,
) -> Vec<(Range<usize>, Vec<T>)> {
    let add_up = |node: Range<usize>| {
        let order = SumOrder::of_terms(node.len()).unwrap();
        let held: Vec<_> = terms[node.clone()].iter().map(|term| Term::new(term)).collect();
        let mut sum = vec![T::default(); terms[0].len()];
        executor.sum_all(&order, &held, &mut sum).unwrap();
        (node, sum)
    };
    nodes(terms.len(), held).unwrap().into_iter().map(add_up).collect()
}

/// However the micro-batches are shared out, and whatever level each machine has.
#[test]
fn sums_do_not_depend_on_the_machines() {
    let length = 700;
    let machines: [&[usize]; 7] = [
        &[13],
        &[6, 7],
        &[5, 4, 4],
        &[4, 3, 3, 3],
        &[0, 13, 0],
        &[1; 13],
        &[2, 2, 2, 2, 2, 1, 1, 1],
    ];
    let terms = ordinary::<f32>(13, length, 9);
    let slices: Vec<&[f32]> = terms.iter().map(Vec::as_slice).collect();
    let expected = specified(&slices, length);
    let mut forward = slices[0].to_vec();
    for term in &slices[1..] {
        forward.iter_mut().zip(*term).for_each(|(sum, term)| *sum += term);
    }
    assert_ne!(forward, expected, "the order changes nothing");
    for shares in machines {
        let (mut start, mut held) = (0, Vec::new());
        for (&share, executor) in shares.iter().zip(executors().collect::<Vec<_>>().iter().cycle())
        {
            held.extend(partial(*executor, &terms, start..start + share));
            start += share;
        }
        let (nodes, sums): (Vec<_>, Vec<_>) = held.into_iter().unzip();
        let order = SumOrder::of_nodes(13, &nodes).unwrap();
        let terms: Vec<_> = sums.iter().map(|sum| Term::new(sum)).collect();
        for executor in executors() {
            let mut out = vec![0.0; length];
            executor.sum_all(&order, &terms, &mut out).unwrap();
            assert_same(&out, &expected, &format!("{shares:?}, {executor:?}"));
        }
    }
}

/// The memory of a tensor in each format that a step can have.
#[derive(Debug, Clone, PartialEq)]
struct Memory {
    x: Vec<f32>,
    halves: Vec<bf16>,
    full: Vec<f32>,
    low: Vec<i16>,
    bf16: Vec<u16>,
    codes: Vec<i8>,
    scales: Vec<f32>,
}

impl Memory {
    fn new(length: usize) -> Self {
        let x = ordinary::<f32>(1, length, 77).remove(0);
        Self {
            halves: x.iter().map(|&x| bf16::from_f32(x)).collect(),
            full: ordinary::<f32>(1, length, 78).remove(0),
            low: vec![0; length],
            bf16: vec![0x3f80; length],
            codes: vec![3; length],
            scales: vec![0.5; length.div_ceil(INT8_BLOCK)],
            x,
        }
    }

    /// The step in one of `WAYS`.
    fn step<'a>(&'a mut self, way: usize, step: Step<f32>, by: By<'a>) -> TensorStep<'a, f32> {
        let (full, bf16) = (MomentumMut::Full(&mut self.full), MomentumMut::Bf16(&mut self.bf16));
        let int8 = MomentumMut::Int8 { codes: &mut self.codes, scales: &mut self.scales };
        let draws = StorageMut::Stochastic(Draws::new(5, 6, 7));
        match way {
            0 => by.step(step, &mut self.x, full),
            1 => by.step(step, &mut self.x, bf16),
            2 => by.step(step, &mut self.x, int8),
            3 => by.step(step, &mut self.halves, full).with_storage(draws),
            _ => {
                let storage = StorageMut::Split16(&mut self.low);
                by.step(step, &mut self.halves, bf16).with_storage(storage)
            }
        }
    }
}

const WAYS: usize = 5;

/// What a step is taken by.
#[derive(Clone, Copy)]
enum By<'a> {
    Gradient(&'a [f32]),
    Sum(&'a SumOrder, &'a [Term<'a, f32>]),
}

impl<'a> By<'a> {
    fn step<T: Element<Compute = f32>>(
        self,
        step: Step<f32>,
        parameters: &'a mut [T],
        momentum: MomentumMut<'a, f32>,
    ) -> TensorStep<'a, f32> {
        match self {
            Self::Gradient(gradient) => TensorStep::new(step, parameters, gradient, momentum),
            Self::Sum(order, terms) => TensorStep::of_sum(step, parameters, order, terms, momentum),
        }
    }
}

/// In every format: the step by a sum is that by a gradient which is this sum. (That one is tested elsewhere.)
#[test]
fn steps_by_sums() {
    let rule = Rule::pbsgd(0.1, Power::Half).with_momentum(0.9).with_weight_decay(0.1);
    let step = Step::later(&rule).unwrap().with_gradient_factor(0.2).unwrap();
    for length in [1, 300, 512, 1300, 70_001] {
        let terms = ordinary::<f32>(5, length, 11);
        let slices: Vec<&[f32]> = terms.iter().map(Vec::as_slice).collect();
        let sum = specified(&slices, length);
        let (order, single) = (SumOrder::of_terms(5).unwrap(), SumOrder::of_terms(1).unwrap());
        let terms: Vec<_> = slices.iter().map(|term| Term::new(term)).collect();
        for executor in executors() {
            for way in 0..WAYS {
                let stepped = |by: By<'_>| {
                    let mut memory = Memory::new(length);
                    executor.step_all(&mut [memory.step(way, step, by)]).unwrap();
                    memory
                };
                let expected = stepped(By::Gradient(&sum));
                let what = format!("{executor:?}, {length} elements, way {way}");
                assert_ne!(expected, Memory::new(length), "{what}");
                assert_eq!(stepped(By::Sum(&order, &terms)), expected, "{what}");
                assert_eq!(stepped(By::Sum(&single, &[Term::new(&sum)])), expected, "{what}");
            }
        }
    }
}

#[test]
fn sums_in_any_environment() {
    let terms: Vec<Vec<f32>> =
        (0..3).map(|i| (0..600).map(|k| f32::from_bits(k * 7 + i * 100_003)).collect()).collect();
    let slices: Vec<&[f32]> = terms.iter().map(Vec::as_slice).collect();
    let expected = specified(&slices, 600);
    let order = SumOrder::of_terms(3).unwrap();
    let terms: Vec<_> = slices.iter().map(|term| Term::new(term)).collect();
    for environment in Environment::hardest() {
        for executor in executors() {
            let mut out = vec![0.0; 600];
            environment.around(&mut || {
                executor.untrapped().sum_all(&order, &terms, &mut out).unwrap();
            });
            assert_same(&out, &expected, environment.name);
        }
    }
}

#[test]
fn terms_that_do_not_fit() {
    let (a, b) = ([1.0_f32; 4], [1.0_f32; 3]);
    let order = SumOrder::of_terms(2).unwrap();
    let mut out = [7.0_f32; 4];
    let mut message = |terms: &[Term<'_, f32>]| {
        let error = Executor::default().sum_all(&order, terms, &mut out).unwrap_err();
        assert_eq!(out, [7.0; 4]);
        let step = Step::first(&Rule::sgd(1.0)).unwrap();
        let tensor = TensorStep::of_sum(step, &mut out, &order, terms, MomentumMut::None);
        let of_step = Executor::default().step_all(&mut [tensor]).unwrap_err().to_string();
        assert_eq!(out, [7.0; 4]);
        [error.to_string(), of_step]
    };
    assert_eq!(
        message(&[Term::new(&a)]),
        [
            "the sum does not fit: there are 1 terms; allowed: 2, as the order has",
            "the sum of gradients of tensor 0 does not fit: there are 1 terms; allowed: 2, as the order has"
        ]
    );
    assert_eq!(
        message(&[Term::new(&a), Term::new(&b)]),
        [
            "the sum does not fit: term 1 has 3 elements; allowed: 4",
            "the sum of gradients of tensor 0 does not fit: term 1 has 3 elements; allowed: 4"
        ]
    );
}

fn specified_in_bf16(columns: &[&[f32]], length: usize) -> Vec<f32> {
    let column = |i: usize| columns.iter().map(|term| term[i]).collect::<Vec<_>>();
    (0..length).map(|i| reference::sum_in_bf16(&column(i))).collect()
}

/// Numbers of all magnitudes, infinite ones and NaN among them, written in both types.
#[test]
fn sums_in_bf16() {
    for executor in executors() {
        for (count, length) in (1..=17).chain([64]).map(|count| (count, 300 + count)).chain([
            (3, 0),
            (3, 511),
            (3, 1537),
            (3, long_length::<f32>()),
        ]) {
            let terms = gradients::<f32>(count, length, 5 * count as u64);
            let slices: Vec<&[f32]> = terms.iter().map(Guarded::slice).collect();
            let lent: Vec<_> = slices.iter().map(|term| Term::new(term)).collect();
            let order = SumOrder::of_terms(count).unwrap().in_bf16();
            let expected = specified_in_bf16(&slices, length);
            let what = format!("{executor:?}, {count} terms of {length}");

            let mut out = Guarded::new(&random_values::<f32>(length, 3), count % f32::LANES);
            executor.sum_all(&order, &lent, out.slice_mut()).unwrap();
            out.assert_intact();
            assert_same(out.slice(), &expected, &what);

            let mut out = Guarded::new(&random_values::<bf16>(length, 3), count % bf16::LANES);
            executor.sum_all(&order, &lent, out.slice_mut()).unwrap();
            out.assert_intact();
            let widened: Vec<f32> = out.slice().iter().map(|x| x.to_f32()).collect();
            assert_same(&widened, &expected, &what);
        }
    }
}

/// What machines send in bf16 makes up the same sum, however the micro-batches are shared out; and so does a step.
#[test]
fn sums_in_bf16_do_not_depend_on_the_machines() {
    let length = 700;
    let terms = ordinary::<f32>(13, length, 19);
    let slices: Vec<&[f32]> = terms.iter().map(Vec::as_slice).collect();
    let expected = specified_in_bf16(&slices, length);
    let rounded_once: Vec<f32> =
        specified(&slices, length).iter().map(|&x| bf16::from_f32(x).to_f32()).collect();
    assert_ne!(rounded_once, expected, "where it is rounded changes nothing");
    let step = Step::first(&Rule::sgd(0.5)).unwrap();
    for shares in [&[13][..], &[6, 7], &[5, 4, 4], &[0, 13, 0], &[1; 13]] {
        for executor in executors() {
            let (mut start, mut held, mut sent) = (0, Vec::new(), Vec::new());
            for share in shares {
                for node in nodes(13, start..start + share).unwrap() {
                    let order = SumOrder::of_terms(node.len()).unwrap().in_bf16();
                    let terms: Vec<_> =
                        slices[node.clone()].iter().map(|term| Term::new(term)).collect();
                    let mut sum = vec![bf16::ZERO; length];
                    executor.sum_all(&order, &terms, &mut sum).unwrap();
                    held.push(node);
                    sent.push(sum);
                }
                start += share;
            }
            let order = SumOrder::of_nodes(13, &held).unwrap().in_bf16();
            let terms: Vec<_> = sent.iter().map(|sum| Term::new(sum)).collect();
            let what = format!("{shares:?}, {executor:?}");
            let mut out = vec![0.0_f32; length];
            executor.sum_all(&order, &terms, &mut out).unwrap();
            assert_same(&out, &expected, &what);

            let (mut by_sum, mut by_gradient) = (vec![1.0_f32; length], vec![1.0_f32; length]);
            let tensor = TensorStep::of_sum(step, &mut by_sum, &order, &terms, MomentumMut::None);
            executor.step_all(&mut [tensor]).unwrap();
            executor.step(&step, &mut by_gradient, &expected, MomentumMut::None).unwrap();
            assert_same(&by_sum, &by_gradient, &what);
        }
    }
}

#[test]
fn sums_in_16_bits_that_there_are_not() {
    let (a, b) = ([1.0_f32; 4], [1.0_f64; 4]);
    let order = SumOrder::of_terms(1).unwrap();
    let executor = Executor::default();
    let (mut brain, mut half, mut double) = ([bf16::ONE; 4], [f16::ONE; 4], [7.0_f64; 4]);
    let to_bf16 = executor.sum_all(&order, &[Term::new(&a)], &mut brain).unwrap_err();
    let narrow = executor.sum_all(&order.clone().in_bf16(), &[Term::new(&a)], &mut half);
    let allowed = "allowed: bf16, in an order that is in bf16, or what it is computed in";
    let message = format!("the sum does not fit: it is written in 16 bits; {allowed}");
    assert_eq!([to_bf16.to_string(), narrow.unwrap_err().to_string()], [&*message, &*message]);
    let wide = executor.sum_all(&order.in_bf16(), &[Term::new(&b)], &mut double).unwrap_err();
    assert_eq!(
        wide.to_string(),
        "the sum does not fit: its order is in bf16; allowed: one that is not, for terms of f64"
    );
    assert_eq!((brain, half, double), ([bf16::ONE; 4], [f16::ONE; 4], [7.0; 4]));
}
