//! Numbers as text.

use std::collections::{HashMap, HashSet};

/// A number with so many significant digits, or fewer if the rest are zero. Small and large ones are
/// written with a power of ten.
///
/// ```
/// use rootstep_demos::names::short;
///
/// assert_eq!(short(0.0316227766, 4), "0.03162");
/// assert_eq!((short(1.0, 4), short(1e-300, 4)), ("1".to_owned(), "1e-300".to_owned()));
/// ```
#[must_use]
pub fn short(number: f64, digits: usize) -> String {
    // Seventeen digits tell all numbers apart.
    let after_point = digits.clamp(1, 17) - 1;
    let text = format!("{number:.after_point$e}");
    // Rounded up, the largest numbers are infinite.
    let rounded = text.parse().ok().filter(|rounded: &f64| rounded.is_finite()).unwrap_or(number);
    if rounded == 0.0 || (1e-3..1e6).contains(&rounded.abs()) {
        rounded.to_string()
    } else {
        format!("{rounded:e}")
    }
}

/// The names of the rows of a table, or of the marks of an axis: different where the numbers are.
///
/// ```
/// use rootstep_demos::names::Names;
///
/// let names = Names::of(&[1.0, 1.0002, 1.0004], 4);
/// assert_eq!([1.0, 1.0002, 1.0004].map(|number| names.get(number)), ["1", "1.0002", "1.0004"]);
/// ```
#[derive(Debug)]
pub struct Names {
    digits: usize,
    by_bits: HashMap<u64, String>,
}

impl Names {
    /// Names of `digits` significant digits, or of as many more as it takes.
    #[must_use]
    pub fn of(numbers: &[f64], digits: usize) -> Self {
        let with = |digits| Self {
            digits,
            by_bits: numbers.iter().map(|&x| (x.to_bits(), short(x, digits))).collect(),
        };
        let differ = |names: &Self| {
            names.by_bits.values().collect::<HashSet<_>>().len() == names.by_bits.len()
        };
        (digits..17).map(with).find(differ).unwrap_or_else(|| with(17))
    }

    /// The name of a number; of one that was not given, a name with as many digits.
    #[must_use]
    pub fn get(&self, number: f64) -> String {
        let known = self.by_bits.get(&number.to_bits());
        known.cloned().unwrap_or_else(|| short(number, self.digits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(numbers: &[f64], digits: usize) -> Vec<String> {
        let names = Names::of(numbers, digits);
        numbers.iter().map(|&number| names.get(number)).collect()
    }

    #[test]
    fn names_differ_where_numbers_do() {
        assert_eq!(names(&[0.1, 0.1, 0.123_456], 4), ["0.1", "0.1", "0.1235"]);
        assert_eq!(names(&[1.0, 1.000_2, 1.000_4], 4), ["1", "1.0002", "1.0004"]);
        let next = f64::from_bits(1.0_f64.to_bits() + 1);
        assert_eq!(names(&[1.0, next], 4), ["1", "1.0000000000000002"]);
        let (large, largest) = (f64::from_bits(f64::MAX.to_bits() - 1), f64::MAX);
        assert_eq!(
            names(&[large, largest], 2),
            ["1.7976931348623155e308", "1.7976931348623157e308"]
        );
        let (least, second) = (f64::from_bits(1), f64::from_bits(2));
        assert_eq!(names(&[least, second], 4), ["5e-324", "1e-323"]);
        assert_eq!(
            names(&[1e-3, 1e6, 999_999.9, 9.99e-4], 3),
            ["0.001", "1e6", "999999.9", "9.99e-4"]
        );
        assert_eq!(names(&[0.0, -3.25, f64::NAN], 2), ["0", "-3.2", "NaN"]);
    }
}
