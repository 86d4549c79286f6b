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
//! [`Schedule`] says to what, or a [`Plateau`], from the losses so far. A [`LossScale`] keeps gradients within
//! the range of f16.

mod builder;
#[cfg(feature = "safetensors")]
mod file;
mod loss_scale;
mod model;
mod momentum;
mod plateau;
mod rule;
mod schedule;
mod settings;
mod state;
mod storage;
#[cfg(any(feature = "serde", feature = "safetensors"))]
mod words;

pub use crate::draws::Draws;
pub use crate::rows::RowsStep;
pub use crate::step::{INT8_BLOCK, MomentumMut, Power, PowerOf, Step, StorageMut, TensorStep};
pub use builder::{Builder, NonFinite};
pub use loss_scale::LossScale;
pub use momentum::Momentum;
pub use plateau::Plateau;
pub use rule::{MomentumFormat, Rule};
pub use schedule::Schedule;
pub use state::State;
pub use storage::Storage;

use crate::element::Element;
use crate::error::Error;
use crate::executor::Executor;
use crate::float::Float as _;
use crate::inspection::Inspection;
use crate::slices::{pairs, slices};
use model::{Given, Model, Tensor, no_such_tensor};
use std::fmt;
use std::marker::PhantomData;
use storage::Extra;

/// Takes the steps of a model, and holds their state.
///
/// See the [module](self) for an example.
#[derive(Clone)]
pub struct Optimizer<T: Element, G: Element<Compute = <T as Element>::Compute> = T> {
    groups: Vec<Rule>,
    /// What the learning rates of all groups are multiplied by.
    rate_factor: f64,
    gradient_scale: f64,
    clip_norm: Option<f64>,
    clip_value: Option<f64>,
    non_finite: NonFinite,
    inspect: bool,
    executor: Executor,
    model: Model<T::Compute>,
    gradients: PhantomData<G>,
}

/// The settings, and a few numbers about the state: there may be millions of elements.
impl<T: Element, G: Element<Compute = T::Compute>> fmt::Debug for Optimizer<T, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lengths = self.model.tensors.iter().filter_map(|tensor| tensor.length);
        f.debug_struct("Optimizer")
            .field("element", &T::TYPE)
            .field("groups", &self.groups)
            .field("rate_factor", &self.rate_factor)
            .field("gradient_scale", &self.gradient_scale)
            .field("clip_norm", &self.clip_norm)
            .field("clip_value", &self.clip_value)
            .field("non_finite", &self.non_finite)
            .field("inspect", &self.inspect)
            .field("executor", &self.executor)
            .field("steps", &self.model.steps)
            .field("tensors", &self.model.tensors.len())
            .field("elements", &state::sum(lengths))
            .field("momentum_bytes", &self.momentum_bytes())
            .field("storage_bytes", &self.storage_bytes())
            .finish()
    }
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
}

impl<T: Element, G: Element<Compute = T::Compute>> Optimizer<T, G> {
    /// Takes a step: one pass over the parameters, the gradients and the momentum, preceded by one
    /// that reads the gradients if they are to be inspected.
    ///
    /// `parameters` and `gradients` are the tensors of the model, each pair of one length, in the
    /// same order at every step. If only their number and lengths stay the same, a change of the order can't be
    /// noticed: [`step_named`](Self::step_named) goes by names. The momentum of a tensor is allocated at its
    /// first step, if its rule has one.
    ///
    /// # Errors
    ///
    /// [`Error::TensorCount`] and [`Error::TensorLength`] if the tensors do not fit each other, or
    /// are others than the optimizer has; [`Error::NonFiniteGradient`] if the gradients are not
    /// finite and that is [an error](NonFinite::Error); [`Error::InvalidSetting`] if the norm is so far above
    /// the limit of [clipping](Builder::with_clip_norm) that the gradients would be multiplied by 0. Nothing is
    /// written then.
    pub fn step<P, A>(&mut self, parameters: &mut [P], gradients: &[A]) -> Result<StepReport, Error>
    where
        P: AsMut<[T]>,
        A: AsRef<[G]>,
    {
        self.model.check_counts(parameters.len(), gradients.len())?;
        let pairs = pairs(parameters, gradients).enumerate();
        self.take(pairs.map(|(tensor, (parameters, gradient))| Given {
            tensor,
            parameters,
            gradient: Some(gradient),
        }))
    }

