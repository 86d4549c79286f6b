//! The pass that reads gradients and writes nothing: sums, the largest, counts.

use super::update::{PREFETCH_AHEAD_BYTES, Part};
use crate::float::Float as _;
use crate::format::{Format, MemoryOf, Number, Stored};
use crate::inspection::Inspection;
use crate::simd::{Kernel, Lanes, Simd, Vector, prefetch};

/// The elements that are summed up on their own before their sum is added to the others. A part of
/// the specification: the order of a sum decides its rounding.
pub(crate) const BLOCK_ELEMENTS: usize = 1 << 15;

/// The running sums of a block; element i goes to number i modulo this. A part of the specification
/// too. (Two registers of AVX-512 for f64, four of AVX2: enough to hide the latency of an addition.)
const RUNNING_SUMS: usize = 16;

/// Inspects one block of a gradient.
pub(crate) struct InspectBlock<'a, X: Stored> {
    /// At most [`BLOCK_ELEMENTS`].
    pub(crate) values: &'a [MemoryOf<X::Compute, X::Format>],
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

impl<X: Stored> Kernel for InspectBlock<'_, X> {
    #[inline(always)]
    fn call<S: Simd>(self, isa: S) {
        let Self { values, scale, findings } = self;
        let running = if scale == 1.0 {
            Running::of::<X, S, false>(isa, values, scale)
        } else {
            Running::of::<X, S, true>(isa, values, scale)
        };
        findings.squares = pairwise_sum(running.squares);
        let largest = running.largest.into_iter().fold(X::Compute::default(), larger);
        let normal = |&smallest: &X::Compute| smallest >= X::MIN_POSITIVE;
        // With anything that is not finite, the sum is not.
        findings.inspection = if running.smallest.iter().all(normal) && findings.squares.is_finite()
        {
            Inspection {
                elements: values.len() as u64,
                max_magnitude: largest.to_f64(),
                ..Inspection::default()
            }
        } else {
            count::<X>(values)
        };
    }
}

impl<X: Stored> Part for InspectBlock<'_, X> {
    fn bytes(&self) -> usize {
        size_of_val(self.values)
    }
}

struct Running<T> {
    squares: [f64; RUNNING_SUMS],
    /// The largest and the smallest magnitudes, NaN left out.
    largest: [T; RUNNING_SUMS],
    smallest: [T; RUNNING_SUMS],
}

impl<T: Number> Running<T> {
    /// What there is in `values`, squared after they are multiplied by `factor` if `SCALED`.
    #[inline(always)]
    fn of<X: Stored<Compute = T>, S: Simd, const SCALED: bool>(
        isa: S,
        values: &[MemoryOf<T, X::Format>],
        factor: f64,
    ) -> Self {
        // As many registers of each array are used as a row fills.
        let infinity = T::Vector::<S>::splat(isa, T::INFINITY);
        let mut squares = [S::F64::splat(isa, 0.0); RUNNING_SUMS];
        let mut largest = [T::Vector::<S>::splat(isa, T::default()); RUNNING_SUMS];
        let mut smallest = [infinity; RUNNING_SUMS];
        // On s390x a square of a widened f32 is one instruction, which the emulator of CI (QEMU) takes for another:
        // scaled by a 1 that the compiler does not see, it is not one. The bits are the same.
        let unseen = cfg!(target_arch = "s390x");
        let factor = if unseen { std::hint::black_box(factor) } else { factor };
        let scale = S::F64::splat(isa, factor);

        let (rows, rest) = values.as_chunks::<RUNNING_SUMS>();
        for row in rows {
            prefetch(row, PREFETCH_AHEAD_BYTES);
            for (square, value) in squares.iter_mut().zip(LanesOf::<X, f64, S>::chunks(row).0) {
                let value = <X::Format as Format<f64>>::load::<S>(isa, value);
                *square = if SCALED || unseen {
                    let value = value.mul(scale);
                    square.add(value.mul(value))
                } else if exact_squares::<T>() {
                    square.add_exact_square(value)
                } else {
                    square.add(value.mul(value))
                };
            }
            let registers = LanesOf::<X, T, S>::chunks(row).0;
            for (i, lanes) in registers.iter().enumerate() {
                let magnitude = <X::Format as Format<T>>::load::<S>(isa, lanes).abs();
                largest[i] = largest[i].larger(magnitude);
                smallest[i] = smallest[i].smaller(magnitude);
            }
        }
        let mut running = Self {
            squares: [0.0; RUNNING_SUMS],
            largest: [T::default(); RUNNING_SUMS],
            smallest: [T::default(); RUNNING_SUMS],
        };
        store(&squares, &mut running.squares);
        store(&largest, &mut running.largest);
        store(&smallest, &mut running.smallest);
        for (i, &value) in rest.iter().enumerate() {
            let value = <X::Format as Format<T>>::number(value);
            let wide = value.to_f64();
            let wide = if SCALED || unseen { wide * factor } else { wide };
            running.squares[i] += wide * wide;
            running.largest[i] = larger(running.largest[i], value.abs());
            running.smallest[i] = smaller(running.smallest[i], value.abs());
        }
        running
    }
}

