//! Memory that is more than a slice of numbers: parameters that are rounded at random or kept in two parts,
//! momentum in blocks.

use super::place::{
    Load, Place, Row, RowsMut, Source, Store, Values, ValuesMut, in_f32, rows, rows_mut,
};
use crate::draws::{self, Draws};
use crate::float::{Bf16, Bf16Pairs, F16};
use crate::format::{
    BytesOf, Format, Half, HalvesOf, Number, Split, Split8, Split16, Split16Pairs, WordsOf,
};
use crate::simd::{Lanes, Simd, Single, Streaming, Vector, Words, prefetch, word};
use crate::step::INT8_BLOCK;
use std::marker::PhantomData;

/// Halves that are rounded stochastically.
pub(super) struct Stochastic<'a, H> {
    values: &'a mut [u16],
    /// From the first of the values on.
    draws: Draws,
    buffer: &'a mut DrawBuffer,
    half: PhantomData<H>,
}

/// What is written and read in registers, aligned to them: none lies in two cache lines.
#[repr(align(64))]
pub(super) struct Aligned<T>(pub(super) T);

/// The draws of the group that was asked for last, and those of a row that lies in two groups.
pub(super) struct DrawBuffer {
    group: Option<u64>,
    draws: Aligned<[u16; draws::GROUP]>,
    row: [u16; draws::GROUP],
}

impl DrawBuffer {
    pub(super) const fn new() -> Self {
        Self { group: None, draws: Aligned([0; _]), row: [0; _] }
    }

    #[inline(always)]
    fn group_of(&mut self, draws: Draws, index: u64) -> &[u16; draws::GROUP] {
        let group = index / draws::GROUP as u64;
        if self.group != Some(group) {
            (self.group, self.draws.0) = (Some(group), draws::group(draws, group));
        }
        &self.draws.0
    }

    /// The draws of `length` elements, no more than a group, from `index` on.
    #[inline(always)]
    fn row(&mut self, draws: Draws, index: u64, length: usize) -> &[u16] {
        let start = place_in_group(index);
        if start + length <= draws::GROUP {
            return &self.group_of(draws, index)[start..][..length];
        }
        for i in 0..length {
            let index = index.wrapping_add(i as u64);
            self.row[i] = self.group_of(draws, index)[place_in_group(index)];
        }
        &self.row[..length]
    }
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "it is below the length of a group")]
const fn place_in_group(index: u64) -> usize {
    (index % draws::GROUP as u64) as usize
}

impl<'a, H: Half> Stochastic<'a, H> {
    pub(super) const fn new(
        values: &'a mut [u16],
        draws: Draws,
        buffer: &'a mut DrawBuffer,
    ) -> Self {
        Self { values, draws, buffer, half: PhantomData }
    }
}

pub(super) struct StochasticRows<'a, H, S: Simd, const N: usize> {
    rows: &'a mut [[HalvesOf<S>; N]],
    rest: Stochastic<'a, H>,
}

impl<'a, H: Half> Place for Stochastic<'a, H> {
    type Compute = f32;
    type Rows<S: Simd, const N: usize> = StochasticRows<'a, H, S, N>;
    const BUSY: bool = true;

    #[inline(always)]
    fn len(&self) -> usize {
        self.values.len()
    }
    #[inline(always)]
    fn rows<S: Simd, const N: usize>(self, length: usize) -> StochasticRows<'a, H, S, N> {
        let (rows, values) = rows_mut(&mut self.values[..length]);
        StochasticRows { rows, rest: Self { values, ..self } }
    }
}

impl<'a, H: Half, S: Simd, const N: usize> Load<f32, S, N> for StochasticRows<'a, H, S, N> {
    type Rest = Stochastic<'a, H>;

    #[inline(always)]
    fn load(&mut self, isa: S, row: usize) -> Row<f32, S, N> {
        H::widen_row(isa, &self.rows[row])
    }
    #[inline(always)]
    fn prefetch(&self, row: usize, ahead: usize) {
        prefetch(&self.rows[row], ahead);
    }
    #[inline(always)]
    fn rest(self) -> Stochastic<'a, H> {
        let done = self.rows.len() * N * HalvesOf::<S>::LENGTH;
        Stochastic { draws: self.rest.draws.skip(done), ..self.rest }
    }
}

