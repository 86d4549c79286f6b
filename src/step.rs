//! The numbers of an optimizer's step: plain data.

use crate::draws::Draws;
use crate::float::Float;
use crate::sum_order::{Rounding, SumOrder};
use std::fmt;

/// The power p of `sign(v)*|v|^p`, as [`reference::power`](crate::reference::power) specifies it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, bound = "T: Float"))]
#[non_exhaustive]
pub enum Power<T = f64> {
    /// The sign alone: signSGD.
    Zero,
    /// The fourth root.
    Quarter,
    /// The square root: the normalisation of this crate.
    Half,
    /// Between the square root and the plain gradient.
    ThreeQuarters,
    /// The plain gradient: SGD.
    One,
    /// `v / sqrt(|v| + epsilon)`: the square root, but linear near zero.
    Smoothed {
        /// Positive. It is about the magnitude below which the power is linear.
        #[cfg_attr(feature = "serde", serde(with = "crate::exact"))]
        epsilon: T,
    },
}

impl Power {
    pub(crate) fn round<T: Float>(self) -> Power<T> {
        match self {
            Self::Zero => Power::Zero,
            Self::Quarter => Power::Quarter,
            Self::Half => Power::Half,
            Self::ThreeQuarters => Power::ThreeQuarters,
            Self::One => Power::One,
            Self::Smoothed { epsilon } => Power::Smoothed { epsilon: T::from_f64(epsilon) },
        }
    }
}

/// What the power is taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum PowerOf {
    /// The gradient, before momentum and weight decay: pbSGD.
    Gradient,
    /// The momentum: PowerStep.
    Momentum,
}

/// The numbers of one step of an optimizer, in the type that it is computed in: what
/// [`reference::step`](crate::reference::step) does to an element.
///
/// Made from a [`Rule`](crate::optimizer::Rule), for the first step or a later one:
///
/// ```
/// use rootstep::optimizer::{Rule, Step};
///
/// # fn main() -> Result<(), rootstep::Error> {
/// let rule = Rule::powerstep(0.01);
/// for t in 0..3 {
///     let step: Step<f32> = if t == 0 { Step::first(&rule)? } else { Step::later(&rule)? };
///     let step = step.with_gradient_factor(1.0 / 8.0)?; // The mean of 8 gradients that were added up.
///     assert_eq!(step.is_first(), t == 0);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step<T> {
    /// What every gradient is multiplied by: the gradient scale times the factor of clipping by
    /// norm, negative to maximise.
    pub(crate) gradient_factor: T,
    /// The largest magnitude that a gradient keeps; ∞ for no limit.
    pub(crate) clip_value: T,
    pub(crate) power: Power<T>,
    pub(crate) power_of: PowerOf,
    /// The L2 weight decay; 0 for none.
    pub(crate) weight_decay: T,
    /// Whether there is no momentum yet.
    pub(crate) first: bool,
    /// What the old momentum is multiplied by; 0 for a rule without momentum.
    pub(crate) momentum: T,
    /// What a new gradient is multiplied by on its way into the momentum; 1 in the first step.
    pub(crate) one_minus_dampening: T,
    pub(crate) nesterov: bool,
    /// The decoupled weight decay; 0 for none.
    pub(crate) decoupled_weight_decay: T,
    pub(crate) learning_rate: T,
}

impl<T: Float> Step<T> {
    /// Whether this is the first step, in which the momentum is written and not read.
    #[must_use]
    pub const fn is_first(&self) -> bool {
        self.first
    }

    /// Whether the step reads and writes a momentum.
    #[must_use]
    pub fn has_momentum(&self) -> bool {
        self.momentum != T::default()
    }
}

/// The elements that share a scale in int8 momentum.
pub const INT8_BLOCK: usize = 128;

