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

    /// The same with the norm that the sums of squares of all blocks of the model's gradients make, in their order, taken
    /// at `scale`: that of [`inspect`](crate::inspect). See [`BlockSums`].
    #[must_use]
    pub fn with_norm_of(self, scale: f64, squares: impl IntoIterator<Item = f64>) -> Self {
        let squares = squares.into_iter().fold(0.0, |sum, block| sum + block);
        Self { norm: squares.sqrt() / scale, ..self }
    }

    /// What these gradients are multiplied by in all where they are scaled by `scale` and clipped to a norm of `limit`, and
    /// what clipping has of that; none if their scaled norm is within the limit. NaN if the norm is. As
    /// [`with_clip_norm`](crate::optimizer::Builder::with_clip_norm) has it, for whoever steps by
    /// [`Executor::step_all`](crate::Executor::step_all).
    ///
    /// ```
    /// let found = rootstep::inspect(&[[30.0_f32, 40.0]]);
    /// assert_eq!(found.clip_factor(2.5, 0.5), Some((0.05, 0.1)));
    /// assert_eq!(found.clip_factor(25.0, 0.5), None);
    /// ```
    #[must_use]
    pub fn clip_factor(&self, limit: f64, scale: f64) -> Option<(f64, f64)> {
        let scaled = self.norm * scale;
        if !(scaled > limit || scaled.is_nan()) {
            return None;
        }
        // Where the scaled norm is beyond the numbers, or so far above the limit that their quotient is subnormal,
        // the scale is left out of it.
        Some(if limit / scaled < f64::MIN_POSITIVE {
            (limit / self.norm, limit / self.norm / scale)
        } else {
            (scale * (limit / scaled), limit / scaled)
        })
    }

    /// The scale that sums of squares are taken at, a power of two: 1 unless squares of elements as
    /// large as the largest would overflow or underflow.
    #[must_use]
    pub fn scale(&self) -> f64 {
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

/// What [`Executor::inspect_blocks`](crate::Executor::inspect_blocks) found in some blocks of a model's gradients: those
/// of a shard that a machine has. From all shards, in their order, comes what [`inspect`](crate::inspect) finds in the
/// whole, with the same bits:
///
/// ```
/// use rootstep::sums::SHARD_ELEMENTS;
/// use rootstep::{Executor, Inspection, inspect};
///
/// let gradient: Vec<f32> = (0..60_000_u16).map(|i| f32::from(i % 999) - 500.0).collect();
/// let (first, second) = gradient.split_at(SHARD_ELEMENTS);
/// let inspect_shards = |scale| {
///     [first, second].map(|shard| Executor::default().inspect_blocks(&[shard], scale))
/// };
/// let mut shards = inspect_shards(1.0);
/// let all = Inspection::of_parts(shards.iter().map(|shard| shard.inspection));
/// let scale = all.scale();
/// if scale != 1.0 {
///     shards = inspect_shards(scale); // Squares would overflow, or underflow.
/// }
/// let all = all.with_norm_of(scale, shards.into_iter().flat_map(|shard| shard.squares));
/// assert_eq!(all, inspect(&[&gradient]));
/// ```
///
/// (Here the tensor and the index of what is not finite are those within the shard: whoever has it adds where it starts.)
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct BlockSums {
    /// All but the norm, which is 0.
    pub inspection: Inspection,
    /// The sum of the squares of each block of 32,768 elements, times the square of the scale, in their order: the last
    /// block of a tensor may be shorter, and one without elements has none.
    pub squares: Vec<f64>,
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
