//! What the tests and the fuzz targets share: the operations as data, guarded memory, and the
//! comparison with the specification, bit by bit.

#![allow(dead_code, reason = "each test uses a part of it")]

pub mod layout;
mod random_bits;

pub use random_bits::random_bits;

use layout::Layout;
use rootstep::optimizer::INT8_BLOCK;
use rootstep::{Executor, Float, Inspection, Level, reference};

/// The operations of the crate, with their scalar argument: one of the type that is computed in.
#[derive(Debug, Clone, Copy)]
pub enum Operation<T> {
    SignedSqrt,
    SignedSqrtInPlace,
    Axpy(T),
    Descend(T),
    DescendInto(T),
}

impl<C: Float> Operation<C> {
    pub fn all(scalar: C) -> [Self; 5] {
        [
            Self::SignedSqrt,
            Self::SignedSqrtInPlace,
            Self::Axpy(scalar),
            Self::Descend(scalar),
            Self::DescendInto(scalar),
        ]
    }

    /// Calls the slice operation. `out` is the slice that is written; in place, it holds `x`.
    pub fn call<T: TestFormat<Compute = C>>(
        self,
        executor: Executor,
        x: &[T],
        g: &[T],
        out: &mut [T],
    ) {
        match self {
            Self::SignedSqrt => executor.signed_sqrt(g, out),
            Self::SignedSqrtInPlace => executor.signed_sqrt_in_place(out),
            Self::Axpy(alpha) => executor.axpy(alpha, g, out),
            Self::Descend(rate) => executor.descend(out, g, rate),
            Self::DescendInto(rate) => executor.descend_into(x, g, rate, out),
        }
    }

    /// The specified value of one element.
    pub fn specified<T: TestFormat<Compute = C>>(self, x: T, g: T) -> T {
        let (x, g) = (x.read(), g.read());
        T::rounded(match self {
            Self::SignedSqrt => reference::signed_sqrt(g),
            Self::SignedSqrtInPlace => reference::signed_sqrt(x),
            Self::Axpy(alpha) => reference::axpy(alpha, g, x),
            Self::Descend(rate) | Self::DescendInto(rate) => reference::descend(x, g, rate),
        })
    }
}

/// An element type, with the values that break things.
pub trait TestFormat: Layout {
    /// Lanes of the widest register.
    const LANES: usize = 512 / <Self::Compute as Float>::BITS as usize;

    /// The number of the upper bits.
    fn from_random(bits: u64) -> Self {
        Self::of_bits(bits >> (64 - Self::WIDTH))
    }

    /// A value of every class and every border between classes.
    fn special() -> Vec<Self> {
        special_bits(Self::WIDTH, Self::FRACTION).into_iter().map(Self::of_bits).collect()
    }
}

impl<T: Layout> TestFormat for T {}

/// What is special in a format of so many bits, of which so many are the fraction's.
fn special_bits(width: u32, fraction: u32) -> Vec<u64> {
    let of_its_own: &[u64] = match width {
        // From 2^-101 on, roots may be refined.
        32 => &[0x0cff_ffff, 0x0d00_0000],
        64 => &[
            // From 2^-969 on, and on AVX2 in [2^-100, 2^127), roots may be refined.
            0x035f_ffff_ffff_ffff,
            0x0360_0000_0000_0000,
            0x39af_ffff_ffff_ffff,
            0x39b0_0000_0000_0000,
            0x47df_ffff_ffff_ffff,
            0x47e0_0000_0000_0000,
            // The largest whose conversion to f32 overflows only by rounding.
            0x47ef_ffff_ffff_ffff,
        ],
        _ => &[],
    };
    let sign = 1 << (width - 1);
    let smallest_normal = 1 << fraction;
    let infinity = sign - smallest_normal;
    // The bias of the exponent is a little less than half of the largest one.
    let one = (infinity / 2) & infinity;
    let of_all = [
        0,
        1,
        smallest_normal - 1,
        smallest_normal,
        one - 1,
        one,
        one + 1,
        one + 2 * smallest_normal, // 4
        infinity - 1,
        infinity,
        infinity + 1,                   // A signalling NaN,
        infinity + smallest_normal / 2, // and a quiet one.
    ];
    let bits = of_its_own.iter().copied().chain(of_all);
    bits.flat_map(|bits| [bits, bits | sign]).collect()
}

/// The special values among the numbers that results are computed in.
pub fn special_scalars<C: Float>() -> Vec<C> {
    let fraction = if C::BITS == 32 { f32::FRACTION } else { f64::FRACTION };
    special_bits(C::BITS, fraction).into_iter().map(C::from_bits).collect()
}

/// The number of the upper bits.
pub fn random_scalar<C: Float>(bits: u64) -> C {
    C::from_bits(bits >> (64 - C::BITS))
}

/// A number of many digits: 0.1 in f64, 1.45 in f32.
pub fn some_rate<C: Float>() -> C {
    random_scalar(0x3fb9_9999_9999_999a)
}

/// An element type that is computed in itself.
pub trait TestElement: TestFormat<Compute = Self> + Float + bytemuck::Pod {}

impl<T: TestFormat<Compute = T> + Float + bytemuck::Pod> TestElement for T {}