/// The momentum of a tensor, in memory of the caller's.
///
/// What is in it before the [first](Step::is_first) step does not matter.
///
/// ```
/// use rootstep::optimizer::{INT8_BLOCK, MomentumMut, Rule, Step};
/// use rootstep::Executor;
///
/// # fn main() -> Result<(), rootstep::Error> {
/// let step = Step::first(&Rule::powerstep(0.5))?;
/// let (mut parameters, gradient) = ([1.0_f32, 2.0], [4.0, -16.0]);
/// let mut upper_halves = [0; 2];
/// Executor::default().step(&step, &mut parameters, &gradient, MomentumMut::Bf16(&mut upper_halves))?;
/// assert_eq!(parameters, [0.0, 4.0]);
/// assert_eq!(upper_halves.map(|m| f32::from_bits(u32::from(m) << 16)), gradient);
///
/// let (mut codes, mut scales) = ([0; 2], [0.0; 2_usize.div_ceil(INT8_BLOCK)]);
/// let momentum = MomentumMut::Int8 { codes: &mut codes, scales: &mut scales };
/// Executor::default().step(&step, &mut parameters, &gradient, momentum)?;
/// assert_eq!((codes, scales), ([32, -127], [16.0]));
/// # Ok(())
/// # }
/// ```
#[non_exhaustive]
pub enum MomentumMut<'a, T> {
    /// For a step without momentum.
    None,
    /// In the type that the step is computed in.
    Full(&'a mut [T]),
    /// In bf16, by its bits: the upper halves of f32, as
    /// [`reference::bf16_momentum`](crate::reference::bf16_momentum) specifies. (The crate `half` lends
    /// a slice of its `bf16` as one of `u16`.)
    Bf16(&'a mut [u16]),
    /// In bytes with a scale for each block of [`INT8_BLOCK`], the last one shorter, as
    /// [`reference::int8_momentum`](crate::reference::int8_momentum) specifies: `m = code * (scale / 127)`.
    Int8 {
        /// One for each element.
        codes: &'a mut [i8],
        /// One for each block.
        scales: &'a mut [f32],
    },
}

impl<T> MomentumMut<'_, T> {
    /// The same memory, lent for a shorter time.
    pub fn reborrow(&mut self) -> MomentumMut<'_, T> {
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

    pub(crate) const fn view(&self) -> MomentumView<'_, T> {
        match self {
            Self::None => MomentumView::None,
            Self::Full(momentum) => MomentumView::Full(momentum),
            Self::Bf16(momentum) => MomentumView::Bf16(momentum),
            Self::Int8 { codes, scales } => MomentumView::Int8 { codes, scales },
        }
    }
}

/// A momentum to look at, whoever has it.
pub(crate) enum MomentumView<'a, T> {
    None,
    Full(&'a [T]),
    Bf16(&'a [u16]),
    Int8 { codes: &'a [i8], scales: &'a [f32] },
}

impl<T> MomentumView<'_, T> {
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Full(momentum) => momentum.len(),
            Self::Bf16(momentum) => momentum.len(),
            Self::Int8 { codes, .. } => codes.len(),
        }
    }

    /// How many scales there are and how many there must be, if these differ.
    pub(crate) fn wrong_scales(&self) -> Option<(usize, usize)> {
        match self {
            Self::Int8 { codes, scales } => {
                Some((scales.len(), codes.len().div_ceil(INT8_BLOCK))).filter(|(a, b)| a != b)
            }
            Self::None | Self::Full(_) | Self::Bf16(_) => None,
        }
    }
}

/// How the parameters of a tensor are stored: what becomes of the bits that their type has no place for, with the
/// memory of the caller's that it takes.
///
/// Parameters in f32 and f64 are stored as they are, [nearest](Self::Nearest). Those in bf16 or f16 lose the small
/// steps that way: all of less than half a place. Each of the others keeps them, in its own way.
///
/// ```
/// # #[cfg(feature = "half")] {
/// use half::bf16;
/// use rootstep::Executor;
/// use rootstep::optimizer::{MomentumMut, Rule, Step, StorageMut, TensorStep};
///
/// let step = Step::first(&Rule::sgd(1.0)).unwrap();
/// let (mut parameters, gradient) = ([bf16::ONE; 2], [1e-3_f32, -1e-3]);
/// let mut low = [0; 2];
/// for _ in 0..100 {
///     let storage = StorageMut::Split16(&mut low);
///     let tensor = TensorStep::new(step, &mut parameters, &gradient, MomentumMut::None);
///     Executor::default().step_all(&mut [tensor.with_storage(storage)]).unwrap();
/// }
/// assert_eq!(parameters.map(f32::from), [0.8984375, 1.1015625]); // The nearest to 0.9 and 1.1.
/// # }
/// ```
#[non_exhaustive]
pub enum StorageMut<'a> {
    /// The nearest number of the type, ties to even.
    Nearest,
    /// bf16 or f16: one of the two next numbers, at random, so that the mean is right:
    /// [`reference::stochastic_bf16`](crate::reference::stochastic_bf16) and
    /// [`reference::stochastic_f16`](crate::reference::stochastic_f16).
    Stochastic(Draws),
    /// bf16, and these halves: together an f32, as
    /// [`reference::split16`](crate::reference::split16) specifies. The bits are those of f32
    /// parameters.
    Split16(&'a mut [i16]),
    /// bf16, and these bytes: together the upper 24 bits of an f32, as
    /// [`reference::split8`](crate::reference::split8) specifies.
    Split8(&'a mut [i8]),
    /// These are the parameters; the bf16 or f16 are a copy of them, rounded to the nearest, which is
    /// written and not read.
    Master(&'a mut [f32]),
}

impl StorageMut<'_> {
    pub(crate) fn reborrow(&mut self) -> StorageMut<'_> {
        match self {
            Self::Nearest => StorageMut::Nearest,
            Self::Stochastic(draws) => StorageMut::Stochastic(*draws),
            Self::Split16(low) => StorageMut::Split16(low),
            Self::Split8(low) => StorageMut::Split8(low),
            Self::Master(master) => StorageMut::Master(master),
        }
    }

    /// What is wrong with it for these parameters, if anything is.
    pub(crate) fn problem<C>(&self, parameters: &Parameters<'_, C>) -> Option<String> {
        let allowed = match (self, parameters) {
            (Self::Stochastic(_) | Self::Master(_), Parameters::Full(_)) => Some("bf16 or f16"),
            (Self::Split16(_) | Self::Split8(_), Parameters::Full(_) | Parameters::F16(_)) => {
                Some("bf16")
            }
            _ => None,
        };
        if let Some(allowed) = allowed {
            return Some(format!("it is one for other parameters; allowed: those in {allowed}"));
        }
        let (given, elements) = (self.elements()?, parameters.len());
        (given != elements)
            .then(|| format!("it has {given} elements; allowed: {elements}, as the parameters"))
    }

    /// Of how many elements it has memory, if it has any.
    const fn elements(&self) -> Option<usize> {
        match self {
            Self::Nearest | Self::Stochastic(_) => None,
            Self::Split16(low) => Some(low.len()),
            Self::Split8(low) => Some(low.len()),
            Self::Master(master) => Some(master.len()),
        }
    }
}

