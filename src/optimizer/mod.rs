//! Optimizers: the step of a whole model, with its state, in one parallel pass.
//!
//! ```
//! use rootstep::optimizer::{Optimizer, Rule};
//!
//! # fn main() -> Result<(), rootstep::Error> {
//! // Minimises (x - 3)² in each of three elements.
//! let mut parameters = [vec![0.0_f32, 10.0], vec![-5.0]];
//! let mut optimizer = Optimizer::builder(Rule::powerstep(0.01)).build()?;
//! for _ in 0..500 {
//!     let gradients = parameters.each_ref().map(|tensor| {
//!         tensor.iter().map(|x| 2.0 * (x - 3.0)).collect::<Vec<_>>()
//!     });
//!     optimizer.step(&mut parameters, &gradients)?;
//! }
//! assert!(parameters.iter().flatten().all(|x| (x - 3.0).abs() < 0.1));
//! # Ok(())
//! # }
//! ```
//!
//! A [`Rule`] says which step is taken; [`reference::step`](crate::reference::step) is its
//! specification, and the bits are the same on every instruction set and for any number of threads.
//! An [`Optimizer`] holds a rule for each group of tensors and the momentum of all; what concerns the
//! gradients of the whole model (their scale, clipping, and what happens if they are not finite) is
//! set in its [`Builder`]. Its learning rate can be [set](Optimizer::set_learning_rate) at every step: a
//! [`Schedule`] says to what, or a [`Plateau`], from the losses so far.

mod builder;
mod rule;
#[cfg(feature = "safetensors")]
mod safetensors;
mod schedule;
mod state;

pub use crate::step::{INT8_BLOCK, MomentumMut, Power, PowerOf, Step, TensorStep};
pub use builder::{Builder, NonFinite};
pub use rule::{MomentumFormat, Rule};
pub use schedule::{Plateau, Schedule};
pub use state::{Momentum, State};

use crate::element::Element;
use crate::error::Error;
use crate::executor::Executor;
use crate::inspection::Inspection;
use crate::setting;
use crate::slices::pairs;
use state::TensorState;

/// Takes the steps of a model, and holds their state.
///
/// See the [module](self) for an example.
#[derive(Debug, Clone)]
pub struct Optimizer<T: Element> {
    groups: Vec<Rule>,
    /// The group of each tensor; those behind the end are in the first.
    group_of: Vec<usize>,
    gradient_scale: f64,
    clip_norm: Option<f64>,
    clip_value: Option<f64>,
    non_finite: NonFinite,
    inspect: bool,
    executor: Executor,
    state: state::Tensors<T::Compute>,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct StepReport {
    /// Whether the step was taken. It is not if the gradients are not finite and such steps are
    /// [skipped](NonFinite::Skip).
    pub taken: bool,
    /// The gradients as they were given, before scaling: inspected if clipping by norm, the policy
    /// for non-finite gradients or [`Builder::with_inspection`] asks for it.
    pub inspection: Option<Inspection>,
    /// What clipping by norm multiplied the gradients by: 1 if the norm was within the limit.
    pub clip_factor: f64,
}

impl<T: Element> Optimizer<T> {
    /// A builder of an optimizer whose tensors follow `rule`, unless a group of theirs says otherwise.
    pub fn builder(rule: Rule) -> Builder<T> {
        Builder::new(rule)
    }

    /// Takes a step: one pass over the parameters, the gradients and the momentum, preceded by one
    /// that reads the gradients if they are to be inspected.
    ///
    /// `parameters` and `gradients` are the tensors of the model, each pair of one length, in the
    /// same order at every step. At the first step the momentum is allocated, if the rule has one.
    ///
    /// # Errors
    ///
    /// [`Error::TensorCount`] and [`Error::TensorLength`] if the tensors do not fit each other, or
    /// have another shape than at the last step; [`Error::NonFiniteGradient`] if the gradients are not
    /// finite and that is [an error](NonFinite::Error). Nothing is written then.
    pub fn step<P, G>(&mut self, parameters: &mut [P], gradients: &[G]) -> Result<StepReport, Error>
    where
        P: AsMut<[T]>,
        G: AsRef<[T]>,
    {
        self.check_counts(parameters.len(), gradients.len())?;
        let pairs = pairs(parameters, gradients).collect();
        // The numbers of the step are computed here.
        self.executor.in_default_environment(|| self.step_pairs(pairs))
    }

