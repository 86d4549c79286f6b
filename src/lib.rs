//! Placeholder.

#[allow(unsafe_code, reason = "intrinsics and the entry into target features live here alone")]
mod simd;

mod element;
mod error;
mod executor;
mod kernels;
mod level;
mod parallel;
pub mod reference;

pub use element::Element;
pub use error::Error;
pub use executor::Executor;
pub use level::Level;

/// `out[i] = copysign(sqrt(|gradient[i]|), gradient[i])`.
pub fn signed_sqrt<T: Element>(gradient: &[T], out: &mut [T]) {
    Executor::default().signed_sqrt(gradient, out);
}

/// In place.
pub fn signed_sqrt_in_place<T: Element>(values: &mut [T]) {
    Executor::default().signed_sqrt_in_place(values);
}

/// `y[i] = y[i] + (alpha * x[i])`.
pub fn axpy<T: Element>(alpha: T, x: &[T], y: &mut [T]) {
    Executor::default().axpy(alpha, x, y);
}

/// Step.
pub fn descend<T: Element>(parameters: &mut [T], gradient: &[T], learning_rate: T) {
    Executor::default().descend(parameters, gradient, learning_rate);
}

/// Step into.
pub fn descend_into<T: Element>(parameters: &[T], gradient: &[T], learning_rate: T, out: &mut [T]) {
    Executor::default().descend_into(parameters, gradient, learning_rate, out);
}
