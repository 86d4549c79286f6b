//! Candidates at regular distances.

use crate::Error;
use crate::setting::{count_from, end_behind};

/// `count` values from `from` to `to`, each the same factor greater than the one before:
/// `from * (to / from)^(i / (count - 1))`. The first and the last are exactly the ends, and between whole
/// powers of ten these are exact.
///
/// # Errors
///
/// [`Error::InvalidSetting`] unless `0 < from < to`, both finite, and `2 <= count <= 1_000_000`; or if
/// the ends are so close that values would be equal.
///
/// ```
/// let rates = rootstep_tuning::logarithmic_grid(0.001, 10.0, 5)?;
/// assert_eq!(rates.len(), 5);
/// assert_eq!((rates[0], rates[4]), (0.001, 10.0));
/// assert!((rates[1] - 0.01).abs() < 1e-15);
/// # Ok::<(), rootstep_tuning::Error>(())
/// ```
pub fn logarithmic_grid(from: f64, to: f64, count: usize) -> Result<Vec<f64>, Error> {
    if !(from > 0.0 && from.is_finite()) {
        return Err(Error::invalid("start of the grid", from, "finite and greater than 0"));
    }
    // In decimal exponents whole powers of ten come out exact, and `to / from` cannot overflow.
    let (start, end) = (libm::log10(from), libm::log10(to));
    grid(from, to, count, |i, last| power_of_ten(start + (end - start) * i / last))
}

/// `10^exponent`; correctly rounded if the exponent is whole, which `pow` does not promise.
fn power_of_ten(exponent: f64) -> f64 {
    let whole = || format!("1e{exponent}").parse().ok();
    let whole = if exponent.fract() == 0.0 { whole() } else { None };
    whole.unwrap_or_else(|| libm::pow(10.0, exponent))
}

/// `count` values from `from` to `to` at the same distance:
/// `from + (to - from) * (i / (count - 1))`. The first and the last are exactly the ends.
///
/// # Errors
///
/// [`Error::InvalidSetting`] unless `from < to`, both finite, and `2 <= count <= 1_000_000`; or if the
/// ends are so close that values would be equal.
///
/// ```
/// let momenta = rootstep_tuning::linear_grid(0.0, 1.0, 5)?;
/// assert_eq!(momenta, [0.0, 0.25, 0.5, 0.75, 1.0]);
/// # Ok::<(), rootstep_tuning::Error>(())
/// ```
pub fn linear_grid(from: f64, to: f64, count: usize) -> Result<Vec<f64>, Error> {
    if !from.is_finite() {
        return Err(Error::invalid("start of the grid", from, "finite"));
    }
    // So `to - from` cannot overflow.
    grid(from, to, count, |i, last| from * (1.0 - i / last) + to * (i / last))
}

/// `value_at(i, count - 1)` for all `i` between the ends, and the ends as they are.
fn grid(
    from: f64,
    to: f64,
    count: usize,
    value_at: impl Fn(f64, f64) -> f64,
) -> Result<Vec<f64>, Error> {
    const COUNT: &str = "number of values in the grid";
    end_behind("end of the grid", from, to)?;
    count_from(COUNT, 2, count)?;
    let last = count - 1;
    let value = |i| match i {
        0 => from,
        i if i == last => to,
        // Rounding must not carry a value beyond the ends.
        i => value_at(i as f64, last as f64).clamp(from, to),
    };
    let values: Vec<f64> = (0..count).map(value).collect();
    if values.windows(2).any(|pair| pair[0] >= pair[1]) {
        let allowed = format!("so few that values between {from} and {to} differ");
        return Err(Error::invalid(COUNT, count, allowed));
    }
    Ok(values)
}
