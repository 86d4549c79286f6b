//! The gradient step of sign-preserving square-root normalisation,
//! x ← x − η·sign(g)·√|g|: at the speed of memory, and **with the same bits everywhere**.
//!
//! ```
//! let mut parameters = vec![1.0_f32, 2.0, 3.0];
//! let gradient = vec![4.0, -0.25, 0.0];
//! rootstep::descend(&mut parameters, &gradient, 0.1);
//! assert_eq!(parameters, [0.8, 2.05, 3.0]);
//! ```
//!
//! The square root makes small gradients larger and large ones smaller, and keeps their sign: a
//! step between that of signSGD (the sign alone) and that of SGD (the gradient itself). In the
//! literature it is the Powerball method and pbSGD at the power 1/2; [`reference`](mod@reference)
//! names the sources.
//!
//! # The operations
//!
//! | function | for each element | rounded |
//! |---|---|---|
//! | [`signed_sqrt`], [`signed_sqrt_in_place`] | `copysign(sqrt(abs(g)), g)` | once |
//! | [`axpy`] | `y + (alpha * x)` | twice |
//! | [`descend`], [`descend_into`], [`descend_all`] | `x - (learning_rate * signed_sqrt(g))` | three times |
//!
//! [`inspect`] reads gradients: their norm, the largest magnitude, and what is not finite.
//! They take slices of `f32` or `f64`; with the feature `half` of `half::bf16` or `half::f16`, too, which are read
//! exactly, computed in `f32`, and rounded to the nearest once more. [`Executor`] has the same operations as methods, with the
//! instruction set and the threads pinned.
//!
//! [`optimizer`] takes whole steps: momentum, weight decay, clipping, groups of parameters, other powers
//! than the square root, in one pass over the model. It has schedules of the learning rate, too.
//! [`Executor::step`] and [`Executor::step_all`] take the same step without an owner: parameters, gradients
//! and momentum all stay in memory of the caller's, such as a mapped file (`examples/mapped.rs`).
//!
//! The package `rootstep-tuning` searches for the learning rate, by cross-validation or by a range test.
//!
//! # What is guaranteed
//!
#![cfg_attr(doc, doc = "How each of these is proven, and how to see it: [`promises`].")]
//!
//! - **The same bits.** Every result equals that of the scalar functions in
//!   [`reference`](mod@reference), bit for bit: on every instruction set, at every length, offset
//!   and alignment, in place and out of place, for any number of threads. NaN is NaN; its sign and
//!   payload are not specified.
//! - **No value is special.** ±0, subnormal numbers, ±∞ and NaN give what IEEE 754 says of the formula.
//!   Nothing is flushed to zero, and no shortcut of an operation loses a NaN.
//! - **Never an illegal instruction.** AVX2 and AVX-512 are detected at run time; a [`Level`] can
//!   be had only from detection.
//! - **No panics but one.** An operation panics, before anything is written, if slices are of unequal length
//!   or there is another number of gradients than of tensors. What takes a configuration or data from
//!   outside returns a [`Result`] with [`Error`]. A panic of the caller's own functions, such as `as_mut`,
//!   goes through.
//!
//! # The floating-point environment
//!
//! Foreign code can leave another floating-point environment to a thread: `torch.set_flush_denormal(True)` and
//! the start-up code of `-ffast-math` have subnormal numbers flushed to zero, `fesetround` changes the
//! rounding, `feenableexcept` and `-ffpe-trap` have exceptions trap. Operations and steps compute in the
//! default one all the same, on the calling thread and on each thread of the pool, and leave every thread its
//! own. It costs half a nanosecond per call. Two things are not covered:
//!
//! - On x86, an exception that has been made to trap may trap within a call, and underflow or inexact results do
//!   so within every call, unless the call is that of an
//!   [`untrapped`](Executor::untrapped) executor, which takes some nanoseconds more.
//! - x86, aarch64 and s390x are covered. wasm has no other environment than the default. On other CPUs the
//!   bits are those of the environment that the thread has.
//!
//! The status flags after a call are not specified.
//!
//! # Threads and instruction sets
//!
//! Each call picks the best instruction set of the machine, and splits slices that are long enough
//! to gain over the threads of the current rayon pool: the global one, or the caller's own inside
//! `pool.install(..)`, or another kind of pool that is lent by [`parallel::install`]. A call waits only for threads that are at work for it, and not for a pool that
//! is blocked. (In a process that was forked after its first call it runs on the calling thread alone. A process
//! must not fork between the first use of a rayon pool and its first call: rayon waits for threads that are gone.) The environment variable `ROOTSTEP_LEVEL=portable|avx2|avx512` pins the instruction set of a
//! process. If it names none that the machine has, it is as if it were not set ([`Level::from_env`] gives an
//! error instead). It is read once.
//!
//! The operations are compiled in this crate, not where they are called. To have them fast in a dev build,
//! optimise this one package: `[profile.dev.package.rootstep]` with `opt-level = 3`.
//!
//! # Caveats
//!
//! - Averaging and the root do not commute. Average the gradients of a batch first, then step.
//! - A step does not shrink with the gradient as fast as that of SGD does: near a minimum the step
//!   of a constant learning rate oscillates. Let the learning rate decay.
//! - What is no operation on slices and no step is Rust code like the caller's own, and computes in the
//!   floating-point environment that it is called in: the functions of [`reference`](mod@reference) and the schedules.
//! - OpenMP in the same process: threads of libgomp wait by spinning, on the cores that the pool's threads want. Lend
//!   them by [`parallel::install`], or let them sleep by `OMP_WAIT_POLICY=PASSIVE`.
//! - 32-bit x86 without SSE2 computes with excess precision, and is not supported. Nor is `no_std`: the
//!   instruction sets are detected, and the threads are those, of the standard library. wasm32 is supported,
//!   with registers if it is compiled with `-C target-feature=+simd128`.
//!
//! # Features
//!
//! - `rayon` (default): long slices over several threads.
//! - `half`: slices of `half::bf16` and `half::f16` are elements, and an optimizer's parameters can be stored in
//!   other ways than as the nearest numbers ([`optimizer::Storage`]).
//! - `serde`: the rules, the schedules, the loss scale and the state of an optimizer can be serialised.
//! - `safetensors`: the state of an optimizer as a safetensors file.
//!
//! Momentum in bf16 or int8 needs no feature. Rust 1.89 or later.

