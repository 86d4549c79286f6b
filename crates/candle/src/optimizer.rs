//! The optimizer: its variables, and what it may be asked and told.

use crate::config::{Config, Group};
use crate::error::{Error, Result};
use crate::kept::Kept;
use crate::step::{Report, Scratch};
use crate::variable::{Kind, Variable};
use candle_core::backprop::GradStore;
use candle_core::{TensorId, Var};
use candle_nn::VarMap;
use half::{bf16, f16};
use rootstep::Element;
use rootstep::optimizer::{Optimizer as Bare, Rule, Storage};
use std::collections::HashMap;
use std::fmt;

/// Steps all variables of a model in place, in one pass, by the [`Rule`]s of its [`Config`]. It is a
/// [`candle_nn::Optimizer`].
///
/// What a step computes is specified by [`rootstep::reference::step`], element by element. The bits of the
/// variables are those of [`Executor::step_all`](rootstep::Executor::step_all) on slices with the same numbers, on
/// every instruction set and for any number of threads.
///
/// - **Variables** are on the CPU, of f32, f64, bf16 or f16; each may have its own type. Variables of integers are
///   left out, as candle's own optimizers do. A variable that is given twice, or has two names, is stepped once.
/// - **Gradients** are of the shape of their variable. They need not be of its type: those of variables in f32, bf16
///   and f16 may be of each of these. A gradient that is not contiguous is copied. A variable without a gradient
///   stays as it is, without decay, and so does its momentum.
/// - **Memory.** Nothing is copied that is contiguous. After the first step with each gradient nothing is
///   allocated, but for what the health of the gradients takes, if it is asked for (clipping by norm, the
///   policy for gradients that are not finite, inspection), and for threads.
/// - **Other threads** must not use the variables during a step. Their storages are lent to it: what another thread
///   does with one meanwhile is an error or a panic of candle's.
///
/// ```
/// use candle_core::{Device, Var};
/// use candle_nn::Optimizer;
/// use rootstep_candle::{Config, RootStep, Rule};
///
/// # fn main() -> candle_core::Result<()> {
/// // Minimises (x - 3)² in each of three elements.
/// let x = Var::new(&[0.0_f32, 10.0, -5.0], &Device::Cpu)?;
/// let mut optimizer = RootStep::new(vec![x.clone()], Config::new(Rule::powerstep(0.01)))?;
/// for _ in 0..500 {
///     let loss = x.affine(1.0, -3.0)?.sqr()?.sum_all()?;
///     optimizer.backward_step(&loss)?;
/// }
/// assert!(x.to_vec1::<f32>()?.iter().all(|x| (x - 3.0).abs() < 0.1));
/// # Ok(())
/// # }
/// ```
pub struct RootStep {
    pub(crate) config: Config,
    pub(crate) variables: Vec<Variable>,
    /// Of each variable.
    pub(crate) kept: Vec<Kept>,
    /// The storages of all variables, sorted.
    pub(crate) addresses: Vec<usize>,
    pub(crate) steps: u64,
    pub(crate) rate_factor: f64,
    pub(crate) scratch: Scratch,
    pub(crate) report: Option<Report>,
}

/// The settings, and a few numbers about the state: there may be millions of elements.
impl fmt::Debug for RootStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootStep")
            .field("config", &self.config)
            .field("variables", &self.variables.len())
            .field("elements", &self.variables.iter().map(Variable::len).sum::<usize>())
            .field("steps", &self.steps)
            .field("rate_factor", &self.rate_factor)
            .field("state_bytes", &self.state_bytes())
            .finish_non_exhaustive()
    }
}

impl candle_nn::Optimizer for RootStep {
    type Config = Config;

    fn new(vars: Vec<Var>, config: Config) -> candle_core::Result<Self> {
        Ok(Self::of_variables(vars, config)?)
    }

    fn step(&mut self, grads: &GradStore) -> candle_core::Result<()> {
        self.step_with_report(grads)?;
        Ok(())
    }

    /// The learning rate of the first group, without the factor of all and the schedule.
    fn learning_rate(&self) -> f64 {
        self.config.groups[0].rule.learning_rate
    }

    /// Sets the learning rate of all groups. If it is not finite, or below 0, the next step is an error.
    /// ([`RootStep::set_rule`] tells at once, and is for one group.)
    fn set_learning_rate(&mut self, lr: f64) {
        for group in &mut self.config.groups {
            group.rule.learning_rate = lr;
        }
    }
}

impl RootStep {
    /// An optimizer of all variables of the map, by their names.
    ///
    /// # Errors
    ///
    /// As [`of_variables`](Self::of_variables).
    pub fn of_map(map: &VarMap, config: impl Into<Config>) -> Result<Self> {
        Self::of_variables(map.all_vars(), config.into().with_names_of(map))
    }

