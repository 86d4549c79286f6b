//! Elements that are not neighbours in memory: read into blocks, and written back.

use crate::arrays::{Arrays, Leaf, Slices};
use crate::tensor::{Momentum, Storage};
use ndarray::iter::{Iter, IterMut};
use ndarray::{ArrayViewMutD, IxDyn};
use rootstep::Element;
use rootstep::optimizer::{Draws, INT8_BLOCK, MomentumMut, StorageMut};
use std::slice;

/// The elements of a block: those that share a scale in int8.
pub const BLOCK: usize = INT8_BLOCK;

/// The elements of arrays in row-major order, a block at a time.
pub struct Blocks<'v, T: Element, G> {
    elements: usize,
    parameters: Window<'v, T>,
    gradient: Iter<'v, G, IxDyn>,
    momentum: MomentumWindow<'v, T::Compute>,
    storage: StorageWindow<'v>,
}

enum MomentumWindow<'v, C> {
    None,
    Full(Window<'v, C>),
    Bf16(Window<'v, u16>),
    Int8 { codes: Window<'v, i8>, scales: slice::ChunksMut<'v, f32> },
}

#[allow(clippy::large_enum_variant, reason = "one of them lives on the stack, for a call")]
enum StorageWindow<'v> {
    Nearest,
    /// With the index of the first element of the arrays.
    Stochastic(Draws, u64),
    Split16(Window<'v, i16>),
    Split8(Window<'v, i8>),
    Master(Window<'v, f32>),
}

impl<'v, T: Element, G: Element<Compute = T::Compute>> Blocks<'v, T, G> {
    pub fn of(arrays: &'v mut Arrays<'_, T, G>) -> Self {
        let momentum = match &mut arrays.momentum {
            Momentum::None => MomentumWindow::None,
            Momentum::Full(momentum) => MomentumWindow::Full(Window::of(momentum)),
            Momentum::Bf16(bits) => MomentumWindow::Bf16(Window::of(bits)),
            Momentum::Int8 { codes, scales } => {
                MomentumWindow::Int8 { codes: Window::of(codes), scales: scales.chunks_mut(1) }
            }
        };
        let storage = match &mut arrays.storage {
            Storage::Nearest => StorageWindow::Nearest,
            Storage::Stochastic { draws, first } => StorageWindow::Stochastic(*draws, *first),
            Storage::Split16(low) => StorageWindow::Split16(Window::of(low)),
            Storage::Split8(low) => StorageWindow::Split8(Window::of(low)),
            Storage::Master(master) => StorageWindow::Master(Window::of(master)),
        };
        let elements = arrays.parameters.len();
        let parameters = Window::of(&mut arrays.parameters);
        Self { elements, parameters, gradient: arrays.gradient.iter(), momentum, storage }
    }

    /// Gives each block to `leaf`. The first element is number `start`.
    pub fn each(mut self, start: u64, leaf: Leaf<'_, T, G>) -> Result<(), rootstep::Error> {
        for i in (0..self.elements).step_by(BLOCK) {
            let length = BLOCK.min(self.elements - i);
            let mut values = [G::default(); BLOCK];
            for (value, element) in values[..length].iter_mut().zip(&mut self.gradient) {
                *value = *element;
            }
            leaf(Slices {
                parameters: self.parameters.read(length),
                gradient: &values[..length],
                momentum: self.momentum.read(length),
                storage: self.storage.read(length, start + i as u64),
            })?;
            self.parameters.write();
            self.momentum.write();
            self.storage.write();
        }
        Ok(())
    }
}

impl<C: Element> MomentumWindow<'_, C> {
    fn read(&mut self, length: usize) -> MomentumMut<'_, C> {
        match self {
            Self::None => MomentumMut::None,
            Self::Full(momentum) => MomentumMut::Full(momentum.read(length)),
            Self::Bf16(bits) => MomentumMut::Bf16(bits.read(length)),
            Self::Int8 { codes, scales } => {
                let scales = scales.next().unwrap_or_default();
                MomentumMut::Int8 { codes: codes.read(length), scales }
            }
        }
    }

    fn write(&mut self) {
        match self {
            Self::None => {}
            Self::Full(momentum) => momentum.write(),
            Self::Bf16(bits) => bits.write(),
            Self::Int8 { codes, .. } => codes.write(),
        }
    }
}

impl StorageWindow<'_> {
    fn read(&mut self, length: usize, start: u64) -> StorageMut<'_> {
        match self {
            Self::Nearest => StorageMut::Nearest,
            Self::Stochastic(draws, first) => {
                StorageMut::Stochastic(draws.starting_at(first.wrapping_add(start)))
            }
            Self::Split16(low) => StorageMut::Split16(low.read(length)),
            Self::Split8(low) => StorageMut::Split8(low.read(length)),
            Self::Master(master) => StorageMut::Master(master.read(length)),
        }
    }

    fn write(&mut self) {
        match self {
            Self::Nearest | Self::Stochastic(..) => {}
            Self::Split16(low) => low.write(),
            Self::Split8(low) => low.write(),
            Self::Master(master) => master.write(),
        }
    }
}

/// The elements of an array, a block of them copied.
struct Window<'v, A> {
    elements: IterMut<'v, A, IxDyn>,
    /// Where the copied ones go back to.
    places: [Option<&'v mut A>; BLOCK],
    values: [A; BLOCK],
}

impl<'v, A: Copy + Default> Window<'v, A> {
    fn of(array: &'v mut ArrayViewMutD<'_, A>) -> Self {
        let elements = array.iter_mut();
        Self { elements, places: [const { None }; BLOCK], values: [A::default(); BLOCK] }
    }

    /// The next ones.
    fn read(&mut self, length: usize) -> &mut [A] {
        let places = self.places[..length].iter_mut().zip(&mut self.elements);
        for ((place, element), value) in places.zip(&mut self.values) {
            *value = *element;
            *place = Some(element);
        }
        &mut self.values[..length]
    }

    /// Writes back what was read.
    fn write(&mut self) {
        for (place, value) in self.places.iter_mut().zip(&self.values) {
            if let Some(place) = place.take() {
                *place = *value;
            }
        }
    }
}
