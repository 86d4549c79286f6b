//! The health of a model's gradients.

/// What [`inspect`](crate::inspect) found in the gradients of a model.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Inspection {
    /// How many elements there are.
    pub elements: u64,
    /// The global L2 norm, the square root of the sum of all squares: NaN if an element is NaN,
    /// infinite if one is infinite and none NaN. It does not overflow or underflow where the norm
    /// itself is a finite f64.
    pub norm: f64,
    /// The largest magnitude of the elements that are not NaN; 0 if there are none.
    pub max_magnitude: f64,
    /// How many are NaN.
    pub nan: u64,
    /// How many are ±∞.
    pub infinite: u64,
    /// How many are ±0.
    pub zero: u64,
    /// How many are subnormal.
    pub subnormal: u64,
    /// The tensor and the index within it of the first element that is not finite.
    pub first_non_finite: Option<(usize, usize)>,
}

impl Inspection {
    /// Whether no element is NaN or infinite.
    #[must_use]
    pub const fn is_finite(&self) -> bool {
        self.nan == 0 && self.infinite == 0
    }

    /// The scale that sums of squares are taken at, a power of two: 1 unless squares of elements as
    /// large as the largest would overflow or underflow.
    pub(crate) fn scale(&self) -> f64 {
        let harmless = power_of_two(-480)..=power_of_two(480);
        if !self.is_finite() || self.max_magnitude == 0.0 || harmless.contains(&self.max_magnitude)
        {
            return 1.0;
        }
        let exponent = (self.max_magnitude.to_bits() >> 52).cast_signed() - 1023;
        power_of_two(-exponent.clamp(-1000, 1000))
    }

    /// Adds what was found in `block`, which starts at `start` of `tensor`.
    pub(crate) fn add(&mut self, tensor: usize, start: usize, block: &Self) {
        self.elements += block.elements;
        self.max_magnitude = self.max_magnitude.max(block.max_magnitude);
        self.nan += block.nan;
        self.infinite += block.infinite;
        self.zero += block.zero;
        self.subnormal += block.subnormal;
        let first = block.first_non_finite.map(|(_, index)| (tensor, start + index));
        self.first_non_finite = self.first_non_finite.or(first);
    }
}

/// Of an exponent that a normal number has. (The precision of `powi` is not specified.)
const fn power_of_two(exponent: i64) -> f64 {
    f64::from_bits((exponent + 1023).cast_unsigned() << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the formula of [`crate::reference::inspect`] says.
    #[test]
    fn sums_of_squares_are_scaled_where_they_must_be() {
        let two = 2_f64;
        for (max_magnitude, scale) in [
            (0.0, 1.0),
            (f64::from_bits(1), two.powi(1000)),
            (two.powi(-481), two.powi(481)),
            (two.powi(-480), 1.0),
            (1.7, 1.0),
            (two.powi(480), 1.0),
            (two.powi(480) * 1.5, two.powi(-480)),
            (two.powi(700) * 1.5, two.powi(-700)),
            (f64::MAX, two.powi(-1000)),
            (f64::INFINITY, 1.0),
        ] {
            let infinite = u64::from(max_magnitude == f64::INFINITY);
            let found = Inspection { max_magnitude, infinite, ..Inspection::default() };
            assert_eq!(found.scale(), scale, "{max_magnitude:e}");
            assert_eq!(found.is_finite(), infinite == 0);
            let found = Inspection { nan: 1, ..found };
            assert_eq!((found.scale(), found.is_finite()), (1.0, false), "{max_magnitude:e}");
        }
    }
}