    /// As [`step`](Self::step), for a model some of whose tensors have no gradient at this step, since they are
    /// frozen or were not used: they stay as they are, without decay, and so does their momentum. (PyTorch
    /// does the same where `grad` is `None`; a gradient of zeros is another thing.)
    ///
    /// The first step of a momentum is the first at which its tensor has a gradient.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    ///
    /// ```
    /// use rootstep::optimizer::{Optimizer, Rule};
    ///
    /// # fn main() -> Result<(), rootstep::Error> {
    /// let mut optimizer = Optimizer::<f32>::builder(Rule::sgd(1.0).with_weight_decay(0.5)).build()?;
    /// let mut parameters = [[4.0], [8.0]];
    /// optimizer.step_with_missing(&mut parameters, &[Some([1.0]), None])?;
    /// assert_eq!(parameters, [[1.0], [8.0]]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn step_with_missing<P, A>(
        &mut self,
        parameters: &mut [P],
        gradients: &[Option<A>],
    ) -> Result<StepReport, Error>
    where
        P: AsMut<[T]>,
        A: AsRef<[G]>,
    {
        self.model.check_counts(parameters.len(), gradients.len())?;
        let gradients = gradients.iter().map(|gradient| gradient.as_ref().map(A::as_ref));
        let given = slices(parameters).zip(gradients).enumerate();
        self.take(given.map(|(tensor, (parameters, gradient))| Given {
            tensor,
            parameters,
            gradient,
        }))
    }

    /// As [`step`](Self::step), by the [names](Builder::with_names) of the tensors, in any order: the bits do not
    /// depend on it. Tensors that are not named here, or have no gradient, stay as they are.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step); [`Error::TensorName`] if a name is unknown, or there twice.
    ///
    /// ```
    /// use rootstep::optimizer::{Optimizer, Rule};
    ///
    /// # fn main() -> Result<(), rootstep::Error> {
    /// let mut optimizer =
    ///     Optimizer::<f32>::builder(Rule::sgd(1.0)).with_names(["weight", "bias"]).build()?;
    /// let (mut weight, mut bias) = ([4.0, 5.0], [8.0]);
    /// optimizer.step_named([
    ///     ("bias", &mut bias[..], Some(&[1.0][..])),
    ///     ("weight", &mut weight[..], None),
    /// ])?;
    /// assert_eq!((weight, bias), ([4.0, 5.0], [7.0]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn step_named<'a, N: AsRef<str>>(
        &mut self,
        tensors: impl IntoIterator<Item = (N, &'a mut [T], Option<&'a [G]>)>,
    ) -> Result<StepReport, Error> {
        let mut given = Vec::new();
        for (name, parameters, gradient) in tensors {
            let tensor = self.model.find_or_error(name.as_ref())?;
            given.push(Given { tensor, parameters, gradient });
        }
        // The norm is a sum in the order of the tensors.
        given.sort_by_key(|given| given.tensor);
        if let Some(twice) = given.windows(2).find(|pair| pair[0].tensor == pair[1].tensor) {
            let name = self.model.file_name(twice[0].tensor);
            let problem = "allowed: each name once in a step".to_owned();
            return Err(Error::TensorName { name, problem });
        }
        self.take(given.into_iter())
    }

    /// The step on tensors of the model, in their order.
    fn take<'a>(
        &mut self,
        given: impl Iterator<Item = Given<'a, T, G>>,
    ) -> Result<StepReport, Error> {
        let given: Vec<Given<'a, T, G>> = given.collect();
        self.model.check_lengths(&given)?;
        // The numbers of the step are computed here.
        self.executor.in_default_environment(|| self.take_checked(given))
    }

    fn take_checked(&mut self, given: Vec<Given<'_, T, G>>) -> Result<StepReport, Error> {
        let mut report = StepReport { taken: true, inspection: None, clip_factor: 1.0 };
        let mut factor = self.gradient_scale;
        if self.inspects() {
            let inspection = self.inspect(&given);
            report.inspection = Some(inspection);
            if let Some((tensor, index)) = inspection.first_non_finite {
                match self.non_finite {
                    NonFinite::Propagate => {}
                    NonFinite::Skip => return Ok(StepReport { taken: false, ..report }),
                    NonFinite::Error => return Err(self.non_finite_error(&given, tensor, index)),
                }
            }
            (factor, report.clip_factor) = self.clip(&inspection)?;
        }
        self.update(given, factor)?;
        Ok(report)
    }

    fn inspects(&self) -> bool {
        self.inspect || self.clip_norm.is_some() || self.non_finite != NonFinite::Propagate
    }

    /// The health of the gradients that there are.
    fn inspect(&self, given: &[Given<'_, T, G>]) -> Inspection {
        let with_gradient = given.iter().filter_map(|given| Some((given.tensor, given.gradient?)));
        let (tensors, gradients): (Vec<usize>, Vec<&[G]>) = with_gradient.unzip();
        let mut inspection = self.executor.inspect(&gradients);
        if let Some((tensor, _)) = &mut inspection.first_non_finite {
            *tensor = tensors[*tensor];
        }
        inspection
    }

    fn non_finite_error(&self, given: &[Given<'_, T, G>], tensor: usize, index: usize) -> Error {
        let gradient =
            given.iter().find(|given| given.tensor == tensor).and_then(|given| given.gradient);
        let element = gradient.and_then(|gradient| gradient.get(index));
        Error::NonFiniteGradient {
            tensor,
            name: self.model.name(tensor).map(str::to_owned),
            index,
            given: element.map(ToString::to_string).unwrap_or_default(),
        }
    }

    /// What the gradients are multiplied by in all, and what clipping has of that.
    fn clip(&self, inspection: &Inspection) -> Result<(f64, f64), Error> {
        let scale = self.gradient_scale;
        let clip = |limit| Some((limit, inspection.clip_factor(limit, scale)?));
        let Some((limit, (factor, clip))) = self.clip_norm.and_then(clip) else {
            return Ok((scale, 1.0));
        };
        if inspection.is_finite() && T::Compute::from_f64(factor) == T::Compute::default() {
            let (norm, element) = (format!("{:e}", inspection.norm), T::Compute::NAME);
            let allowed =
                format!("more for gradients whose norm is {norm}: their factor is 0 in {element}");
            return Err(Error::invalid("the limit of the norm", format!("{limit:e}"), allowed));
        }
        Ok((factor, clip))
    }

    /// The one pass.
    fn update(&mut self, given: Vec<Given<'_, T, G>>, factor: f64) -> Result<(), Error> {
        self.model.meet(&given);
        let clip_value = self.clip_value.unwrap_or(f64::INFINITY);
        let (groups, rate_factor, taken) = (&self.groups, self.rate_factor, self.model.steps);
        let mut given = given.into_iter().filter(|given| given.gradient.is_some()).peekable();
        let mut stepping = Vec::new();
        for (i, tensor) in self.model.tensors.iter_mut().enumerate() {
            if let Some(Given { parameters, gradient: Some(gradient), .. }) =
                given.next_if(|given| given.tensor == i)
            {
                let rule = groups[tensor.group].scaled(rate_factor);
                let begins = tensor.begins(&rule);
                let step = rule.step(begins, factor, clip_value);
                // What begins is the tensor's only after the step.
                let momentum = begins.then(|| Momentum::new(&rule, parameters.len()));
                let extra = tensor.extra.begins(&rule);
                let extra = extra.then(|| Extra::begin(rule.storage, parameters));
                let new = (momentum, extra);
                stepping.push((i, step, rule.storage, parameters, gradient, tensor, new));
            }
        }
        let steps = stepping.iter_mut().map(
            |(i, step, storage, parameters, gradient, tensor, (momentum, extra))| {
                let Tensor { momentum: own, extra: own_extra, .. } = &mut **tensor;
                let momentum = momentum.as_mut().unwrap_or(own).as_mut();
                let storage = extra.as_mut().unwrap_or(own_extra).as_mut(*storage, taken, *i);
                TensorStep::new(*step, parameters, gradient, momentum).with_storage(storage)
            },
        );
        self.executor.step_all(&mut steps.collect::<Vec<_>>())?;
        for (.., tensor, (momentum, extra)) in stepping {
            if let Some(momentum) = momentum {
                tensor.momentum = momentum;
            }
            if let Some(extra) = extra {
                tensor.extra = extra;
            }
        }
        // A file may say that there were as many as can be counted.
        self.model.steps = self.model.steps.saturating_add(1);
        Ok(())
    }

    /// The steps taken, before the state was saved included.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.model.steps
    }

    /// How many tensors there are: 0 before the first step, unless they have [names](Builder::with_names) or
    /// were [added](Self::add_tensor).
    #[must_use]
    pub fn tensors(&self) -> usize {
        self.model.tensors.len()
    }

    /// The index of the tensor of this [name](Builder::with_names).
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.model.find(name)
    }

    /// The name of a tensor, if the tensors of this optimizer have names.
    #[must_use]
    pub fn name(&self, tensor: usize) -> Option<&str> {
        self.model.name(tensor)
    }

    /// Adds a tensor to the end of the model, which joins the training with its next step: its index is given
    /// back. It follows the rule of the `group`, an index in [`groups`](Self::groups).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if there is no such group, if the tensors of this optimizer have names, or if its
    /// groups name tensors by their indices and there was no step yet to tell how many there are.
    ///
    /// ```
    /// use rootstep::optimizer::{Optimizer, Rule};
    ///
    /// # fn main() -> Result<(), rootstep::Error> {
    /// let mut optimizer = Optimizer::<f32>::builder(Rule::sgd(1.0)).build()?;
    /// let mut parameters = vec![vec![4.0]];
    /// optimizer.step(&mut parameters, &[[1.0]])?;
    /// parameters.push(vec![8.0]);
    /// assert_eq!(optimizer.add_tensor(0)?, 1);
    /// optimizer.step(&mut parameters, &[[1.0], [1.0]])?;
    /// assert_eq!(parameters, [[2.0], [7.0]]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn add_tensor(&mut self, group: usize) -> Result<usize, Error> {
        self.rule(group)?;
        self.model.add(group)
    }

    /// As [`add_tensor`](Self::add_tensor), for an optimizer that was built with
    /// [names](Builder::with_names), be it none.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if there is no such group; [`Error::TensorName`] if there is a tensor of this
    /// name, or the tensors of this optimizer have no names.
    pub fn add_named_tensor(&mut self, name: &str, group: usize) -> Result<usize, Error> {
        self.rule(group)?;
        self.model.add_named(name.to_owned(), group)
    }

    /// The momentum of a tensor, by its index in the model; none if there is no such tensor.
    #[must_use]
    pub fn momentum(&self, tensor: usize) -> Option<&Momentum<T::Compute>> {
        self.model.tensors.get(tensor).map(|tensor| &tensor.momentum)
    }

    /// Lends the momentum of a tensor, to be changed in place.
    #[must_use]
    pub fn momentum_mut(&mut self, tensor: usize) -> Option<MomentumMut<'_, T::Compute>> {
        self.model.tensors.get_mut(tensor).map(|tensor| tensor.momentum.as_mut())
    }

    /// Takes a momentum for a tensor, and gives back the one that it had: neither is copied. With
    /// [`Momentum::None`] the next step of the tensor is its first.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidMomentum`] if there is no such tensor, as before the first step of tensors without
    /// names, or if the momentum has another length or format than the tensor's rule asks for. Nothing is
    /// changed then.
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
        let name = self.model.name(tensor).map(str::to_owned);
        let invalid = |problem| Error::InvalidMomentum { tensor, name, problem };
        let count = self.model.tensors.len();
        let Some(own) = self.model.tensors.get_mut(tensor) else {
            return Err(invalid(no_such_tensor(count)));
        };
        if let Err(problem) = momentum.check(&self.groups[own.group], own.length) {
            return Err(invalid(format!("it {problem}")));
        }
        match &momentum {
            // Before the first step the length is known of momentum, and of what is kept beside the parameters.
            Momentum::None if self.model.steps == 0 => own.length = own.extra.len(),
            Momentum::None => {}
            momentum => own.length = Some(momentum.len()),
        }
        Ok(std::mem::replace(&mut own.momentum, momentum))
    }

    /// The bytes of the momentum of all tensors.
    #[must_use]
    pub fn momentum_bytes(&self) -> usize {
        self.model.tensors.iter().map(|tensor| tensor.momentum.bytes()).sum()
    }

    /// The bytes of what is kept beside the parameters of all tensors, by their [`Storage`].
    #[must_use]
    pub fn storage_bytes(&self) -> usize {
        self.model.tensors.iter().map(|tensor| tensor.extra.bytes()).sum()
    }

    /// Writes the numbers of which the `parameters` of a tensor, by its index in the model, are what their
    /// [`Storage`] has of them: exact. Where nothing is kept beside them, they are these numbers themselves.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidStorage`] if there is no such tensor, as before the first step of tensors without names, or
    /// a length is another than the tensor's. Nothing is written then.
    ///
    /// ```
    /// # #[cfg(feature = "half")] {
    /// use half::bf16;
    /// use rootstep::optimizer::{Optimizer, Rule, Storage};
    ///
    /// # fn main() -> Result<(), rootstep::Error> {
    /// let rule = Rule::sgd(0.1).with_storage(Storage::Split16);
    /// let mut optimizer = Optimizer::<bf16>::builder(rule).with_names(["w"]).build()?;
    /// let (mut parameters, mut numbers) = ([bf16::ZERO; 2], [0.0; 2]);
    /// optimizer.write_master(0, &[0.1, -0.7], &mut parameters)?;
    /// optimizer.read_master(0, &parameters, &mut numbers)?;
    /// assert_eq!(numbers, [0.1, -0.7]);
    /// assert_eq!(parameters.map(f32::from), [0.100097656, -0.69921875]);
    /// # Ok(())
    /// # }
    /// # main().unwrap();
    /// # }
    /// ```
    pub fn read_master(
        &self,
        tensor: usize,
        parameters: &[T],
        numbers: &mut [T::Compute],
    ) -> Result<(), Error> {
        self.check_master(tensor, parameters.len(), numbers.len())?;
        let extra = &self.model.tensors[tensor].extra;
        self.executor.in_default_environment(|| {
            for (i, (number, &parameter)) in numbers.iter_mut().zip(parameters).enumerate() {
                *number = extra.number(i, parameter);
            }
        });
        Ok(())
    }

    /// Sets the parameters of a tensor to `numbers`, which is how to change them from outside: writes the `parameters`, and keeps what belongs beside them by
    /// their [`Storage`]. See [`read_master`](Self::read_master). (Without anything beside them, they become the
    /// nearest numbers of their type.)
    ///
    /// # Errors
    ///
    /// As for [`read_master`](Self::read_master).
    pub fn write_master(
        &mut self,
        tensor: usize,
        numbers: &[T::Compute],
        parameters: &mut [T],
    ) -> Result<(), Error> {
        self.check_master(tensor, parameters.len(), numbers.len())?;
        let own = &mut self.model.tensors[tensor];
        let rule = &self.groups[own.group];
        if own.extra.begins(rule) {
            own.extra = Extra::begin(rule.storage, parameters);
        }
        own.length = Some(parameters.len());
        self.executor.in_default_environment(|| {
            for (i, (&number, parameter)) in numbers.iter().zip(parameters).enumerate() {
                *parameter = own.extra.set_number(i, number);
            }
        });
        Ok(())
    }

    fn check_master(&self, tensor: usize, parameters: usize, numbers: usize) -> Result<(), Error> {
        let name = self.model.name(tensor).map(str::to_owned);
        let invalid = |problem| Err(Error::InvalidStorage { tensor, name, problem });
        let Some(own) = self.model.tensors.get(tensor) else {
            return invalid(no_such_tensor(self.model.tensors.len()));
        };
        let expected = own.length.unwrap_or(parameters);
        if parameters == expected && numbers == expected {
            return Ok(());
        }
        invalid(format!(
            "there are {parameters} parameters and {numbers} numbers; allowed: {expected} of each"
        ))
    }

    /// A copy of the state, to be saved.
    ///
    /// With the feature `serde` it can be serialised: a run that is saved, loaded and
    /// [restored](Self::restore) goes on with the same bits. With the feature `safetensors` there is a way
    /// without a copy, `write_safetensors`.
    #[must_use]
    pub fn state(&self) -> State {
        State::save(T::TYPE, &self.model, &self.groups)
    }

    /// Goes on from a saved state. The rules are not part of it: build the optimizer as before, with the rules
    /// that were [set](Self::set_rule) since. Tensors go by their names if they have
    /// [any](Builder::with_names), else by their indices; those that had joined an optimizer without names join
    /// this one, in the groups that they were in. Tensors must be [stored](Storage) as they were, but with any
    /// seed: those of the rules are taken.
    ///
    /// The state of an optimizer before its first step makes this one begin anew, with the tensors that it has.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidState`] if it is of another version or element type, is damaged or inconsistent, or does
    /// not fit the names, the rules or the tensors of this optimizer. Nothing is changed then.
    pub fn restore(&mut self, state: &State) -> Result<(), Error> {
        state.load(T::TYPE)?.adopt(&mut self.model, &self.groups)
    }
}
