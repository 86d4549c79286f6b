//! The memory that operations read and write, as registers: slices, or several that make up one.

use crate::format::{Format, MemoryOf, Number};
use crate::simd::{Lanes, Simd, Streaming, prefetch};

/// Elements of one tensor in memory, that registers are read from.
pub(crate) trait Source: Sized {
    /// What they are computed in.
    type Compute: Number;
    /// All that fill rows of `N` registers of `S`.
    type Rows<S: Simd, const N: usize>: Load<Self::Compute, S, N, Rest = Self>;

    /// The rows that the first `length` elements fill, which are all.
    fn rows<S: Simd, const N: usize>(self, length: usize) -> Self::Rows<S, N>;
}

/// Elements of one tensor in memory, that registers are read from and written to.
pub(crate) trait Place: Sized {
    /// What they are computed in.
    type Compute: Number;
    /// All that fill rows of `N` registers of `S`.
    type Rows<S: Simd, const N: usize>: Store<Self::Compute, S, N, Rest = Self>;
    /// Whether it takes so much work that roots are better left to the square-root unit. Measured in
    /// docs/performance.md.
    const BUSY: bool;
    /// Whether it is one of several kinds of memory, of which each row is asked.
    const ANY: bool = false;

    /// How many elements there are.
    fn len(&self) -> usize;
    /// The rows that the first `length` elements fill, which are all.
    fn rows<S: Simd, const N: usize>(self, length: usize) -> Self::Rows<S, N>;
}

/// The registers of a row.
pub(crate) type Row<C, S, const N: usize> = [<C as Number>::Vector<S>; N];

/// Rows to read, one after the other.
pub(crate) trait Load<C: Number, S: Simd, const N: usize> {
    /// The elements that fill no row.
    type Rest;

    fn load(&mut self, isa: S, row: usize) -> Row<C, S, N>;
    /// Asks for what lies `ahead` bytes behind a row.
    fn prefetch(&self, row: usize, ahead: usize);
    /// What is left behind the last row.
    fn rest(self) -> Self::Rest;
}

/// Rows to read and to write, one after the other: each is loaded, then stored.
pub(crate) trait Store<C: Number, S: Simd, const N: usize>: Load<C, S, N> {
    /// How many rows there are.
    fn len(&self) -> usize;
    /// Past the caches, if there is permission.
    fn store(&mut self, isa: S, row: usize, new: Row<C, S, N>, streaming: Option<&Streaming>);
}

/// A slice in a format.
pub(crate) struct Values<'a, C: Number, M: Format<C>>(pub(crate) &'a [MemoryOf<C, M>]);

/// A slice in a format, to be written.
pub(crate) struct ValuesMut<'a, C: Number, M: Format<C>>(pub(crate) &'a mut [MemoryOf<C, M>]);

/// Whether roots are of f32. Those of f64 keep the square-root unit longer than any format keeps the others.
pub(super) const fn in_f32<C>() -> bool {
    size_of::<C>() == size_of::<f32>()
}

type LanesOf<M, C, S> = <M as Format<C>>::Lanes<S>;

pub(crate) struct Rows<'a, C: Number, M: Format<C>, S: Simd, const N: usize> {
    rows: &'a [[LanesOf<M, C, S>; N]],
    rest: &'a [M::Memory],
}

pub(crate) struct RowsMut<'a, C: Number, M: Format<C>, S: Simd, const N: usize> {
    rows: &'a mut [[LanesOf<M, C, S>; N]],
    rest: &'a mut [M::Memory],
}

impl<'a, C: Number, M: Format<C>> Source for Values<'a, C, M> {
    type Compute = C;
    type Rows<S: Simd, const N: usize> = Rows<'a, C, M, S, N>;

    #[inline(always)]
    fn rows<S: Simd, const N: usize>(self, length: usize) -> Rows<'a, C, M, S, N> {
        let (rows, rest) = rows::<_, LanesOf<M, C, S>, N>(&self.0[..length]);
        Rows { rows, rest }
    }
}

impl<'a, C: Number, M: Format<C>> Place for ValuesMut<'a, C, M> {
    type Compute = C;
    type Rows<S: Simd, const N: usize> = RowsMut<'a, C, M, S, N>;
    const BUSY: bool = in_f32::<C>() && size_of::<M::Memory>() < size_of::<C>();

    #[inline(always)]
    fn len(&self) -> usize {
        self.0.len()
    }
    #[inline(always)]
    fn rows<S: Simd, const N: usize>(self, length: usize) -> RowsMut<'a, C, M, S, N> {
        let (rows, rest) = rows_mut::<_, LanesOf<M, C, S>, N>(&mut self.0[..length]);
        RowsMut { rows, rest }
    }
}

impl<'a, C, M, S, const N: usize> Load<C, S, N> for Rows<'a, C, M, S, N>
where
    C: Number,
    M: Format<C>,
    S: Simd,
{
    type Rest = Values<'a, C, M>;

    #[inline(always)]
    fn load(&mut self, isa: S, row: usize) -> Row<C, S, N> {
        M::load_row(isa, &self.rows[row])
    }
    #[inline(always)]
    fn prefetch(&self, row: usize, ahead: usize) {
        prefetch(&self.rows[row], ahead);
    }
    #[inline(always)]
    fn rest(self) -> Self::Rest {
        Values(self.rest)
    }
}

impl<'a, C, M, S, const N: usize> Load<C, S, N> for RowsMut<'a, C, M, S, N>
where
    C: Number,
    M: Format<C>,
    S: Simd,
{
    type Rest = ValuesMut<'a, C, M>;

    #[inline(always)]
    fn load(&mut self, isa: S, row: usize) -> Row<C, S, N> {
        M::load_row(isa, &self.rows[row])
    }
    #[inline(always)]
    fn prefetch(&self, row: usize, ahead: usize) {
        prefetch(&self.rows[row], ahead);
    }
    #[inline(always)]
    fn rest(self) -> Self::Rest {
        ValuesMut(self.rest)
    }
}

impl<C: Number, M: Format<C>, S: Simd, const N: usize> Store<C, S, N> for RowsMut<'_, C, M, S, N> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.rows.len()
    }
    #[inline(always)]
    fn store(&mut self, isa: S, row: usize, new: Row<C, S, N>, streaming: Option<&Streaming>) {
        M::store_row(isa, new, &mut self.rows[row], streaming);
    }
}

/// Rows of `N` registers, and the elements that are left.
#[inline(always)]
pub(super) fn rows<T, L: Lanes<T>, const N: usize>(elements: &[T]) -> (&[[L; N]], &[T]) {
    let length = elements.len() - elements.len() % (N * L::LENGTH);
    let (front, rest) = elements.split_at(length);
    (L::chunks(front).0.as_chunks().0, rest)
}

#[inline(always)]
pub(super) fn rows_mut<T, L: Lanes<T>, const N: usize>(
    elements: &mut [T],
) -> (&mut [[L; N]], &mut [T]) {
    let length = elements.len() - elements.len() % (N * L::LENGTH);
    let (front, rest) = elements.split_at_mut(length);
    (L::chunks_mut(front).0.as_chunks_mut().0, rest)
}

/// Takes the first `length` elements away.
#[inline(always)]
#[allow(clippy::mut_mut, reason = "the slice itself is shortened")]
pub(super) fn take_front<'a, E>(slice: &mut &'a mut [E], length: usize) -> &'a mut [E] {
    let (front, rest) = std::mem::take(slice).split_at_mut(length);
    *slice = rest;
    front
}
