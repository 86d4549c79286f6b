//! The update rule of a group of parameters.

use super::Storage;
use crate::error::Error;
use crate::float::Float;
use crate::setting::{below_one, not_negative, positive};
use crate::simd::untrapped;
use crate::step::{Power, PowerOf, Step};

/// How the momentum is kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum MomentumFormat {
    /// In the type that is computed in: f32 for parameters in bf16 and f16.
    Full,
    /// In 2 bytes: the upper half of an f32, as
    /// [`reference::bf16_momentum`](crate::reference::bf16_momentum) specifies.
    Bf16,
    /// In a byte, and 4 bytes for the scale of each block of 128, as
    /// [`reference::int8_momentum`](crate::reference::int8_momentum) specifies.
    Int8,
}

/// The update rule of a group of parameters: which step is taken, with which terms.
///
/// Begin with the rule of a paper and change what you need. What each number does is written down in
/// [`reference::step`](crate::reference::step); they are rounded to the type that is computed in once.
///
/// ```
/// use rootstep::optimizer::{Power, Rule};
///
/// let rule = Rule::pbsgd(0.1, Power::Half).with_momentum(0.9).with_weight_decay(1e-4);
/// assert_eq!(rule.learning_rate, 0.1);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct Rule {
    /// The learning rate η: finite, 0 or more.
    #[cfg_attr(feature = "serde", serde(with = "crate::exact"))]
    pub learning_rate: f64,
    /// The power.
    pub power: Power,
    /// What it is taken of.
    pub power_of: PowerOf,
    /// The momentum μ, in [0, 1); with 0, rounded to the type that is computed in, there is no momentum,
    /// and nothing is allocated for it.
    #[cfg_attr(feature = "serde", serde(with = "crate::exact"))]
    pub momentum: f64,
    /// How much less than all of a new gradient the momentum takes, in [0, 1). The first step takes
    /// all of it.
    #[cfg_attr(feature = "serde", serde(with = "crate::exact"))]
    pub dampening: f64,
    /// Whether the momentum is Nesterov's. It needs a momentum without dampening.
    pub nesterov: bool,
    /// The L2 weight decay, added to the gradient after its power: finite, 0 or more.
    #[cfg_attr(feature = "serde", serde(with = "crate::exact"))]
    pub weight_decay: f64,
    /// The decoupled weight decay, added to the step itself: finite, 0 or more.
    #[cfg_attr(feature = "serde", serde(with = "crate::exact"))]
    pub decoupled_weight_decay: f64,
    /// Ascent instead of descent.
    pub maximize: bool,
    /// How the momentum is kept.
    pub momentum_format: MomentumFormat,
    /// How the parameters are stored.
    #[cfg_attr(feature = "serde", serde(default))]
    pub storage: Storage,
}

impl Rule {
    /// Stochastic gradient descent.
    #[must_use]
    pub const fn sgd(learning_rate: f64) -> Self {
        Self {
            learning_rate,
            power: Power::One,
            power_of: PowerOf::Gradient,
            momentum: 0.0,
            dampening: 0.0,
            nesterov: false,
            weight_decay: 0.0,
            decoupled_weight_decay: 0.0,
            maximize: false,
            momentum_format: MomentumFormat::Full,
            storage: Storage::Nearest,
        }
    }

    /// signSGD: the sign of the gradient.
    #[must_use]
    pub const fn sign_sgd(learning_rate: f64) -> Self {
        Self::pbsgd(learning_rate, Power::Zero)
    }

    /// pbSGD, and pbSGDM [`with_momentum`](Self::with_momentum): the power of the gradient. With
    /// [`Power::Half`] it is [`descend`](crate::descend).
    #[must_use]
    pub const fn pbsgd(learning_rate: f64, power: Power) -> Self {
        let mut rule = Self::sgd(learning_rate);
        rule.power = power;
        rule
    }

    /// PowerStep: the square root of the momentum, with the paper's momentum of 0.9. (The paper
    /// recommends a power of 0.1 for language models; [`Power::Zero`] and [`Power::Quarter`] are the
    /// nearest.)
    #[must_use]
    pub const fn powerstep(learning_rate: f64) -> Self {
        let mut rule = Self::pbsgd(learning_rate, Power::Half);
        rule.power_of = PowerOf::Momentum;
        rule.momentum = 0.9;
        rule
    }

    /// With this power.
    #[must_use]
    pub const fn with_power(self, power: Power) -> Self {
        Self { power, ..self }
    }

    /// With the power taken of this.
    #[must_use]
    pub const fn with_power_of(self, power_of: PowerOf) -> Self {
        Self { power_of, ..self }
    }

    /// With this momentum.
    #[must_use]
    pub const fn with_momentum(self, momentum: f64) -> Self {
        Self { momentum, ..self }
    }

    /// With this dampening.
    #[must_use]
    pub const fn with_dampening(self, dampening: f64) -> Self {
        Self { dampening, ..self }
    }

    /// With Nesterov's momentum.
    #[must_use]
    pub const fn with_nesterov(self) -> Self {
        Self { nesterov: true, ..self }
    }

    /// With this L2 weight decay.
    #[must_use]
    pub const fn with_weight_decay(self, weight_decay: f64) -> Self {
        Self { weight_decay, ..self }
    }

