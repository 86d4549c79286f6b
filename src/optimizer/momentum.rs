//! The momentum of a tensor, as an optimizer holds it.

use super::{MomentumFormat, Rule};
use crate::float::Float;
use crate::step::{INT8_BLOCK, MomentumMut, MomentumView};
use std::fmt;

/// The momentum of a tensor, as an [`Optimizer`](super::Optimizer) holds it; see [`MomentumMut`] for the
/// formats.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Momentum<C> {
    /// The rule has none, or the tensor has not taken a step with it: the next is its first.
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

impl<C: Float> Momentum<C> {
    /// Momentum of zeros in the format of the rule; none if the rule has none.
    #[must_use]
    pub fn new(rule: &Rule, length: usize) -> Self {
        match rule.format::<C>() {
            None => Self::None,
            Some(MomentumFormat::Full) => Self::Full(vec![C::default(); length]),
            Some(MomentumFormat::Bf16) => Self::Bf16(vec![0; length]),
            Some(MomentumFormat::Int8) => Self::Int8 {
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

    /// Of how many elements it is the momentum.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.view().len()
    }

    /// Whether it is that of no elements.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    const fn view(&self) -> MomentumView<'_, C> {
        match self {
            Self::None => MomentumView::None,
            Self::Full(momentum) => MomentumView::Full(momentum.as_slice()),
            Self::Bf16(momentum) => MomentumView::Bf16(momentum.as_slice()),
            Self::Int8 { codes, scales } => {
                MomentumView::Int8 { codes: codes.as_slice(), scales: scales.as_slice() }
            }
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

    pub(super) const fn format(&self) -> Option<MomentumFormat> {
        match self {
            Self::None => None,
            Self::Full(_) => Some(MomentumFormat::Full),
            Self::Bf16(_) => Some(MomentumFormat::Bf16),
            Self::Int8 { .. } => Some(MomentumFormat::Int8),
        }
    }

    /// What is wrong with it as the momentum of a tensor by `rule`, of `length` elements if that is known.
    pub(super) fn check(&self, rule: &Rule, length: Option<usize>) -> Result<(), String> {
        if matches!(self, Self::None) {
            return Ok(());
        }
        check_format::<C>(self.format(), rule)?;
        let found = self.len();
        if let Some(length) = length.filter(|&length| length != found) {
            return Err(format!("has {found} elements of momentum; allowed: {length}"));
        }
        self.view().wrong_scales().map_or(Ok(()), |(scales, blocks)| {
            Err(format!(
                "has {scales} scales of momentum; allowed: {blocks}, one for each {INT8_BLOCK} elements"
            ))
        })
    }
}

/// What is wrong with momentum in the `given` format by `rule`, if anything is.
pub(super) fn check_format<C: Float>(
    given: Option<MomentumFormat>,
    rule: &Rule,
) -> Result<(), String> {
    let own = rule.format::<C>();
    if given == own {
        return Ok(());
    }
    let name = |format| match format {
        None => "no",
        Some(MomentumFormat::Full) => C::NAME,
        Some(MomentumFormat::Bf16) => "bf16",
        Some(MomentumFormat::Int8) => "int8",
    };
    let allowed = own.map_or("none", |own| name(Some(own)));
    Err(format!("has {} momentum; allowed: {allowed}, as its rule says", name(given)))
}

/// The first elements alone: there may be millions.
impl<C: Float> fmt::Debug for Momentum<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}
