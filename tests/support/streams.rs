//! The rows of the table of digests: what is computed, of which numbers, and how it is hashed.
//!
//! Everything here is written down so that it can be done again in another language.
//!
//! # Streams
//!
//! A stream has a seed and a length. Its bits `b` are those of `SplitMix64` (Steele, Lea and Flood,
//! OOPSLA 2014) from the state `seed`, 64 for each element; arithmetic is modulo 2^64:
//!
//! ```text
//! state = state + 0x9e3779b97f4a7c15
//! b = state
//! b = (b ^ (b >> 30)) * 0xbf58476d1ce4e5b9
//! b = (b ^ (b >> 27)) * 0x94d049bb133111eb
//! b = b ^ (b >> 31)
//! ```
//!
//! In a *mixed* stream the elements 0, 2, 4, .. are any bit pattern: for f64 the one of `b`, for f32
//! that of its upper 32 bits, for bf16 and f16 that of its upper 16. The elements 1, 3, 5, .. are *near*
//! values, `(b >> 11) / 2^53 * 2 - 1`, exact in f64 and rounded to the type once, or to f32 and from there
//! to bf16 or f16, to the nearest, ties to even: of numbers with random exponents a sum shows the larger
//! alone. In a *near* stream all elements are near values.
//!
//! # Hashing
//!
//! SHA-256 of the results one after the other: each element in its 2, 4 or 8 bytes, the lowest first. A
//! NaN is hashed as `0x7fc0` (bf16), `0x7e00` (f16), `0x7fc00000` or `0x7ff8000000000000`, since its sign and
//! payload are not specified.
//!
//! # Rows of the operations
//!
//! With `x` the mixed stream of seed 1 and `g` that of seed 2, of 1,100,003 elements each, and
//! `s` = 0.1 rounded to the type that is computed in, which is f32 for bf16 and f16:
//!
//! | row | hashed |
//! |---|---|
//! | `signed_sqrt` | `signed_sqrt(g)` |
//! | `signed_sqrt_in_place` | the same: the digest is that of the row above |
//! | `axpy` | `x + (s * g)` |
//! | `descend` | `x - (s * signed_sqrt(g))` |
//! | `descend_into` | the same: the digest is that of the row above |
//! | `descend_all` | the same for tensors of 1,100,003, 0, 1, 1000, 33 and 70,001 elements, one after the other; parameters and gradient of tensor `i` are the mixed streams of seeds `10 + i` and `20 + i` |
//! | `inspect` | the findings in the gradients of `descend_all`; then in the same with each NaN and infinity made 0; then in near streams of the same seeds and lengths |
//!
//! Findings are 9 numbers of 8 bytes, the lowest byte first: `elements`, the bits of `norm` and of
//! `max_magnitude`, `nan`, `infinite`, `zero`, `subnormal`, and the two of `first_non_finite`, each
//! 2^64 - 1 if there is none.
//!
//! # Rows of the optimizer
//!
//! A row is a type, a power and what it is taken of. (A row of bf16 is a type: for each power in the
//! order of the rows, of the gradient and then of the momentum.) It has the parameters after three steps
//! for every combination of these, the last in the list changing fastest:
//!
//! 1. no momentum; 0.9; 0.9 and Nesterov; 0.9 and a dampening of 0.3: each but the first with momentum
//!    in the type of the parameters and then in int8 (or in bf16 alone, without the first);
//! 2. no L2 weight decay; 0.01;
//! 3. no decoupled weight decay; 0.02;
//! 4. descent; ascent;
//! 5. no clipping of values; at 0.1;
//! 6. no clipping of the norm; at 3.
//!
//! The learning rate is 0.1, the epsilon of the smoothed power 0.001. The model has tensors of 1000 and 33
//! elements, near streams, and, where the norm is not clipped (a NaN in it would make everything NaN), one
//! of 257, a mixed stream. The parameters of tensor `i` have seed `100 + i`, its gradient in step
//! `t` = 0, 1, 2 has seed `200 + 10 * t + i`. The tensors are hashed one after the other.
//!
//! # Rows of the step
//!
//! A row is a type of parameters and a way to store them. It has what three steps, which are computed in f32,
//! have written, for every combination of these, the last in the list changing fastest:
//!
//! 1. a gradient in f32; in bf16; in f16;
//! 2. no momentum; one in f32; in bf16; in int8.
//!
//! Without momentum the rule is that of pbSGD with the square root, else PowerStep with a momentum of 0.9; both
//! with a learning rate of 0.1 and an L2 weight decay of 0.01. The tensors have 1000, 33 and 257 elements, with
//! streams of f32 of the same kinds and seeds as those of the optimizer; these are rounded to the nearest number
//! of the type, or stored as `reference` says. Draws have the seed 42, the step `t` and the tensor `i`.
//!
//! Each tensor has its parameters hashed, then the lower parts or the master, if there are any, then the
//! momentum: its numbers, or the codes of int8 and then the scales. Everything is hashed as a word of 32 bits with
//! the bits that are stored, and zeros above them.
//!
//! # The row of all f32
//!
//! `signed_sqrt` of all 2^32 bit patterns, from 0 on: the SHA-256 of the 256 digests, of 32 bytes each, of
//! the results for 2^24 patterns.

