//! The settings of a training.

use crate::agreement::{self, Description, PROTOCOL};
use crate::border::Link;
use crate::error::Error;
use crate::group::{Group, MOST_BUCKETS};
use crate::layout::{Layout, share};
use crate::trainer::{Settings, Trainer};
use crate::{Parameter, Wire};
use bytemuck::cast_slice;
use half::bf16;
use mpi::Threading;
use mpi::topology::Communicator;
use rootstep::Executor;
use rootstep::optimizer::{NonFinite, Optimizer, Rule};
use std::marker::PhantomData;
use std::ops::Range;
use std::time::Duration;

/// Builds a [`Trainer`].
///
/// All ranks must give the same settings, but for their own micro-batches ([`with_held`](Self::with_held)), the
/// [executor](Self::with_executor) and the [time limit](Self::with_time_limit); else each of them gets an error.
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder<T, W> {
    groups: Vec<(Rule, Vec<usize>)>,
    micro_batches: usize,
    held: Option<Range<usize>>,
    gradient_scale: f64,
    clip_norm: Option<f64>,
    clip_value: Option<f64>,
    non_finite: NonFinite,
    executor: Executor,
    bucket_bytes: usize,
    time_limit: Duration,
    elements: PhantomData<(T, W)>,
}

impl<T, W> Builder<T, W> {
    pub(crate) fn new(rule: Rule, micro_batches: usize) -> Self {
        Self {
            groups: vec![(rule, Vec::new())],
            micro_batches,
            held: None,
            gradient_scale: 1.0,
            clip_norm: None,
            clip_value: None,
            non_finite: NonFinite::default(),
            executor: Executor::default(),
            bucket_bytes: 16 << 20,
            time_limit: Duration::from_secs(300),
            elements: PhantomData,
        }
    }

    /// A group of tensors, by their indices in the model, that follow a rule of their own.
    pub fn with_group(mut self, rule: Rule, tensors: impl IntoIterator<Item = usize>) -> Self {
        self.groups.push((rule, tensors.into_iter().collect()));
        self
    }

    /// The micro-batches of this rank, a range of those of the batch, perhaps of none. The ranks have them in their order.
    /// The default shares them out evenly: rank r of n has those from `r*K/n` to `(r+1)*K/n`, rounded down.
    ///
    /// The bits do not depend on it, but what is sent does: a rank sends a sum for each node of the tree that it has whole
    /// ([`rootstep::sums::nodes`]). A rank with 4..8 of 8 sends one, and one with 3..6 three.
    pub fn with_held(self, held: Range<usize>) -> Self {
        Self { held: Some(held), ..self }
    }

    /// What the sum of the gradients is multiplied by before anything else: 1/K for their mean, 1/scale under loss scaling.
    /// The default is 1.
    pub fn with_gradient_scale(self, gradient_scale: f64) -> Self {
        Self { gradient_scale, ..self }
    }

    /// Multiplies the gradient by limit / norm if the norm of the whole of it, after the scale, is above the limit. It needs
    /// a [policy](Self::with_non_finite) for what is not finite.
    pub fn with_clip_norm(self, limit: f64) -> Self {
        Self { clip_norm: Some(limit), ..self }
    }

    /// Limits the magnitude of each element of the gradient, after its scale and clipping by norm.
    pub fn with_clip_value(self, limit: f64) -> Self {
        Self { clip_value: Some(limit), ..self }
    }

    /// What happens if the sum of the gradients has an element that is NaN or infinite, on any rank: one decision for all.
    pub fn with_non_finite(self, non_finite: NonFinite) -> Self {
        Self { non_finite, ..self }
    }

    /// The instruction set and the threads of this rank; the bits do not depend on them.
    pub fn with_executor(self, executor: Executor) -> Self {
        Self { executor, ..self }
    }

    /// About how many bytes of sums make a bucket, which is sent as soon as it is complete. The default is 16 MiB. The bits
    /// do not depend on it.
    pub fn with_bucket_bytes(self, bucket_bytes: usize) -> Self {
        Self { bucket_bytes, ..self }
    }

    /// How long a rank waits without anything coming, before it gives up. The default is five minutes: longer than ranks can
    /// be apart, with what each does between two steps.
    pub fn with_time_limit(self, time_limit: Duration) -> Self {
        Self { time_limit, ..self }
    }

    /// The sums of gradients are sent in bf16, which halves what is sent of them. Each node of the tree is rounded
    /// ([`rootstep::sums::SumOrder::in_bf16`]), whoever has it, so that the bits still do not depend on the ranks.
    pub fn with_sums_in_bf16(self) -> Builder<T, bf16> {
        Builder {
            groups: self.groups,
            micro_batches: self.micro_batches,
            held: self.held,
            gradient_scale: self.gradient_scale,
            clip_norm: self.clip_norm,
            clip_value: self.clip_value,
            non_finite: self.non_finite,
            executor: self.executor,
            bucket_bytes: self.bucket_bytes,
            time_limit: self.time_limit,
            elements: PhantomData,
        }
    }
}

