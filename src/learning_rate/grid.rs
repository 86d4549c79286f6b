//! Candidates at regular distances.

use crate::Error;

/// The most candidates at once: a mistyped number must be an error, not the end of the memory.
pub(super) const MOST_VALUES: usize = 1_000_000;

/// `count` values from `from` to `to`, each the same factor greater than the one before:
/// `from * (to / from)^(i / (count - 1))`. The first and the last are exactly the ends.
///
/// # Errors
///
/// [`Error::InvalidSetting`] unless `0 < from < to`, both finite, and `2 <= count <= 1_000_000`; or if
/// the ends are so close that values would be equal.
///
/// ```
/// let rates = rootstep::learning_rate::logarithmic_grid(0.001, 10.0, 5)?;
/// assert_eq!(rates.len(), 5);
/// assert_eq!((rates[0], rates[4]), (0.001, 10.0));
/// assert!((rates[1] - 0.01).abs() < 1e-15);
/// # Ok::<(), rootstep::Error>(())
/// ```
pub fn logarithmic_grid(from: f64, to: f64, count: usize) -> Result<Vec<f64>, Error> {
    if !(from > 0.0 && from.is_finite()) {
        return Err(Error::invalid("start of the grid", from, "finite and greater than 0"));
    }
    // In decimal exponents whole powers of ten come out exact, and `to / from` cannot overflow.
    let (start, end) = (from.log10(), to.log10());
    grid(from, to, count, |i, last| 10_f64.powf(start + (end - start) * i / last))
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
/// let momenta = rootstep::learning_rate::linear_grid(0.0, 1.0, 5)?;
/// assert_eq!(momenta, [0.0, 0.25, 0.5, 0.75, 1.0]);
/// # Ok::<(), rootstep::Error>(())
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
    end_behind("end of the grid", from, to)?;
    let wrong_count = |allowed| Err(Error::invalid("number of values in the grid", count, allowed));
    if !(2..=MOST_VALUES).contains(&count) {
        return wrong_count(format!("at least 2 and at most {MOST_VALUES}"));
    }
    let last = count - 1;
    let value = |i| match i {
        0 => from,
        i if i == last => to,
        // Rounding must not carry a value beyond the ends.
        i => value_at(i as f64, last as f64).clamp(from, to),
    };
    let values: Vec<f64> = (0..count).map(value).collect();
    if values.windows(2).any(|pair| pair[0] >= pair[1]) {
        return wrong_count(format!("so few that values between {from} and {to} differ"));
    }
    Ok(values)
}

/// The end of a range is finite and behind its start.
pub(super) fn end_behind(setting: &'static str, from: f64, to: f64) -> Result<(), Error> {
    if to > from && to.is_finite() {
        return Ok(());
    }
    Err(Error::invalid(setting, to, format!("finite and greater than its start, {from}")))
}