impl<H: Half, S: Simd, const N: usize> Store<f32, S, N> for StochasticRows<'_, H, S, N> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.rows.len()
    }
    #[inline(always)]
    fn store(&mut self, isa: S, row: usize, new: Row<f32, S, N>, _: Option<&Streaming>) {
        let length = N * HalvesOf::<S>::LENGTH;
        let Stochastic { draws, buffer, .. } = &mut self.rest;
        let drawn = buffer.row(*draws, draws.skip(row * length).start(), length);
        let drawn = &rows::<_, HalvesOf<S>, N>(drawn).0[0];
        H::stochastic_row(isa, new, &mut self.rows[row], drawn);
    }
}

/// Numbers of f32 in two parts.
pub(super) struct InParts<'a, P: Split> {
    pub(super) high: &'a mut [u16],
    /// As many.
    pub(super) low: &'a mut [P::Memory],
}

pub(super) struct PartRows<'a, P: Split, S: Simd, const N: usize> {
    high: &'a mut [[HalvesOf<S>; N]],
    low: &'a mut [[P::Lanes<S>; N]],
    rest: InParts<'a, P>,
}

impl<'a, P: Split> Place for InParts<'a, P> {
    type Compute = f32;
    type Rows<S: Simd, const N: usize> = PartRows<'a, P, S, N>;
    const BUSY: bool = true;

    #[inline(always)]
    fn len(&self) -> usize {
        self.high.len()
    }
    #[inline(always)]
    fn rows<S: Simd, const N: usize>(self, length: usize) -> PartRows<'a, P, S, N> {
        let (high, high_rest) = rows_mut(&mut self.high[..length]);
        let (low, low_rest) = rows_mut(&mut self.low[..length]);
        PartRows { high, low, rest: InParts { high: high_rest, low: low_rest } }
    }
}

impl<'a, P: Split, S: Simd, const N: usize> Load<f32, S, N> for PartRows<'a, P, S, N> {
    type Rest = InParts<'a, P>;

    #[inline(always)]
    fn load(&mut self, isa: S, row: usize) -> Row<f32, S, N> {
        P::load_row(isa, &self.high[row], &self.low[row])
    }
    #[inline(always)]
    fn prefetch(&self, row: usize, ahead: usize) {
        prefetch(&self.high[row], ahead);
        prefetch(&self.low[row], ahead);
    }
    #[inline(always)]
    fn rest(self) -> InParts<'a, P> {
        self.rest
    }
}

impl<P: Split, S: Simd, const N: usize> Store<f32, S, N> for PartRows<'_, P, S, N> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.high.len()
    }
    #[inline(always)]
    fn store(&mut self, isa: S, row: usize, new: Row<f32, S, N>, _: Option<&Streaming>) {
        P::store_row(isa, new, &mut self.high[row], &mut self.low[row]);
    }
}

/// Numbers of f32, and a copy of them in halves, which is written and not read.
pub(super) struct WithCopy<'a, H> {
    pub(super) numbers: &'a mut [f32],
    /// As many.
    pub(super) copy: &'a mut [u16],
    pub(super) half: PhantomData<H>,
}

pub(super) struct CopyRows<'a, H: Format<f32>, S: Simd, const N: usize> {
    numbers: RowsMut<'a, f32, f32, S, N>,
    copy: RowsMut<'a, f32, H, S, N>,
}

impl<'a, H: Half> Place for WithCopy<'a, H> {
    type Compute = f32;
    type Rows<S: Simd, const N: usize> = CopyRows<'a, H, S, N>;
    const BUSY: bool = true;

    #[inline(always)]
    fn len(&self) -> usize {
        self.numbers.len()
    }
    #[inline(always)]
    fn rows<S: Simd, const N: usize>(self, length: usize) -> CopyRows<'a, H, S, N> {
        CopyRows {
            numbers: ValuesMut(self.numbers).rows(length),
            copy: ValuesMut(self.copy).rows(length),
        }
    }
}

impl<'a, H: Half, S: Simd, const N: usize> Load<f32, S, N> for CopyRows<'a, H, S, N> {
    type Rest = WithCopy<'a, H>;

