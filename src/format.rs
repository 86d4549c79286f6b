//! What is stored, and what it is computed in.

use crate::float::{Bf16, Bf16Pairs, F16, Float, Narrow};
use crate::simd::{Lanes, Memory, Simd, Single, Streaming, Vector, Words, word};

/// A type that kernels compute in.
pub trait Number: Float + Format<f64, Memory = Self> {
    /// The register of the instruction set `S` that holds this type.
    type Vector<S: Simd>: Vector<Element = Self, Isa = S, Lanes: 'static>;
    /// An unsigned integer of the same size, so that loops that count take as many lanes.
    type Bits: Copy + Default + Ord + From<bool> + Into<u64> + std::ops::AddAssign;
    /// The bits of ∞.
    const INFINITY_BITS: Self::Bits;
    /// A power of two that twice in a row makes the smallest subnormal number 1 or more.
    const SUBNORMAL_SCALE: Self;

    /// The bits of the representation.
    fn bits(self) -> Self::Bits;
    /// The number of these bits.
    fn of_bits(bits: Self::Bits) -> Self;
}

impl Number for f32 {
    type Vector<S: Simd> = S::F32;
    type Bits = u32;
    const INFINITY_BITS: u32 = Self::INFINITY.to_bits();
    const SUBNORMAL_SCALE: Self = Self::from_bits((127 + 75) << 23);

    #[inline(always)]
    fn bits(self) -> u32 {
        self.to_bits()
    }
    #[inline(always)]
    fn of_bits(bits: u32) -> Self {
        Self::from_bits(bits)
    }
}

impl Number for f64 {
    type Vector<S: Simd> = S::F64;
    type Bits = u64;
    const INFINITY_BITS: u64 = Self::INFINITY.to_bits();
    const SUBNORMAL_SCALE: Self = Self::from_bits((1023 + 537) << 52);

    #[inline(always)]
    fn bits(self) -> u64 {
        self.to_bits()
    }
    #[inline(always)]
    fn of_bits(bits: u64) -> Self {
        Self::from_bits(bits)
    }
}

/// A type of elements in memory, and the type that they are computed in.
pub trait Stored: Copy + Send + Sync + 'static {
    /// What they are computed in.
    type Compute: Number;
    /// How they are stored.
    type Format: Format<Self::Compute>
        + Format<f64, Memory = <Self::Format as Format<Self::Compute>>::Memory>;
    /// The smallest normal number.
    const MIN_POSITIVE: Self::Compute;

    /// The elements as the format has them in memory.
    fn memory(elements: &[Self]) -> &[MemoryOf<Self::Compute, Self::Format>];
    /// The same, for writing.
    fn memory_mut(elements: &mut [Self]) -> &mut [MemoryOf<Self::Compute, Self::Format>];
}

/// What lies in memory, in a format that `C` is computed in.
pub type MemoryOf<C, M> = <M as Format<C>>::Memory;

macro_rules! stored_as_it_is {
    ($($number:ident),*) => {$(
        impl Stored for $number {
            type Compute = Self;
            type Format = Self;
            const MIN_POSITIVE: Self = Self::MIN_POSITIVE;

            #[inline(always)]
            fn memory(elements: &[Self]) -> &[Self] {
                elements
            }
            #[inline(always)]
            fn memory_mut(elements: &mut [Self]) -> &mut [Self] {
                elements
            }
        }
    )*};
}
stored_as_it_is!(f32, f64);

#[cfg(feature = "half")]
macro_rules! stored_by_bits {
    ($($element:ident in $format:ident),*) => {$(
        impl Stored for half::$element {
            type Compute = f32;
            type Format = $format;
            const MIN_POSITIVE: f32 = Self::MIN_POSITIVE.to_f32_const();

            #[inline(always)]
            fn memory(elements: &[Self]) -> &[u16] {
                half::slice::HalfFloatSliceExt::reinterpret_cast(elements)
            }
            #[inline(always)]
            fn memory_mut(elements: &mut [Self]) -> &mut [u16] {
                half::slice::HalfFloatSliceExt::reinterpret_cast_mut(elements)
            }
        }
    )*};
}
#[cfg(feature = "half")]
stored_by_bits!(bf16 in Bf16Pairs, f16 in F16);