use crate::layout::Layout;
use crate::tensor::{GRADIENTS, MOMENTA, Numbers, Place, STORED, Tensor};
use rayon::prelude::*;
use rootstep::optimizer::{MomentumFormat, Optimizer, Power, PowerOf, Rule, Step};
use rootstep::{Element, Executor, Float, Inspection, Level};
use sha2::{Digest as _, Sha256};
use std::iter;

/// The published table.
const PUBLISHED: &str = include_str!("../../PROMISES.md");

/// Elements of a long stream: more than 4 MiB of f32, so that they are split over the threads.
const LONG: usize = 1_100_003;

/// The lengths of the tensors of `descend_all` and `inspect`.
const TENSORS: [usize; 6] = [LONG, 0, 1, 1000, 33, 70_001];

/// The name of the row of all f32.
pub const ALL_F32: &str = "signed_sqrt of all 2^32 f32";

/// A name and a digest in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub name: String,
    pub digest: String,
}

impl Row {
    fn new(name: impl Into<String>, hash: Sha256) -> Self {
        let bytes: Vec<String> = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { name: name.into(), digest: bytes.concat() }
    }
}

/// The rows of the published table.
pub fn published() -> Vec<Row> {
    let cells = |line: &'static str| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ");
    let is_digest =
        |text: &str| text.len() == 64 && text.chars().all(|digit| digit.is_ascii_hexdigit());
    PUBLISHED
        .lines()
        .filter_map(cells)
        .filter(|(_, digest)| is_digest(digest))
        .map(|(name, digest)| Row { name: name.to_owned(), digest: digest.to_owned() })
        .collect()
}

/// An element type, as the streams and the hash see it.
pub trait Number: Layout {
    /// The value with these bits, or with the upper ones of them.
    fn any(bits: u64) -> Self {
        Self::of_bits(bits >> (64 - Self::WIDTH))
    }

    /// What is hashed: the bits, and those of one NaN for all.
    fn hashed_bits(self) -> u64 {
        if !self.read().is_nan() {
            return self.bits();
        }
        // All ones of the exponent, and the first of the fraction.
        let sign = 1 << (Self::WIDTH - 1);
        sign - (1 << (Self::FRACTION - 1))
    }
}

impl<T: Layout> Number for T {}

/// One that is computed in itself.
pub trait Computed: Number + Element<Compute = Self> + Float {}

impl<T: Number + Element<Compute = T> + Float> Computed for T {}

