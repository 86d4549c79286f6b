//! The state of a parameter, as burn records it.

use crate::format::Computed;
use burn::optim::{RecordState, StateSink, StateSource};
use burn::tensor::{DType, Device, TensorData};
use half::bf16;
use half::slice::{HalfBitsSliceExt as _, HalfFloatSliceExt as _};
use rootstep::optimizer::{INT8_BLOCK, Momentum, Rule};

/// What [`PerTensor`](crate::PerTensor) remembers of a parameter: its momentum, in the format that the rule says.
///
/// In burn's records it is the tensor `momentum` of one dimension, of type f32, f64, bf16 or i8, and with i8 the
/// tensor `scales` of type f32. A record that lacks them, or whose lengths do not fit each other, is none: the next
/// step of the parameter is its first.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorState(Kept);

/// A momentum, whatever its step is computed in.
#[derive(Debug, Clone, PartialEq)]
#[doc(hidden)]
pub enum Kept {
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bf16(Vec<u16>),
    Int8 { codes: Vec<i8>, scales: Vec<f32> },
}

const MOMENTUM: &str = "momentum";
const SCALES: &str = "scales";

impl TensorState {
    /// The state that this momentum is, if there is one.
    pub(crate) fn of<C: Computed>(momentum: Momentum<C>) -> Option<Self> {
        Some(Self(match momentum {
            Momentum::Full(momentum) => C::keep(momentum),
            Momentum::Bf16(momentum) => Kept::Bf16(momentum),
            Momentum::Int8 { codes, scales } => Kept::Int8 { codes, scales },
            _ => return None,
        }))
    }

    /// The momentum of steps that are computed in `C`, if it is in the format that the rule says.
    pub(crate) fn into_momentum<C: Computed>(self, rule: &Rule) -> Result<Momentum<C>, String> {
        let given = match (self.0, Momentum::<C>::new(rule, 0)) {
            (Kept::Bf16(momentum), Momentum::Bf16(_)) => return Ok(Momentum::Bf16(momentum)),
            (Kept::Int8 { codes, scales }, Momentum::Int8 { .. }) => {
                return Ok(Momentum::Int8 { codes, scales });
            }
            (kept, Momentum::Full(_)) => {
                let given = kept.format();
                match C::full(kept) {
                    Some(momentum) => return Ok(Momentum::Full(momentum)),
                    None => given,
                }
            }
            (kept, _) => kept.format(),
        };
        let allowed = match Momentum::<C>::new(rule, 0) {
            Momentum::None => "none, since the rule has none".to_owned(),
            _ => format!("{:?} of steps in {}", rule.momentum_format, std::any::type_name::<C>()),
        };
        Err(format!("the state of a parameter has a momentum in {given}; allowed: {allowed}"))
    }
}

impl Kept {
    const fn format(&self) -> &'static str {
        match self {
            Self::F32(_) => "f32",
            Self::F64(_) => "f64",
            Self::Bf16(_) => "bf16",
            Self::Int8 { .. } => "int8",
        }
    }
}

impl RecordState for TensorState {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        let momentum = match &self.0 {
            Kept::F32(momentum) => TensorData::from(&momentum[..]),
            Kept::F64(momentum) => TensorData::from(&momentum[..]),
            Kept::Bf16(bits) => TensorData::from(bits.reinterpret_cast::<bf16>()),
            Kept::Int8 { codes, scales } => {
                out.push_tensor(prefix, SCALES, TensorData::from(&scales[..]));
                TensorData::from(&codes[..])
            }
        };
        out.push_tensor(prefix, MOMENTUM, momentum);
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, _device: &Device) -> Option<Self> {
        let data = src.take_tensor(prefix, MOMENTUM)?;
        Some(Self(match data.dtype() {
            DType::F32 => Kept::F32(data.as_slice().ok()?.to_vec()),
            DType::F64 => Kept::F64(data.as_slice().ok()?.to_vec()),
            DType::BF16 => Kept::Bf16(data.as_slice::<bf16>().ok()?.reinterpret_cast().to_vec()),
            DType::I8 => {
                let codes = data.as_slice::<i8>().ok()?.to_vec();
                let scales = src.take_tensor(prefix, SCALES)?.as_slice::<f32>().ok()?.to_vec();
                if scales.len() != codes.len().div_ceil(INT8_BLOCK) {
                    return None;
                }
                Kept::Int8 { codes, scales }
            }
            _ => return None,
        }))
    }
}
