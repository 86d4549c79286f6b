//! What settings are asked, wherever they are: each check names the setting and what is allowed.

use crate::error::Error;
use crate::float::Float;

/// The largest finite value of `T`.
fn largest<T: Float>() -> f64 {
    T::MAX.to_f64()
}

/// 0 or more, and finite in `T`.
pub(crate) fn not_negative<T: Float>(setting: &'static str, value: f64) -> Result<(), Error> {
    if (0.0..=largest::<T>()).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(setting, value, "a finite number, 0 or more"))
}

/// Above 0 and finite, when rounded to `T`.
pub(crate) fn positive<T: Float>(setting: &'static str, value: f64) -> Result<(), Error> {
    let rounded = T::from_f64(value).to_f64();
    if rounded > 0.0 && rounded <= largest::<T>() {
        return Ok(());
    }
    Err(Error::invalid(setting, value, "a finite number above 0"))
}

/// In [0, 1), when rounded to `T`: 0.999999999 is 1 in f32.
pub(crate) fn below_one<T: Float>(setting: &'static str, value: f64) -> Result<(), Error> {
    if value >= 0.0 && T::from_f64(value).to_f64() < 1.0 {
        return Ok(());
    }
    Err(Error::invalid(setting, value, "0 or more, below 1"))
}
