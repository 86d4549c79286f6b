//! What settings are asked, wherever they are: each check names the setting and what is allowed.

use crate::Error;
use std::fmt;

/// The most candidates at once: a mistyped number must be an error, not the end of the memory.
const MOST_VALUES: usize = 1_000_000;

/// `least` or more.
pub(crate) fn at_least<N: Copy + PartialOrd + fmt::Display>(
    setting: &'static str,
    given: N,
    least: N,
) -> Result<(), Error> {
    if given < least {
        return Err(Error::invalid(setting, given, format!("at least {least}")));
    }
    Ok(())
}

/// In [0, 1).
pub(crate) fn below_one(setting: &'static str, value: f64) -> Result<(), Error> {
    if !(0.0..1.0).contains(&value) {
        return Err(Error::invalid(setting, value, "0 or more, below 1"));
    }
    Ok(())
}

/// The end of a range is finite and behind its start.
pub(crate) fn end_behind(setting: &'static str, from: f64, to: f64) -> Result<(), Error> {
    if to > from && to.is_finite() {
        return Ok(());
    }
    Err(Error::invalid(setting, to, format!("finite and greater than its start, {from}")))
}

/// `least` or more, and not more than anyone means.
pub(crate) fn count_from(setting: &'static str, least: usize, count: usize) -> Result<(), Error> {
    if (least..=MOST_VALUES).contains(&count) {
        return Ok(());
    }
    Err(Error::invalid(setting, count, format!("at least {least} and at most {MOST_VALUES}")))
}