/// Whether f64 holds the square of every `T`: of 24 bits, and no smaller than 2^-298.
const fn exact_squares<T>() -> bool {
    size_of::<T>() <= size_of::<f32>()
}

/// What a register of `C` is read from.
type LanesOf<X, C, S> = <<X as Stored>::Format as Format<C>>::Lanes<S>;

/// Writes as many registers as there is room for.
#[inline(always)]
fn store<V: Vector>(registers: &[V; RUNNING_SUMS], room: &mut [V::Element; RUNNING_SUMS]) {
    for (register, lanes) in registers.iter().zip(V::Lanes::chunks_mut(room).0) {
        register.store(lanes);
    }
}

/// The larger one; `a` if `b` is NaN.
fn larger<T: Number>(a: T, b: T) -> T {
    if b > a { b } else { a }
}

/// The smaller one; `a` if `b` is NaN.
fn smaller<T: Number>(a: T, b: T) -> T {
    if b < a { b } else { a }
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

/// The bits of the numbers that elements are computed in.
type Bits<X> = <<X as Stored>::Compute as Number>::Bits;

/// The counts of a block that has anything to count.
#[inline(always)]
fn count<X: Stored>(values: &[MemoryOf<X::Compute, X::Format>]) -> Inspection {
    let numbers = || values.iter().map(|&value| <X::Format as Format<X::Compute>>::number(value));
    let mut found = Inspection { elements: values.len() as u64, ..Inspection::default() };
    let mut largest = Bits::<X>::default();
    let mut zeros = Bits::<X>::default();
    let mut small = Bits::<X>::default();
    let mut not_finite = Bits::<X>::default();
    for value in numbers() {
        let bits = value.abs().bits();
        let finite = bits < X::Compute::INFINITY_BITS;
        zeros += Bits::<X>::from(bits == Bits::<X>::default());
        small += Bits::<X>::from(bits < X::MIN_POSITIVE.bits());
        not_finite += Bits::<X>::from(!finite);
        largest = largest.max(if finite { bits } else { Bits::<X>::default() });
    }
    found.zero = zeros.into();
    found.subnormal = small.into() - found.zero;
    found.max_magnitude = X::Compute::of_bits(largest).to_f64();
    if not_finite != Bits::<X>::default() {
        found.nan = numbers().filter(|value| value.is_nan()).count() as u64;
        found.infinite = not_finite.into() - found.nan;
        found.first_non_finite =
            numbers().position(|value| !value.is_finite()).map(|index| (0, index));
        if found.infinite > 0 {
            found.max_magnitude = f64::INFINITY;
        }
    }
    found
}