#[allow(
    unsafe_code,
    reason = "intrinsics, and the entry into code with target features, live here alone"
)]
mod simd;

mod draws;
mod element;
mod error;
mod exact;
mod executor;
mod float;
mod format;
mod inspection;
mod kernels;
mod level;
pub mod optimizer;
#[cfg(doc)]
#[doc = include_str!("../PROMISES.md")]
pub mod promises {}
pub mod parallel;
pub mod reference;
mod rows;
mod setting;
mod slices;
mod step;
mod sum_order;
pub mod sums;

pub use element::Element;
pub use error::Error;
pub use executor::Executor;
pub use float::Float;
pub use inspection::Inspection;
pub use level::Level;

#[cfg(all(target_arch = "x86", not(target_feature = "sse2")))]
compile_error!("x87 arithmetic rounds twice: rootstep needs SSE2 on x86");

/// `out[i] = copysign(sqrt(abs(gradient[i])), gradient[i])`, rounded once.
///
/// Specified by [`reference::signed_sqrt`], which names the source.
///
/// # Panics
///
/// If the lengths differ. Nothing is written then.
///
/// ```
/// let mut out = [0.0; 4];
/// rootstep::signed_sqrt(&[4.0_f32, -9.0, -0.0, f32::INFINITY], &mut out);
/// assert_eq!(out, [2.0, -3.0, -0.0, f32::INFINITY]);
/// ```
pub fn signed_sqrt<T: Element>(gradient: &[T], out: &mut [T]) {
    Executor::default().signed_sqrt(gradient, out);
}

/// `values[i] = copysign(sqrt(abs(values[i])), values[i])`, rounded once.
///
/// Specified by [`reference::signed_sqrt`], which names the source.
///
/// ```
/// let mut values = [4.0_f64, -9.0, -0.0];
/// rootstep::signed_sqrt_in_place(&mut values);
/// assert_eq!(values, [2.0, -3.0, -0.0]);
/// ```
pub fn signed_sqrt_in_place<T: Element>(values: &mut [T]) {
    Executor::default().signed_sqrt_in_place(values);
}

