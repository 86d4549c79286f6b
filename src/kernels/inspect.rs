//! The pass that reads gradients and writes nothing: sums, the largest, counts.

use super::Part;
use crate::simd::{Kernel, Simd};
use crate::{Element, Inspection};

/// The elements that are summed up on their own before their sum is added to the others. A part of
/// the specification: the order of a sum decides its rounding.
pub(crate) const BLOCK_ELEMENTS: usize = 1 << 15;

/// The running sums of a block; element i goes to number i modulo this. A part of the specification
/// too. (Two registers of AVX-512 for f64, four of AVX2: enough to hide the latency of an addition.)
const RUNNING_SUMS: usize = 16;

/// Inspects one block of a gradient.
pub(crate) struct InspectBlock<'a, T> {
    /// At most [`BLOCK_ELEMENTS`].
    pub(crate) values: &'a [T],
    /// What every element is multiplied by before it is squared: a power of two.
    pub(crate) scale: f64,
    pub(crate) findings: &'a mut Findings,
}

/// What a block adds to the whole.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Findings {
    /// All but the norm; indices are within the block.
    pub(crate) inspection: Inspection,
    /// The sum of the squares.
    pub(crate) squares: f64,
}

impl<T: Element> Kernel for InspectBlock<'_, T> {
    /// A plain loop: the compiler vectorises it for each set, and the order of the sums is written
    /// down in it.
    #[inline(always)]
    fn call<S: Simd>(self, _: S) {
        let Self { values, scale, findings } = self;
        // Multiplying by one instead took f32 up to three times as long: other code came out.
        let running = if scale == 1.0 {
            run(values, |value| value)
        } else {
            run(values, |value| value * scale)
        };
        findings.squares = pairwise_sum(running.squares);
        let largest = running.largest.into_iter().max().unwrap_or_default();
        let none_small = running.small.iter().all(|&small| small == T::Bits::default());
        findings.inspection = if none_small && largest < T::INFINITY_BITS {
            Inspection {
                elements: values.len() as u64,
                max_magnitude: T::from_bits(largest).to_f64(),
                ..Inspection::default()
            }
        } else {
            count(values)
        };
    }
}

impl<T: Element> Part for InspectBlock<'_, T> {
    fn bytes(&self) -> usize {
        size_of_val(self.values)
    }
}

struct Running<T: Element> {
    squares: [f64; RUNNING_SUMS],
    /// The largest magnitude, as bits: those of floats of one sign are in the order of the floats.
    largest: [T::Bits; RUNNING_SUMS],
    /// How many are zero or subnormal.
    small: [T::Bits; RUNNING_SUMS],
}

#[inline(always)]
fn run<T: Element>(values: &[T], scaled: impl Fn(f64) -> f64) -> Running<T> {
    let mut running = Running {
        squares: [0.0; RUNNING_SUMS],
        largest: [T::Bits::default(); RUNNING_SUMS],
        small: [T::Bits::default(); RUNNING_SUMS],
    };
    let (rows, rest) = values.as_chunks();
    for row in rows {
        running.add(row, &scaled);
    }
    // Filled up with zeros, which change no sum and are not counted. (A loop over the elements that
    // are there would keep the running sums in memory, for all rows.)
    let small = running.small;
    let mut row = [T::default(); RUNNING_SUMS];
    row[..rest.len()].copy_from_slice(rest);
    running.add(&row, &scaled);
    running.small = small;
    for value in rest {
        running.small[0] += T::Bits::from(value.abs().to_bits() < T::MIN_POSITIVE_BITS);
    }
    running
}

impl<T: Element> Running<T> {
    // One loop for each sum, or the compiler takes the width of f64 for all.
    #[inline(always)]
    fn add(&mut self, row: &[T; RUNNING_SUMS], scaled: &impl Fn(f64) -> f64) {
        for (sum, value) in self.squares.iter_mut().zip(row) {
            let value = scaled(value.to_f64());
            *sum += value * value;
        }
        let bits = row.map(|value| value.abs().to_bits());
        for (largest, &bits) in self.largest.iter_mut().zip(&bits) {
            *largest = (*largest).max(bits);
        }
        for (small, &bits) in self.small.iter_mut().zip(&bits) {
            *small += T::Bits::from(bits < T::MIN_POSITIVE_BITS);
        }
    }
}

/// `sums[0] + sums[8]`, `sums[1] + sums[9]` and so on; the same with those eight, four and two.
#[inline(always)]
fn pairwise_sum(mut sums: [f64; RUNNING_SUMS]) -> f64 {
    let mut width = RUNNING_SUMS / 2;
    while width > 0 {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
        width /= 2;
    }
    sums[0]
}

/// The counts of a block that has anything to count.
#[inline(always)]
fn count<T: Element>(values: &[T]) -> Inspection {
    let mut found = Inspection { elements: values.len() as u64, ..Inspection::default() };
    let mut largest = T::Bits::default();
    let mut zeros = T::Bits::default();
    let mut small = T::Bits::default();
    let mut not_finite = T::Bits::default();
    for value in values {
        let bits = value.abs().to_bits();
        let finite = bits < T::INFINITY_BITS;
        zeros += T::Bits::from(bits == T::Bits::default());
        small += T::Bits::from(bits < T::MIN_POSITIVE_BITS);
        not_finite += T::Bits::from(!finite);
        largest = largest.max(if finite { bits } else { T::Bits::default() });
    }
    found.zero = zeros.into();
    found.subnormal = small.into() - found.zero;
    found.max_magnitude = T::from_bits(largest).to_f64();
    if not_finite != T::Bits::default() {
        found.nan = values.iter().filter(|value| value.to_f64().is_nan()).count() as u64;
        found.infinite = not_finite.into() - found.nan;
        found.first_non_finite =
            values.iter().position(|value| !value.to_f64().is_finite()).map(|index| (0, index));
        if found.infinite > 0 {
            found.max_magnitude = f64::INFINITY;
        }
    }
    found
}