/// A format in memory that registers of `C` are read from and written to.
pub trait Format<C: Number>: Send + Sync + 'static {
    /// What lies in memory.
    type Memory: Copy + Send + Sync + 'static;
    /// What fills a register of `S`.
    type Lanes<S: Simd>: Lanes<Self::Memory> + 'static;
    /// The same number.
    fn number(memory: Self::Memory) -> C;
    /// Reads the same numbers.
    fn load<S: Simd>(isa: S, lanes: &Self::Lanes<S>) -> C::Vector<S>;
    /// Writes the nearest numbers: past the caches, if there is permission and they fill a register.
    fn store<S: Simd>(
        isa: S,
        register: C::Vector<S>,
        lanes: &mut Self::Lanes<S>,
        streaming: Option<&Streaming>,
    );
    /// Reads a row of registers.
    #[inline(always)]
    fn load_row<S: Simd, const N: usize>(isa: S, row: &[Self::Lanes<S>; N]) -> [C::Vector<S>; N] {
        let mut registers = [C::Vector::<S>::splat(isa, C::default()); N];
        for (register, lanes) in registers.iter_mut().zip(row) {
            *register = Self::load(isa, lanes);
        }
        registers
    }
    /// Writes a row of registers.
    #[inline(always)]
    fn store_row<S: Simd, const N: usize>(
        isa: S,
        registers: [C::Vector<S>; N],
        row: &mut [Self::Lanes<S>; N],
        streaming: Option<&Streaming>,
    ) {
        for (register, lanes) in registers.into_iter().zip(row) {
            Self::store(isa, register, lanes, streaming);
        }
    }
}

/// A number in itself.
impl<C: Number> Format<C> for C {
    type Memory = Self;
    type Lanes<S: Simd> = <C::Vector<S> as Vector>::Lanes;

    #[inline(always)]
    fn number(memory: Self) -> C {
        memory
    }
    #[inline(always)]
    fn load<S: Simd>(isa: S, lanes: &Self::Lanes<S>) -> C::Vector<S> {
        C::Vector::<S>::load(isa, lanes)
    }
    #[inline(always)]
    fn store<S: Simd>(
        _: S,
        register: C::Vector<S>,
        lanes: &mut Self::Lanes<S>,
        streaming: Option<&Streaming>,
    ) {
        match streaming {
            Some(streaming) => register.stream(lanes, streaming),
            None => register.store(lanes),
        }
    }
}

/// Narrower numbers, for registers of f64.
macro_rules! narrow_for_f64 {
    ($($format:ident as $memory:ident),*) => {$(
        impl Format<f64> for $format {
            type Memory = $memory;
            type Lanes<S: Simd> = <S::F64 as Memory<Self>>::Packed;

            #[inline(always)]
            fn number(memory: $memory) -> f64 {
                <Self as Narrow<f64>>::widen(memory)
            }
            #[inline(always)]
            fn load<S: Simd>(isa: S, lanes: &Self::Lanes<S>) -> S::F64 {
                <S::F64 as Memory<Self>>::unpack(isa, lanes)
            }
            #[inline(always)]
            fn store<S: Simd>(
                _: S,
                register: S::F64,
                lanes: &mut Self::Lanes<S>,
                _: Option<&Streaming>,
            ) {
                <S::F64 as Memory<Self>>::pack(register, lanes);
            }
        }
    )*};
}
narrow_for_f64!(f32 as f32, Bf16 as u16, Bf16Pairs as u16, F16 as u16);