    /// The step on parameters and gradients, as many as there must be.
    fn step_pairs(&mut self, pairs: Vec<(&mut [T], &[T])>) -> Result<StepReport, Error> {
        self.check_lengths(&pairs)?;
        let mut report = StepReport { taken: true, inspection: None, clip_factor: 1.0 };
        if self.inspects() {
            let gradients: Vec<&[T]> = pairs.iter().map(|(_, gradient)| *gradient).collect();
            let inspection = self.executor.inspect(&gradients);
            report.inspection = Some(inspection);
            if let Some((tensor, index)) = inspection.first_non_finite {
                match self.non_finite {
                    NonFinite::Propagate => {}
                    NonFinite::Skip => return Ok(StepReport { taken: false, ..report }),
                    NonFinite::Error => {
                        let given = gradients[tensor][index].to_string();
                        return Err(Error::NonFiniteGradient { tensor, index, given });
                    }
                }
            }
            report.clip_factor = self.clip_factor(&inspection);
        }
        let lengths = pairs.iter().map(|(parameters, _)| parameters.len());
        self.state.prepare(lengths, |tensor| &self.groups[group(&self.group_of, tensor)]);
        self.update(pairs, report.clip_factor)?;
        // A file may say that there were as many as can be counted: the next is not the first again.
        self.state.steps = self.state.steps.saturating_add(1);
        Ok(report)
    }

    fn inspects(&self) -> bool {
        self.inspect || self.clip_norm.is_some() || self.non_finite != NonFinite::Propagate
    }

    /// What the gradients are multiplied by so that their norm is within the limit.
    fn clip_factor(&self, inspection: &Inspection) -> f64 {
        let norm = inspection.norm * self.gradient_scale;
        match self.clip_norm {
            // A norm of NaN makes the factor NaN.
            Some(limit) if norm > limit || norm.is_nan() => limit / norm,
            _ => 1.0,
        }
    }

    /// The one pass.
    fn update(&mut self, pairs: Vec<(&mut [T], &[T])>, clip_factor: f64) -> Result<(), Error> {
        let first = self.state.steps == 0;
        let factor = self.gradient_scale * clip_factor;
        let clip_value = self.clip_value.unwrap_or(f64::INFINITY);
        let tensors = pairs.into_iter().zip(&mut self.state.tensors).enumerate();
        let steps = tensors.map(|(i, ((parameters, gradient), state))| {
            let rule = &self.groups[group(&self.group_of, i)];
            let step = rule.step(first, factor, clip_value);
            TensorStep::new(step, parameters, gradient, state.momentum.as_mut())
        });
        self.executor.step_all(&mut steps.collect::<Vec<_>>())
    }

    fn check_counts(&self, parameters: usize, gradients: usize) -> Result<(), Error> {
        let expected = (self.state.steps > 0).then_some(self.state.tensors.len());
        let least = self.group_of.len();
        if parameters != gradients
            || expected.is_some_and(|expected| parameters != expected)
            || parameters < least
        {
            return Err(Error::TensorCount { parameters, gradients, expected, least });
        }
        Ok(())
    }

    fn check_lengths(&self, pairs: &[(&mut [T], &[T])]) -> Result<(), Error> {
        for (tensor, (parameters, gradient)) in pairs.iter().enumerate() {
            let (parameters, gradient) = (parameters.len(), gradient.len());
            let expected = self.state.tensors.get(tensor).map(|tensor| tensor.length);
            if parameters != gradient || expected.is_some_and(|expected| parameters != expected) {
                return Err(Error::TensorLength { tensor, parameters, gradient, expected });
            }
        }
        Ok(())
    }

    /// The steps taken, before the state was saved included.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.state.steps
    }

    /// The rules of the groups; the first is that of all tensors that are in no other.
    #[must_use]
    pub fn groups(&self) -> &[Rule] {
        &self.groups
    }

    /// Sets the learning rate of all groups.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if it is not finite, or below 0. Nothing is changed then.
    pub fn set_learning_rate(&mut self, learning_rate: f64) -> Result<(), Error> {
        setting::not_negative::<T::Compute>("the learning rate", learning_rate)?;
        for rule in &mut self.groups {
            rule.learning_rate = learning_rate;
        }
        Ok(())
    }

    /// Sets the learning rate of one group, by its index in [`groups`](Self::groups).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if it is not finite, or below 0, or if there is no such group.
    pub fn set_group_learning_rate(
        &mut self,
        group: usize,
        learning_rate: f64,
    ) -> Result<(), Error> {
        setting::not_negative::<T::Compute>("the learning rate", learning_rate)?;
        let count = self.groups.len();
        let Some(rule) = self.groups.get_mut(group) else {
            return Err(Error::invalid("the group", group, format!("0 to {}", count - 1)));
        };
        rule.learning_rate = learning_rate;
        Ok(())
    }