    #[inline(always)]
    fn load(&mut self, isa: S, row: usize) -> Row<f32, S, N> {
        self.numbers.load(isa, row)
    }
    #[inline(always)]
    fn prefetch(&self, row: usize, ahead: usize) {
        self.numbers.prefetch(row, ahead);
        self.copy.prefetch(row, ahead);
    }
    #[inline(always)]
    fn rest(self) -> WithCopy<'a, H> {
        let (numbers, copy) = (self.numbers.rest().0, self.copy.rest().0);
        WithCopy { numbers, copy, half: PhantomData }
    }
}

impl<H: Half, S: Simd, const N: usize> Store<f32, S, N> for CopyRows<'_, H, S, N> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.numbers.len()
    }
    #[inline(always)]
    fn store(&mut self, isa: S, row: usize, new: Row<f32, S, N>, _: Option<&Streaming>) {
        self.copy.store(isa, row, new, None);
        self.numbers.store(isa, row, new, None);
    }
}

/// Momentum in int8. The block at work is unpacked, and packed when all of it has been stored.
pub(super) struct Int8<'a, C> {
    codes: &'a mut [u8],
    /// One for each block.
    scales: &'a mut [f32],
    block: &'a mut Int8Block,
    /// How many elements have been stored: whole blocks, and those of the block at work.
    done: usize,
    compute: PhantomData<C>,
}

/// An unpacked block; zeros behind its end.
pub(super) type Int8Block = Aligned<[f32; INT8_BLOCK]>;

pub(super) struct Int8Rows<'a, C> {
    int8: Int8<'a, C>,
    rows: usize,
}

impl<'a, C> Int8<'a, C> {
    pub(super) fn new(
        codes: &'a mut [i8],
        scales: &'a mut [f32],
        block: &'a mut Int8Block,
    ) -> Self {
        let codes = bytemuck::cast_slice_mut(codes);
        Self { codes, scales, block, done: 0, compute: PhantomData }
    }
}

impl<C> Int8<'_, C> {
    /// Reads the next block.
    #[inline(always)]
    fn unpack<S: Simd>(&mut self, isa: S) {
        /// An integer of 23 bits or fewer has these bits as an f32, less what they are the bits of.
        const INTEGERS: f32 = 8_388_608.0;
        let length = INT8_BLOCK.min(self.codes.len() - self.done);
        let mut padded = [0; INT8_BLOCK];
        let codes = if length == INT8_BLOCK {
            &self.codes[self.done..][..INT8_BLOCK]
        } else {
            padded[..length].copy_from_slice(&self.codes[self.done..]);
            &padded
        };
        let unit = S::F32::splat(isa, self.scales[self.done / INT8_BLOCK] / 127.0);
        let offset = S::F32::splat(isa, INTEGERS + 128.0);
        let registers = LanesOf::<S>::chunks_mut(&mut self.block.0).0;
        for (codes, register) in BytesOf::<S>::chunks(codes).0.iter().zip(registers) {
            // A code and 128 have the bits of the code as a u8, the uppermost turned around.
            let integers = word(isa, INTEGERS.to_bits() | 128);
            let code = WordsOf::<S>::load_bytes(isa, codes).xor(integers);
            S::F32::from_words(code).sub(offset).mul(unit).store(register);
        }
    }

    /// Writes the block at work, which ends here.
    #[inline(always)]
    fn pack<S: Simd>(&mut self, isa: S) {
        /// Where a float's last place is 1: adding it rounds to an integer, which is in the last byte.
        const INTEGERS: f32 = 1.5 * 8_388_608.0;
        let start = (self.done - 1) / INT8_BLOCK * INT8_BLOCK;
        let used = self.done - start;
        self.block.0[used..].fill(0.0);
        let registers = LanesOf::<S>::chunks(&self.block.0).0;
        // The bits of magnitudes are in the order of the magnitudes, NaN above all.
        let mut largest = word::<WordsOf<S>>(isa, 0);
        for register in registers {
            largest = largest.max(S::F32::load(isa, register).abs().to_words());
        }
        let scale = f32::from_bits(largest.largest());
        self.scales[start / INT8_BLOCK] = scale;
        if !scale.is_finite() {
            // The others times 127 / infinity, and what is infinite or NaN: all are 0.
            return self.codes[start..self.done].fill(0);
        }
        let factor = S::F32::splat(isa, 127.0 / (scale + 1e-12));
        let integers = S::F32::splat(isa, INTEGERS);
        let mut codes = [0; INT8_BLOCK];
        let bytes = BytesOf::<S>::chunks_mut(&mut codes).0;
        for (register, bytes) in registers.iter().zip(bytes) {
            // No magnitude is above the scale: none is above 127 but by rounding.
            let value = S::F32::load(isa, register).mul(factor);
            value.add(integers).to_words().store_bytes(bytes);
        }
        self.codes[start..self.done].copy_from_slice(&codes[..used]);
    }
}

