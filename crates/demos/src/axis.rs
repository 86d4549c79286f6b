//! The axes of pictures, for any range of numbers: those of plotters do not end, or overflow, for ranges that
//! are very wide, very narrow, or at the limits of numbers.

use crate::names::Names;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use std::ops::Range;

/// Margin at either end, as a part of the axis.
const MARGIN: f64 = 0.04;

/// The most distances between the marks of an axis.
const DISTANCES: u32 = 8;

/// An axis with marks at round numbers, whose names differ. A number beside it is at its end.
#[derive(Debug)]
pub struct Axis {
    is_logarithmic: bool,
    /// The places of the ends: numbers, or their decimal logarithms.
    ends: (f64, f64),
    marks: Vec<f64>,
    names: Names,
}

impl Axis {
    /// One that has all of these positive numbers on it, equal ratios at equal distances.
    ///
    /// # Errors
    ///
    /// If there are none, or one of them has no logarithm.
    ///
    /// ```
    /// use plotters::coord::ranged1d::Ranged;
    /// use rootstep_demos::axis::Axis;
    ///
    /// let axis = Axis::logarithmic(&[0.01, 1.0])?;
    /// assert_eq!(axis.map(&0.1, (0, 100)), 50);
    /// # Ok::<(), String>(())
    /// ```
    pub fn logarithmic(numbers: &[f64]) -> Result<Self, String> {
        if let Some(wrong) = numbers.iter().find(|x| !(x.is_finite() && **x > 0.0)) {
            return Err(format!(
                "{wrong} on a logarithmic axis; allowed: finite and greater than 0"
            ));
        }
        let (low, high) = extremes(numbers)?;
        let (left, right) = (low.log10(), high.log10());
        let length = right - left;
        // Equal numbers are in the middle.
        let margin = if length < 1e-9 { 1.5_f64.log10() } else { MARGIN * length };
        let marks = decades(low, high);
        let marks = if marks.len() < 2 { regular(low, high) } else { marks };
        let names = Names::of(&marks, 2);
        Ok(Self { is_logarithmic: true, ends: (left - margin, right + margin), marks, names })
    }

    /// One from the least of any numbers to the greatest. NaN has no place on it, and what is beyond ±1e300 is
    /// at its end.
    ///
    /// # Errors
    ///
    /// If there are no numbers.
    ///
    /// ```
    /// use plotters::coord::ranged1d::Ranged;
    /// use rootstep_demos::axis::Axis;
    ///
    /// let axis = Axis::linear(&[0.0, 2.5])?;
    /// assert_eq!(axis.map(&f64::INFINITY, (0, 100)), 100);
    /// # Ok::<(), String>(())
    /// ```
    pub fn linear(numbers: &[f64]) -> Result<Self, String> {
        // The length of the axis is finite, too.
        const FARTHEST: f64 = 1e300;
        let numbers: Vec<f64> = numbers.iter().map(|x| x.clamp(-FARTHEST, FARTHEST)).collect();
        let (low, high) = extremes(&numbers)?;
        let (length, largest) = (high - low, low.abs().max(high.abs()));
        // A length that is lost in rounding beside large numbers, or a tiny one, is none.
        let ends = if length > (1e-9 * largest).max(1e-300) {
            (low, high + MARGIN * length)
        } else {
            let margin = if largest < 1e-290 { 1.0 } else { largest / 2.0 };
            (low - margin, high + margin)
        };
        let marks = regular(ends.0, ends.1);
        let names = Names::of(&marks, 2);
        Ok(Self { is_logarithmic: false, ends, marks, names })
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, number: &f64, limit: (i32, i32)) -> i32 {
        let place = if self.is_logarithmic { number.log10() } else { *number };
        // Of NaN the left end.
        let place = place.max(self.ends.0).min(self.ends.1);
        RangedCoordf64::from(self.ends.0..self.ends.1).map(&place, limit)
    }

    fn key_points<H: KeyPointHint>(&self, hint: H) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.marks.clone() }
    }

    /// What is at the ends, whichever numbers they are.
    fn range(&self) -> Range<f64> {
        if self.is_logarithmic { 0.0..f64::INFINITY } else { f64::NEG_INFINITY..f64::INFINITY }
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(mark: &f64) -> String {
        mark.to_string()
    }

    fn format_ext(&self, mark: &f64) -> String {
        self.names.get(*mark)
    }
}

/// The least and the greatest number.
fn extremes(numbers: &[f64]) -> Result<(f64, f64), String> {
    let numbers = || numbers.iter().copied().filter(|x| !x.is_nan());
    let ends = numbers().reduce(f64::min).zip(numbers().reduce(f64::max));
    ends.ok_or_else(|| "there is nothing to draw; allowed: at least one number".to_owned())
}

