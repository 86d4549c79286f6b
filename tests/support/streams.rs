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
//! that of its upper 32 bits. The elements 1, 3, 5, .. are *near* values,
//! `(b >> 11) / 2^53 * 2 - 1`, exact in f64 and rounded to the type once: of numbers with random
//! exponents a sum shows the larger alone. In a *near* stream all elements are near values.
//!
//! # Hashing
//!
//! SHA-256 of the results one after the other: each element in its 4 or 8 bytes, the lowest first. A
//! NaN is hashed as `0x7fc00000` or `0x7ff8000000000000`, since its sign and payload are not specified.
//!
//! # Rows of the operations
//!
//! With `x` the mixed stream of seed 1 and `g` that of seed 2, of 1,100,003 elements each, and
//! `s` = 0.1 rounded to the type:
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
//! # The row of all f32
//!
//! `signed_sqrt` of all 2^32 bit patterns, from 0 on: the SHA-256 of the 256 digests, of 32 bytes each, of
//! the results for 2^24 patterns.

use rayon::prelude::*;
use rootstep::optimizer::{MomentumFormat, Optimizer, Power, PowerOf, Rule};
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
pub trait Number: Element<Compute = Self> + Float {
    /// The value with these bits, or with the upper half of them.
    fn any(bits: u64) -> Self {
        Self::from_bits(bits >> (64 - Self::BITS))
    }

    /// What is hashed: the bits, and those of one NaN for all.
    fn hashed_bits(self) -> u64 {
        match (self.is_nan(), Self::BITS) {
            (false, _) => self.to_bits(),
            (true, 32) => 0x7fc0_0000,
            (true, _) => 0x7ff8_0000_0000_0000,
        }
    }
}

impl<T: Element<Compute = T> + Float> Number for T {}

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
    T::from_f64((b >> 11) as f64 / (1_u64 << 53) as f64 * 2.0 - 1.0)
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
    fn axpy<T: Number>(&self, alpha: T, x: &[T], y: &mut [T]);
    fn descend<T: Number>(&self, x: &mut [T], g: &[T], rate: T);
    fn descend_into<T: Number>(&self, x: &[T], g: &[T], rate: T, out: &mut [T]);
    fn descend_all<T: Number>(&self, parameters: &mut [Vec<T>], gradients: &[Vec<T>], rate: T);
    fn inspect<T: Number>(&self, gradients: &[&[T]]) -> Inspection;
}

impl Operations for Executor {
    fn signed_sqrt<T: Number>(&self, g: &[T], out: &mut [T]) {
        Self::signed_sqrt(*self, g, out);
    }
    fn signed_sqrt_in_place<T: Number>(&self, values: &mut [T]) {
        Self::signed_sqrt_in_place(*self, values);
    }
    fn axpy<T: Number>(&self, alpha: T, x: &[T], y: &mut [T]) {
        Self::axpy(*self, alpha, x, y);
    }
    fn descend<T: Number>(&self, x: &mut [T], g: &[T], rate: T) {
        Self::descend(*self, x, g, rate);
    }
    fn descend_into<T: Number>(&self, x: &[T], g: &[T], rate: T, out: &mut [T]) {
        Self::descend_into(*self, x, g, rate, out);
    }
    fn descend_all<T: Number>(&self, parameters: &mut [Vec<T>], gradients: &[Vec<T>], rate: T) {
        Self::descend_all(*self, parameters, gradients, rate);
    }
    fn inspect<T: Number>(&self, gradients: &[&[T]]) -> Inspection {
        Self::inspect(*self, gradients)
    }
}

/// The rows of the operations for one type.
pub fn of_operations<T: Number>(by: &impl Operations) -> Vec<Row> {
    let (x, g) = (mixed::<T>(LONG, 1), mixed::<T>(LONG, 2));
    let scalar = T::from_f64(0.1);
    let row = |operation: &str, results: &[&[T]]| {
        let mut hash = Sha256::new();
        for results in results {
            update(&mut hash, results);
        }
        Row::new(format!("{operation} {}", T::NAME), hash)
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
    for value in all.filter(|value| !value.is_finite()) {
        *value = T::default();
    }
    inspect(&gradients);
    inspect(&tensors(near, 20));
    rows.push(Row::new(format!("inspect {}", T::NAME), hash));
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

impl<T: Number> Model<T> {
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
pub fn of_optimizer<T: Number>(executor: Executor) -> Vec<Row> {
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