type LanesOf<S> = <<S as Simd>::F32 as Vector>::Lanes;

impl<'a, C: Number> Place for Int8<'a, C>
where
    f32: Format<C, Memory = f32>,
{
    type Compute = C;
    type Rows<S: Simd, const N: usize> = Int8Rows<'a, C>;
    const BUSY: bool = in_f32::<C>();

    #[inline(always)]
    fn len(&self) -> usize {
        self.codes.len() - self.done
    }
    #[inline(always)]
    fn rows<S: Simd, const N: usize>(self, length: usize) -> Int8Rows<'a, C> {
        let rows = length / (N * <f32 as Format<C>>::Lanes::<S>::LENGTH);
        Int8Rows { int8: self, rows }
    }
}

/// How many elements a row has.
#[inline(always)]
const fn row_length<C: Number, S: Simd, const N: usize>() -> usize
where
    f32: Format<C, Memory = f32>,
{
    N * <<f32 as Format<C>>::Lanes<S> as Lanes<f32>>::LENGTH
}

impl<'a, C: Number, S: Simd, const N: usize> Load<C, S, N> for Int8Rows<'a, C>
where
    f32: Format<C, Memory = f32>,
{
    type Rest = Int8<'a, C>;

    #[inline(always)]
    fn load(&mut self, isa: S, _: usize) -> Row<C, S, N> {
        let start = self.int8.done % INT8_BLOCK;
        if start == 0 {
            self.int8.unpack(isa);
        }
        let elements = &self.int8.block.0[start..][..row_length::<C, S, N>()];
        let mut registers = [C::Vector::<S>::splat(isa, C::default()); N];
        let lanes = <f32 as Format<C>>::Lanes::<S>::chunks(elements).0;
        for (register, lanes) in registers.iter_mut().zip(lanes) {
            *register = <f32 as Format<C>>::load(isa, lanes);
        }
        registers
    }
    #[inline(always)]
    fn prefetch(&self, _: usize, ahead: usize) {
        prefetch(&self.int8.codes[self.int8.done], ahead);
    }
    #[inline(always)]
    fn rest(self) -> Int8<'a, C> {
        self.int8
    }
}

impl<C: Number, S: Simd, const N: usize> Store<C, S, N> for Int8Rows<'_, C>
where
    f32: Format<C, Memory = f32>,
{
    #[inline(always)]
    fn len(&self) -> usize {
        self.rows
    }
    #[inline(always)]
    fn store(&mut self, isa: S, _: usize, new: Row<C, S, N>, _: Option<&Streaming>) {
        let (int8, length) = (&mut self.int8, row_length::<C, S, N>());
        let elements = &mut int8.block.0[int8.done % INT8_BLOCK..][..length];
        let registers = <f32 as Format<C>>::Lanes::<S>::chunks_mut(elements).0;
        for (new, lanes) in new.into_iter().zip(registers) {
            <f32 as Format<C>>::store(isa, new, lanes, None);
        }
        int8.done += length;
        if int8.done.is_multiple_of(INT8_BLOCK) || int8.done == int8.codes.len() {
            int8.pack(isa);
        }
    }
}