/// The bits of a stream.
fn bits(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed;
    iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut b = state;
        b = (b ^ (b >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        b = (b ^ (b >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        b ^ (b >> 31)
    })
}

/// `(b >> 11) / 2^53 * 2 - 1`
fn near_value<T: Number>(b: u64) -> T {
    T::rounded(T::Compute::from_f64((b >> 11) as f64 / (1_u64 << 53) as f64 * 2.0 - 1.0))
}

fn near<T: Number>(length: usize, seed: u64) -> Vec<T> {
    bits(seed).take(length).map(near_value).collect()
}

fn mixed<T: Number>(length: usize, seed: u64) -> Vec<T> {
    let element = |(i, b)| if i % 2 == 0 { T::any(b) } else { near_value(b) };
    bits(seed).take(length).enumerate().map(element).collect()
}

/// The tensors of `descend_all` and `inspect`: a stream for each length, with the seeds from `seed` on.
fn tensors<T: Number>(stream: fn(usize, u64) -> Vec<T>, seed: u64) -> Vec<Vec<T>> {
    TENSORS.into_iter().zip(seed..).map(|(length, seed)| stream(length, seed)).collect()
}

fn update<T: Number>(hash: &mut Sha256, values: &[T]) {
    let mut buffer = Vec::new();
    for block in values.chunks(4096) {
        buffer.clear();
        for value in block {
            buffer.extend_from_slice(&value.hashed_bits().to_le_bytes()[..size_of::<T>()]);
        }
        hash.update(&buffer);
    }
}

fn update_findings(hash: &mut Sha256, found: &Inspection) {
    let (tensor, index) = match found.first_non_finite {
        Some((tensor, index)) => (tensor as u64, index as u64),
        None => (u64::MAX, u64::MAX),
    };
    let Inspection { elements, nan, infinite, zero, subnormal, .. } = *found;
    hash.update(elements.to_le_bytes());
    hash.update(found.norm.hashed_bits().to_le_bytes());
    hash.update(found.max_magnitude.hashed_bits().to_le_bytes());
    for number in [nan, infinite, zero, subnormal, tensor, index] {
        hash.update(number.to_le_bytes());
    }
}

/// The operations, by whoever means to give their bits.
pub trait Operations {
    fn signed_sqrt<T: Number>(&self, g: &[T], out: &mut [T]);
    fn signed_sqrt_in_place<T: Number>(&self, values: &mut [T]);
    fn axpy<T: Number>(&self, alpha: T::Compute, x: &[T], y: &mut [T]);
    fn descend<T: Number>(&self, x: &mut [T], g: &[T], rate: T::Compute);
    fn descend_into<T: Number>(&self, x: &[T], g: &[T], rate: T::Compute, out: &mut [T]);
    fn descend_all<T: Number>(
        &self,
        parameters: &mut [Vec<T>],
        gradients: &[Vec<T>],
        rate: T::Compute,
    );
    fn inspect<T: Number>(&self, gradients: &[&[T]]) -> Inspection;
    fn step_all(&self, tensors: &mut [Tensor]);
}

impl Operations for Executor {
    fn signed_sqrt<T: Number>(&self, g: &[T], out: &mut [T]) {
        Self::signed_sqrt(*self, g, out);
    }
    fn signed_sqrt_in_place<T: Number>(&self, values: &mut [T]) {
        Self::signed_sqrt_in_place(*self, values);
    }
    fn axpy<T: Number>(&self, alpha: T::Compute, x: &[T], y: &mut [T]) {
        Self::axpy(*self, alpha, x, y);
    }
    fn descend<T: Number>(&self, x: &mut [T], g: &[T], rate: T::Compute) {
        Self::descend(*self, x, g, rate);
    }
    fn descend_into<T: Number>(&self, x: &[T], g: &[T], rate: T::Compute, out: &mut [T]) {
        Self::descend_into(*self, x, g, rate, out);
    }
    fn descend_all<T: Number>(
        &self,
        parameters: &mut [Vec<T>],
        gradients: &[Vec<T>],
        rate: T::Compute,
    ) {
        Self::descend_all(*self, parameters, gradients, rate);
    }
    fn inspect<T: Number>(&self, gradients: &[&[T]]) -> Inspection {
        Self::inspect(*self, gradients)
    }
    fn step_all(&self, tensors: &mut [Tensor]) {
        let mut steps: Vec<_> = tensors.iter_mut().map(Tensor::lend).collect();
        Self::step_all(*self, &mut steps).expect("the storages fit");
    }
}

/// The rows of the operations for one type.
pub fn of_operations<T: Number>(by: &impl Operations) -> Vec<Row> {
    let (x, g) = (mixed::<T>(LONG, 1), mixed::<T>(LONG, 2));
    let scalar = T::Compute::from_f64(0.1);
    let row = |operation: &str, results: &[&[T]]| {
        let mut hash = Sha256::new();
        for results in results {
            update(&mut hash, results);
        }
        Row::new(format!("{operation} {}", T::TYPE), hash)
    };
    let mut rows = Vec::new();

    let mut out = vec![T::default(); LONG];
    by.signed_sqrt(&g, &mut out);
    rows.push(row("signed_sqrt", &[&out]));
    out.copy_from_slice(&g);
    by.signed_sqrt_in_place(&mut out);
    rows.push(row("signed_sqrt_in_place", &[&out]));
    out.copy_from_slice(&x);
    by.axpy(scalar, &g, &mut out);
    rows.push(row("axpy", &[&out]));
    out.copy_from_slice(&x);
    by.descend(&mut out, &g, scalar);
    rows.push(row("descend", &[&out]));
    out.fill(T::default());
    by.descend_into(&x, &g, scalar, &mut out);
    rows.push(row("descend_into", &[&out]));

    let (mut model, mut gradients) = (tensors::<T>(mixed, 10), tensors::<T>(mixed, 20));
    by.descend_all(&mut model, &gradients, scalar);
    rows.push(row("descend_all", &model.iter().map(Vec::as_slice).collect::<Vec<_>>()));

    let mut hash = Sha256::new();
    let mut inspect = |gradients: &[Vec<T>]| {
        let gradients: Vec<&[T]> = gradients.iter().map(Vec::as_slice).collect();
        update_findings(&mut hash, &by.inspect(&gradients));
    };
    inspect(&gradients);
    let all = gradients.iter_mut().flatten();
    for value in all.filter(|value| !value.read().is_finite()) {
        *value = T::default();
    }
    inspect(&gradients);
    inspect(&tensors(near, 20));
    rows.push(Row::new(format!("inspect {}", T::TYPE), hash));
    rows
}

const POWERS: [Power; 6] = [
    Power::Zero,
    Power::Quarter,
    Power::Half,
    Power::ThreeQuarters,
    Power::One,
    Power::Smoothed { epsilon: 0.001 },
];

/// Every power, of the gradient and of the momentum.
fn powers() -> impl Iterator<Item = (Power, PowerOf)> {
    let both = |power| [(power, PowerOf::Gradient), (power, PowerOf::Momentum)];
    POWERS.into_iter().flat_map(both)
}

/// What belongs to a row beside the rule.
struct Model<T> {
    parameters: Vec<Vec<T>>,
    gradients: [Vec<Vec<T>>; 3],
}

impl<T: Computed> Model<T> {
    fn new() -> Self {
        let tensors = |seed| vec![near(1000, seed), near(33, seed + 1), mixed(257, seed + 2)];
        Self { parameters: tensors(100), gradients: [200, 210, 220].map(tensors) }
    }

    /// Hashes the parameters after three steps.
    fn run(
        &self,
        hash: &mut Sha256,
        executor: Executor,
        rule: Rule,
        (clip_value, clip_norm): (bool, bool),
    ) {
        let mut builder = Optimizer::builder(rule).with_executor(executor);
        if clip_value {
            builder = builder.with_clip_value(0.1);
        }
        let tensors = if clip_norm { 2 } else { 3 };
        if clip_norm {
            builder = builder.with_clip_norm(3.0);
        }
        let mut optimizer = builder.build().expect("the rules of the table are valid");
        let mut parameters = self.parameters[..tensors].to_vec();
        for gradients in &self.gradients {
            let step = optimizer.step(&mut parameters, &gradients[..tensors]);
            step.expect("the tensors fit each other");
        }
        for tensor in &parameters {
            update(hash, tensor);
        }
    }

    /// Hashes every combination of terms, for each kind of momentum.
    fn run_all(
        &self,
        hash: &mut Sha256,
        executor: Executor,
        kinds: impl IntoIterator<Item = Rule>,
    ) {
        const EITHER: [bool; 2] = [false, true];
        for kind in kinds {
            for l2 in [0.0, 0.01] {
                for decoupled in [0.0, 0.02] {
                    let rule = kind.with_weight_decay(l2).with_decoupled_weight_decay(decoupled);
                    for rule in [rule, rule.maximizing()] {
                        for clip_value in EITHER {
                            for clip_norm in EITHER {
                                self.run(hash, executor, rule, (clip_value, clip_norm));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Each kind of momentum, in each of the formats.
fn with_momentum(plain: Rule, formats: &[MomentumFormat]) -> Vec<Rule> {
    let momentum = plain.with_momentum(0.9);
    let kinds = [momentum, momentum.with_nesterov(), momentum.with_dampening(0.3)];
    let in_formats =
        |kind: Rule| formats.iter().map(move |&format| kind.with_momentum_format(format));
    kinds.into_iter().flat_map(in_formats).collect()
}

/// The rows of the optimizer for one type.
pub fn of_optimizer<T: Computed>(executor: Executor) -> Vec<Row> {
    let model = Model::<T>::new();
    let mut rows = Vec::new();
    for (power, of) in powers() {
        let plain = Rule::pbsgd(0.1, power).with_power_of(of);
        let momentum = with_momentum(plain, &[MomentumFormat::Full, MomentumFormat::Int8]);
        let mut hash = Sha256::new();
        model.run_all(&mut hash, executor, iter::once(plain).chain(momentum));
        let power = match power {
            Power::Smoothed { .. } => "Smoothed".to_owned(),
            power => format!("{power:?}"),
        };
        rows.push(Row::new(format!("optimizer {}, {power} of {of:?}", T::NAME), hash));
    }
    let mut hash = Sha256::new();
    for (power, of) in powers() {
        let plain = Rule::pbsgd(0.1, power).with_power_of(of);
        model.run_all(&mut hash, executor, with_momentum(plain, &[MomentumFormat::Bf16]));
    }
    rows.push(Row::new(format!("optimizer {}, bf16", T::NAME), hash));
    rows
}

/// The rows of the step, by the ways to store parameters.
pub fn of_steps(by: &impl Operations) -> Vec<Row> {
    let streams = |seed| [near(1000, seed), near(33, seed + 1), mixed(257, seed + 2)];
    let (parameters, gradients): ([Vec<f32>; 3], _) = (streams(100), [200, 210, 220].map(streams));
    let run = |hash: &mut Sha256, stored, gradient, momentum| {
        let rule = match momentum {
            "None" => Rule::pbsgd(0.1, Power::Half),
            _ => Rule::powerstep(0.1).with_momentum(0.9),
        };
        let rule = rule.with_weight_decay(0.01);
        let [first, later] =
            [Step::first(&rule), Step::later(&rule)].map(|step| step.expect("valid"));
        let place = Place { seed: 42, step: 0, tensor: 0, start: 0 };
        let mut tensors = parameters
            .each_ref()
            .map(|x| Tensor::of(first, stored, x, Numbers::of(gradient, x), momentum, place));
        for (t, gradients) in (0..).zip(&gradients) {
            for (i, (tensor, g)) in (0..).zip(tensors.iter_mut().zip(gradients)) {
                tensor.gradient = Numbers::of(gradient, g);
                tensor.step = if t == 0 { first } else { later };
                tensor.draw_from(Place { step: t, tensor: i, ..place });
            }
            by.step_all(&mut tensors);
        }
        for word in tensors.iter().flat_map(Tensor::written).flatten() {
            hash.update(word.to_le_bytes());
        }
    };
    let row = |stored: (&'static str, &'static str)| {
        let mut hash = Sha256::new();
        for gradient in GRADIENTS {
            for momentum in MOMENTA {
                run(&mut hash, stored, gradient, momentum);
            }
        }
        Row::new(format!("step {}, {}", stored.0, stored.1), hash)
    };
    STORED.into_iter().map(row).collect()
}

/// The row of all f32.
pub fn of_all_f32(level: Level) -> Row {
    /// Elements that stay in the caches.
    const PIECE: u32 = 1 << 12;
    const BLOCK: u32 = 1 << 24;
    let executor = Executor::new(level).serial();
    let of_block = |block: u32| {
        let mut hash = Sha256::new();
        let mut out = [0.0; PIECE as usize];
        for piece in 0..BLOCK / PIECE {
            let start = block * BLOCK + piece * PIECE;
            let g: Vec<f32> = (start..=start + (PIECE - 1)).map(f32::from_bits).collect();
            executor.signed_sqrt(&g, &mut out);
            update(&mut hash, &out);
        }
        hash.finalize()
    };
    let digests: Vec<_> = (0..256).into_par_iter().map(of_block).collect();
    let mut hash = Sha256::new();
    for digest in digests {
        hash.update(digest);
    }
    Row::new(ALL_F32, hash)
}