/// A format of 16 bits, computed in f32.
pub trait Half: Format<f32, Memory = u16> {
    /// The numbers from the lower halves; the upper ones are 0.
    fn widen<V: Single>(isa: V::Isa, halves: V::Words) -> V;
    /// The same numbers, as they are rounded.
    #[inline(always)]
    fn to_round<V: Single, const N: usize>(_: V::Isa, registers: [V; N]) -> [V; N] {
        registers
    }
    /// The nearest numbers, ties to even, in the lower halves, of what [`to_round`](Self::to_round) gives.
    fn nearest<V: Single>(isa: V::Isa, value: V) -> V::Words;
    /// One of the two next numbers, in the lower halves: the one away from 0 if the draw, below 2^16, is
    /// large enough for the distance; of what [`to_round`](Self::to_round) gives.
    fn stochastic<V: Single>(isa: V::Isa, value: V, draws: V::Words) -> V::Words;

    /// Reads a row of registers.
    #[inline(always)]
    fn widen_row<S: Simd, const N: usize>(isa: S, row: &[HalvesOf<S>; N]) -> [S::F32; N] {
        let mut registers = [S::F32::splat(isa, 0.0); N];
        for (register, halves) in registers.iter_mut().zip(row) {
            *register = Self::widen(isa, WordsOf::<S>::load_halves(isa, halves));
        }
        registers
    }
    /// Writes a row of registers: the nearest numbers.
    #[inline(always)]
    fn nearest_row<S: Simd, const N: usize>(
        isa: S,
        registers: [S::F32; N],
        row: &mut [HalvesOf<S>; N],
    ) {
        for (register, halves) in Self::to_round(isa, registers).into_iter().zip(row) {
            Self::nearest(isa, register).store_halves(halves);
        }
    }
    /// Writes a row of registers by as many draws.
    #[inline(always)]
    fn stochastic_row<S: Simd, const N: usize>(
        isa: S,
        registers: [S::F32; N],
        row: &mut [HalvesOf<S>; N],
        draws: &[HalvesOf<S>; N],
    ) {
        // Three iterators at once would not be unrolled.
        for (i, register) in Self::to_round(isa, registers).into_iter().enumerate() {
            let draws = WordsOf::<S>::load_halves(isa, &draws[i]);
            Self::stochastic(isa, register, draws).store_halves(&mut row[i]);
        }
    }
}

macro_rules! half_for_f32 {
    ($($format:ident),*) => {$(
        impl Format<f32> for $format {
            type Memory = u16;
            type Lanes<S: Simd> = HalvesOf<S>;

            #[inline(always)]
            fn number(memory: u16) -> f32 {
                <Self as Narrow<f32>>::widen(memory)
            }
            #[inline(always)]
            fn load<S: Simd>(isa: S, lanes: &HalvesOf<S>) -> S::F32 {
                Self::widen_row(isa, std::array::from_ref(lanes))[0]
            }
            #[inline(always)]
            fn store<S: Simd>(
                isa: S,
                register: S::F32,
                lanes: &mut HalvesOf<S>,
                _: Option<&Streaming>,
            ) {
                Self::nearest_row(isa, [register], std::array::from_mut(lanes));
            }
            #[inline(always)]
            fn load_row<S: Simd, const N: usize>(isa: S, row: &[HalvesOf<S>; N]) -> [S::F32; N] {
                Self::widen_row(isa, row)
            }
            #[inline(always)]
            fn store_row<S: Simd, const N: usize>(
                isa: S,
                registers: [S::F32; N],
                row: &mut [HalvesOf<S>; N],
                _: Option<&Streaming>,
            ) {
                Self::nearest_row(isa, registers, row);
            }
        }
    )*};
}
half_for_f32!(Bf16, F16, Bf16Pairs);

/// The numbers of bf16, kept as f32.
pub struct Bf16InF32;

