//! What an optimizer remembers from step to step, and its form in files.

use super::{MomentumFormat, Rule};
use crate::kernels::{INT8_BLOCK, LeanMut, MomentumMut};
use crate::{Element, Error};

/// The version of [`State`].
pub(super) const VERSION: u32 = 1;

/// The tensors of a model, as an optimizer remembers them.
#[derive(Debug, Clone)]
pub(super) struct Tensors<T> {
    pub(super) steps: u64,
    /// Empty before the first step.
    pub(super) tensors: Vec<TensorState<T>>,
}

impl<T> Default for Tensors<T> {
    fn default() -> Self {
        Self { steps: 0, tensors: Vec::new() }
    }
}

#[derive(Debug, Clone)]
pub(super) struct TensorState<T> {
    pub(super) length: usize,
    pub(super) momentum: Momentum<T>,
}

/// The momentum of a tensor.
#[derive(Debug, Clone)]
pub(super) enum Momentum<T> {
    None,
    Full(Vec<T>),
    #[cfg(feature = "half")]
    Bf16(Vec<half::bf16>),
    Int8 {
        codes: Vec<i8>,
        scales: Vec<f32>,
    },
}

impl<T: Element> Tensors<T> {
    /// Allocates the state at the first step.
    pub(super) fn prepare<'a, P: AsMut<[T]>>(
        &mut self,
        parameters: &mut [P],
        rule_of: impl Fn(usize) -> &'a Rule,
    ) {
        if self.steps == 0 {
            let lengths = parameters.iter_mut().map(|tensor| tensor.as_mut().len());
            let tensor = |(i, length)| {
                let momentum = Momentum::new(rule_of(i), length);
                TensorState { length, momentum }
            };
            self.tensors = lengths.enumerate().map(tensor).collect();
        }
    }

    pub(super) fn elements(&self) -> usize {
        self.tensors.iter().map(|tensor| tensor.length).sum()
    }

    pub(super) fn save(&self) -> State {
        let tensors = self.tensors.iter().map(|TensorState { length, momentum }| SavedTensor {
            length: *length,
            momentum: momentum.save(),
        });
        State {
            version: VERSION,
            element: T::TYPE_NAME.to_owned(),
            steps: self.steps,
            tensors: tensors.collect(),
        }
    }
}

impl<T: Element> Momentum<T> {
    /// The momentum before the first step: -0, to which anything can be added without a trace.
    fn new(rule: &Rule, length: usize) -> Self {
        match rule.momentum_format {
            _ if !rule.has_momentum::<T>() => Self::None,
            MomentumFormat::Full => Self::Full(vec![T::nearest(-0.0); length]),
            #[cfg(feature = "half")]
            MomentumFormat::Bf16 => Self::Bf16(vec![half::bf16::NEG_ZERO; length]),
            MomentumFormat::Int8 => Self::Int8 {
                codes: vec![0; length],
                scales: vec![0.0; length.div_ceil(INT8_BLOCK)],
            },
        }
    }

    pub(super) fn as_mut(&mut self) -> MomentumMut<'_, T> {
        match self {
            Self::None => MomentumMut::None,
            Self::Full(momentum) => MomentumMut::Full(momentum),
            #[cfg(feature = "half")]
            Self::Bf16(momentum) => MomentumMut::Lean(LeanMut::Bf16(momentum)),
            Self::Int8 { codes, scales } => MomentumMut::Lean(LeanMut::Int8 { codes, scales }),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Full(momentum) => size_of_val(&momentum[..]),
            #[cfg(feature = "half")]
            Self::Bf16(momentum) => size_of_val(&momentum[..]),
            Self::Int8 { codes, scales } => size_of_val(&codes[..]) + size_of_val(&scales[..]),
        }
    }

    /// The momentum of a tensor of this length, or what is wrong with what was saved.
    fn load(rule: &Rule, length: usize, saved: Option<&SavedMomentum>) -> Result<Self, String> {
        let (loaded, found) = match (Self::new(rule, 0), saved) {
            (Self::None, None) => return Ok(Self::None),
            (Self::Full(_), Some(SavedMomentum::F32(bits))) if size_of::<T>() == 4 => {
                let values = bits.iter().map(|&bits| T::from_f32(f32::from_bits(bits)));
                (Self::Full(values.collect()), bits.len())
            }
            (Self::Full(_), Some(SavedMomentum::F64(bits))) if size_of::<T>() == 8 => {
                let values = bits.iter().map(|&bits| T::nearest(f64::from_bits(bits)));
                (Self::Full(values.collect()), bits.len())
            }
            #[cfg(feature = "half")]
            (Self::Bf16(_), Some(SavedMomentum::Bf16(bits))) => {
                let values = bits.iter().map(|&bits| half::bf16::from_bits(bits));
                (Self::Bf16(values.collect()), bits.len())
            }
            (Self::Int8 { .. }, Some(SavedMomentum::Int8 { codes, scales })) => {
                let blocks = codes.len().div_ceil(INT8_BLOCK);
                if scales.len() != blocks {
                    return Err(format!("has {} scales for {blocks} blocks", scales.len()));
                }
                let scales = scales.iter().map(|&bits| f32::from_bits(bits)).collect();
                (Self::Int8 { codes: codes.clone(), scales }, codes.len())
            }
            (own, saved) => {
                let own = own.save().map_or("no", |momentum| momentum.name());
                let saved = saved.map_or("no", SavedMomentum::name);
                return Err(format!("has {saved} momentum, and its rule asks for {own} momentum"));
            }
        };
        if found != length {
            return Err(format!("has {length} elements and the momentum of {found}"));
        }
        Ok(loaded)
    }

    fn save(&self) -> Option<SavedMomentum> {
        Some(match self {
            Self::None => return None,
            Self::Full(momentum) if size_of::<T>() == 4 => {
                SavedMomentum::F32(momentum.iter().map(|m| m.to_f32().to_bits()).collect())
            }
            Self::Full(momentum) => {
                SavedMomentum::F64(momentum.iter().map(|m| m.to_f64().to_bits()).collect())
            }
            #[cfg(feature = "half")]
            Self::Bf16(momentum) => {
                SavedMomentum::Bf16(momentum.iter().map(|m| m.to_bits()).collect())
            }
            Self::Int8 { codes, scales } => SavedMomentum::Int8 {
                codes: codes.clone(),
                scales: scales.iter().map(|scale| scale.to_bits()).collect(),
            },
        })
    }
}

