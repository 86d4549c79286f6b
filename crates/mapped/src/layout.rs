//! What a model is, and where in a file its elements are.

use crate::error::Error;
use rootstep::optimizer::{INT8_BLOCK, MomentumFormat, Storage};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The type of a tensor's parameters. All are computed in `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Type {
    /// `f32`.
    F32,
    /// `half::bf16`.
    Bf16,
    /// `half::f16`.
    F16,
}

/// A tensor of a model: how many elements it has, and how they and their momentum are stored.
///
/// ```
/// use rootstep::optimizer::{MomentumFormat, Storage};
/// use rootstep_mapped::{Tensor, Type};
///
/// let weights = Tensor::new(Type::Bf16, 50_000_000)
///     .with_momentum(MomentumFormat::Int8)
///     .with_storage(Storage::Stochastic { seed: 7 });
/// assert_eq!(weights.elements(), 50_000_000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensor {
    pub(crate) elements: usize,
    pub(crate) parameters: Type,
    pub(crate) momentum: Option<MomentumFormat>,
    pub(crate) storage: Storage,
}

impl Tensor {
    /// One without momentum, stored as the nearest numbers of its type.
    #[must_use]
    pub const fn new(parameters: Type, elements: usize) -> Self {
        Self { elements, parameters, momentum: None, storage: Storage::Nearest }
    }

    /// The same, with a momentum in this format.
    #[must_use]
    pub const fn with_momentum(self, format: MomentumFormat) -> Self {
        Self { momentum: Some(format), ..self }
    }

    /// The same, stored in this way: one that the type allows, as
    /// [`StorageMut`](rootstep::optimizer::StorageMut) says.
    #[must_use]
    pub const fn with_storage(self, storage: Storage) -> Self {
        Self { storage, ..self }
    }

    /// How many elements it has.
    #[must_use]
    pub const fn elements(&self) -> usize {
        self.elements
    }

    /// The type of its parameters.
    #[must_use]
    pub const fn parameters(&self) -> Type {
        self.parameters
    }

    /// The format of its momentum, if it has one.
    #[must_use]
    pub const fn momentum(&self) -> Option<MomentumFormat> {
        self.momentum
    }

    /// How its parameters are stored.
    #[must_use]
    pub const fn storage(&self) -> Storage {
        self.storage
    }

    /// What is wrong with it as tensor number `i`, if anything is.
    pub(crate) fn check(&self, i: usize) -> Result<(), Error> {
        let allowed = match (self.parameters, self.storage) {
            (_, Storage::Nearest)
            | (
                Type::Bf16,
                Storage::Stochastic { .. } | Storage::Split16 | Storage::Split8 | Storage::Master,
            )
            | (Type::F16, Storage::Stochastic { .. } | Storage::Master) => return Ok(()),
            (Type::F32, _) => "Nearest, for f32",
            (Type::F16, _) => "Nearest, Stochastic or Master, for f16",
            (Type::Bf16, _) => "Nearest, Stochastic, Split16, Split8 or Master, for bf16",
        };
        Err(Error::setting(
            format!("the storage of tensor {i}"),
            format!("{:?}", self.storage),
            allowed,
        ))
    }

    /// The bytes of each part of `elements` of its elements: parameters, what is stored beside them, momentum, scales.
    fn sizes(&self, elements: usize) -> [usize; 4] {
        let of_parameter = match self.parameters {
            Type::F32 => 4,
            Type::Bf16 | Type::F16 => 2,
        };
        let beside = match self.storage {
            Storage::Split16 => 2,
            Storage::Split8 => 1,
            Storage::Master => 4,
            _ => 0,
        };
        let (momentum, scales) = match self.momentum {
            None => (0, 0),
            Some(MomentumFormat::Full) => (4, 0),
            Some(MomentumFormat::Bf16) => (2, 0),
            Some(_) => (1, 4 * elements.div_ceil(INT8_BLOCK)),
        };
        [of_parameter * elements, beside * elements, momentum * elements, scales]
    }