/// Parameters as they lie in memory.
pub enum Parameters<'a, C> {
    Full(&'a mut [C]),
    /// By their bits.
    Bf16(&'a mut [u16]),
    F16(&'a mut [u16]),
}

impl<C> Parameters<'_, C> {
    pub(crate) fn reborrow(&mut self) -> Parameters<'_, C> {
        match self {
            Self::Full(parameters) => Parameters::Full(parameters),
            Self::Bf16(bits) => Parameters::Bf16(bits),
            Self::F16(bits) => Parameters::F16(bits),
        }
    }

    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::Full(parameters) => parameters.len(),
            Self::Bf16(parameters) | Self::F16(parameters) => parameters.len(),
        }
    }
}

/// A gradient as it lies in memory.
#[derive(Clone, Copy)]
pub enum Gradient<'a, C> {
    Full(&'a [C]),
    /// By their bits.
    Bf16(&'a [u16]),
    F16(&'a [u16]),
    /// Of terms that are slices.
    Sum(Sum<'a, C>),
}

impl<C> Gradient<'_, C> {
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::Full(gradient) => gradient.len(),
            Self::Bf16(gradient) | Self::F16(gradient) => gradient.len(),
            Self::Sum(sum) => sum.elements,
        }
    }

    /// Some elements of a slice.
    #[inline(always)] // Within a kernel.
    pub(crate) fn part(&self, start: usize, length: usize) -> Self {
        match self {
            Self::Full(gradient) => Self::Full(&gradient[start..][..length]),
            Self::Bf16(bits) => Self::Bf16(&bits[start..][..length]),
            Self::F16(bits) => Self::F16(&bits[start..][..length]),
            Self::Sum(_) => unreachable!("no term is a sum"),
        }
    }
}

/// A term of a sum: a gradient, or a sum of some. In any type that is computed in `C`; it is read exactly.
#[derive(Clone, Copy)]
pub struct Term<'a, C>(pub(crate) Gradient<'a, C>);

impl<C> Term<'_, C> {
    /// How many elements it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Some elements of a sum.
#[derive(Clone, Copy)]
pub struct Sum<'a, C> {
    pub(crate) order: &'a SumOrder,
    pub(crate) terms: &'a [Term<'a, C>],
    /// The first of these elements, in each term.
    pub(crate) start: usize,
    pub(crate) elements: usize,
}

