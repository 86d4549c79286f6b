//! The training: gradients in, parameters out.

use crate::agreement::Description;
use crate::border::Buffer;
use crate::builder::Builder;
use crate::error::{Error, Phase};
use crate::exchange::Exchange;
use crate::group::{Group, PARAMETERS};
use crate::health::{Findings, Health};
use crate::layout::Layout;
use crate::state::PieceState;
use crate::{Parameter, Wire, checkpoint};
use rootstep::optimizer::{NonFinite, Rule, Step, StorageMut, TensorStep};
use rootstep::{Executor, Float as _, Inspection};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::path::Path;

/// What all ranks have in common.
#[derive(Debug, Clone)]
pub struct Settings<T> {
    pub rules: Vec<Rule>,
    /// The rule of each tensor.
    pub group_of: Vec<usize>,
    pub micro_batches: usize,
    pub rate_factor: f64,
    pub gradient_scale: f64,
    pub clip_norm: Option<f64>,
    pub clip_value: Option<f64>,
    pub non_finite: NonFinite,
    pub executor: Executor,
    pub elements: PhantomData<T>,
}

impl<T: Parameter> Settings<T> {
    /// Whether the gradient must be known as a whole before a step.
    fn inspects(&self) -> bool {
        self.clip_norm.is_some() || self.non_finite != NonFinite::Propagate
    }

    pub fn rule_of(&self, tensor: usize) -> Rule {
        self.rules[self.group_of[tensor]]
    }

    /// What a checkpoint must have in common with a training that goes on from it, too.
    pub fn describe(&self, all: &mut Description, lengths: &[usize]) {
        all.add("the number of micro-batches", self.micro_batches);
        all.add("the type of the parameters", T::TYPE);
        all.add("the number of tensors", lengths.len());
        for (tensor, length) in lengths.iter().enumerate() {
            all.add(format!("the length of tensor {tensor}"), length);
            let rule = self.rule_of(tensor);
            let momentum = match rootstep::optimizer::Momentum::<T::Compute>::new(&rule, 0) {
                rootstep::optimizer::Momentum::None => "none".to_owned(),
                _ => format!("{:?}", rule.momentum_format),
            };
            all.add(format!("the format of the momentum of tensor {tensor}"), momentum);
            let storage = format!("{:?}", rule.storage);
            let kind = storage.split(' ').next().unwrap_or_default();
            all.add(format!("the storage of tensor {tensor}"), kind);
        }
    }

    /// What may change from step to step, on all ranks.
    fn checksum(&self) -> u32 {
        let rates = self.rules.iter().map(|rule| rule.learning_rate);
        let all = rates.chain([self.rate_factor, self.gradient_scale]);
        crc32fast::hash(&all.flat_map(|number| number.to_bits().to_le_bytes()).collect::<Vec<_>>())
    }

    /// The step of each group: all of them on all ranks, so that an error is one of all.
    fn steps(&self, first: bool, factor: f64) -> Result<Vec<Step<T::Compute>>, Error> {
        let step = |rule: &Rule| {
            let mut rule = *rule;
            rule.learning_rate *= self.rate_factor;
            let step = if first { Step::first(&rule)? } else { Step::later(&rule)? };
            let step = step.with_gradient_factor(factor)?;
            Ok(match self.clip_value {
                None => step,
                Some(limit) => step.with_clip_value(limit)?,
            })
        };
        self.rules.iter().map(step).collect()
    }

    /// What the gradient is multiplied by in all, and what clipping has of that: as the optimizer of one machine does it.
    fn clip(&self, inspection: &Inspection) -> Result<(f64, f64), Error> {
        let scale = self.gradient_scale;
        let clip = |limit| Some((limit, inspection.clip_factor(limit, scale)?));
        let Some((limit, (factor, clip))) = self.clip_norm.and_then(clip) else {
            return Ok((scale, 1.0));
        };
        if T::Compute::from_f64(factor) == T::Compute::default() {
            let allowed = format!(
                "more for gradients whose norm is {:e}: their factor is 0 in {}",
                inspection.norm,
                T::TYPE
            );
            return Err(Error::invalid("the limit of the norm", format!("{limit:e}"), allowed));
        }
        Ok((factor, clip))
    }
}

