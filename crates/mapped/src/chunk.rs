//! The bytes of a chunk, as what they are.

use crate::layout::{Place, Tensor, Type};
use bytemuck::{cast_slice, cast_slice_mut};
use half::slice::HalfBitsSliceExt as _;
use half::{bf16, f16};
use rootstep::optimizer::{
    Draws, MomentumFormat, MomentumMut, Step, Storage, StorageMut, TensorStep,
};
use rootstep::{Element, reference};

/// The parameters of a chunk, in their type.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is its type")]
pub enum Parameters<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
    F16(&'a [f16]),
}

/// What belongs to the parameters of a chunk beside them.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is as in `StorageMut`")]
pub enum Beside<'a> {
    Nothing,
    Split16(&'a [i16]),
    Split8(&'a [i8]),
    Master(&'a [f32]),
}

/// The momentum of a chunk.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is as in `MomentumMut`")]
pub enum Momentum<'a> {
    None,
    Full(&'a [f32]),
    Bf16(&'a [u16]),
    Int8 { codes: &'a [i8], scales: &'a [f32] },
}

/// Some elements of a tensor, in a row: at most [`CHUNK_ELEMENTS`](crate::CHUNK_ELEMENTS), and whole blocks of
/// momentum, up to the tensor's end.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Chunk<'a> {
    /// The number of the tensor.
    pub tensor: usize,
    /// The first of the elements, in the tensor.
    pub start: usize,
    /// The parameters.
    pub parameters: Parameters<'a>,
    /// What belongs to them.
    pub beside: Beside<'a>,
    /// The momentum.
    pub momentum: Momentum<'a>,
}

impl<'a> Chunk<'a> {
    /// The one at `place`, from its bytes.
    pub(crate) fn new(tensor: &Tensor, place: &Place, bytes: &'a [u8]) -> Self {
        let [x, beside, m, scales] = tensor.parts(place.elements).map(|part| &bytes[part]);
        let parameters = match tensor.parameters {
            Type::F32 => Parameters::F32(cast_slice(x)),
            Type::Bf16 => Parameters::Bf16(cast_slice::<u8, u16>(x).reinterpret_cast()),
            Type::F16 => Parameters::F16(cast_slice::<u8, u16>(x).reinterpret_cast()),
        };
        let beside = match tensor.storage {
            Storage::Split16 => Beside::Split16(cast_slice(beside)),
            Storage::Split8 => Beside::Split8(cast_slice(beside)),
            Storage::Master => Beside::Master(cast_slice(beside)),
            _ => Beside::Nothing,
        };
        let momentum = match tensor.momentum {
            None => Momentum::None,
            Some(MomentumFormat::Full) => Momentum::Full(cast_slice(m)),
            Some(MomentumFormat::Bf16) => Momentum::Bf16(cast_slice(m)),
            Some(_) => Momentum::Int8 { codes: cast_slice(m), scales: cast_slice(scales) },
        };
        Self { tensor: place.tensor, start: place.start, parameters, beside, momentum }
    }

    /// How many elements there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self.parameters {
            Parameters::F32(x) => x.len(),
            Parameters::Bf16(x) => x.len(),
            Parameters::F16(x) => x.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number that the parameter `i` is: with its low bits, if they are stored beside it.
    ///
    /// # Panics
    ///
    /// If there are not as many.
    #[must_use]
    pub fn parameter(&self, i: usize) -> f32 {
        match (self.beside, self.parameters) {
            (Beside::Split16(low), Parameters::Bf16(x)) => {
                reference::join16(x[i].to_bits(), low[i])
            }
            (Beside::Split8(low), Parameters::Bf16(x)) => reference::join8(x[i].to_bits(), low[i]),
            (Beside::Master(x), _) | (_, Parameters::F32(x)) => x[i],
            (_, Parameters::Bf16(x)) => x[i].to_f32(),
            (_, Parameters::F16(x)) => x[i].to_f32(),
        }
    }
}

/// The draws of a model's step, for the storage that has any.
fn draws(storage: Storage, steps: u64, place: &Place) -> StorageMut<'static> {
    let Storage::Stochastic { seed } = storage else { return StorageMut::Nearest };
    let tensor = u32::try_from(place.tensor).unwrap_or(u32::MAX);
    StorageMut::Stochastic(Draws::new(seed, steps, tensor).starting_at(place.start as u64))
}

/// The step on a chunk, in its bytes. `steps` were taken before.
pub(crate) fn step<'a, G: Element<Compute = f32>>(
    tensor: &Tensor,
    place: &Place,
    (step, steps): (Step<f32>, u64),
    mut bytes: &'a mut [u8],
    gradient: &'a [G],
) -> TensorStep<'a, f32> {
    let mut taken = 0;
    let [x, beside, m, scales] = tensor.parts(place.elements).map(|part| {
        let (_, rest) = std::mem::take(&mut bytes).split_at_mut(part.start - taken);
        let (front, rest) = rest.split_at_mut(part.len());
        (bytes, taken) = (rest, part.end);
        front
    });
    let momentum = match tensor.momentum {
        None => MomentumMut::None,
        Some(MomentumFormat::Full) => MomentumMut::Full(cast_slice_mut(m)),
        Some(MomentumFormat::Bf16) => MomentumMut::Bf16(cast_slice_mut(m)),
        Some(_) => MomentumMut::Int8 { codes: cast_slice_mut(m), scales: cast_slice_mut(scales) },
    };
    let storage = match tensor.storage {
        Storage::Split16 => StorageMut::Split16(cast_slice_mut(beside)),
        Storage::Split8 => StorageMut::Split8(cast_slice_mut(beside)),
        Storage::Master => StorageMut::Master(cast_slice_mut(beside)),
        other => draws(other, steps, place),
    };
    let halves = |x: &'a mut [u8]| cast_slice_mut::<u8, u16>(x);
    let tensor = match tensor.parameters {
        Type::F32 => TensorStep::new(step, cast_slice_mut::<u8, f32>(x), gradient, momentum),
        Type::Bf16 => {
            TensorStep::new(step, halves(x).reinterpret_cast_mut::<bf16>(), gradient, momentum)
        }
        Type::F16 => {
            TensorStep::new(step, halves(x).reinterpret_cast_mut::<f16>(), gradient, momentum)
        }
    };
    tensor.with_storage(storage)
}

/// Writes the first parameters of a chunk to its bytes: as they are stored, without a momentum yet.
pub(crate) fn begin(tensor: &Tensor, place: &Place, values: &[f32], bytes: &mut [u8]) {
    bytes.fill(0);
    let [x, beside, ..] = tensor.parts(place.elements);
    let (front, rest) = bytes.split_at_mut(x.end);
    let beside = &mut rest[beside.start - x.end..beside.end - x.end];
    if tensor.parameters == Type::F32 {
        return front.copy_from_slice(cast_slice(values));
    }
    let halves = cast_slice_mut::<u8, u16>(front);
    for (i, (half, &value)) in halves.iter_mut().zip(values).enumerate() {
        *half = match (tensor.storage, tensor.parameters) {
            (Storage::Split16, _) => {
                let (high, low) = reference::split16(value);
                cast_slice_mut::<u8, i16>(beside)[i] = low;
                high
            }
            (Storage::Split8, _) => {
                let (high, low) = reference::split8(value);
                cast_slice_mut::<u8, i8>(beside)[i] = low;
                high
            }
            (_, Type::Bf16) => reference::bf16(value),
            _ => reference::f16(value),
        };
    }
    if tensor.storage == Storage::Master {
        beside.copy_from_slice(cast_slice(values));
    }
}
