//! Arrays that are worked on together, and the pieces of them that lie together in memory.

use crate::blocks::{BLOCK, Blocks};
use crate::tensor::{Momentum, Storage};
use ndarray::{ArrayViewD, ArrayViewMutD, Axis, IxDyn, Slice};
use rootstep::Element;
use rootstep::optimizer::{MomentumMut, StorageMut};
use smallvec::SmallVec;
use std::cmp::Reverse;

/// Arrays of the same shape.
pub struct Arrays<'a, T: Element, G> {
    pub parameters: ArrayViewMutD<'a, T>,
    pub gradient: ArrayViewD<'a, G>,
    pub momentum: Momentum<'a, T::Compute>,
    pub storage: Storage<'a>,
}

/// A piece of [`Arrays`] that has the same order in each of them.
pub struct Slices<'a, T: Element, G> {
    pub parameters: &'a mut [T],
    pub gradient: &'a [G],
    pub momentum: MomentumMut<'a, T::Compute>,
    pub storage: StorageMut<'a>,
}

/// What a part of arrays is.
#[derive(Clone, Copy)]
pub enum Part<'p> {
    /// All of them.
    All,
    /// No elements of them.
    Nothing,
    /// What is at this index of the first axis.
    Row(usize),
    /// All, with their axes in this order.
    Permuted(&'p [usize]),
}

/// What a piece is given to.
pub type Leaf<'l, T, G> = &'l mut dyn FnMut(Slices<'_, T, G>) -> Result<(), rootstep::Error>;

/// A shape and strides.
pub type Layout<'v> = (&'v [usize], &'v [isize]);

impl<T: Element, G: Element<Compute = T::Compute>> Arrays<'_, T, G> {
    /// Whether all arrays have one memory order without gaps: whether [`slices`](Self::slices) may be asked for.
    pub fn lie_together(&self) -> bool {
        if self.parameters.is_empty() {
            return true;
        }
        let strides = self.parameters.strides();
        let others = [
            Some((self.gradient.shape(), self.gradient.strides())),
            self.momentum.layout(),
            self.storage.layout(),
        ];
        // The stride of an axis of one element says nothing.
        let same = |(shape, other): Layout<'_>| {
            strides.iter().zip(other).zip(shape).all(|((a, b), &length)| a == b || length == 1)
        };
        let in_order = self.parameters.is_standard_layout() || !self.depend_on_places();
        let contiguous = self.parameters.as_slice_memory_order().is_some();
        contiguous && in_order && others.into_iter().flatten().all(same)
    }

    /// The memory of the arrays, which [lie together](Self::lie_together). The first element is number `start`.
    pub fn slices(&mut self, start: u64) -> Slices<'_, T, G> {
        let gradient = if self.gradient.is_empty() {
            &[]
        } else {
            self.gradient.as_slice_memory_order().expect("no gaps")
        };
        let parameters = memory(&mut self.parameters);
        let momentum = self.momentum.slices();
        Slices { parameters, gradient, momentum, storage: self.storage.slices(start) }
    }

    /// Gives all pieces to `leaf`: lanes where they lie in memory, and copies of what has no lanes. Pieces that
    /// depend on their places come in row-major order.
    pub fn pieces(&mut self, leaf: Leaf<'_, T, G>) -> Result<(), rootstep::Error> {
        if self.depend_on_places() {
            return self.pieces_from(0, leaf);
        }
        // The axis whose elements are nearest to each other becomes the last one: it has the lanes.
        let mut axes: SmallVec<[usize; 8]> = (0..self.parameters.ndim()).collect();
        axes.sort_by_key(|&axis| Reverse(self.parameters.strides()[axis].unsigned_abs()));
        self.part(Part::Permuted(&axes)).pieces_from(0, leaf)
    }

    /// [`pieces`](Self::pieces) of arrays whose first element is number `start`.
    fn pieces_from(&mut self, start: u64, leaf: Leaf<'_, T, G>) -> Result<(), rootstep::Error> {
        if self.lie_together() {
            return leaf(self.slices(start));
        }
        // An array without axes or elements lies together.
        let rows = self.parameters.len_of(Axis(0));
        let row = self.parameters.len() / rows;
        // Blocks of int8 do not end with the rows. And a call for each short row would take longer than its copy.
        if self.momentum.is_int8() || row < BLOCK {
            return Blocks::of(self).each(start, leaf);
        }
        for i in 0..rows {
            self.part(Part::Row(i)).pieces_from(start + (i * row) as u64, leaf)?;
        }
        Ok(())
    }

    /// A part of each array.
    pub(crate) fn part(&mut self, part: Part<'_>) -> Arrays<'_, T, G> {
        let gradient = match part {
            Part::All => self.gradient.view(),
            Part::Nothing => self.gradient.slice_axis(Axis(0), Slice::from(0..0)),
            Part::Row(i) => self.gradient.index_axis(Axis(0), i),
            Part::Permuted(axes) => self.gradient.view().permuted_axes(IxDyn(axes)),
        };
        let parameters = part.of(&mut self.parameters);
        let (momentum, storage) = (self.momentum.part(part), self.storage.part(part));
        Arrays { parameters, gradient, momentum, storage }
    }

    /// Whether the result for an element is another at another place.
    const fn depend_on_places(&self) -> bool {
        self.momentum.is_int8() || matches!(self.storage, Storage::Stochastic { .. })
    }
}

