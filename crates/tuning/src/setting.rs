//! What settings are asked, wherever they are: each check names the setting and what is allowed.

use crate::Error;
use std::fmt;

/// The most candidates at once: a mistyped number must be an error, not the end of the memory.
pub(crate) const MOST_VALUES: usize = 1_000_000;

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

/// The most candidates and pairs together.
pub(crate) const MOST_CANDIDATES: usize = 100_000_000;

/// The most rows in all folds together, counted in each fold that has them.
const MOST_ROWS: u128 = 1 << 32;

/// The most fits of a search.
const MOST_FITS: u128 = 1 << 32;

/// That so many folds of so many rows may be made, and that there is memory for them.
pub(crate) fn room_for_rows(folds: usize, rows: usize) -> Result<(), Error> {
    let places = folds as u128 * rows as u128;
    let most = format!("at most {MOST_ROWS}, for which 32 GiB are needed");
    room_for::<usize>("number of rows in all folds", places, MOST_ROWS, most)
}

/// That so many fits, of which each takes a `T`, may be made, and that there is memory for them.
pub(crate) fn room_for_fits<T>(candidates: usize, folds: usize) -> Result<(), Error> {
    let fits = candidates as u128 * folds as u128;
    room_for::<T>("number of fits", fits, MOST_FITS, format!("at most {MOST_FITS}"))
}

fn room_for<T>(
    setting: &'static str,
    count: u128,
    most: u128,
    allowed: String,
) -> Result<(), Error> {
    if count > most {
        return Err(Error::invalid(setting, count, allowed));
    }
    // Asked for at once and given back: a system says so here if it has no such memory, not on the way.
    let size = usize::try_from(count).unwrap_or(usize::MAX);
    Vec::<T>::new()
        .try_reserve_exact(size)
        .map_err(|_| Error::invalid(setting, count, "as many as there is memory for"))
}

/// More candidates or pairs than anyone means.
pub(crate) fn too_many(setting: &'static str, given: impl fmt::Display) -> Error {
    Error::invalid(setting, given, format!("at most {MOST_CANDIDATES}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Few enough, and no memory for them.
    #[test]
    fn what_memory_does_not_hold_is_an_error() {
        let error = room_for_fits::<[u64; 1 << 40]>(1 << 20, 1 << 10).unwrap_err().to_string();
        assert_eq!(error, "number of fits is 1073741824; allowed: as many as there is memory for");
        assert!(room_for_fits::<u8>(1 << 10, 1 << 10).is_ok());
    }
}