impl<T: Parameter, W: Wire<Compute = T::Compute>> Builder<T, W> {
    /// Begins the training of these parameters, of all tensors of the model, with the ranks of a communicator. All ranks must
    /// call it, with the same parameters.
    ///
    /// Until it returns messages of the communicator with the tags 32,001 and 32,002 are this package's; after that it has a
    /// communicator of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Disagreement`] on all ranks if they do not agree, or a setting of one of them is not valid;
    /// [`Error::TimedOut`] if one does not come.
    pub fn build<P: AsRef<[T]>>(
        self,
        communicator: &impl Communicator,
        parameters: &[P],
    ) -> Result<Trainer<T, W>, Error> {
        if communicator.test_inter() {
            let allowed = "one of a single group of ranks";
            return Err(Error::invalid("the communicator", "one between groups", allowed));
        }
        let phase = crate::Phase::Agreement;
        let link = Link::lent(communicator).map_err(|problem| Error::Mpi { phase, problem })?;
        let (rank, ranks) = (link.rank(), link.ranks());
        let lengths: Vec<_> = parameters.iter().map(|tensor| tensor.as_ref().len()).collect();
        let even = || {
            let begin = |rank| share(self.micro_batches, ranks, rank);
            begin(rank)..begin(rank + 1)
        };
        let held = self.held.clone().unwrap_or_else(even);
        let settings = self.settings(&lengths);
        let description =
            settings.as_ref().map(|settings| self.describe(settings, &lengths, parameters));

        let mut group = Group::new(link, self.time_limit, 0);
        let held = agreement::agree(
            &mut group,
            description.as_ref().map_err(|error| *error),
            self.micro_batches,
            held,
        )?;
        let group = group.duplicate()?;
        let bucket = self.bucket_bytes / size_of::<W>();
        let layout = Layout::new(&lengths, ranks, bucket, MOST_BUCKETS);
        let flat = parameters.iter().flat_map(AsRef::as_ref).copied().collect();
        Trainer::new(group, settings?, layout, &held, flat)
    }

    /// The settings, if they are valid.
    fn settings(&self, lengths: &[usize]) -> Result<Settings<T>, Error> {
        let mut groups = self.groups.iter().cloned();
        let (rule, _) = groups.next().expect("there is a first rule");
        let mut builder = Optimizer::<T>::builder(rule).with_gradient_scale(self.gradient_scale);
        let mut group_of = vec![0; lengths.len()];
        for (group, (rule, tensors)) in (1..).zip(groups) {
            if let Some(&tensor) = tensors.iter().find(|&&tensor| tensor >= lengths.len()) {
                let allowed = format!("below {}, as there are tensors", lengths.len());
                return Err(Error::invalid("a tensor of a group", tensor, allowed));
            }
            for &tensor in &tensors {
                group_of[tensor] = group;
            }
            builder = builder.with_group(rule, tensors);
        }
        if let Some(limit) = self.clip_norm {
            builder = builder.with_clip_norm(limit);
        }
        if let Some(limit) = self.clip_value {
            builder = builder.with_clip_value(limit);
        }
        // The optimizer of one machine checks all of this.
        let rules = builder.build()?.groups().to_vec();
        self.check()?;
        Ok(Settings {
            rules,
            group_of,
            micro_batches: self.micro_batches,
            rate_factor: 1.0,
            gradient_scale: self.gradient_scale,
            clip_norm: self.clip_norm,
            clip_value: self.clip_value,
            non_finite: self.non_finite,
            executor: self.executor,
            elements: PhantomData,
        })
    }

    /// What the optimizer of one machine has not.
    fn check(&self) -> Result<(), Error> {
        // (It says what is allowed.)
        rootstep::sums::SumOrder::of_terms(self.micro_batches).map_err(|_| {
            let allowed = format!("1 to {}", rootstep::sums::MOST_MICRO_BATCHES);
            Error::invalid("the number of micro-batches", self.micro_batches, allowed)
        })?;
        if let Some(held) = &self.held
            && (held.start > held.end || held.end > self.micro_batches)
        {
            let allowed = format!("a range in 0..{}", self.micro_batches);
            return Err(Error::invalid("the range of micro-batches", format!("{held:?}"), allowed));
        }
        if self.clip_norm.is_some() && self.non_finite == NonFinite::Propagate {
            let allowed = "Skip or Error with clipping by norm";
            return Err(Error::invalid("the policy for what is not finite", "Propagate", allowed));
        }
        if self.time_limit.is_zero() {
            return Err(Error::invalid("the time limit", "0", "more"));
        }
        if self.executor.is_parallel() && mpi::environment::threading_support() == Threading::Single
        {
            let allowed = "Funneled or more, by `mpi::initialize_with_threading`, unless the executor is sequential";
            return Err(Error::invalid("the support of threads", "Single", allowed));
        }
        Ok(())
    }

    /// What all ranks must have in common.
    fn describe<P: AsRef<[T]>>(
        &self,
        settings: &Settings<T>,
        lengths: &[usize],
        parameters: &[P],
    ) -> Description {
        let mut all = Description::default();
        all.add("the version of the protocol", PROTOCOL);
        all.add("the version of rootstep-mpi", env!("CARGO_PKG_VERSION"));
        all.add("the byte order", if cfg!(target_endian = "little") { "little" } else { "big" });
        settings.describe(&mut all, lengths);
        all.add("the type of the sums that are sent", W::TYPE);
        for (group, rule) in settings.rules.iter().enumerate() {
            all.add(format!("rule {group}"), format!("{rule:?}"));
        }
        all.add("the gradient scale", self.gradient_scale);
        all.add("the limit of the norm", format!("{:?}", self.clip_norm));
        all.add("the limit of the values", format!("{:?}", self.clip_value));
        all.add("the policy for what is not finite", format!("{:?}", self.non_finite));
        all.add("the bytes of a bucket", self.bucket_bytes);
        let mut checksum = crc32fast::Hasher::new();
        for tensor in parameters {
            checksum.update(cast_slice(tensor.as_ref()));
        }
        all.add("the checksum of the parameters", checksum.finalize());
        all
    }
}