    /// An optimizer of these variables: [`candle_nn::Optimizer::new`], with the error of this crate.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if a setting is out of its range; [`Error::Variable`], which names it, if a variable
    /// is not on the CPU, is of another type of floating-point numbers than f32, f64, bf16 and f16, cannot be
    /// stored as its rule says, is in two groups, has no name where there are names, or is named by a group and not
    /// among the variables.
    pub fn of_variables(vars: Vec<Var>, config: impl Into<Config>) -> Result<Self> {
        let config = config.into();
        let variables = in_order(vars, &config)?;
        check_rules(&config, &variables)?;
        let mut addresses: Vec<usize> = variables.iter().map(|variable| variable.address).collect();
        addresses.sort_unstable();
        if let Some(address) = addresses.windows(2).find(|pair| pair[0] == pair[1]) {
            let mut both = variables.iter().filter(|variable| variable.address == address[0]);
            if let (Some(one), Some(other)) = (both.next(), both.next()) {
                let problem =
                    format!("shares its memory with `{}`; allowed: one of both", one.name);
                return Err(other.error(problem));
            }
        }
        let kept = variables.iter().map(|variable| Kept::nothing(variable.kind)).collect();
        let (steps, rate_factor) = (0, 1.0);
        let (scratch, report) = (Scratch::default(), None);
        Ok(Self { config, variables, kept, addresses, steps, rate_factor, scratch, report })
    }

    /// The names of the variables, in the order in which their norm is taken and stochastic draws are made: that
    /// of the names, or that in which they were given if they have none.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|variable| variable.name.as_str())
    }

    /// The steps taken, before the state was saved included.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// What the last step did; none before the first.
    #[must_use]
    pub const fn report(&self) -> Option<Report> {
        self.report
    }

    /// The bytes of the momentum, and of what is kept beside the parameters, of all variables.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        self.kept.iter().map(Kept::bytes).sum()
    }

    /// The rules of the groups; the first is that of all variables that are in no other.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.config.groups.iter().map(|group| &group.rule)
    }

    /// Sets the rule of a group, by its index in [`rules`](Self::rules): for a rate of its own, or for momentum or
    /// decay that change in the course of the training.
    ///
    /// Where the new rule has no momentum, that of the group's variables is dropped; where only the new one has one,
    /// it begins with the next step.
    ///
    /// # Errors
    ///
    /// [`Error::Group`] if there is no such group; [`Error::Setting`] if the rule is not valid; [`Error::Variable`] if a variable
    /// of the group has a momentum in another format, or something kept beside its parameters by another
    /// [storage](Storage). Nothing is changed then.
    pub fn set_rule(&mut self, group: usize, rule: Rule) -> Result<()> {
        let mut config = self.config.clone();
        let Some(own) = config.groups.get_mut(group) else {
            return Err(Error::Group { group, groups: self.config.groups.len() });
        };
        own.rule = rule;
        check_rules(&config, &self.variables)?;
        let of_group = |(variable, _): &(&Variable, &mut Kept)| variable.group == group;
        for (variable, kept) in self.variables.iter().zip(&mut self.kept).filter(of_group) {
            if let Some(problem) = kept.problem(variable, &rule) {
                return Err(variable.error(problem));
            }
        }
        for (variable, kept) in self.variables.iter().zip(&mut self.kept).filter(of_group) {
            if crate::kept::format(&rule, variable.kind).is_none() {
                kept.drop_momentum();
            }
        }
        self.config = config;
        Ok(())
    }

    /// Sets what the learning rates of all groups are multiplied by, beside the
    /// [schedule](Config::with_schedule). It is 1 at first, and not part of the state.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if it makes a learning rate negative, or not finite. Nothing is changed then.
    pub fn set_learning_rate_factor(&mut self, factor: f64) -> Result<()> {
        let scaled = self.config.groups.iter().map(|group| scaled(&group.rule, factor));
        let rules: Vec<Rule> = scaled.collect();
        let mut config = self.config.clone();
        for (group, rule) in config.groups.iter_mut().zip(rules) {
            group.rule = rule;
        }
        check_rules(&config, &self.variables)?;
        self.rate_factor = factor;
        Ok(())
    }

    /// What the learning rates of all groups are multiplied by at the next step.
    #[must_use]
    pub fn learning_rate_factor(&self) -> f64 {
        let schedule = self.config.schedule.as_ref();
        schedule.map_or(self.rate_factor, |schedule| self.rate_factor * schedule.at(self.steps))
    }

    /// Sets what every gradient is multiplied by: 1/scale under loss scaling, 1/n to average n gradients that were
    /// added up.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if it is not finite, or not above 0. Nothing is changed then.
    pub fn set_gradient_scale(&mut self, gradient_scale: f64) -> Result<()> {
        let config = Config { gradient_scale, ..self.config.clone() };
        check_rules(&config, &self.variables)?;
        self.config.gradient_scale = gradient_scale;
        Ok(())
    }

    /// Forgets the state, as if no step had been taken: for variables that were set to other values. What is kept
    /// beside parameters by their [`Storage`] belongs to the values that the last step gave them, so it would be
    /// wrong for others.
    pub fn reset(&mut self) {
        self.kept = self.variables.iter().map(|variable| Kept::nothing(variable.kind)).collect();
        self.steps = 0;
    }
}