/// The state of an [`Optimizer`](super::Optimizer), to be saved: the number of steps, and the length
/// and the momentum of each tensor. It does not contain the rules.
///
/// With the feature `serde` it can be serialised in any format; numbers are saved by their bits, so
/// that no format changes them.
///
/// ```
/// use rootstep::optimizer::{Optimizer, Rule};
///
/// # fn main() -> Result<(), rootstep::Error> {
/// let build = || Optimizer::<f32>::builder(Rule::powerstep(0.1)).build();
/// let (mut optimizer, gradients) = (build()?, [[4.0, 9.0]]);
/// let mut parameters = [[1.0, 2.0]];
/// optimizer.step(&mut parameters, &gradients)?;
/// let (saved, mut copy) = (optimizer.state(), parameters);
/// optimizer.step(&mut parameters, &gradients)?;
///
/// let mut resumed = build()?;
/// resumed.restore(&saved)?;
/// resumed.step(&mut copy, &gradients)?;
/// assert_eq!(copy, parameters);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct State {
    pub(super) version: u32,
    /// The type of the parameters.
    pub(super) element: String,
    pub(super) steps: u64,
    /// Empty before the first step.
    pub(super) tensors: Vec<SavedTensor>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub(super) struct SavedTensor {
    pub(super) length: usize,
    pub(super) momentum: Option<SavedMomentum>,
}

/// Momentum by its bits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum SavedMomentum {
    F32(Vec<u32>),
    F64(Vec<u64>),
    #[cfg_attr(not(feature = "half"), allow(dead_code, reason = "a file may have it all the same"))]
    Bf16(Vec<u16>),
    Int8 {
        codes: Vec<i8>,
        scales: Vec<u32>,
    },
}

impl SavedMomentum {
    const fn name(&self) -> &'static str {
        match self {
            Self::F32(_) => "f32",
            Self::F64(_) => "f64",
            Self::Bf16(_) => "bf16",
            Self::Int8 { .. } => "int8",
        }
    }
}

impl State {
    /// The state in memory, if it fits the rules.
    pub(super) fn load<'a, T: Element>(
        &self,
        rule_of: impl Fn(usize) -> &'a Rule,
    ) -> Result<Tensors<T>, Error> {
        let invalid = |problem| Error::InvalidState { problem };
        if self.version != VERSION {
            let version = self.version;
            return Err(invalid(format!("it is of version {version}; this is version {VERSION}")));
        }
        if self.element != T::TYPE_NAME {
            let element = &self.element;
            return Err(invalid(format!("its parameters are {element}, not {}", T::TYPE_NAME)));
        }
        if self.steps == 0 && !self.tensors.is_empty() {
            let tensors = self.tensors.len();
            return Err(invalid(format!("it has {tensors} tensors before the first step")));
        }
        let tensor = |(i, SavedTensor { length, momentum }): (usize, &SavedTensor)| {
            let momentum = Momentum::load(rule_of(i), *length, momentum.as_ref())
                .map_err(|problem| invalid(format!("tensor {i} {problem}")))?;
            Ok(TensorState { length: *length, momentum })
        };
        let tensors = self.tensors.iter().enumerate().map(tensor).collect::<Result<_, Error>>()?;
        Ok(Tensors { steps: self.steps, tensors })
    }
}