/// Whether `value` is what the specification says: the same bits, or a NaN where it says NaN.
pub fn same<T: TestFormat>(value: T, specified: T) -> bool {
    value.bits() == specified.bits() || (value.read().is_nan() && specified.read().is_nan())
}

/// Whether all fields are the same; floats by their bits, NaN as NaN.
pub fn same_inspection(a: &Inspection, b: &Inspection) -> bool {
    let norms = a.norm.to_bits() == b.norm.to_bits() || (a.norm.is_nan() && b.norm.is_nan());
    let counts =
        |i: &Inspection| (i.elements, i.nan, i.infinite, i.zero, i.subnormal, i.first_non_finite);
    norms && a.max_magnitude.to_bits() == b.max_magnitude.to_bits() && counts(a) == counts(b)
}

/// A slice within a larger allocation, with sentinels on both sides.
#[derive(Debug, Clone)]
pub struct Guarded<T> {
    memory: Vec<T>,
    start: usize,
    length: usize,
}

impl<T: TestFormat> Guarded<T> {
    /// As many sentinels as the largest block of registers could overrun by.
    const GUARD: usize = 80;

    /// `values`, `offset` elements behind a register's alignment.
    pub fn new(values: &[T], offset: usize) -> Self {
        let mut memory = vec![Self::sentinel(); values.len() + 3 * Self::GUARD];
        let aligned = memory.as_ptr().align_offset(64) % Self::GUARD;
        let start = Self::GUARD + aligned + offset;
        memory[start..start + values.len()].copy_from_slice(values);
        Self { memory, start, length: values.len() }
    }

    /// A NaN that no operation makes of itself.
    fn sentinel() -> T {
        T::from_random(0x7ff5_a5a5_a5a5_a5a5)
    }

    pub fn slice(&self) -> &[T] {
        &self.memory[self.start..self.start + self.length]
    }

    pub fn slice_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.start..self.start + self.length]
    }

    /// Nothing outside the slice was written.
    pub fn assert_intact(&self) {
        let inside = self.start..self.start + self.length;
        for (i, value) in self.memory.iter().enumerate() {
            assert!(
                inside.contains(&i) || value.bits() == Self::sentinel().bits(),
                "written outside: {} elements from the start of a slice of {}",
                i.cast_signed() - self.start.cast_signed(),
                self.length
            );
        }
    }
}

/// Runs `operation` on guarded slices and compares every element with the specification.
/// `offsets` places `x`, `g` and the output behind a register's alignment.
pub fn check<T: TestFormat>(
    operation: Operation<T::Compute>,
    executor: Executor,
    x: &[T],
    g: &[T],
    offsets: [usize; 3],
) {
    let (x, g) = (Guarded::new(x, offsets[0]), Guarded::new(g, offsets[1]));
    let mut out = Guarded::new(x.slice(), offsets[2]);
    operation.call(executor, x.slice(), g.slice(), out.slice_mut());
    out.assert_intact();
    for (i, ((&x, &g), &out)) in x.slice().iter().zip(g.slice()).zip(out.slice()).enumerate() {
        let specified = operation.specified(x, g);
        assert!(
            same(out, specified),
            "{operation:?} {executor:?}, offsets {offsets:?}, element {i}: x = {x:?}, g = {g:?} \
             gave {out:?} ({:#x}), specified is {specified:?} ({:#x})",
            out.bits(),
            specified.bits()
        );
    }
}

/// Elements enough to be split into many chunks, with a last one that is short and odd.
pub fn long_length<T>() -> usize {
    (5 << 20) / size_of::<T>() + 12_345
}

/// Each level of this machine, serial and parallel.
pub fn executors() -> impl Iterator<Item = Executor> {
    Level::available()
        .iter()
        .flat_map(|&level| [Executor::new(level).serial(), Executor::new(level).parallel()])
}

/// A pseudo-random sequence of numbers in [-1, 1), as gradients are: nothing overflows or underflows.
pub fn unit_values<T: TestFormat>(seed: u64) -> impl FnMut() -> T {
    let mut bits = random_bits(seed);
    move || T::rounded(T::Compute::from_f64((bits() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0))
}

/// As [`random_values`] in one of eight blocks of int8, and in the others such as gradients and parameters have:
/// of what shares a block with a NaN, or with a number far larger, nothing is left to compare.
pub fn block_values<T: TestElement>(length: usize, seed: u64) -> Vec<T> {
    let mut values = random_values(length, seed);
    let mut unit = unit_values(!seed);
    for (block, values) in (seed..).zip(values.chunks_mut(INT8_BLOCK)) {
        if !block.is_multiple_of(8) {
            values.fill_with(&mut unit);
        }
    }
    values
}

/// Values of every class: one in four special, the others of random bits.
pub fn random_values<T: TestFormat>(length: usize, seed: u64) -> Vec<T> {
    let special = T::special();
    let mut bits = random_bits(seed);
    let mut value = || match bits() {
        b if b % 4 == 0 => special[usize::try_from(b >> 32).unwrap() % special.len()],
        _ => T::from_random(bits()),
    };
    (0..length).map(|_| value()).collect()
}
