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

pub use builder::{Builder, NonFinite};
pub use rule::{MomentumFormat, Power, PowerOf, Rule};
pub use schedule::{Plateau, Schedule};
pub use state::State;

use crate::kernels::{Place, StepPart};
use crate::{Element, Error, Executor, Inspection, setting};
use state::TensorState;

/// Takes the steps of a model, and holds their state.
///
/// See the [module](self) for an example.
#[derive(Debug, Clone)]
pub struct Optimizer<T> {
    groups: Vec<Rule>,
    /// The group of each tensor; those behind the end are in the first.
    group_of: Vec<usize>,
    gradient_scale: f64,
    clip_norm: Option<f64>,
    clip_value: Option<f64>,
    non_finite: NonFinite,
    inspect: bool,
    executor: Executor,
    state: state::Tensors<T>,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct StepReport {
    /// Whether the step was taken. It is not if the gradients are not finite and such steps are
    /// [skipped](NonFinite::Skip).
    pub taken: bool,
    /// The gradients as they were given, before scaling: inspected if clipping by norm, the policy
    /// for non-finite gradients or [`Builder::inspect`] asks for it.
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
        P: AsMut<[T]> + Send,
        G: AsRef<[T]> + Sync,
    {
        self.check_shapes(parameters, gradients)?;
        let mut report = StepReport { taken: true, inspection: None, clip_factor: 1.0 };
        if self.inspects() {
            let gradients: Vec<&[T]> = gradients.iter().map(G::as_ref).collect();
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
        self.state.prepare(parameters, |tensor| &self.groups[group(&self.group_of, tensor)]);
        self.update(parameters, gradients, report.clip_factor);
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
    fn update<P, G>(&mut self, parameters: &mut [P], gradients: &[G], clip_factor: f64)
    where
        P: AsMut<[T]> + Send,
        G: AsRef<[T]> + Sync,
    {
        let first = self.state.steps == 0;
        let factor = self.gradient_scale * clip_factor;
        let clip_value = self.clip_value.unwrap_or(f64::INFINITY);
        let bytes = self.state.elements() * size_of::<T>();
        let place = Place::of(bytes.saturating_mul(3));
        let (groups, group_of) = (&self.groups, &self.group_of);
        let tensors = parameters.iter_mut().zip(gradients).zip(&mut self.state.tensors);
        let parts = tensors.enumerate().flat_map(|(i, ((parameters, gradient), tensor))| {
            let step = groups[group(group_of, i)].step(first, factor, clip_value);
            let (parameters, gradient) = (parameters.as_mut(), gradient.as_ref());
            StepPart { step, parameters, gradient, momentum: tensor.momentum.as_mut(), place }
                .chunks()
        });
        self.executor.run(bytes, parts);
    }

    fn check_shapes<P, G>(&self, parameters: &mut [P], gradients: &[G]) -> Result<(), Error>
    where
        P: AsMut<[T]>,
        G: AsRef<[T]>,
    {
        let expected = (self.state.steps > 0).then_some(self.state.tensors.len());
        let least = self.group_of.len();
        let (given, of_gradients) = (parameters.len(), gradients.len());
        if given != of_gradients
            || expected.is_some_and(|expected| given != expected)
            || given < least
        {
            let parameters = given;
            return Err(Error::TensorCount {
                parameters,
                gradients: of_gradients,
                expected,
                least,
            });
        }
        for (tensor, (parameters, gradient)) in parameters.iter_mut().zip(gradients).enumerate() {
            let (parameters, gradient) = (parameters.as_mut().len(), gradient.as_ref().len());
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
        setting::not_negative::<T>("the learning rate", learning_rate)?;
        for rule in &mut self.groups {
            rule.learning_rate = learning_rate;
        }
        Ok(())
    }

    /// Sets the learning rate of one group, by its place in [`groups`](Self::groups).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if it is not finite, or below 0, or if there is no such group.
    pub fn set_group_learning_rate(
        &mut self,
        group: usize,
        learning_rate: f64,
    ) -> Result<(), Error> {
        setting::not_negative::<T>("the learning rate", learning_rate)?;
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
        setting::positive::<T>("the gradient scale", gradient_scale)?;
        self.gradient_scale = gradient_scale;
        Ok(())
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
        self.state.save()
    }

    /// Goes on from a saved state. The rules are not part of it: build the optimizer as before.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidState`] if it is of another version or element type, is inconsistent, or does
    /// not fit the rules or the tensors of this optimizer. Nothing is changed then.
    pub fn restore(&mut self, state: &State) -> Result<(), Error> {
        let restored = state.load::<T>(|tensor| &self.groups[group(&self.group_of, tensor)])?;
        self.adopt(restored)
    }

    /// Takes over a state that fits the rules.
    fn adopt(&mut self, restored: state::Tensors<T>) -> Result<(), Error> {
        let lengths = |tensors: &[TensorState<T>]| {
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
