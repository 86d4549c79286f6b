//! The variables of a model, and their gradients, as slices.

use crate::error::{Error, Result};
use crate::lend::door;
use candle_core::{CpuStorage, DType, DeviceLocation, Layout, Storage, Tensor, TensorId, Var};
use half::{bf16, f16};
use std::ops::Range;

/// The types of numbers that are stepped. Those of 32 bits or less are computed in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    F32,
    F64,
    Bf16,
    F16,
}

const KINDS: &str = "f32, f64, bf16, f16";

impl Kind {
    fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F32 => Some(Self::F32),
            DType::F64 => Some(Self::F64),
            DType::BF16 => Some(Self::Bf16),
            DType::F16 => Some(Self::F16),
            _ => None,
        }
    }

    pub(crate) const fn is_double(self) -> bool {
        matches!(self, Self::F64)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }
}

/// Shapes of so many dimensions or less are kept beside what a step reads.
const MOST_DIMS: usize = 4;

/// A variable of the model.
#[derive(Debug)]
pub(crate) struct Variable {
    /// Its first name, or its place among the variables if it has none.
    pub(crate) name: String,
    pub(crate) var: Var,
    /// That of the variable, which is not looked at in a step: each look is at memory that nobody has read lately.
    id: TensorId,
    /// The shape, if it has few dimensions.
    dims: Option<(usize, [usize; MOST_DIMS])>,
    pub(crate) kind: Kind,
    /// The index of its rule.
    pub(crate) group: usize,
    /// Where its elements are in its storage.
    pub(crate) range: Range<usize>,
    /// By which its storage is lent; none if it has no elements.
    pub(crate) door: Option<Tensor>,
    /// Its storage.
    pub(crate) address: usize,
}

impl Variable {
    /// # Errors
    ///
    /// [`Error::Variable`] if its memory cannot be lent.
    pub(crate) fn new(name: String, var: Var, group: usize) -> Result<Self> {
        if let Some(problem) = other_device(&var.device().location()) {
            return Err(Error::variable(&name, problem));
        }
        let Some(kind) = Kind::of(var.dtype()) else {
            let problem = format!("is of {}; allowed: {KINDS}", var.dtype().as_str());
            return Err(Error::variable(&name, problem));
        };
        let address = address(&var.storage_and_layout().0);
        let Some((start, end)) = var.layout().contiguous_offsets() else {
            let problem = "has strides; allowed: its elements in their order in memory";
            return Err(Error::variable(&name, problem));
        };
        let (id, door, dims) = (var.id(), door(&var)?, few_dims(var.dims()));
        Ok(Self { name, var, id, dims, kind, group, range: start..end, door, address })
    }

    pub(crate) const fn id(&self) -> TensorId {
        self.id
    }

    fn has_dims(&self, dims: &[usize]) -> bool {
        match &self.dims {
            Some((rank, own)) => own[..*rank] == *dims,
            None => self.var.dims() == dims,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.range.len()
    }

    pub(crate) fn error(&self, problem: impl Into<String>) -> Error {
        Error::variable(&self.name, problem)
    }

    /// Checks a gradient.
    ///
    /// # Errors
    ///
    /// [`Error::Variable`] if it is none of this variable.
    pub(crate) fn check(&self, gradient: &Tensor) -> Result<()> {
        if !gradient.device().is_cpu()
            && let Some(problem) = other_device(&gradient.device().location())
        {
            return Err(self.error(format!("has a gradient that {problem}")));
        }
        let kind = Kind::of(gradient.dtype());
        if kind.map(Kind::is_double) != Some(self.kind.is_double()) {
            let (given, own) = (gradient.dtype().as_str(), self.kind.name());
            let allowed = if self.kind.is_double() { "f64" } else { "f32, bf16, f16" };
            let problem = format!("of {own} has a gradient of {given}; allowed: {allowed}");
            return Err(self.error(problem));
        }
        if !self.has_dims(gradient.dims()) {
            let (given, own) = (gradient.dims(), self.var.dims());
            return Err(self.error(format!("has a gradient of shape {given:?}; allowed: {own:?}")));
        }
        Ok(())
    }
}

fn few_dims(dims: &[usize]) -> Option<(usize, [usize; MOST_DIMS])> {
    let mut few = [0; MOST_DIMS];
    few.get_mut(..dims.len())?.copy_from_slice(dims);
    Some((dims.len(), few))
}

/// Where the storage of a tensor is.
pub(crate) fn address(storage: &Storage) -> usize {
    std::ptr::from_ref(storage).addr()
}

/// What is wrong with the place of a tensor, if anything is.
fn other_device(location: &DeviceLocation) -> Option<String> {
    let place = match location {
        DeviceLocation::Cpu => return None,
        DeviceLocation::Cuda { gpu_id } => format!("CUDA device {gpu_id}"),
        DeviceLocation::Metal { gpu_id } => format!("Metal device {gpu_id}"),
    };
    Some(format!("is on {place}; allowed: the CPU"))
}

/// A gradient in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Gradient<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    Bf16(&'a [bf16]),
    F16(&'a [f16]),
}

impl<'a> Gradient<'a> {
    /// None if its elements are not in their order in memory, or are not there.
    pub(crate) fn of(storage: &'a Storage, layout: &Layout) -> Option<Self> {
        let Storage::Cpu(storage) = storage else { return None };
        let (start, end) = layout.contiguous_offsets()?;
        match storage {
            CpuStorage::F32(values) => values.get(start..end).map(Self::F32),
            CpuStorage::F64(values) => values.get(start..end).map(Self::F64),
            CpuStorage::BF16(values) => values.get(start..end).map(Self::Bf16),
            CpuStorage::F16(values) => values.get(start..end).map(Self::F16),
            _ => None,
        }
    }

    /// An element, as a message shows it.
    pub(crate) fn show(&self, index: usize) -> String {
        match self {
            Self::F32(values) => values[index].to_string(),
            Self::F64(values) => values[index].to_string(),
            Self::Bf16(values) => values[index].to_string(),
            Self::F16(values) => values[index].to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_devices_are_named() {
        assert_eq!(other_device(&DeviceLocation::Cpu), None);
        let cuda = other_device(&DeviceLocation::Cuda { gpu_id: 1 });
        assert_eq!(cuda.as_deref(), Some("is on CUDA device 1; allowed: the CPU"));
        let metal = other_device(&DeviceLocation::Metal { gpu_id: 0 });
        assert_eq!(metal.as_deref(), Some("is on Metal device 0; allowed: the CPU"));
    }
}
