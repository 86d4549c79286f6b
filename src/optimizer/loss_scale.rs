//! A scale of the loss that follows overflow.

use crate::error::Error;
use crate::float::Float as _;
use crate::setting::number;

/// What a loss is multiplied by, so that small gradients do not vanish in a format of little range, such as
/// f16: dynamic loss scaling (Micikevicius et al., ICLR 2018), with the scales of PyTorch's `GradScaler`.
///
/// The scale is an f32. Gradients of a loss that was multiplied by [`value`](Self::value) are multiplied by
/// [`gradient_scale`](Self::gradient_scale) when the [`Optimizer`](super::Optimizer) reads them; if some are not
/// finite, it [skips](super::NonFinite::Skip) the step. [`update`](Self::update) is told whether it was taken:
///
/// ```text
/// not taken:                 scale = f32(scale * backoff_factor),  steps = 0
/// taken:                     steps = steps + 1
/// steps >= growth_interval:  scale = f32(scale * growth_factor),   steps = 0
/// ```
///
/// The factors and the products are f64. A scale that would be infinite or subnormal is not taken: the last
/// one stays. PyTorch lets it fall further. At 2⁻¹²⁸ the reciprocal is infinite in f32, at 0 no growth helps
/// any more, and the first gradients of 0, which are finite, make the parameters NaN. A scale far below 1
/// says that gradients are not finite for another reason than their scale.
///
/// ```
/// use rootstep::optimizer::{LossScale, NonFinite, Optimizer, Rule};
///
/// # fn main() -> Result<(), rootstep::Error> {
/// let mut optimizer = Optimizer::<f32>::builder(Rule::sgd(0.25))
///     .with_non_finite(NonFinite::Skip)
///     .with_clip_norm(1.0) // Of the gradients as they are without the scale.
///     .build()?;
/// let mut scale = LossScale::new(1e38)?;
/// let mut parameters = [[0.0]];
/// for _ in 0..20 {
///     // Of the loss (x - 3)², multiplied by the scale. The first one is infinite.
///     let gradients = [[2.0 * scale.value() * (parameters[0][0] - 3.0)]];
///     optimizer.set_gradient_scale(scale.gradient_scale())?;
///     let report = optimizer.step(&mut parameters, &gradients)?;
///     scale.update(report.taken);
/// }
/// assert_eq!(scale.value(), 5e37);
/// assert!((parameters[0][0] - 3.0).abs() < 0.01);
/// # Ok(())
/// # }
/// ```
///
/// With gradient accumulation the scale stays until the step, and is updated behind it. With the feature
/// `serde` it can be serialised: a run that reads it back goes on with the same scales.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "LossScaleState", into = "LossScaleState"))]
#[must_use]
pub struct LossScale(LossScaleState);

/// The settings of a [`LossScale`], and where it is.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
struct LossScaleState {
    #[cfg_attr(feature = "serde", serde(with = "crate::exact"))]
    scale: f32,
    #[cfg_attr(feature = "serde", serde(with = "crate::exact"))]
    growth_factor: f64,
    #[cfg_attr(feature = "serde", serde(with = "crate::exact"))]
    backoff_factor: f64,
    growth_interval: u64,
    /// Taken in a row since the scale has changed, or could not.
    steps: u64,
}

/// 65536, with the settings of PyTorch: it is doubled after 2000 steps in a row, and halved after one that was
/// not taken.
impl Default for LossScale {
    fn default() -> Self {
        Self(LossScaleState {
            scale: 65536.0,
            growth_factor: 2.0,
            backoff_factor: 0.5,
            growth_interval: 2000,
            steps: 0,
        })
    }
}

impl LossScale {
    /// Starts at `scale`; the rest is as by [default](Self::default).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] unless the scale is above 0 and a normal number: neither infinite nor subnormal.
    pub fn new(scale: f32) -> Result<Self, Error> {
        let mut new = Self::default();
        new.0.scale = scale;
        new.checked()
    }

    fn checked(self) -> Result<Self, Error> {
        let LossScaleState { scale, growth_factor, backoff_factor, growth_interval, .. } = self.0;
        if !(f32::MIN_POSITIVE..=f32::MAX).contains(&scale) {
            let (least, most) = (f32::MIN_POSITIVE, f32::MAX);
            let allowed = format!("{least:e} to {most:e}, the normal f32 above 0");
            return Err(Error::invalid("the loss scale", number(scale), allowed));
        }
        if !(growth_factor > 1.0 && growth_factor.is_finite()) {
            let setting = "the growth factor of a loss scale";
            return Err(Error::invalid(setting, number(growth_factor), "above 1, and finite"));
        }
        if !(backoff_factor > 0.0 && backoff_factor < 1.0) {
            let setting = "the backoff factor of a loss scale";
            return Err(Error::invalid(setting, number(backoff_factor), "above 0 and below 1"));
        }
        if growth_interval == 0 {
            let setting = "the growth interval of a loss scale";
            return Err(Error::invalid(setting, growth_interval, "1 or more"));
        }
        Ok(self)
    }

    /// What the scale is multiplied by when it grows; 2 by default.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] unless it is above 1, and finite.
    pub fn with_growth_factor(mut self, factor: f64) -> Result<Self, Error> {
        self.0.growth_factor = factor;
        self.checked()
    }

    /// What the scale is multiplied by behind a step that was not taken; 0.5 by default.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] unless it is within (0, 1).
    pub fn with_backoff_factor(mut self, factor: f64) -> Result<Self, Error> {
        self.0.backoff_factor = factor;
        self.checked()
    }

    /// How many steps must be taken in a row for the scale to grow; 2000 by default. [`u64::MAX`] is never. If so
    /// many are behind it already, it grows with the next.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if it is 0.
    pub fn with_growth_interval(mut self, steps: u64) -> Result<Self, Error> {
        self.0.growth_interval = steps;
        self.checked()
    }

    /// What the loss is to be multiplied by.
    #[must_use]
    pub const fn value(&self) -> f32 {
        self.0.scale
    }

    /// What its gradients are to be multiplied by, 1/value in f64: for
    /// [`set_gradient_scale`](super::Optimizer::set_gradient_scale), before each step. The optimizer rounds
    /// it to its own type.
    #[must_use]
    pub fn gradient_scale(&self) -> f64 {
        1.0 / f64::from(self.0.scale)
    }

    /// Takes whether a step was taken, and returns the scale of the next loss.
    ///
    /// That is [`StepReport::taken`](super::StepReport::taken) of an optimizer that skips steps whose gradients
    /// are not finite. Without one it is `inspect(&gradients).is_finite()`.
    pub fn update(&mut self, taken: bool) -> f32 {
        let now = &mut self.0;
        let factor = if taken {
            now.steps = now.steps.saturating_add(1);
            if now.steps < now.growth_interval {
                return now.scale;
            }
            now.growth_factor
        } else {
            now.backoff_factor
        };
        now.steps = 0;
        let scale = f32::from_f64(f64::from(now.scale) * factor);
        if scale.is_normal() {
            now.scale = scale;
        }
        now.scale
    }
}

#[cfg(feature = "serde")]
impl TryFrom<LossScaleState> for LossScale {
    type Error = Error;

    fn try_from(state: LossScaleState) -> Result<Self, Error> {
        Self(state).checked()
    }
}

#[cfg(feature = "serde")]
impl From<LossScale> for LossScaleState {
    fn from(scale: LossScale) -> Self {
        scale.0
    }
}