impl Format<f32> for Bf16InF32 {
    type Memory = f32;
    type Lanes<S: Simd> = <S::F32 as Vector>::Lanes;

    #[inline(always)]
    fn number(memory: f32) -> f32 {
        memory
    }
    #[inline(always)]
    fn load<S: Simd>(isa: S, lanes: &Self::Lanes<S>) -> S::F32 {
        S::F32::load(isa, lanes)
    }
    #[inline(always)]
    fn store<S: Simd>(isa: S, register: S::F32, lanes: &mut Self::Lanes<S>, _: Option<&Streaming>) {
        Self::store_row(isa, [register], std::array::from_mut(lanes), None);
    }
    #[inline(always)]
    fn store_row<S: Simd, const N: usize>(
        isa: S,
        registers: [S::F32; N],
        row: &mut [Self::Lanes<S>; N],
        _: Option<&Streaming>,
    ) {
        for (register, lanes) in Bf16::to_round(isa, registers).into_iter().zip(row) {
            let upper = upper_half_nearest(isa, register).and(word(isa, 0xffff_0000));
            S::F32::from_words(upper).store(lanes);
        }
    }
}

/// The integers of a register of f32, and what 16 bits for each lane of it are in memory.
pub type WordsOf<S> = <<S as Simd>::F32 as Single>::Words;
pub type HalvesOf<S> = <WordsOf<S> as Words>::Halves;
pub type BytesOf<S> = <WordsOf<S> as Words>::Bytes;

const MAGNITUDE: u32 = 0x7fff_ffff;
/// The only NaN of what is split.
const NAN: u32 = 0x7fc0_0000;

impl Half for Bf16 {
    #[inline(always)]
    fn widen<V: Single>(_: V::Isa, halves: V::Words) -> V {
        V::from_words(halves.shl(16))
    }
    /// NaN are quiet, and have nothing in the lower half: what is added to that does not reach the upper one.
    #[inline(always)]
    fn to_round<V: Single, const N: usize>(isa: V::Isa, registers: [V; N]) -> [V; N] {
        with_nan(
            registers,
            #[inline(always)]
            |bits| bits.and(word(isa, 0xffff_0000)).or(word(isa, 0x0040_0000)),
        )
    }
    #[inline(always)]
    fn nearest<V: Single>(isa: V::Isa, value: V) -> V::Words {
        upper_half_nearest(isa, value).shr(16)
    }
    #[inline(always)]
    fn stochastic<V: Single>(_: V::Isa, value: V, draws: V::Words) -> V::Words {
        value.to_words().add(draws).shr(16)
    }
}

/// The same registers, but NaN with the bits that `nan` makes of theirs. A row is asked for them once: they are
/// rare, and no reason to make the others take longer.
#[inline(always)]
fn with_nan<V: Single, const N: usize>(
    mut registers: [V; N],
    nan: impl Fn(V::Words) -> V::Words,
) -> [V; N] {
    let (pairs, single) = registers.as_chunks();
    let mut any = single.first().is_some_and(|&v| v.any_nan(v));
    for &[a, b] in pairs {
        any |= a.any_nan(b);
    }
    if any {
        for v in &mut registers {
            let bits = v.to_words();
            *v = V::from_words(v.unless_nan(bits, nan(bits)));
        }
    }
    registers
}

/// The nearest bf16 in the upper halves. (The lower ones are not specified.)
#[inline(always)]
fn upper_half_nearest<V: Single>(isa: V::Isa, value: V) -> V::Words {
    let bits = value.to_words();
    let odd = bits.shr(16).and(word(isa, 1));
    bits.add(word(isa, 0x7fff)).add(odd)
}

/// The words that take the upper halves of `low` as their lower ones, and those of `high` as they are.
#[inline(always)]
fn pair<W: Words>(isa: W::Isa, low: W, high: W) -> W {
    low.shr(16).or(high.and(word(isa, 0xffff_0000)))
}