/// `y[i] = y[i] + (alpha * x[i])`, rounded twice, never fused: the plain gradient step with
/// `alpha = -learning_rate`.
///
/// Specified by [`reference::axpy`], which names the source.
///
/// # Panics
///
/// If the lengths differ. Nothing is written then.
///
/// ```
/// let mut y = [1.0_f32, 2.0];
/// rootstep::axpy(-0.5, &[4.0, 8.0], &mut y);
/// assert_eq!(y, [-1.0, -2.0]);
/// ```
pub fn axpy<T: Element>(alpha: T::Compute, x: &[T], y: &mut [T]) {
    Executor::default().axpy(alpha, x, y);
}

/// `parameters[i] = parameters[i] - (learning_rate * signed_sqrt(gradient[i]))`, rounded three
/// times: normalises and updates in one pass.
///
/// Specified by [`reference::descend`], which names the source.
///
/// # Panics
///
/// If the lengths differ. Nothing is written then.
///
/// ```
/// // Minimises (x - 3)^2, whose gradient is 2(x - 3), with a learning rate that decays.
/// let mut x = [0.0_f64];
/// for step in 0..200 {
///     let gradient = [2.0 * (x[0] - 3.0)];
///     rootstep::descend(&mut x, &gradient, 0.5 / f64::from(1 + step));
/// }
/// assert!((x[0] - 3.0).abs() < 1e-3);
/// ```
pub fn descend<T: Element>(parameters: &mut [T], gradient: &[T], learning_rate: T::Compute) {
    Executor::default().descend(parameters, gradient, learning_rate);
}

/// `out[i] = parameters[i] - (learning_rate * signed_sqrt(gradient[i]))`, rounded three times:
/// [`descend`] out of place, with the same bits.
///
/// Specified by [`reference::descend`], which names the source.
///
/// # Panics
///
/// If the lengths differ. Nothing is written then.
///
/// ```
/// let parameters = [1.0_f32, 2.0];
/// let mut stepped = [0.0; 2];
/// rootstep::descend_into(&parameters, &[4.0, -4.0], 0.25, &mut stepped);
/// assert_eq!(stepped, [0.5, 2.5]);
/// assert_eq!(parameters, [1.0, 2.0]);
/// ```
pub fn descend_into<T: Element>(
    parameters: &[T],
    gradient: &[T],
    learning_rate: T::Compute,
    out: &mut [T],
) {
    Executor::default().descend_into(parameters, gradient, learning_rate, out);
}

/// [`descend`] on every tensor of a model, each with its gradient, in one parallel pass. Small tensors
/// are not dispatched one by one and large ones are split, so that the threads end together.
///
/// The bits are those of one [`descend`] after the other.
///
/// # Panics
///
/// If there are not as many gradients as tensors, or the lengths of a pair differ (the message names it
/// by its index). Nothing is written then, in any of them.
///
/// ```
/// let mut model = [vec![1.0_f32; 3], vec![2.0; 10_000]];
/// let gradients = [vec![4.0_f32; 3], vec![-4.0; 10_000]];
/// rootstep::descend_all(&mut model, &gradients, 0.25);
/// assert_eq!(model, [vec![0.5; 3], vec![2.5; 10_000]]);
/// ```
pub fn descend_all<T, P, G>(parameters: &mut [P], gradients: &[G], learning_rate: T::Compute)
where
    T: Element,
    P: AsMut<[T]>,
    G: AsRef<[T]>,
{
    Executor::default().descend_all(parameters, gradients, learning_rate);
}

/// The health of a model's gradients, in one pass (two, where squares would overflow or be lost): the global
/// L2 norm, the largest magnitude, and how many elements are NaN, infinite, zero and subnormal.
///
/// The sums are taken in f64, in an order that depends on the lengths alone, so the norm has the same
/// bits on every instruction set and for any number of threads. Specified by [`reference::inspect`].
///
/// ```
/// let health = rootstep::inspect(&[vec![3.0_f32, 0.0], vec![-4.0]]);
/// assert_eq!((health.norm, health.max_magnitude, health.zero), (5.0, 4.0, 1));
/// assert!(health.is_finite());
///
/// let health = rootstep::inspect(&[vec![3.0], vec![1.0, f64::NAN]]);
/// assert_eq!((health.nan, health.first_non_finite), (1, Some((1, 1))));
/// ```
#[must_use]
pub fn inspect<T: Element, G: AsRef<[T]>>(gradients: &[G]) -> Inspection {
    Executor::default().inspect(gradients)
}