impl Part<'_> {
    fn of<'v, A>(self, array: &'v mut ArrayViewMutD<'_, A>) -> ArrayViewMutD<'v, A> {
        match self {
            Self::All => array.view_mut(),
            Self::Nothing => array.slice_axis_mut(Axis(0), Slice::from(0..0)),
            Self::Row(i) => array.index_axis_mut(Axis(0), i),
            Self::Permuted(axes) => array.view_mut().permuted_axes(IxDyn(axes)),
        }
    }
}

impl<C> Momentum<'_, C> {
    pub(crate) const fn is_int8(&self) -> bool {
        matches!(self, Self::Int8 { .. })
    }

    pub(crate) fn layout(&self) -> Option<Layout<'_>> {
        match self {
            Self::None => None,
            Self::Full(momentum) => Some((momentum.shape(), momentum.strides())),
            Self::Bf16(bits) => Some((bits.shape(), bits.strides())),
            Self::Int8 { codes, .. } => Some((codes.shape(), codes.strides())),
        }
    }

    fn slices(&mut self) -> MomentumMut<'_, C> {
        match self {
            Self::None => MomentumMut::None,
            Self::Full(momentum) => MomentumMut::Full(memory(momentum)),
            Self::Bf16(bits) => MomentumMut::Bf16(memory(bits)),
            Self::Int8 { codes, scales } => MomentumMut::Int8 { codes: memory(codes), scales },
        }
    }

    pub(crate) fn part(&mut self, part: Part<'_>) -> Momentum<'_, C> {
        match self {
            Self::None => Momentum::None,
            Self::Full(momentum) => Momentum::Full(part.of(momentum)),
            Self::Bf16(bits) => Momentum::Bf16(part.of(bits)),
            Self::Int8 { codes, scales } => {
                let scales = if matches!(part, Part::Nothing) { &mut [] } else { &mut scales[..] };
                Momentum::Int8 { codes: part.of(codes), scales }
            }
        }
    }
}

impl Storage<'_> {
    pub(crate) fn layout(&self) -> Option<Layout<'_>> {
        match self {
            Self::Nearest | Self::Stochastic { .. } => None,
            Self::Split16(low) => Some((low.shape(), low.strides())),
            Self::Split8(low) => Some((low.shape(), low.strides())),
            Self::Master(master) => Some((master.shape(), master.strides())),
        }
    }

    fn slices(&mut self, start: u64) -> StorageMut<'_> {
        match self {
            Self::Nearest => StorageMut::Nearest,
            Self::Stochastic { draws, first } => {
                StorageMut::Stochastic(draws.starting_at(first.wrapping_add(start)))
            }
            Self::Split16(low) => StorageMut::Split16(memory(low)),
            Self::Split8(low) => StorageMut::Split8(memory(low)),
            Self::Master(master) => StorageMut::Master(memory(master)),
        }
    }

    fn part(&mut self, part: Part<'_>) -> Storage<'_> {
        match self {
            Self::Nearest => Storage::Nearest,
            Self::Stochastic { draws, first } => {
                Storage::Stochastic { draws: *draws, first: *first }
            }
            Self::Split16(low) => Storage::Split16(part.of(low)),
            Self::Split8(low) => Storage::Split8(part.of(low)),
            Self::Master(master) => Storage::Master(part.of(master)),
        }
    }
}

/// The memory of an array that is [known](Arrays::lie_together) to have no gaps. (One without elements may have strides
/// like one that has some.)
fn memory<'v, A>(array: &'v mut ArrayViewMutD<'_, A>) -> &'v mut [A] {
    if array.is_empty() { &mut [] } else { array.as_slice_memory_order_mut().expect("no gaps") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, ArrayViewMut2, ShapeBuilder as _, s};

    /// How many pieces there are, if each of them is where the array has it.
    fn pieces_in_place(mut parameters: ArrayViewMut2<'_, f32>) -> Option<usize> {
        let addresses: Vec<*const f32> = parameters.iter().map(std::ptr::from_ref).collect();
        let column_major = parameters.strides()[0] < parameters.strides()[1];
        let gradient = Array2::<f32>::zeros(parameters.raw_dim().set_f(column_major));
        let mut momentum = gradient.clone();
        let (mut pieces, mut in_place) = (0, true);
        let mut arrays = Arrays {
            parameters: parameters.view_mut().into_dyn(),
            gradient: gradient.view().into_dyn(),
            momentum: Momentum::full(&mut momentum),
            storage: Storage::Nearest,
        };
        let leaf = &mut |slices: Slices<'_, f32, f32>| {
            pieces += 1;
            in_place &= addresses.contains(&slices.parameters.as_ptr());
            Ok(())
        };
        arrays.pieces(leaf).unwrap();
        in_place.then_some(pieces)
    }

    #[test]
    fn what_lies_together_is_not_copied() {
        let mut rows = Array2::<f32>::zeros((3, 200));
        assert_eq!(pieces_in_place(rows.view_mut()), Some(1));
        let mut columns = Array2::<f32>::zeros((200, 3).f());
        assert_eq!(pieces_in_place(columns.view_mut()), Some(1));
        // Lanes of rows and of columns, and lanes that are too short.
        assert_eq!(pieces_in_place(rows.slice_mut(s![.., ..150])), Some(3));
        assert_eq!(pieces_in_place(columns.slice_mut(s![..150, ..])), Some(3));
        assert_eq!(pieces_in_place(rows.slice_mut(s![.., ..100])), None);
    }
}