impl<'a, C> Sum<'a, C> {
    pub(crate) const fn new(
        order: &'a SumOrder,
        terms: &'a [Term<'a, C>],
        elements: usize,
    ) -> Self {
        Self { order, terms, start: 0, elements }
    }

    /// Takes the first `length` elements away.
    pub(crate) const fn split_off(&mut self, length: usize) -> Self {
        let front = Self { elements: length, ..*self };
        self.start += length;
        self.elements -= length;
        front
    }

    /// What is wrong with the terms, if anything is.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.order.rounding() == Rounding::Bf16 && size_of::<C>() != size_of::<f32>() {
            return Some("its order is in bf16; allowed: one that is not, for terms of f64".into());
        }
        let (given, allowed) = (self.terms.len(), self.order.terms());
        if given != allowed {
            return Some(format!("there are {given} terms; allowed: {allowed}, as the order has"));
        }
        let elements = self.elements;
        let (i, term) = self.terms.iter().enumerate().find(|(_, term)| term.0.len() != elements)?;
        let given = term.0.len();
        Some(format!("term {i} has {given} elements; allowed: {elements}"))
    }

    /// What is wrong with writing it here, if anything is.
    pub(crate) fn problem_of(&self, out: &Parameters<'_, C>) -> Option<String> {
        match (out, self.order.rounding()) {
            (Parameters::Full(_), _) | (Parameters::Bf16(_), Rounding::Bf16) => self.problem(),
            _ => Some(
                "it is written in 16 bits; allowed: bf16, in an order that is in bf16, or what it is \
                 computed in"
                    .into(),
            ),
        }
    }
}

/// A step on one tensor of a model, all in memory of the caller's: what
/// [`Executor::step_all`](crate::Executor::step_all) takes.
pub struct TensorStep<'a, C> {
    pub(crate) step: Step<C>,
    pub(crate) parameters: Parameters<'a, C>,
    pub(crate) gradient: Gradient<'a, C>,
    pub(crate) momentum: MomentumMut<'a, C>,
    pub(crate) storage: StorageMut<'a>,
}

impl<'a, C> TensorStep<'a, C> {
    /// The same step, with the parameters stored in this way.
    #[must_use]
    pub fn with_storage(self, storage: StorageMut<'a>) -> Self {
        Self { storage, ..self }
    }
}

/// The first elements of a slice, and how many it has: there may be millions.
pub(crate) struct Head<'a, T>(pub(crate) &'a [T]);

impl<T: fmt::Debug> fmt::Debug for Head<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        let mut list = f.debug_list();
        list.entries(self.0.iter().take(SHOWN));
        if self.0.len() > SHOWN {
            list.entry(&format_args!("... ({} in all)", self.0.len()));
        }
        list.finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for MomentumMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}

impl<T: fmt::Debug> fmt::Debug for MomentumView<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Full(momentum) => f.debug_tuple("Full").field(&Head(momentum)).finish(),
            Self::Bf16(momentum) => f.debug_tuple("Bf16").field(&Head(momentum)).finish(),
            Self::Int8 { codes, scales } => {
                let mut text = f.debug_struct("Int8");
                text.field("codes", &Head(codes)).field("scales", &Head(scales)).finish()
            }
        }
    }
}

impl<C: fmt::Debug> fmt::Debug for TensorStep<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorStep")
            .field("step", &self.step)
            .field("parameters", &self.parameters)
            .field("gradient", &self.gradient)
            .field("momentum", &self.momentum)
            .field("storage", &self.storage)
            .finish()
    }
}

impl<C: fmt::Debug> fmt::Debug for Parameters<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(parameters) => f.debug_tuple("Full").field(&Head(parameters)).finish(),
            Self::Bf16(bits) => f.debug_tuple("Bf16").field(&Head(bits)).finish(),
            Self::F16(bits) => f.debug_tuple("F16").field(&Head(bits)).finish(),
        }
    }
}

impl<C: fmt::Debug> fmt::Debug for Gradient<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(gradient) => f.debug_tuple("Full").field(&Head(gradient)).finish(),
            Self::Bf16(bits) => f.debug_tuple("Bf16").field(&Head(bits)).finish(),
            Self::F16(bits) => f.debug_tuple("F16").field(&Head(bits)).finish(),
            Self::Sum(sum) => sum.fmt(f),
        }
    }
}

impl<C: fmt::Debug> fmt::Debug for Term<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<C: fmt::Debug> fmt::Debug for Sum<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { order, terms, start, elements } = self;
        let mut text = f.debug_struct("Sum");
        text.field("order", order).field("terms", terms).field("start", start);
        text.field("elements", elements).finish()
    }
}

impl fmt::Debug for StorageMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nearest => f.write_str("Nearest"),
            Self::Stochastic(draws) => f.debug_tuple("Stochastic").field(draws).finish(),
            Self::Split16(low) => f.debug_tuple("Split16").field(&Head(low)).finish(),
            Self::Split8(low) => f.debug_tuple("Split8").field(&Head(low)).finish(),
            Self::Master(master) => f.debug_tuple("Master").field(&Head(master)).finish(),
        }
    }
}