impl Half for Bf16Pairs {
    #[inline(always)]
    fn widen<V: Single>(isa: V::Isa, halves: V::Words) -> V {
        <Bf16 as Half>::widen(isa, halves)
    }
    #[inline(always)]
    fn to_round<V: Single, const N: usize>(isa: V::Isa, registers: [V; N]) -> [V; N] {
        Bf16::to_round(isa, registers)
    }
    #[inline(always)]
    fn nearest<V: Single>(isa: V::Isa, value: V) -> V::Words {
        Bf16::nearest(isa, value)
    }
    #[inline(always)]
    fn stochastic<V: Single>(isa: V::Isa, value: V, draws: V::Words) -> V::Words {
        Bf16::stochastic(isa, value, draws)
    }

    #[inline(always)]
    fn widen_row<S: Simd, const N: usize>(isa: S, row: &[HalvesOf<S>; N]) -> [S::F32; N] {
        if !N.is_multiple_of(2) {
            return Bf16::widen_row(isa, row);
        }
        let mut registers = [S::F32::splat(isa, 0.0); N];
        for ([low, high], lanes) in pairs_mut(&mut registers).iter_mut().zip(row.as_chunks().0) {
            let words = WordsOf::<S>::load_pair(isa, lanes);
            *low = S::F32::from_words(words.shl(16));
            *high = S::F32::from_words(words.and(word(isa, 0xffff_0000)));
        }
        registers
    }
    #[inline(always)]
    fn nearest_row<S: Simd, const N: usize>(
        isa: S,
        registers: [S::F32; N],
        row: &mut [HalvesOf<S>; N],
    ) {
        if !N.is_multiple_of(2) {
            return Bf16::nearest_row(isa, registers, row);
        }
        let registers = Self::to_round(isa, registers);
        for ([low, high], lanes) in registers.as_chunks().0.iter().zip(pairs_mut(row)) {
            let (low, high) = (upper_half_nearest(isa, *low), upper_half_nearest(isa, *high));
            pair(isa, low, high).store_pair(lanes);
        }
    }
    #[inline(always)]
    fn stochastic_row<S: Simd, const N: usize>(
        isa: S,
        registers: [S::F32; N],
        row: &mut [HalvesOf<S>; N],
        draws: &[HalvesOf<S>; N],
    ) {
        if !N.is_multiple_of(2) {
            return Bf16::stochastic_row(isa, registers, row, draws);
        }
        let registers = Self::to_round(isa, registers);
        let registers = registers.as_chunks().0.iter();
        for (([low, high], lanes), draws) in registers.zip(pairs_mut(row)).zip(draws.as_chunks().0)
        {
            let draws = WordsOf::<S>::load_pair(isa, draws);
            let low = low.to_words().add(draws.and(word(isa, 0xffff)));
            let high = high.to_words().add(draws.shr(16));
            pair(isa, low, high).store_pair(lanes);
        }
    }
}

#[inline(always)]
fn pairs_mut<T>(row: &mut [T]) -> &mut [[T; 2]] {
    row.as_chunks_mut().0
}