/// What a step has done: the same on all ranks.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct StepReport {
    /// Whether the step was taken: not if gradients are not finite, and [`NonFinite::Skip`] is the policy.
    pub taken: bool,
    /// What was found in the sum of the gradients, if a setting asks for it: with the bits of [`rootstep::inspect`].
    pub inspection: Option<Inspection>,
    /// What clipping by norm has multiplied the gradient by.
    pub clip_factor: f64,
    /// The bytes that this rank has sent to others for this step: sums, parameters, and what goes with them.
    pub sent_bytes: u64,
}

/// Data-parallel training over the ranks of a communicator: every rank has all parameters, and the state of one shard of
/// them.
///
/// `T` is the type of the parameters, `W` that in which sums of gradients are sent: that in which is computed, or bf16
/// ([`Builder::with_sums_in_bf16`]).
///
/// For each step every rank gives the gradient of each tensor for each of its micro-batches
/// ([`accumulate`](Self::accumulate)), and calls [`step`](Self::step). All ranks must make the same other calls in the same
/// order. A trainer that is dropped tells the other ranks so: what they wait for then is an error at once, not at the time
/// limit.
///
/// MPI is called from the thread of the trainer alone.
pub struct Trainer<T: Parameter, W: Wire<Compute = T::Compute> = <T as rootstep::Element>::Compute>
{
    pub(crate) group: Option<Group<'static>>,
    pub(crate) settings: Settings<T>,
    pub(crate) layout: Layout,
    exchange: Exchange<W>,
    pub(crate) parameters: Buffer<T>,
    pub(crate) state: Vec<PieceState<T::Compute>>,
    findings: Findings,
    /// The sum of the gradients for the shard, if it must be known before the step.
    summed: Vec<T::Compute>,
    pub(crate) steps: u64,
    sent_before: u64,
    /// The error after which nothing more can be done.
    broken: Option<String>,
}

impl<T: Parameter> Trainer<T> {
    /// A builder of a training by this rule, for batches of as many micro-batches on all ranks together: that number belongs
    /// to the training, and not to the ranks.
    pub fn builder(rule: Rule, micro_batches: usize) -> Builder<T, T::Compute> {
        Builder::new(rule, micro_batches)
    }
}

impl<T: Parameter, W: Wire<Compute = T::Compute>> Trainer<T, W> {
    pub(crate) fn new(
        group: Group<'static>,
        settings: Settings<T>,
        layout: Layout,
        held: &[Range<usize>],
        parameters: Vec<T>,
    ) -> Result<Self, Error> {
        let shard = layout.shard(group.rank());
        let own = &parameters[shard.clone()];
        let rule_of = |tensor| settings.rule_of(tensor);
        let state = PieceState::of_shard(&layout, &shard, rule_of, own);
        let summed = if settings.inspects() { shard.len() } else { 0 };
        Ok(Self {
            state,
            exchange: Exchange::new(&layout, held, group.rank())?,
            findings: Findings::new(&layout, group.ranks()),
            summed: vec![T::Compute::default(); summed],
            parameters: Buffer::new(parameters),
            group: Some(group),
            settings,
            layout,
            steps: 0,
            sent_before: 0,
            broken: None,
        })
    }