    /// Where these parts are in the bytes of a chunk.
    pub(crate) fn parts(&self, elements: usize) -> [Range<usize>; 4] {
        let mut start = 0;
        self.sizes(elements).map(|size| {
            let part = start..start + size;
            start = part.end.next_multiple_of(ALIGNMENT);
            part
        })
    }

    /// The bytes that so many of its elements take in a file.
    fn bytes(&self, elements: usize) -> usize {
        self.parts(elements)[3].end.next_multiple_of(PAGE)
    }
}

/// The most elements of a chunk: whole blocks of momentum in int8 and of draws.
pub const CHUNK_ELEMENTS: usize = 1 << 18;
/// Chunks begin at pages, so that those in a row can be mapped by themselves.
const PAGE: usize = 4096;
/// The parts of a chunk begin at cache lines.
const ALIGNMENT: usize = 64;

/// Elements of a tensor that lie together in a file, with all that belongs to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) tensor: usize,
    /// The first element, in the tensor.
    pub(crate) start: usize,
    pub(crate) elements: usize,
    /// In the file.
    pub(crate) offset: u64,
    pub(crate) bytes: usize,
}

impl Place {
    pub(crate) const fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.bytes as u64
    }
}

/// The chunks of a model, one after the other.
pub(crate) fn places(tensors: &[Tensor]) -> Vec<Place> {
    let (mut places, mut offset) = (Vec::new(), 0);
    for (i, tensor) in tensors.iter().enumerate() {
        for start in (0..tensor.elements).step_by(CHUNK_ELEMENTS) {
            let elements = CHUNK_ELEMENTS.min(tensor.elements - start);
            let bytes = tensor.bytes(elements);
            places.push(Place { tensor: i, start, elements, offset, bytes });
            offset += bytes as u64;
        }
    }
    places
}

/// Runs of places, each of at most `bytes` together, or a single one.
pub(crate) fn runs(places: &[Place], within: Range<usize>, bytes: usize) -> Vec<Range<usize>> {
    let (mut runs, mut start, mut taken) = (Vec::new(), within.start, 0);
    for i in within.clone() {
        if taken > 0 && taken + places[i].bytes > bytes {
            runs.push(start..i);
            (start, taken) = (i, 0);
        }
        taken += places[i].bytes;
    }
    if taken > 0 {
        runs.push(start..within.end);
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_whole_pages_and_hold_all() {
        let bf16 = Tensor::new(Type::Bf16, CHUNK_ELEMENTS + 1).with_momentum(MomentumFormat::Int8);
        let tensors = [
            Tensor::new(Type::F32, 1),
            Tensor::new(Type::F16, 0),
            bf16.with_storage(Storage::Split8),
        ];
        let places = places(&tensors);
        let chunk = CHUNK_ELEMENTS * (2 + 1 + 1) + CHUNK_ELEMENTS / 128 * 4;
        let expected = [
            (0, 0, 1, 0, PAGE),
            (2, 0, CHUNK_ELEMENTS, PAGE, chunk),
            (2, CHUNK_ELEMENTS, 1, PAGE + chunk, PAGE),
        ];
        let found: Vec<_> = places
            .iter()
            .map(|p| (p.tensor, p.start, p.elements, usize::try_from(p.offset).unwrap(), p.bytes))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(tensors[2].parts(1), [0..2, 64..65, 128..129, 192..196]);
    }

    #[test]
    fn runs_are_as_long_as_allowed() {
        let places: Vec<_> = [3, 3, 5, 1, 9, 1]
            .map(|bytes| Place { tensor: 0, start: 0, elements: 1, offset: 0, bytes })
            .into();
        assert_eq!(runs(&places, 0..6, 6), [0..2, 2..4, 4..5, 5..6]);
        assert_eq!(runs(&places, 1..3, 100).first(), Some(&(1..3)));
        assert_eq!(runs(&places, 2..2, 100), []);
    }
}