impl Half for F16 {
    #[inline(always)]
    fn widen<V: Single>(isa: V::Isa, halves: V::Words) -> V {
        V::from_f16(isa, halves)
    }
    #[inline(always)]
    fn nearest<V: Single>(isa: V::Isa, value: V) -> V::Words {
        value.to_f16(isa)
    }
    #[inline(always)]
    fn stochastic<V: Single>(isa: V::Isa, value: V, draws: V::Words) -> V::Words {
        /// The smallest normal number, 2^-14.
        const MIN_NORMAL: u32 = (127 - 14) << 23;
        /// From here on, everything is infinite: 2^16.
        const TOO_LARGE: u32 = (127 + 16) << 23;
        let bits = value.to_words();
        let sign = bits.and(word(isa, 0x8000_0000)).shr(16);
        let magnitude = bits.and(word(isa, MAGNITUDE));
        // 13 bits are too many: those of a normal number, and their exponent's bias.
        let normal = magnitude.add(draws.shr(3)).shr(13).sub(word(isa, (127 - 15) << 10));
        // In units of 2^-40: 16 bits are too many for multiples of 2^-24.
        let unit = V::splat(isa, f32::from_bits((127 + 40) << 23));
        let fixed = V::from_words(magnitude).mul(unit).truncate();
        let subnormal = fixed.add(draws).shr(16);
        let finite = word::<V::Words>(isa, MIN_NORMAL).if_above(magnitude, subnormal, normal);
        let infinite = word(isa, TOO_LARGE - 1);
        let rounded = magnitude.if_above(infinite, word(isa, 0x7c00), finite);
        value.unless_nan(rounded, word(isa, 0x7e00)).or(sign)
    }
}

/// An f32 as a bf16 near it and the rest of its bits, in an integer with a sign.
pub trait Split: Send + Sync + 'static {
    /// What the rest is in memory.
    type Memory: Copy + Send + Sync + 'static;
    /// What fills a register of `S`.
    type Lanes<S: Simd>: Lanes<Self::Memory> + 'static;
    /// Puts them together.
    fn load<S: Simd>(isa: S, high: &HalvesOf<S>, low: &Self::Lanes<S>) -> S::F32;
    /// Takes them apart; NaN are [`NAN`].
    fn store<S: Simd>(isa: S, value: S::F32, high: &mut HalvesOf<S>, low: &mut Self::Lanes<S>);

    /// Puts a row of registers together.
    #[inline(always)]
    fn load_row<S: Simd, const N: usize>(
        isa: S,
        high: &[HalvesOf<S>; N],
        low: &[Self::Lanes<S>; N],
    ) -> [S::F32; N] {
        let mut registers = [S::F32::splat(isa, 0.0); N];
        for (i, register) in registers.iter_mut().enumerate() {
            *register = Self::load(isa, &high[i], &low[i]);
        }
        registers
    }
    /// Takes a row of registers apart.
    #[inline(always)]
    fn store_row<S: Simd, const N: usize>(
        isa: S,
        registers: [S::F32; N],
        high: &mut [HalvesOf<S>; N],
        low: &mut [Self::Lanes<S>; N],
    ) {
        // Three iterators at once would not be unrolled.
        for (i, register) in with_one_nan(isa, registers).into_iter().enumerate() {
            Self::store(isa, register, &mut high[i], &mut low[i]);
        }
    }
}

/// With 16 bits: nothing is lost but what NaN it is.
pub struct Split16;

impl Split for Split16 {
    type Memory = u16;
    type Lanes<S: Simd> = HalvesOf<S>;

    #[inline(always)]
    fn load<S: Simd>(isa: S, high: &HalvesOf<S>, low: &HalvesOf<S>) -> S::F32 {
        let sign = word(isa, 0x8000);
        let high = WordsOf::<S>::load_halves(isa, high);
        let low = WordsOf::<S>::load_halves(isa, low);
        // From 16 bits to an integer with a sign.
        let low = low.add(sign).and(word(isa, 0xffff)).sub(sign);
        S::F32::from_words(high.shl(16).add(low))
    }
    #[inline(always)]
    fn store<S: Simd>(isa: S, value: S::F32, high: &mut HalvesOf<S>, low: &mut HalvesOf<S>) {
        let bits = value.to_words();
        bits.add(word(isa, 0x8000)).shr(16).store_halves(high);
        bits.store_halves(low);
    }
}

/// [`Split16`] in pairs, as [`Bf16Pairs`].
pub struct Split16Pairs;

impl Split for Split16Pairs {
    type Memory = u16;
    type Lanes<S: Simd> = HalvesOf<S>;