    /// This rank.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.group.as_ref().map_or(0, Group::rank)
    }

    /// How many ranks there are.
    #[must_use]
    pub fn ranks(&self) -> usize {
        self.group.as_ref().map_or(0, Group::ranks)
    }

    /// The micro-batches of this rank.
    #[must_use]
    pub fn held(&self) -> Range<usize> {
        self.exchange.held()
    }

    /// How many micro-batches a batch has, on all ranks.
    #[must_use]
    pub const fn micro_batches(&self) -> usize {
        self.settings.micro_batches
    }

    /// How many tensors there are.
    #[must_use]
    pub const fn tensors(&self) -> usize {
        self.layout.tensors()
    }

    /// The parameters of a tensor: the same on all ranks after each step.
    ///
    /// # Panics
    ///
    /// If there is no such tensor, or after an error that is [fatal](Error::is_fatal), when parameters may be those of
    /// different steps.
    #[must_use]
    pub fn parameters(&self, tensor: usize) -> &[T] {
        assert!(self.broken.is_none(), "the training has ended: {:?}", self.broken);
        self.parameters.slice(self.layout.tensor(tensor))
    }

    /// The steps taken, before a checkpoint was loaded included.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// The elements of the model that this rank has the state of, counted through all tensors.
    #[must_use]
    pub fn shard(&self) -> Range<usize> {
        self.layout.shard(self.rank())
    }

    /// The bytes that this rank has sent to other ranks.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.group.as_ref().map_or(0, |group| group.link().sent_bytes())
    }

    /// Sets the learning rate of all groups, on all ranks: those of the next step are compared.
    ///
    /// # Errors
    ///
    /// [`Error::Step`] if it is not finite, or below 0. Nothing is changed then.
    pub fn set_learning_rate(&mut self, learning_rate: f64) -> Result<(), Error> {
        let mut settings = self.settings.clone();
        settings.rules.iter_mut().for_each(|rule| rule.learning_rate = learning_rate);
        self.change(settings)
    }

    /// Sets what the learning rates of all groups are multiplied by, on all ranks: 1 at first, and not part of a checkpoint.
    ///
    /// # Errors
    ///
    /// As for [`set_learning_rate`](Self::set_learning_rate).
    pub fn set_learning_rate_factor(&mut self, rate_factor: f64) -> Result<(), Error> {
        self.change(Settings { rate_factor, ..self.settings.clone() })
    }

    /// Sets the gradient scale, on all ranks.
    ///
    /// # Errors
    ///
    /// [`Error::Step`] if it is not finite, or not above 0. Nothing is changed then.
    pub fn set_gradient_scale(&mut self, gradient_scale: f64) -> Result<(), Error> {
        self.change(Settings { gradient_scale, ..self.settings.clone() })
    }

    fn change(&mut self, settings: Settings<T>) -> Result<(), Error> {
        settings.steps(true, settings.gradient_scale)?;
        self.settings = settings;
        Ok(())
    }

    /// Takes the gradient of a tensor for a micro-batch of this rank. It is read now, and not needed any more.
    ///
    /// For each tensor the micro-batches come in their order; tensors come in any, as a backward pass has them. What is
    /// complete is on its way to the other ranks when this returns, and moves on with each call.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if it is not the next one of the tensor, or has another length; nothing is changed then. Else those
    /// of the exchange.
    pub fn accumulate<G: rootstep::Element<Compute = T::Compute>>(
        &mut self,
        tensor: usize,
        micro_batch: usize,
        gradient: &[G],
    ) -> Result<(), Error> {
        let group = self.group.as_mut().filter(|_| self.broken.is_none());
        let Some(group) = group else { return Err(self.broken()) };
        let place = (tensor, micro_batch);
        let executor = self.settings.executor;
        let taken = self.exchange.accumulate(group, executor, &self.layout, place, gradient);
        self.note(taken)
    }

    /// Takes the step, by the sum of the gradients of all ranks. After it all ranks have the same parameters.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if gradients of this rank are missing: give them, and call it again; and on all ranks if gradients
    /// are not finite and the policy is [`NonFinite::Error`], or if the norm is too large to be clipped at the limit: the step
    /// is not taken then, and the next may follow. Else those of the exchange.
    pub fn step(&mut self) -> Result<StepReport, Error> {
        let taken = self.take_step();
        self.note(taken)
    }

    fn take_step(&mut self) -> Result<StepReport, Error> {
        let Some(group) = self.group.as_mut().filter(|_| self.broken.is_none()) else {
            return Err(self.broken());
        };
        self.exchange.wait(group, &self.layout, self.settings.checksum())?;
        let decided = if self.settings.inspects() {
            self.decide()
        } else {
            Ok((Some(self.settings.gradient_scale), None, 1.0))
        };
        let taken = decided.and_then(|(factor, inspection, clip_factor)| {
            if let Some(factor) = factor {
                self.update(factor)?;
            }
            Ok((factor.is_some(), inspection, clip_factor))
        });
        if taken.as_ref().is_err_and(Error::is_fatal) {
            return taken.map(|_| unreachable!("it is an error"));
        }
        self.end_step(taken.as_ref().is_ok_and(|(taken, ..)| *taken))?;
        let (taken, inspection, clip_factor) = taken?;
        let sent = self.sent_bytes();
        let sent_bytes = sent - std::mem::replace(&mut self.sent_before, sent);
        Ok(StepReport { taken, inspection, clip_factor, sent_bytes })
    }

    /// What the gradient is multiplied by, if the step is to be taken; what was found; and the factor of clipping.
    fn decide(&mut self) -> Result<(Option<f64>, Option<Inspection>, f64), Error> {
        let (executor, shard) = (self.settings.executor, self.shard());
        let terms = self.exchange.terms(&shard);
        executor.sum_all(self.exchange.order(), &terms, &mut self.summed)?;
        let Some(group) = &mut self.group else { return Err(self.broken()) };
        let found = self.findings.inspect(group, executor, &self.layout, &self.summed)?;
        let Health { inspection, value } = found;
        if let Some((tensor, index)) = inspection.first_non_finite {
            match self.settings.non_finite {
                NonFinite::Skip => return Ok((None, Some(inspection), 1.0)),
                NonFinite::Error => {
                    let what =
                        format!("element {index} of the sum of gradients of tensor {tensor}");
                    return Err(Error::invalid(what, value, "finite numbers"));
                }
                _ => {}
            }
        }
        let (factor, clip_factor) = self.settings.clip(&inspection)?;
        Ok((Some(factor), Some(inspection), clip_factor))
    }

    /// The step on this rank's shard.
    fn update(&mut self, factor: f64) -> Result<(), Error> {
        let shard = self.layout.shard(self.rank());
        let (first, inspected) = (self.steps == 0, self.settings.inspects());
        let steps = self.settings.steps(first, factor)?;
        let terms: Vec<_> = if inspected {
            Vec::new()
        } else {
            self.state.iter().map(|state| self.exchange.terms(&state.piece.range)).collect()
        };
        let mut rest = self.parameters.slice_mut(shard.clone());
        let mut tensors = Vec::with_capacity(self.state.len());
        for (i, state) in self.state.iter_mut().enumerate() {
            let range = state.piece.range.clone();
            let step = steps[self.settings.group_of[state.piece.tensor]];
            let own;
            (own, rest) = rest.split_at_mut(range.len());
            let storage = self.settings.rule_of(state.piece.tensor).storage;
            let (momentum, storage): (_, StorageMut<'_>) = state.lend(storage, self.steps);
            let tensor = if inspected {
                let gradient = &self.summed[range.start - shard.start..range.end - shard.start];
                TensorStep::new(step, own, gradient, momentum)
            } else {
                TensorStep::of_sum(step, own, self.exchange.order(), &terms[i], momentum)
            };
            tensors.push(tensor.with_storage(storage));
        }
        self.settings.executor.step_all(&mut tensors)?;
        Ok(())
    }

    /// Sends what this rank has stepped to all others, and waits for theirs and for all that is being sent.
    fn end_step(&mut self, taken: bool) -> Result<(), Error> {
        if taken {
            self.steps += 1;
            self.send_parameters(Phase::Parameters)?;
        }
        self.wait_for_parameters(Phase::Parameters)?;
        self.exchange.end();
        Ok(())
    }

    fn send_parameters(&mut self, phase: Phase) -> Result<(), Error> {
        let Some(group) = &mut self.group else { return Err(self.broken()) };
        let own = self.layout.shard(group.rank());
        for other in group.link().others() {
            let sent = self.parameters.send(group.link(), own.clone(), other, PARAMETERS);
            let of_other = self.layout.shard(other);
            let begun = sent
                .and_then(|()| self.parameters.receive(group.link(), of_other, other, PARAMETERS));
            group.mpi(phase, begun)?;
        }
        Ok(())
    }

    fn wait_for_parameters(&mut self, phase: Phase) -> Result<(), Error> {
        let Some(group) = &mut self.group else { return Err(self.broken()) };
        let [sums, stamps] = self.exchange.sending();
        group.wait(phase, &mut [sums, stamps, &mut self.parameters])?;
        group.complete();
        group.steps = self.steps;
        Ok(())
    }

    /// Every rank gets the shards of all others.
    pub(crate) fn share_parameters(&mut self, phase: Phase) -> Result<(), Error> {
        self.send_parameters(phase)?;
        self.wait_for_parameters(phase)
    }

    /// Saves a checkpoint in a folder that all ranks see: a folder for each, named by the steps taken. It is there as a whole
    /// or not at all. What was saved after as many steps before is replaced.
    ///
    /// # Errors
    ///
    /// [`Error::Checkpoint`] on all ranks, if one of them cannot write; the training can go on. Else those of waiting.
    pub fn save(&mut self, folder: impl AsRef<Path>) -> Result<(), Error> {
        if self.broken.is_some() {
            return Err(self.broken());
        }
        let saved = checkpoint::save(self, folder.as_ref());
        self.note(saved)
    }

    /// Goes on from the newest checkpoint in a folder, which any number of ranks may have saved. What comes back is how many
    /// steps it had taken.
    ///
    /// Before this, build the trainer as it was built then, with parameters of the same lengths; learning rates, limits and
    /// policies are those of the builder.
    ///
    /// # Errors
    ///
    /// [`Error::Checkpoint`] on all ranks, if there is none, it is damaged, or it is not of such a training; nothing is changed
    /// then. Else those of waiting.
    pub fn resume(&mut self, folder: impl AsRef<Path>) -> Result<u64, Error> {
        if self.broken.is_some() {
            return Err(self.broken());
        }
        let loaded = checkpoint::load(self, folder.as_ref());
        self.note(loaded)
    }

    /// Ends the training, once all ranks have come to its end.
    ///
    /// # Errors
    ///
    /// Those of waiting.
    pub fn finish(mut self) -> Result<(), Error> {
        if self.broken.is_some() {
            return Err(self.broken());
        }
        let Some(mut group) = self.group.take() else { return Err(self.broken()) };
        match group.consent(Phase::Finish, Ok(Vec::new()))? {
            Ok(_) => group.end(),
            Err(refusal) => Err(Error::Left {
                rank: refusal.rank,
                reason: refusal.reason,
                phase: Phase::Finish,
            }),
        }
    }

    /// Remembers an error after which nothing more can be done.
    fn note<R>(&mut self, result: Result<R, Error>) -> Result<R, Error> {
        if let Err(error) = &result
            && error.is_fatal()
            && self.broken.is_none()
        {
            self.broken = Some(error.to_string());
        }
        result
    }

    fn broken(&self) -> Error {
        let problem = self.broken.clone().unwrap_or_else(|| "its end".to_owned());
        Error::Broken { problem }
    }
}

impl<T: Parameter, W: Wire<Compute = T::Compute>> Drop for Trainer<T, W> {
    fn drop(&mut self) {
        if let Some(group) = &mut self.group {
            let why =
                if std::thread::panicking() { "it has panicked" } else { "its training was ended" };
            group.say_farewell(why);
        }
    }
}

impl<T: Parameter, W: Wire<Compute = T::Compute>> fmt::Debug for Trainer<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trainer")
            .field("rank", &self.rank())
            .field("ranks", &self.ranks())
            .field("held", &self.held())
            .field("shard", &self.shard())
            .field("steps", &self.steps)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}