    /// With this decoupled weight decay.
    #[must_use]
    pub const fn with_decoupled_weight_decay(self, decoupled_weight_decay: f64) -> Self {
        Self { decoupled_weight_decay, ..self }
    }

    /// Ascending.
    #[must_use]
    pub const fn maximizing(self) -> Self {
        Self { maximize: true, ..self }
    }

    /// With the momentum kept in this format.
    #[must_use]
    pub const fn with_momentum_format(self, momentum_format: MomentumFormat) -> Self {
        Self { momentum_format, ..self }
    }

    /// With the parameters stored in this way.
    #[must_use]
    pub const fn with_storage(self, storage: Storage) -> Self {
        Self { storage, ..self }
    }

    /// Whether there is a momentum for parameters of type `T`: 1e-60 is 0 in f32.
    fn has_momentum<T: Float>(&self) -> bool {
        T::from_f64(self.momentum) != T::default()
    }

    /// The format of the momentum that tensors of type `T` have, if any.
    pub(super) fn format<T: Float>(&self) -> Option<MomentumFormat> {
        self.has_momentum::<T>().then_some(self.momentum_format)
    }

    /// With the learning rate times a factor.
    pub(super) fn scaled(&self, factor: f64) -> Self {
        Self { learning_rate: self.learning_rate * factor, ..*self }
    }

    /// What is wrong with the rule for parameters of type `T`, if anything is.
    pub(crate) fn validate<T: Float>(&self) -> Result<(), Error> {
        not_negative::<T>("the learning rate", self.learning_rate)?;
        not_negative::<T>("the weight decay", self.weight_decay)?;
        not_negative::<T>("the decoupled weight decay", self.decoupled_weight_decay)?;
        below_one::<T>("the momentum", self.momentum)?;
        below_one::<T>("the dampening", self.dampening)?;
        if let Power::Smoothed { epsilon } = self.power {
            positive::<T>("the epsilon of the smoothed power", epsilon)?;
        }
        if !self.has_momentum::<T>() {
            let needs_momentum = "0 without momentum";
            if self.dampening != 0.0 {
                return Err(Error::invalid("the dampening", self.dampening, needs_momentum));
            }
            if self.nesterov {
                let allowed = "false without momentum";
                return Err(Error::invalid("Nesterov's momentum", self.nesterov, allowed));
            }
        }
        if self.nesterov && self.dampening != 0.0 {
            let allowed = "0 with Nesterov's momentum";
            return Err(Error::invalid("the dampening", self.dampening, allowed));
        }
        Ok(())
    }

    /// The numbers of one step of a rule that is valid for `T`, with every gradient multiplied by
    /// `gradient_factor` and then clipped at `clip_value`.
    pub(super) fn step<T: Float>(
        &self,
        first: bool,
        gradient_factor: f64,
        clip_value: f64,
    ) -> Step<T> {
        let sign = if self.maximize { -1.0 } else { 1.0 };
        Step {
            gradient_factor: T::from_f64(sign * gradient_factor),
            clip_value: T::from_f64(clip_value),
            power: self.power.round(),
            power_of: self.power_of,
            weight_decay: T::from_f64(self.weight_decay),
            first,
            momentum: T::from_f64(self.momentum),
            one_minus_dampening: T::from_f64(if first { 1.0 } else { 1.0 - self.dampening }),
            nesterov: self.nesterov,
            decoupled_weight_decay: T::from_f64(self.decoupled_weight_decay),
            learning_rate: T::from_f64(self.learning_rate),
        }
    }
}

impl<T: Float> Step<T> {
    /// The numbers of the first step by `rule`: its momentum is written and not read.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if the rule is not one for `T`.
    pub fn first(rule: &Rule) -> Result<Self, Error> {
        Self::of_rule(rule, true)
    }

    /// The numbers of a later step by `rule`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if the rule is not one for `T`.
    pub fn later(rule: &Rule) -> Result<Self, Error> {
        Self::of_rule(rule, false)
    }

    fn of_rule(rule: &Rule, first: bool) -> Result<Self, Error> {
        untrapped(|| {
            rule.validate::<T>()?;
            Ok(rule.step(first, 1.0, f64::INFINITY))
        })
    }

    /// The same step, with every gradient multiplied by this before anything else: 1/scale under loss
    /// scaling, 1/n to average n gradients that were added up, limit/norm to clip by norm, or the
    /// product of these, rounded once.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if it is not finite, or not above 0.
    pub fn with_gradient_factor(self, factor: f64) -> Result<Self, Error> {
        untrapped(|| {
            positive::<T>("the gradient factor", factor)?;
            let gradient_factor = T::from_f64(factor).copysign(self.gradient_factor);
            Ok(Self { gradient_factor, ..self })
        })
    }

    /// The same step, with the magnitude of each element of the gradient limited, after its factor.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if the limit is not finite, or not above 0.
    pub fn with_clip_value(self, limit: f64) -> Result<Self, Error> {
        untrapped(|| {
            positive::<T>("the limit of the values", limit)?;
            Ok(Self { clip_value: T::from_f64(limit), ..self })
        })
    }
}