/// Powers of ten from `low` to `high`, at regular distances, of which there are at most [`DISTANCES`].
fn decades(low: f64, high: f64) -> Vec<f64> {
    // Parsed, it is the nearest number, which a product of tens is not.
    let power = |exponent: &i32| format!("1e{exponent}").parse::<f64>().unwrap_or(f64::NAN);
    // All that there are of f64.
    let exponents = (-323..=308).filter(|exponent| (low..=high).contains(&power(exponent)));
    let exponents: Vec<i32> = exponents.collect();
    let count = u32::try_from(exponents.len()).unwrap_or(u32::MAX);
    let step = count.div_ceil(DISTANCES).max(1).cast_signed();
    exponents.iter().filter(|&exponent| exponent.rem_euclid(step) == 0).map(power).collect()
}

/// Multiples of 1, 2 or 5 times a power of ten from `low` to `high`, at most one more than [`DISTANCES`]; or the two
/// ends, where nothing else can be told apart.
fn regular(low: f64, high: f64) -> Vec<f64> {
    let least = (high - low) / f64::from(DISTANCES);
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    let mut marks = Vec::new();
    if let Some(step) = steps.into_iter().find(|step| step.is_finite() && *step >= least * 0.999) {
        let first = (low / step).ceil();
        // Counted, not added up: a step may be lost in rounding.
        let multiples = (0..=DISTANCES).map(|i| (first + f64::from(i)) * step);
        // Rounding may carry the last one just beyond the end.
        let within = |x: &f64| x.is_finite() && *x <= high + step * 1e-3;
        marks = multiples.filter(within).map(|x| x.clamp(low, high)).collect();
        marks.dedup();
    }
    if marks.len() < 2 {
        marks = vec![low, high];
        marks.dedup();
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(axis: &Axis) -> Vec<String> {
        axis.marks.iter().map(|mark| axis.format_ext(mark)).collect()
    }

    #[test]
    fn logarithmic_axes() {
        for (low, high, expected) in [
            (1e-4, 10.0, &["1e-4", "0.001", "0.01", "0.1", "1", "10"][..]),
            (1e-5, 10.0, &["1e-5", "1e-4", "0.001", "0.01", "0.1", "1", "10"]),
            (0.05, 0.2, &["0.06", "0.08", "0.1", "0.12", "0.14", "0.16", "0.18", "0.2"]),
            (
                1.0,
                1.0007,
                &["1", "1.0001", "1.0002", "1.0003", "1.0004", "1.0005", "1.0006", "1.0007"],
            ),
            (0.1, 0.1, &["0.1"]),
            (1e-300, 1e307, &["1e-228", "1e-152", "1e-76", "1", "1e76", "1e152", "1e228", "1e304"]),
            (5e-324, 1e-323, &["5e-324", "1e-323"]),
            (
                5e-324,
                f64::MAX,
                &["1e-316", "1e-237", "1e-158", "1e-79", "1", "1e79", "1e158", "1e237"],
            ),
            (1.7e308, f64::MAX, &["1.7e308", "1.72e308", "1.74e308", "1.76e308", "1.78e308"]),
        ] {
            let axis = Axis::logarithmic(&[high, low]).unwrap();
            assert_eq!(names(&axis), expected, "{low} {high}");
            let ends = [low, high].map(|x| axis.map(&x, (100, 1100)));
            let expected = if high / low > 1.0 + 1e-9 { [137, 1062] } else { [600, 600] };
            assert_eq!(ends, expected, "{low} {high}");
        }
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = Axis::logarithmic(&[1.0, wrong]).unwrap_err();
            let expected =
                format!("{wrong} on a logarithmic axis; allowed: finite and greater than 0");
            assert_eq!(error, expected);
        }
        assert!(Axis::logarithmic(&[]).is_err());
    }

    #[test]
    fn linear_axes() {
        for (low, high, expected) in [
            (0.0, 2.5, &["0", "0.5", "1", "1.5", "2", "2.5"][..]),
            (-3.0, 1.0, &["-3", "-2", "-1", "0", "1"]),
            (0.0, 0.0, &["-1", "-0.5", "0", "0.5", "1"]),
        ] {
            let axis = Axis::linear(&[high, f64::NAN, low]).unwrap();
            assert_eq!(names(&axis), expected, "{low} {high}");
        }
        for (low, high) in [
            (5e-324, 5e-324),
            (0.0, 5e-324),
            (f64::MIN, f64::MAX),
            (1e300, f64::INFINITY),
            (1.0, 1.0 + f64::EPSILON),
            (-1e300, -1e300),
            (1e-200, 2e-200),
        ] {
            let axis = Axis::linear(&[high, f64::NAN, low]).unwrap();
            assert!((2..=9).contains(&axis.marks.len()), "{axis:?}");
            let (left, right) = axis.ends;
            assert!(left < right && (right - left).is_finite(), "{axis:?}");
        }
        assert!(Axis::linear(&[f64::NAN]).is_err());
    }
}