    #[inline(always)]
    fn load<S: Simd>(isa: S, high: &HalvesOf<S>, low: &HalvesOf<S>) -> S::F32 {
        Split16::load(isa, high, low)
    }
    #[inline(always)]
    fn store<S: Simd>(isa: S, value: S::F32, high: &mut HalvesOf<S>, low: &mut HalvesOf<S>) {
        Split16::store(isa, value, high, low);
    }

    #[inline(always)]
    fn load_row<S: Simd, const N: usize>(
        isa: S,
        high: &[HalvesOf<S>; N],
        low: &[HalvesOf<S>; N],
    ) -> [S::F32; N] {
        if !N.is_multiple_of(2) {
            return Split16::load_row(isa, high, low);
        }
        let sign = word::<WordsOf<S>>(isa, 0x8000);
        let mut registers = [S::F32::splat(isa, 0.0); N];
        let lanes = high.as_chunks().0.iter().zip(low.as_chunks().0);
        for ([first, second], (high, low)) in pairs_mut(&mut registers).iter_mut().zip(lanes) {
            let high = WordsOf::<S>::load_pair(isa, high);
            let low = WordsOf::<S>::load_pair(isa, low);
            // From 16 bits to an integer with a sign: as if 0x8000 more, less as much.
            let low_of_first = low.add(sign).and(word(isa, 0xffff)).sub(sign);
            let low_of_second = low.shr(16).add(sign).and(word(isa, 0xffff)).sub(sign);
            *first = S::F32::from_words(high.shl(16).add(low_of_first));
            *second = S::F32::from_words(high.and(word(isa, 0xffff_0000)).add(low_of_second));
        }
        registers
    }
    #[inline(always)]
    fn store_row<S: Simd, const N: usize>(
        isa: S,
        registers: [S::F32; N],
        high: &mut [HalvesOf<S>; N],
        low: &mut [HalvesOf<S>; N],
    ) {
        if !N.is_multiple_of(2) {
            return Split16::store_row(isa, registers, high, low);
        }
        let half = word::<WordsOf<S>>(isa, 0x8000);
        let lanes = pairs_mut(high).iter_mut().zip(pairs_mut(low));
        let registers = with_one_nan(isa, registers);
        for ([first, second], (high, low)) in registers.as_chunks().0.iter().zip(lanes) {
            let [first, second] = [first.to_words(), second.to_words()];
            pair(isa, first.add(half), second.add(half)).store_pair(high);
            first.and(word(isa, 0xffff)).or(second.shl(16)).store_pair(low);
        }
    }
}

/// The same registers, with one NaN for all.
#[inline(always)]
fn with_one_nan<V: Single, const N: usize>(isa: V::Isa, registers: [V; N]) -> [V; N] {
    with_nan(
        registers,
        #[inline(always)]
        |_| word(isa, NAN),
    )
}

/// With 8 bits: the f32 is rounded to its upper 24 bits.
pub struct Split8;

impl Split for Split8 {
    type Memory = u8;
    type Lanes<S: Simd> = BytesOf<S>;

    #[inline(always)]
    fn load<S: Simd>(isa: S, high: &HalvesOf<S>, low: &BytesOf<S>) -> S::F32 {
        let high = WordsOf::<S>::load_halves(isa, high);
        let low = WordsOf::<S>::load_bytes(isa, low);
        let low = low.add(word(isa, 0x80)).and(word(isa, 0xff)).sub(word(isa, 0x80));
        S::F32::from_words(high.shl(8).add(low).shl(8))
    }
    #[inline(always)]
    fn store<S: Simd>(isa: S, value: S::F32, high: &mut HalvesOf<S>, low: &mut BytesOf<S>) {
        let bits = value.to_words();
        let odd = bits.shr(8).and(word(isa, 1));
        let upper = bits.add(word(isa, 0x7f)).add(odd).shr(8);
        upper.add(word(isa, 0x80)).shr(8).store_halves(high);
        upper.store_bytes(low);
    }
}
