//! The memory of burn's tensors, as slices.

use crate::state::Kept;
use burn::backend::flex::FlexTensor;
use burn::backend::{BackendTensor, DispatchTensor, DispatchTensorKind};
use burn::tensor::{DType, Tensor};
use bytemuck::Pod;
use half::{bf16, f16};
use rootstep::Float;

/// A type of parameters and gradients that both burn's Flex backend and rootstep know: `f32`, `f64`,
/// [`half::bf16`] and [`half::f16`]. No other type can implement it.
///
/// A step is computed in [`Compute`](rootstep::Element::Compute): in f64 for f64, else in f32.
pub trait Format:
    rootstep::Element<Compute: Computed> + burn::tensor::Element + Pod + sealed::Sealed
{
}

impl Format for f32 {}
impl Format for f64 {}
impl Format for bf16 {}
impl Format for f16 {}

/// A type that steps are computed in: `f32` or `f64`.
pub trait Computed: Float {
    /// A momentum in this type, whatever type it is.
    #[doc(hidden)]
    fn keep(momentum: Vec<Self>) -> Kept;

    /// The opposite, if it is of this type.
    #[doc(hidden)]
    fn full(kept: Kept) -> Option<Vec<Self>>;
}

impl Computed for f32 {
    fn keep(momentum: Vec<Self>) -> Kept {
        Kept::F32(momentum)
    }

    fn full(kept: Kept) -> Option<Vec<Self>> {
        if let Kept::F32(momentum) = kept { Some(momentum) } else { None }
    }
}

impl Computed for f64 {
    fn keep(momentum: Vec<Self>) -> Kept {
        Kept::F64(momentum)
    }

    fn full(kept: Kept) -> Option<Vec<Self>> {
        if let Kept::F64(momentum) = kept { Some(momentum) } else { None }
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
    impl Sealed for half::bf16 {}
    impl Sealed for half::f16 {}
}

/// The memory of a tensor, without its place in the graph of gradients. A tensor whose memory cannot be lent is
/// given back, with what is wrong with it.
pub(crate) fn memory<const D: usize>(
    tensor: Tensor<D>,
) -> Result<FlexTensor, Box<(Tensor<D>, String)>> {
    let DispatchTensor { kind, autodiff } = tensor.into_dispatch();
    #[allow(
        clippy::match_wildcard_for_single_variants,
        reason = "there are others where burn is built with other backends, too"
    )]
    let kind = match kind {
        DispatchTensorKind::Flex(BackendTensor::Float(memory)) => return Ok(memory),
        DispatchTensorKind::Autodiff(kind) => match *kind {
            DispatchTensorKind::Flex(BackendTensor::Autodiff(tensor)) => {
                return Ok(tensor.into_primitive());
            }
            other => DispatchTensorKind::Autodiff(Box::new(other)),
        },
        other => other,
    };
    let tensor = Tensor::from_dispatch(DispatchTensor { kind, autodiff });
    let problem = format!(
        "is of type {} on the device {:?}; allowed: {ALLOWED}, on that of the backend Flex",
        tensor.dtype().name(),
        tensor.device()
    );
    Err(Box::new((tensor, problem)))
}

pub(crate) const ALLOWED: &str = "f32, f64, bf16 and f16";

/// What is wrong with the type of a tensor that should be of type `T`, if anything is.
pub(crate) fn check_type(tensor: &FlexTensor, allowed: DType) -> Result<(), String> {
    if tensor.dtype() == allowed {
        return Ok(());
    }
    Err(format!("is of type {}; allowed: {}", tensor.dtype().name(), allowed.name()))
}

/// Makes a tensor one that [`slice`] and [`slice_mut`] can lend: its elements lie one after the other. Copies them
/// if they do not.
pub(crate) fn make_contiguous(tensor: &mut FlexTensor) {
    if !tensor.is_contiguous() {
        *tensor = tensor.to_contiguous();
    }
}

/// As [`make_contiguous`], for a tensor that will be written. If others have the memory too, it is copied by
/// [`slice_mut`], or here if the tensor is a part of it: only the part is copied then.
pub(crate) fn make_own(tensor: &mut FlexTensor) {
    if !tensor.is_contiguous() || !tensor.is_unique() {
        *tensor = tensor.to_contiguous();
    }
}

/// The elements of a tensor that is [contiguous](make_contiguous).
pub(crate) fn slice<T: Format>(tensor: &FlexTensor) -> &[T] {
    let start = tensor.layout().start_offset();
    &tensor.storage()[start..start + tensor.layout().num_elements()]
}

/// The elements of a tensor that is its [own](make_own).
pub(crate) fn slice_mut<T: Format>(tensor: &mut FlexTensor) -> &mut [T] {
    let start = tensor.layout().start_offset();
    let end = start + tensor.layout().num_elements();
    &mut tensor.storage_mut()[start..end]
}