/// One of several kinds of memory, asked for once a row.
macro_rules! one_of {
    (
        $(#[$attribute:meta])*
        $name:ident, $rows:ident: $kind:ident of $compute:ty;
        $($variant:ident($memory:ty)),*
    ) => {
        $(#[$attribute])*
        pub(super) enum $name<'a> {
            $($variant($memory)),*
        }

        pub(super) enum $rows<'a, S: Simd, const N: usize> {
            $($variant(<$memory as $kind>::Rows<S, N>)),*
        }

        impl<'a, S: Simd, const N: usize> Load<$compute, S, N> for $rows<'a, S, N> {
            type Rest = $name<'a>;

            #[inline(always)]
            fn load(&mut self, isa: S, row: usize) -> Row<$compute, S, N> {
                match self {
                    $(Self::$variant(rows) => rows.load(isa, row)),*
                }
            }
            #[inline(always)]
            fn prefetch(&self, row: usize, ahead: usize) {
                match self {
                    $(Self::$variant(rows) => {
                        Load::<$compute, S, N>::prefetch(rows, row, ahead);
                    }),*
                }
            }
            #[inline(always)]
            fn rest(self) -> $name<'a> {
                match self {
                    $(Self::$variant(rows) => {
                        $name::$variant(Load::<$compute, S, N>::rest(rows))
                    }),*
                }
            }
        }
        one_of!($kind, $name, $rows, $compute; $($variant),*);
    };
    (Source, $name:ident, $rows:ident, $compute:ty; $($variant:ident),*) => {
        impl<'a> Source for $name<'a> {
            type Compute = $compute;
            type Rows<S: Simd, const N: usize> = $rows<'a, S, N>;

            #[inline(always)]
            fn rows<S: Simd, const N: usize>(self, length: usize) -> $rows<'a, S, N> {
                match self {
                    $(Self::$variant(memory) => $rows::$variant(memory.rows::<S, N>(length))),*
                }
            }
        }
    };
    (Place, $name:ident, $rows:ident, $compute:ty; $($variant:ident),*) => {
        impl<'a> Place for $name<'a> {
            type Compute = $compute;
            type Rows<S: Simd, const N: usize> = $rows<'a, S, N>;
            const BUSY: bool = true;
            const ANY: bool = true;

            #[inline(always)]
            fn len(&self) -> usize {
                match self {
                    $(Self::$variant(memory) => memory.len()),*
                }
            }
            #[inline(always)]
            fn rows<S: Simd, const N: usize>(self, length: usize) -> $rows<'a, S, N> {
                match self {
                    $(Self::$variant(memory) => $rows::$variant(memory.rows::<S, N>(length))),*
                }
            }
        }

        impl<S: Simd, const N: usize> Store<$compute, S, N> for $rows<'_, S, N> {
            #[inline(always)]
            fn len(&self) -> usize {
                match self {
                    $(Self::$variant(rows) => Store::<$compute, S, N>::len(rows)),*
                }
            }
            #[inline(always)]
            fn store(
                &mut self,
                isa: S,
                row: usize,
                new: Row<$compute, S, N>,
                streaming: Option<&Streaming>,
            ) {
                match self {
                    $(Self::$variant(rows) => rows.store(isa, row, new, streaming)),*
                }
            }
        }
    };
}

one_of! {
    /// A gradient that is computed in f32.
    AnyGradient, AnyGradientRows: Source of f32;
    Full(Values<'a, f32, f32>),
    Bf16(Values<'a, f32, Bf16>),
    F16(Values<'a, f32, F16>)
}

one_of! {
    /// Parameters that are computed in f32.
    AnyParameters, AnyParametersRows: Place of f32;
    Full(ValuesMut<'a, f32, f32>),
    Bf16(ValuesMut<'a, f32, Bf16>),
    F16(ValuesMut<'a, f32, F16>),
    StochasticBf16(Stochastic<'a, Bf16>),
    StochasticF16(Stochastic<'a, F16>),
    Split16(InParts<'a, Split16>),
    Split8(InParts<'a, Split8>),
    Bf16Copy(WithCopy<'a, Bf16>),
    F16Copy(WithCopy<'a, F16>)
}

one_of! {
    /// Parameters in pairs that are not rounded to the nearest.
    PairedParameters, PairedParametersRows: Place of f32;
    Stochastic(Stochastic<'a, Bf16Pairs>),
    Split16(InParts<'a, Split16Pairs>)
}

one_of! {
    /// Momentum for numbers of f32.
    AnyMomentum, AnyMomentumRows: Place of f32;
    Full(ValuesMut<'a, f32, f32>),
    Bf16(ValuesMut<'a, f32, Bf16>),
    Int8(Int8<'a, f32>)
}
