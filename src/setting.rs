//! What settings are asked, wherever they are: each check names the setting and what is allowed.

use crate::error::Error;
use crate::float::Float;

/// The largest finite value of `T`.
fn largest<T: Float>() -> f64 {
    T::MAX.to_f64()
}

/// A number as people write it: not with 40 digits.
pub(crate) fn number<T: Float>(value: T) -> String {
    let magnitude = value.to_f64().abs();
    let plain = magnitude == 0.0 || !magnitude.is_finite() || (1e-5..1e16).contains(&magnitude);
    if plain { value.to_string() } else { format!("{value:e}") }
}

/// 0 or more, and finite in `T`.
pub(crate) fn not_negative<T: Float>(setting: &'static str, value: f64) -> Result<(), Error> {
    if (0.0..=largest::<T>()).contains(&value) {
        return Ok(());
    }
    let allowed = format!("0 to {:e}, the largest {}", T::MAX, T::NAME);
    Err(Error::invalid(setting, number(value), allowed))
}

/// Above 0 and finite, when rounded to `T`.
pub(crate) fn positive<T: Float>(setting: &'static str, value: f64) -> Result<(), Error> {
    let rounded = T::from_f64(value).to_f64();
    if rounded > 0.0 && rounded <= largest::<T>() {
        return Ok(());
    }
    let (least, most) = (T::from_bits(1), T::MAX);
    let allowed = format!("{least:e} to {most:e}, the smallest and the largest {}", T::NAME);
    Err(Error::invalid(setting, number(value), allowed))
}

/// In [0, 1), when rounded to `T`: 0.999999999 is 1 in f32.
pub(crate) fn below_one<T: Float>(setting: &'static str, value: f64) -> Result<(), Error> {
    if value >= 0.0 && T::from_f64(value).to_f64() < 1.0 {
        return Ok(());
    }
    let below = T::from_bits(T::ONE.to_bits() - 1);
    let allowed = format!("0 to {below}, the largest {} below 1", T::NAME);
    Err(Error::invalid(setting, number(value), allowed))
}