/// A rule whose learning rate is multiplied by a factor.
pub(crate) fn scaled(rule: &Rule, factor: f64) -> Rule {
    let mut scaled = *rule;
    scaled.learning_rate *= factor;
    scaled
}

/// The variables that are stepped, each once, in their order.
fn in_order(vars: Vec<Var>, config: &Config) -> Result<Vec<Variable>> {
    let floats = vars.into_iter().filter(|var| var.dtype().is_float());
    let mut places: HashMap<TensorId, usize> = HashMap::new();
    let mut distinct = Vec::new();
    for var in floats {
        if let std::collections::hash_map::Entry::Vacant(place) = places.entry(var.id()) {
            place.insert(distinct.len());
            distinct.push(var);
        }
    }
    let names = names(&distinct, config)?;
    let groups = groups(&distinct, &names, config)?;
    let described = distinct.into_iter().zip(names).zip(groups);
    let variables = described.map(|((var, name), group)| Variable::new(name, var, group));
    let mut variables = variables.collect::<Result<Vec<_>>>()?;
    if config.names.is_some() {
        variables.sort_by(|a, b| a.name.cmp(&b.name));
    }
    Ok(variables)
}

/// The first name of each variable, or its place if there are no names.
fn names(vars: &[Var], config: &Config) -> Result<Vec<String>> {
    let Some(names) = &config.names else {
        return Ok((0..vars.len()).map(|place| place.to_string()).collect());
    };
    if let Some(twice) = names.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Error::variable(&twice[0].0, "is there twice; allowed: each name once"));
    }
    let mut first: HashMap<TensorId, &String> = HashMap::new();
    for (name, id) in names {
        first.entry(*id).or_insert(name);
    }
    let firsts = vars.iter().enumerate().map(|(place, var)| {
        let name = first.get(&var.id()).map(|name| (*name).clone());
        name.ok_or_else(|| {
            let problem = format!("of shape {:?} has no name; allowed: one for each", var.dims());
            Error::variable(&place.to_string(), problem)
        })
    });
    firsts.collect()
}

/// The group of each variable.
fn groups(vars: &[Var], names: &[String], config: &Config) -> Result<Vec<usize>> {
    let places: HashMap<TensorId, usize> =
        vars.iter().enumerate().map(|(place, var)| (var.id(), place)).collect();
    let by_name: HashMap<&String, TensorId> =
        config.names.iter().flatten().map(|(name, id)| (name, *id)).collect();
    let mut groups = vec![None; vars.len()];
    for (index, Group { variables, names: of_group, .. }) in config.groups.iter().enumerate() {
        let by_itself = variables.iter().map(|id| (None, places.get(id)));
        let of_names = of_group
            .iter()
            .map(|name| (Some(name), by_name.get(name).and_then(|id| places.get(id))));
        for (name, place) in by_itself.chain(of_names) {
            let Some(&place) = place else {
                let name = name.map_or("?", |name| name);
                let problem = format!("of group {index} is not among those that are stepped");
                return Err(Error::variable(name, problem));
            };
            if let Some(other) = groups[place].replace(index).filter(|other| *other != index) {
                let problem = format!("is in the groups {other} and {index}; allowed: one");
                return Err(Error::variable(&names[place], problem));
            }
        }
    }
    Ok(groups.into_iter().map(Option::unwrap_or_default).collect())
}

/// Checks each rule, and the settings of all, for each type of the group's variables.
fn check_rules(config: &Config, variables: &[Variable]) -> Result<()> {
    for (index, Group { rule, .. }) in config.groups.iter().enumerate() {
        let of_group = || variables.iter().filter(|variable| variable.group == index);
        if of_group().next().is_none() {
            // Of bf16, which can be stored in all ways.
            check::<bf16>(config, rule)?;
        }
        let mut seen: Vec<Kind> = Vec::new();
        for variable in of_group() {
            if seen.contains(&variable.kind) {
                continue;
            }
            seen.push(variable.kind);
            check_kind(config, rule, variable.kind).map_err(|error| {
                let stored = rule.with_storage(Storage::Nearest);
                match check_kind(config, &stored, variable.kind) {
                    Ok(()) => variable.error(format!("does not fit its rule: {error}")),
                    Err(_) => Error::Setting(error),
                }
            })?;
        }
    }
    Ok(())
}

fn check_kind(
    config: &Config,
    rule: &Rule,
    kind: Kind,
) -> std::result::Result<(), rootstep::Error> {
    match kind {
        Kind::F32 => check::<f32>(config, rule),
        Kind::F64 => check::<f64>(config, rule),
        Kind::Bf16 => check::<bf16>(config, rule),
        Kind::F16 => check::<f16>(config, rule),
    }
}

/// The checks of an optimizer of slices.
fn check<T: Element>(config: &Config, rule: &Rule) -> std::result::Result<(), rootstep::Error> {
    let mut builder = Bare::<T>::builder(*rule).with_gradient_scale(config.gradient_scale);
    if let Some(limit) = config.clip_norm {
        builder = builder.with_clip_norm(limit);
    }
    if let Some(limit) = config.clip_value {
        builder = builder.with_clip_value(limit);
    }
    builder.build().map(|_| ())
}
