//! What an optimizer remembers from step to step, and its form in files.

use super::{MomentumFormat, Rule};
use crate::error::Error;
use crate::float::Float;
use crate::step::{INT8_BLOCK, MomentumMut};

/// The version of [`State`].
pub(super) const VERSION: u32 = 1;

/// The tensors of a model, as an optimizer remembers them.
#[derive(Debug, Clone)]
pub(super) struct Tensors<C> {
    pub(super) steps: u64,
    /// Empty before the first step.
    pub(super) tensors: Vec<TensorState<C>>,
}

impl<C> Default for Tensors<C> {
    fn default() -> Self {
        Self { steps: 0, tensors: Vec::new() }
    }
}

#[derive(Debug, Clone)]
pub(super) struct TensorState<C> {
    pub(super) length: usize,
    pub(super) momentum: Momentum<C>,
}

/// The momentum of a tensor, as an [`Optimizer`](super::Optimizer) holds it; see [`MomentumMut`] for the
/// formats.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Momentum<C> {
    /// The rule has none.
    None,
    /// In the type that the step is computed in.
    Full(Vec<C>),
    /// In bf16, by its bits.
    Bf16(Vec<u16>),
    /// In bytes with a scale for each block of [`INT8_BLOCK`].
    Int8 {
        /// One for each element.
        codes: Vec<i8>,
        /// One for each block.
        scales: Vec<f32>,
    },
}

impl<C: Float> Tensors<C> {
    /// Allocates the state at the first step.
    pub(super) fn prepare<'a>(
        &mut self,
        lengths: impl Iterator<Item = usize>,
        rule_of: impl Fn(usize) -> &'a Rule,
    ) {
        if self.steps == 0 {
            let tensor = |(i, length)| {
                let momentum = Momentum::new(rule_of(i), length);
                TensorState { length, momentum }
            };
            self.tensors = lengths.enumerate().map(tensor).collect();
        }
    }

    pub(super) fn save(&self, element: &str) -> State {
        let tensors = self.tensors.iter().map(|TensorState { length, momentum }| SavedTensor {
            length: *length,
            momentum: momentum.save(),
        });
        State {
            version: VERSION,
            element: element.to_owned(),
            steps: self.steps,
            tensors: tensors.collect(),
        }
    }
}

impl<C: Float> Momentum<C> {
    /// Momentum of zeros in the format of the rule; none if the rule has none.
    #[must_use]
    pub fn new(rule: &Rule, length: usize) -> Self {
        match rule.momentum_format {
            _ if !rule.has_momentum::<C>() => Self::None,
            MomentumFormat::Full => Self::Full(vec![C::default(); length]),
            MomentumFormat::Bf16 => Self::Bf16(vec![0; length]),
            MomentumFormat::Int8 => Self::Int8 {
                codes: vec![0; length],
                scales: vec![0.0; length.div_ceil(INT8_BLOCK)],
            },
        }
    }

    /// Lends it to a step.
    pub fn as_mut(&mut self) -> MomentumMut<'_, C> {
        match self {
            Self::None => MomentumMut::None,
            Self::Full(momentum) => MomentumMut::Full(momentum),
            Self::Bf16(momentum) => MomentumMut::Bf16(momentum),
            Self::Int8 { codes, scales } => MomentumMut::Int8 { codes, scales },
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Full(momentum) => size_of_val(&momentum[..]),
            Self::Bf16(momentum) => size_of_val(&momentum[..]),
            Self::Int8 { codes, scales } => size_of_val(&codes[..]) + size_of_val(&scales[..]),
        }
    }

    /// What is wrong with it as the momentum of a tensor of `length` elements by `rule`, if anything is.
    pub(super) fn check(&self, rule: &Rule, length: usize) -> Result<(), String> {
        Self::check_format(rule, self.name())?;
        let (found, blocks) = match self {
            Self::None => return Ok(()),
            Self::Full(momentum) => (momentum.len(), None),
            Self::Bf16(momentum) => (momentum.len(), None),
            Self::Int8 { codes, scales } => (codes.len(), Some(scales.len())),
        };
        if found != length {
            return Err(format!("has {length} elements and the momentum of {found}"));
        }
        match blocks {
            Some(scales) if scales != length.div_ceil(INT8_BLOCK) => {
                Err(format!("has {scales} scales for {} blocks", length.div_ceil(INT8_BLOCK)))
            }
            _ => Ok(()),
        }
    }

    /// What is wrong with momentum in this format, if anything is.
    fn check_format(rule: &Rule, given: &str) -> Result<(), String> {
        let own = Self::new(rule, 0).name();
        if given == own {
            return Ok(());
        }
        Err(format!("has {given} momentum, and its rule asks for {own} momentum"))
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::None => "no",
            Self::Full(_) => C::NAME,
            Self::Bf16(_) => "bf16",
            Self::Int8 { .. } => "int8",
        }
    }

    /// The momentum of a tensor of `length` elements by `rule`, or what is wrong with what was saved.
    fn load(rule: &Rule, length: usize, saved: Option<&SavedMomentum>) -> Result<Self, String> {
        let loaded = match saved {
            None => Self::None,
            Some(SavedMomentum::F32(bits)) if C::BITS == 32 => {
                Self::Full(bits.iter().map(|&bits| C::from_bits(bits.into())).collect())
            }
            Some(SavedMomentum::F64(bits)) if C::BITS == 64 => {
                Self::Full(bits.iter().map(|&bits| C::from_bits(bits)).collect())
            }
            Some(SavedMomentum::Bf16(bits)) => Self::Bf16(bits.clone()),
            Some(SavedMomentum::Int8 { codes, scales }) => Self::Int8 {
                codes: codes.clone(),
                scales: scales.iter().map(|&bits| f32::from_bits(bits)).collect(),
            },
            Some(other) => return Self::check_format(rule, other.name()).map(|()| Self::None),
        };
        loaded.check(rule, length)?;
        Ok(loaded)
    }

    fn save(&self) -> Option<SavedMomentum> {
        Some(match self {
            Self::None => return None,
            Self::Full(momentum) if C::BITS == 32 => {
                SavedMomentum::F32(momentum.iter().map(|m| m.to_f32().to_bits()).collect())
            }
            Self::Full(momentum) => {
                SavedMomentum::F64(momentum.iter().map(|m| m.to_bits()).collect())
            }
            Self::Bf16(momentum) => SavedMomentum::Bf16(momentum.clone()),
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
    Bf16(Vec<u16>),
    Int8 { codes: Vec<i8>, scales: Vec<u32> },
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
    pub(super) fn load<'a, C: Float>(
        &self,
        own_element: &str,
        rule_of: impl Fn(usize) -> &'a Rule,
    ) -> Result<Tensors<C>, Error> {
        let invalid = |problem| Error::InvalidState { problem };
        if self.version != VERSION {
            let version = self.version;
            return Err(invalid(format!("it is of version {version}; this is version {VERSION}")));
        }
        if self.element != own_element {
            let element = &self.element;
            return Err(invalid(format!("its parameters are {element}, not {own_element}")));
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
