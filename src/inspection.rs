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

    /// What there is in all gradients of a model, from what was found in those of each of their types: the tensors are
    /// numbered in the model. The norm of several types is √(a² + b²) of theirs, one after the other, with the
    /// same bits on every platform; that of one type is its own.
    ///
    /// ```
    /// use rootstep::{Inspection, inspect};
    ///
    /// let found = Inspection::of_parts([inspect(&[[3.0_f32]]), inspect(&[[-4.0_f64]])]);
    /// assert_eq!((found.norm, found.max_magnitude, found.elements), (5.0, 4.0, 2));
    /// ```
    #[must_use]
    pub fn of_parts(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self::default();
        for part in parts {
            all.norm = libm::hypot(all.norm, part.norm);
            all.count(&part);
            let first = all.first_non_finite.into_iter().chain(part.first_non_finite);
            all.first_non_finite = first.min();
        }
        // Infinite beside NaN: the norm of all is NaN, as that of one type would be.
        if all.nan > 0 {
            all.norm = f64::NAN;
        }
        all
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
        self.count(block);
        let first = block.first_non_finite.map(|(_, index)| (tensor, start + index));
        self.first_non_finite = self.first_non_finite.or(first);
    }

    /// Adds all but the norm and the place.
    fn count(&mut self, part: &Self) {
        self.elements += part.elements;
        self.max_magnitude = self.max_magnitude.max(part.max_magnitude);
        self.nan += part.nan;
        self.infinite += part.infinite;
        self.zero += part.zero;
        self.subnormal += part.subnormal;
    }
}

/// Of an exponent that a normal number has. (The precision of `powi` is not specified.)
const fn power_of_two(exponent: i64) -> f64 {
    f64::from_bits((exponent + 1023).cast_unsigned() << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_up_the_whole() {
        let part = |values: &[f64]| crate::inspect(&[values]);
        let (one, tiny) = (part(&[0.1, 0.2, 0.3]), part(&[1e-200, 0.0]));
        assert_eq!(Inspection::of_parts([]), Inspection::default());
        // One part keeps its bits, wherever the others have nothing.
        for parts in [vec![one], vec![part(&[]), one], vec![one, part(&[])]] {
            assert_eq!(Inspection::of_parts(parts), one);
        }
        let both = Inspection::of_parts([one, tiny]);
        assert_eq!((both.norm, both.elements, both.zero), (one.norm, 5, 1));
        // No square of these is a finite number.
        let huge = 2_f64.powi(600);
        let parts = [part(&[3.0 * huge]), part(&[4.0 * huge])];
        assert_eq!(Inspection::of_parts(parts).norm, 5.0 * huge);

        let at =
            |part: Inspection, tensor| Inspection { first_non_finite: Some((tensor, 1)), ..part };
        let infinite = at(part(&[1.0, f64::INFINITY]), 7);
        let nan = at(part(&[1.0, f64::NAN]), 3);
        for parts in [[infinite, nan], [nan, infinite]] {
            let found = Inspection::of_parts(parts);
            assert!(found.norm.is_nan());
            assert_eq!((found.nan, found.infinite), (1, 1));
            assert_eq!(
                (found.max_magnitude, found.first_non_finite),
                (f64::INFINITY, Some((3, 1)))
            );
        }
    }

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
