//! The settings of an optimizer.

use candle_core::{TensorId, Var};
use candle_nn::VarMap;
use rootstep::Executor;
use rootstep::optimizer::{NonFinite, Rule, Schedule};
use std::sync::PoisonError;

/// The settings of a [`RootStep`](crate::RootStep): which variables follow which rule, and what concerns the
/// gradients of all. They are checked together where the optimizer is made.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{Optimizer, VarBuilder, VarMap};
/// use rootstep_candle::{Config, NonFinite, RootStep, Rule, Schedule};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let varmap = VarMap::new();
/// let builder = VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu);
/// let _model = candle_nn::linear(3, 2, builder.pp("head"))?;
///
/// let config = Config::new(Rule::powerstep(0.01).with_decoupled_weight_decay(0.1))
///     .with_names_of(&varmap)
///     .with_named_group(Rule::powerstep(0.02), ["head.bias"]) // Without decay.
///     .with_schedule(Schedule::cosine(1.0, 0.0, 1000)?.warm_up(0.0, 50)?)
///     .with_clip_norm(1.0)
///     .with_non_finite(NonFinite::Skip);
/// let optimizer = RootStep::new(varmap.all_vars(), config)?;
/// assert_eq!(optimizer.names().collect::<Vec<_>>(), ["head.bias", "head.weight"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Config {
    pub(crate) groups: Vec<Group>,
    /// Sorted, if there are any.
    pub(crate) names: Option<Vec<(String, TensorId)>>,
    pub(crate) schedule: Option<Schedule>,
    pub(crate) gradient_scale: f64,
    pub(crate) clip_norm: Option<f64>,
    pub(crate) clip_value: Option<f64>,
    pub(crate) non_finite: NonFinite,
    pub(crate) inspect: bool,
    pub(crate) executor: Executor,
}

/// The variables of a rule, by themselves and by their names.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) rule: Rule,
    pub(crate) variables: Vec<TensorId>,
    pub(crate) names: Vec<String>,
}

impl From<Rule> for Config {
    fn from(rule: Rule) -> Self {
        Self::new(rule)
    }
}

impl Config {
    /// All variables follow `rule`, unless a group of theirs says otherwise.
    pub fn new(rule: Rule) -> Self {
        Self {
            groups: vec![Group { rule, variables: Vec::new(), names: Vec::new() }],
            names: None,
            schedule: None,
            gradient_scale: 1.0,
            clip_norm: None,
            clip_value: None,
            non_finite: NonFinite::default(),
            inspect: false,
            executor: Executor::default(),
        }
    }

    /// A group of variables that follow a rule of their own.
    pub fn with_group<'a>(
        mut self,
        rule: Rule,
        variables: impl IntoIterator<Item = &'a Var>,
    ) -> Self {
        let variables = variables.into_iter().map(|variable| variable.id()).collect();
        self.groups.push(Group { rule, variables, names: Vec::new() });
        self
    }

    /// A group of variables, by their [names](Self::with_names_of), that follow a rule of their own.
    pub fn with_named_group<N: Into<String>>(
        mut self,
        rule: Rule,
        names: impl IntoIterator<Item = N>,
    ) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        self.groups.push(Group { rule, variables: Vec::new(), names });
        self
    }

    /// The variables have the names that they have in the map now, and are in the order of these. Messages and
    /// saved states go by them. Variables of the map that the optimizer is not given are frozen: it knows nothing of
    /// them.
    ///
    /// Without names the variables are called by their places. The order in which a map lists its variables is
    /// another one in each run, so a state cannot be saved then.
    pub fn with_names_of(self, map: &VarMap) -> Self {
        let map = map.data().lock().unwrap_or_else(PoisonError::into_inner);
        self.with_names(map.iter().map(|(name, variable)| (name.clone(), variable)))
    }

    /// As [`with_names_of`](Self::with_names_of), for variables that are kept elsewhere.
    pub fn with_names<'a, N: Into<String>>(
        mut self,
        names: impl IntoIterator<Item = (N, &'a Var)>,
    ) -> Self {
        let pairs = names.into_iter().map(|(name, variable)| (name.into(), variable.id()));
        let mut names: Vec<_> = pairs.collect();
        names.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.names = Some(names);
        self
    }

    /// The learning rates of all groups are multiplied by the value of the schedule at the number of steps that
    /// were taken. With a rate of 1 in the rule, the schedule is that of the rate itself.
    pub fn with_schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = Some(schedule);
        self
    }

    /// What every gradient is multiplied by before anything else: 1/scale under loss scaling, 1/n to average n
    /// gradients that were added up. The default is 1.
    pub fn with_gradient_scale(mut self, gradient_scale: f64) -> Self {
        self.gradient_scale = gradient_scale;
        self
    }

    /// Multiplies all gradients by limit / norm if their global norm, after the gradient scale, is above the limit
    /// (Pascanu, Mikolov and Bengio, ICML 2013). It takes another pass over the gradients. See
    /// [`Builder::with_clip_norm`](rootstep::optimizer::Builder::with_clip_norm): the bits are the same.
    pub fn with_clip_norm(mut self, limit: f64) -> Self {
        self.clip_norm = Some(limit);
        self
    }

    /// Limits the magnitude of each element of the gradients, after their scale and clipping by norm.
    pub fn with_clip_value(mut self, limit: f64) -> Self {
        self.clip_value = Some(limit);
        self
    }

    /// What happens if a gradient is NaN or infinite. All but the default needs another pass over the gradients.
    pub fn with_non_finite(mut self, non_finite: NonFinite) -> Self {
        self.non_finite = non_finite;
        self
    }

    /// Inspects the gradients at each step, for the report.
    pub fn with_inspection(mut self) -> Self {
        self.inspect = true;
        self
    }

    /// The instruction set and the threads; the default is that of [`Executor`]. The bits are the same for all.
    pub fn with_executor(mut self, executor: Executor) -> Self {
        self.executor = executor;
        self
    }

    /// Whether a step needs to know how the gradients are.
    pub(crate) fn inspects(&self) -> bool {
        self.inspect || self.clip_norm.is_some() || self.non_finite != NonFinite::Propagate
    }
}