    /// Sets what every gradient is multiplied by: 1/scale under loss scaling, 1/n to average n
    /// gradients that were added up.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if it is not finite, or not above 0.
    pub fn set_gradient_scale(&mut self, gradient_scale: f64) -> Result<(), Error> {
        setting::positive::<T::Compute>("the gradient scale", gradient_scale)?;
        self.gradient_scale = gradient_scale;
        Ok(())
    }

    /// The momentum of a tensor, by its index in the model; none before the first step, or if there is no
    /// such tensor.
    #[must_use]
    pub fn momentum(&self, tensor: usize) -> Option<&Momentum<T::Compute>> {
        self.state.tensors.get(tensor).map(|tensor| &tensor.momentum)
    }

    /// Lends the momentum of a tensor, to be changed in place.
    #[must_use]
    pub fn momentum_mut(&mut self, tensor: usize) -> Option<MomentumMut<'_, T::Compute>> {
        self.state.tensors.get_mut(tensor).map(|tensor| tensor.momentum.as_mut())
    }

    /// Takes a momentum for a tensor, and gives back the one that it had: neither is copied.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidMomentum`] if there is no such tensor, as before the first step, or if the momentum
    /// has another length or format than the tensor's rule asks for. Nothing is changed then.
    ///
    /// ```
    /// use rootstep::optimizer::{Momentum, Optimizer, Rule};
    ///
    /// # fn main() -> Result<(), rootstep::Error> {
    /// let rule = Rule::sgd(0.1).with_momentum(0.9);
    /// let mut optimizer = Optimizer::<f32>::builder(rule).build()?;
    /// optimizer.step(&mut [[1.0, 2.0]], &[[4.0, 9.0]])?;
    /// let old = optimizer.replace_momentum(0, Momentum::new(&rule, 2))?;
    /// assert_eq!(old, Momentum::Full(vec![4.0, 9.0]));
    /// assert_eq!(optimizer.momentum(0), Some(&Momentum::Full(vec![0.0; 2])));
    /// # Ok(())
    /// # }
    /// ```
    pub fn replace_momentum(
        &mut self,
        tensor: usize,
        momentum: Momentum<T::Compute>,
    ) -> Result<Momentum<T::Compute>, Error> {
        let count = self.state.tensors.len();
        let Some(own) = self.state.tensors.get_mut(tensor) else {
            let problem =
                format!("there are {count} tensors; before the first step there are none");
            return Err(Error::InvalidMomentum { tensor, problem });
        };
        momentum.check(&self.groups[group(&self.group_of, tensor)], own.length).map_err(
            |problem| Error::InvalidMomentum { tensor, problem: format!("it {problem}") },
        )?;
        Ok(std::mem::replace(&mut own.momentum, momentum))
    }

    /// The bytes of the momentum of all tensors.
    #[must_use]
    pub fn momentum_bytes(&self) -> usize {
        self.state.tensors.iter().map(|tensor| tensor.momentum.bytes()).sum()
    }

    /// A copy of the state, to be saved.
    ///
    /// With the feature `serde` it can be serialised: a run that is saved, loaded and
    /// [restored](Self::restore) goes on with the same bits.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.save(T::NAME)
    }

    /// Goes on from a saved state. The rules are not part of it: build the optimizer as before.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidState`] if it is of another version or element type, is inconsistent, or does
    /// not fit the rules or the tensors of this optimizer. Nothing is changed then.
    pub fn restore(&mut self, state: &State) -> Result<(), Error> {
        let restored = state.load(T::NAME, |tensor| &self.groups[group(&self.group_of, tensor)])?;
        self.adopt(restored)
    }

    /// Takes over a state that fits the rules.
    fn adopt(&mut self, restored: state::Tensors<T::Compute>) -> Result<(), Error> {
        let lengths = |tensors: &[TensorState<T::Compute>]| {
            tensors.iter().map(|tensor| tensor.length).collect::<Vec<_>>()
        };
        let (own, other) = (lengths(&self.state.tensors), lengths(&restored.tensors));
        if restored.steps > 0 && other.len() < self.group_of.len() {
            let problem =
                format!("it has {} tensors, the groups name {}", other.len(), self.group_of.len());
            return Err(Error::InvalidState { problem });
        }
        if !own.is_empty() && !other.is_empty() && own != other {
            let problem =
                format!("its tensors have the lengths {other:?}, those of the model {own:?}");
            return Err(Error::InvalidState { problem });
        }
        self.state = restored;
        Ok(())
    }
}

/// The group of a tensor.
fn group(group_of: &[usize], tensor: usize) -> usize {
    group_of.get(tensor).copied().unwrap_or_default()
}
