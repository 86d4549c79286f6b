//! A step: what is checked before, the one pass, and what comes after.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::kept::{Extra, Half, Kept, OfType};
use crate::lend::{Loan, Refused};
use crate::optimizer::{RootStep, scaled};
use crate::variable::{Gradient, Variable, address};
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, Storage, Tensor};
use half::{bf16, f16};
use rootstep::optimizer::{NonFinite, Rule, Step, TensorStep};
use rootstep::{Element, Executor, Float, Inspection};

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// Whether the step was taken. It is not if the gradients are not finite and such steps are
    /// [skipped](NonFinite::Skip).
    pub taken: bool,
    /// The gradients as they were given, before scaling, if clipping by norm, the policy for gradients that are not
    /// finite or [inspection](crate::Config::with_inspection) asks for it. The tensor of
    /// [`first_non_finite`](Inspection::first_non_finite) is the place of the variable among
    /// [all](RootStep::names).
    pub inspection: Option<Inspection>,
    /// What clipping by norm multiplied the gradients by: 1 if the norm was within the limit.
    pub clip_factor: f64,
}

/// Memory that is used again in the next step.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    storages: Vec<CpuStorage>,
    numbers: Vec<Numbers>,
    /// The others are empty between steps. Only their memory is of use: for the gradient of each variable that has one,
    given: Vec<usize>,
    /// the doors of these variables,
    doors: Vec<usize>,
    /// the guards of the gradients, with their layouts,
    guards: Vec<[usize; 2]>,
    /// the gradients as slices,
    gradients: Vec<[usize; 3]>,
    /// and the tensors of the pass.
    singles: Vec<TensorStep<'static, f32>>,
    doubles: Vec<TensorStep<'static, f64>>,
}

/// An empty vector in the memory of another one, whose elements are dropped.
fn recycle<A, B>(mut vector: Vec<A>) -> Vec<B> {
    vector.clear();
    // The standard library collects in place where elements are of one size.
    vector.into_iter().map_while(|_| None).collect()
}

impl RootStep {
    /// As [`step`](candle_nn::Optimizer::step), and tells what it did.
    ///
    /// # Errors
    ///
    /// [`Error::Variable`], which names it, if the gradient of a variable is on another device, of another shape,
    /// or of a type that is computed in another one; [`Error::NonFiniteGradient`] if gradients are not finite and
    /// that is [an error](NonFinite::Error); [`Error::Setting`] if the learning rate is not one, or the norm is so far
    /// above the limit of clipping that the gradients would be multiplied by 0. Nothing is written then.
    ///
    /// ```
    /// use candle_core::{Device, Var};
    /// use rootstep_candle::{Config, RootStep, Rule};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let x = Var::new(&[3.0_f32, 4.0], &Device::Cpu)?;
    /// let config = Config::new(Rule::sgd(1.0)).with_clip_norm(2.5);
    /// let mut optimizer = RootStep::of_variables(vec![x.clone()], config)?;
    /// let report = optimizer.step_with_report(&x.sqr()?.sum_all()?.affine(0.5, 0.0)?.backward()?)?;
    /// assert_eq!((report.taken, report.clip_factor), (true, 0.5));
    /// assert_eq!(x.to_vec1::<f32>()?, [1.5, 2.0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn step_with_report(&mut self, gradients: &GradStore) -> Result<Report> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let report = self.take(gradients, &mut scratch);
        self.scratch = scratch;
        let report = report?;
        self.report = Some(report);
        Ok(report)
    }

    fn take(&mut self, store: &GradStore, scratch: &mut Scratch) -> Result<Report> {
        let mut given: Vec<Option<&Tensor>> = recycle(std::mem::take(&mut scratch.given));
        let (copies, shared);
        copies = self.collect(store, &mut given)?;
        replace(&mut given, &copies);
        let mut guards = recycle(std::mem::take(&mut scratch.guards));
        guards.extend(given.iter().flatten().map(|gradient| gradient.storage_and_layout()));
        shared = self.copy_shared(&given, guards.iter().map(|(storage, _)| &**storage))?;
        if !shared.is_empty() {
            replace(&mut given, &shared);
            guards.clear();
            guards.extend(given.iter().flatten().map(|gradient| gradient.storage_and_layout()));
        }
        let mut gradients = recycle(std::mem::take(&mut scratch.gradients));
        let stepping = self.variables.iter().zip(&given).filter(|(_, given)| given.is_some());
        for ((variable, _), (storage, layout)) in stepping.zip(&guards) {
            let missing = || variable.error("has a gradient without memory; allowed: all elements");
            gradients.push(Gradient::of(storage, layout).ok_or_else(missing)?);
        }
        let (factor, report) = self.look(&given, &gradients)?;
        if report.taken {
            self.step_on(scratch, &given, &gradients, factor)?;
        }
        scratch.gradients = recycle(gradients);
        scratch.guards = recycle(guards);
        scratch.given = recycle(given);
        Ok(report)
    }

    /// The gradients of the variables that take part, checked. What is given back are copies of those whose elements are
    /// not in their order in memory, with their places.
    fn collect<'s>(
        &self,
        store: &'s GradStore,
        given: &mut Vec<Option<&'s Tensor>>,
    ) -> Result<Vec<(usize, Tensor)>> {
        let mut copies = Vec::new();
        for (place, variable) in self.variables.iter().enumerate() {
            let gradient = store.get_id(variable.id());
            if let Some(gradient) = gradient {
                variable.check(gradient)?;
                if !gradient.is_contiguous() {
                    copies.push((place, gradient.force_contiguous()?));
                }
            }
            given.push(gradient.filter(|_| variable.door.is_some()));
        }
        Ok(copies)
    }

    /// Copies of the gradients that lie in the memory of a variable, which is lent while they are read.
    fn copy_shared<'g>(
        &self,
        given: &[Option<&Tensor>],
        storages: impl Iterator<Item = &'g Storage>,
    ) -> Result<Vec<(usize, Tensor)>> {
        let with_gradient = given.iter().enumerate().filter_map(|(i, given)| Some((i, (*given)?)));
        let mut copies = Vec::new();
        for ((place, gradient), storage) in with_gradient.zip(storages) {
            if self.addresses.binary_search(&address(storage)).is_ok() {
                copies.push((place, gradient.force_contiguous()?));
            }
        }
        Ok(copies)
    }

    /// A step on variables with these gradients, which were found to be as they must be.
    fn step_on(
        &mut self,
        scratch: &mut Scratch,
        given: &[Option<&Tensor>],
        gradients: &[Gradient<'_>],
        factor: f64,
    ) -> Result<()> {
        self.number(factor, &mut scratch.numbers)?;
        let lending = self.variables.iter().zip(given).filter(|(_, given)| given.is_some());
        let mut doors: Vec<&Tensor> = recycle(std::mem::take(&mut scratch.doors));
        doors.extend(lending.filter_map(|(variable, _)| variable.door.as_ref()));
        let singles = recycle(std::mem::take(&mut scratch.singles));
        let doubles = recycle(std::mem::take(&mut scratch.doubles));
        let loan = Loan::take(&doors, &mut scratch.storages)
            .map_err(|refused| self.refused(given, refused))?;
        let (variables, config, steps) = (&self.variables, &self.config, self.steps);
        let (kept, numbers) = (&mut self.kept, &scratch.numbers);
        let pass =
            Pass { variables, config, steps, kept, given, gradients, numbers, singles, doubles };
        let taken = if factor > 0.0 { pass.run(loan) } else { pass.run_scaled(loan, factor) };
        self.kept.iter_mut().for_each(|kept| kept.end(taken.is_ok()));
        (scratch.singles, scratch.doubles) = taken?;
        scratch.doors = recycle(doors);
        self.steps = self.steps.saturating_add(1);
        Ok(())
    }

    /// What the variables with a gradient could not be lent for.
    fn refused(&self, given: &[Option<&Tensor>], refused: Refused) -> Error {
        let place = match refused {
            Refused::Lent(place) => place,
            Refused::Failed(error) => return error.into(),
        };
        let mut lending = self.variables.iter().zip(given).filter(|(_, given)| given.is_some());
        let name = lending.nth(place).map_or("?", |(variable, _)| &variable.name);
        Error::variable(name, "is in the step of another thread; allowed: one step at a time")
    }

    /// The numbers of this step, for each group.
    fn number(&self, factor: f64, numbers: &mut Vec<Numbers>) -> Result<()> {
        let rate_factor = self.learning_rate_factor();
        let has = |group, double| {
            let mut variables = self.variables.iter();
            variables.any(|v| v.group == group && v.kind.is_double() == double)
        };
        numbers.clear();
        for (i, group) in self.config.groups.iter().enumerate() {
            let rule = scaled(&group.rule, rate_factor);
            let clip_value = self.config.clip_value;
            let single = has(i, false).then(|| Pair::new(&rule, factor, clip_value)).transpose()?;
            let double = has(i, true).then(|| Pair::new(&rule, factor, clip_value)).transpose()?;
            numbers.push(Numbers { single, double });
        }
        Ok(())
    }
}

/// Puts copies in the place of what they are copies of.
fn replace<'s>(given: &mut [Option<&'s Tensor>], copies: &'s [(usize, Tensor)]) {
    for (place, copy) in copies {
        if given[*place].is_some() {
            given[*place] = Some(copy);
        }
    }
}

/// What the one pass needs beside the loan.
struct Pass<'a, 'g> {
    variables: &'a [Variable],
    config: &'a Config,
    /// The steps taken before.
    steps: u64,
    /// Of each variable.
    kept: &'a mut [Kept],
    given: &'a [Option<&'a Tensor>],
    /// Of those variables that have one.
    gradients: &'a [Gradient<'g>],
    /// Of each group.
    numbers: &'a [Numbers],
    /// Empty.
    singles: Vec<TensorStep<'static, f32>>,
    doubles: Vec<TensorStep<'static, f64>>,
}

/// The memory of the tensors of a pass, to be used again.
type Memory = (Vec<TensorStep<'static, f32>>, Vec<TensorStep<'static, f64>>);

impl Pass<'_, '_> {
    /// The one pass. All that can be wrong is found before anything is written.
    fn run(self, mut loan: Loan<'_>) -> Result<Memory> {
        let (mut singles, mut doubles): (Vec<TensorStep<'_, f32>>, Vec<TensorStep<'_, f64>>) =
            (self.singles, self.doubles);
        let stepping = self.variables.iter().zip(self.kept).zip(self.given).enumerate();
        let stepping = stepping.filter(|(_, (_, given))| given.is_some());
        let lent = loan.storages().zip(self.gradients);
        for ((tensor, ((variable, kept), _)), (storage, gradient)) in stepping.zip(lent) {
            let rule = &self.config.groups[variable.group].rule;
            kept.begin(rule, variable.len());
            let numbers = &self.numbers[variable.group];
            let draws = (self.steps, tensor);
            let of = Of { variable, kept, gradient: *gradient, rule, numbers, draws };
            match storage {
                CpuStorage::F32(values) => singles.push(of.single(values)?),
                CpuStorage::BF16(values) => singles.push(of.single(values)?),
                CpuStorage::F16(values) => singles.push(of.single(values)?),
                CpuStorage::F64(values) => doubles.push(of.double(values)?),
                _ => return Err(lost(variable)),
            }
        }
        self.config.executor.step_all(&mut singles)?;
        self.config.executor.step_all(&mut doubles)?;
        Ok((recycle(singles), recycle(doubles)))
    }

    /// The pass with a factor that no step takes: NaN, of a norm that is NaN, or 0, of an infinite one. The gradients
    /// are multiplied by it before.
    fn run_scaled(self, loan: Loan<'_>, factor: f64) -> Result<Memory> {
        let scaled: Vec<Scaled> =
            self.gradients.iter().map(|gradient| Scaled::of(*gradient, factor)).collect();
        let gradients: Vec<Gradient<'_>> = scaled.iter().map(Scaled::lend).collect();
        let Self { variables, config, steps, kept, given, numbers, singles, doubles, .. } = self;
        let gradients = &gradients;
        Pass { variables, config, steps, kept, given, gradients, numbers, singles, doubles }
            .run(loan)
    }
}

/// All that belongs to a variable in a step.
struct Of<'a> {
    variable: &'a Variable,
    kept: &'a mut Kept,
    gradient: Gradient<'a>,
    rule: &'a Rule,
    numbers: &'a Numbers,
    /// The number of the step and of the tensor, of which stochastic draws are a function.
    draws: (u64, usize),
}

impl<'a> Of<'a> {
    fn single<T: Half>(self, values: &'a mut [T]) -> Result<TensorStep<'a, f32>> {
        let Self { variable, kept, gradient, rule, numbers, draws } = self;
        let Kept { momentum: OfType::Single(momentum), extra, begins } = kept else {
            return Err(lost(variable));
        };
        let (Some(parameters), Some(pair)) =
            (values.get_mut(variable.range.clone()), &numbers.single)
        else {
            return Err(lost(variable));
        };
        let storage = Extra::lend(extra, parameters, rule, begins.1, draws);
        let (step, momentum) = (pair.of(begins.0), momentum.as_mut());
        let tensor = match gradient {
            Gradient::F32(gradient) => TensorStep::new(step, parameters, gradient, momentum),
            Gradient::Bf16(gradient) => TensorStep::new(step, parameters, gradient, momentum),
            Gradient::F16(gradient) => TensorStep::new(step, parameters, gradient, momentum),
            Gradient::F64(_) => return Err(lost(variable)),
        };
        Ok(tensor.with_storage(storage))
    }

    fn double(self, values: &'a mut [f64]) -> Result<TensorStep<'a, f64>> {
        let Self { variable, kept, gradient, numbers, .. } = self;
        let parameters = values.get_mut(variable.range.clone());
        let Kept { momentum: OfType::Double(momentum), begins, .. } = kept else {
            return Err(lost(variable));
        };
        let (Some(parameters), Some(pair), Gradient::F64(gradient)) =
            (parameters, &numbers.double, gradient)
        else {
            return Err(lost(variable));
        };
        Ok(TensorStep::new(pair.of(begins.0), parameters, gradient, momentum.as_mut()))
    }
}

/// The memory of a variable is not what it was when the optimizer was made.
fn lost(variable: &Variable) -> Error {
    variable.error("has other memory than it had; allowed: that of its shape and type")
}

/// The numbers of a step by the rule of a group, for each type that its variables are computed in.
#[derive(Debug)]
struct Numbers {
    single: Option<Pair<f32>>,
    double: Option<Pair<f64>>,
}

/// For variables whose momentum begins, and for others.
#[derive(Debug)]
struct Pair<C> {
    first: Step<C>,
    later: Step<C>,
}

impl<C: Float> Pair<C> {
    fn new(rule: &Rule, factor: f64, clip_value: Option<f64>) -> Result<Self> {
        let with = |step: Step<C>| {
            let step = if factor > 0.0 { step.with_gradient_factor(factor)? } else { step };
            clip_value.map_or(Ok(step), |limit| step.with_clip_value(limit))
        };
        let (first, later) = (with(Step::first(rule)?)?, with(Step::later(rule)?)?);
        Ok(Self { first, later })
    }

    const fn of(&self, begins: bool) -> Step<C> {
        if begins { self.first } else { self.later }
    }
}

/// A gradient times a factor that no step takes.
enum Scaled {
    Single(Vec<f32>),
    Double(Vec<f64>),
}

impl Scaled {
    fn of(gradient: Gradient<'_>, factor: f64) -> Self {
        fn times<T: Half>(values: &[T], factor: f64) -> Scaled {
            let factor = f32::from_f64(factor);
            Scaled::Single(values.iter().map(|value| factor * value.widen()).collect())
        }
        match gradient {
            Gradient::F32(values) => times(values, factor),
            Gradient::Bf16(values) => times(values, factor),
            Gradient::F16(values) => times(values, factor),
            Gradient::F64(values) => {
                Self::Double(values.iter().map(|value| factor * value).collect())
            }
        }
    }

    fn lend(&self) -> Gradient<'_> {
        match self {
            Self::Single(values) => Gradient::F32(values),
            Self::Double(values) => Gradient::F64(values),
        }
    }
}

impl RootStep {
    /// Looks at the gradients if that is asked for: what they are multiplied by in all, and what was found.
    fn look(&self, given: &[Option<&Tensor>], gradients: &[Gradient<'_>]) -> Result<(f64, Report)> {
        let scale = self.config.gradient_scale;
        let mut report = Report { taken: true, inspection: None, clip_factor: 1.0 };
        if !self.config.inspects() {
            return Ok((scale, report));
        }
        let mut found = inspect(self.config.executor, gradients);
        if let Some((gradient, index)) = found.first_non_finite {
            let with_gradient = given.iter().enumerate().filter(|(_, given)| given.is_some());
            let place = with_gradient.map(|(place, _)| place).nth(gradient).unwrap_or_default();
            match self.config.non_finite {
                NonFinite::Skip => report.taken = false,
                NonFinite::Error => {
                    let name = self.variables[place].name.clone();
                    let given = gradients[gradient].show(index);
                    return Err(Error::NonFiniteGradient { name, index, given });
                }
                _ => {}
            }
            found.first_non_finite = Some((place, index));
        }
        report.inspection = Some(found);
        if !report.taken {
            return Ok((scale, report));
        }
        let single = gradients.iter().any(|gradient| !matches!(gradient, Gradient::F64(_)));
        let (factor, clip_factor) = self.clip(&found, single)?;
        Ok((factor, Report { clip_factor, ..report }))
    }

    /// What the gradients are multiplied by in all, and what clipping by norm has of that.
    fn clip(&self, found: &Inspection, single: bool) -> Result<(f64, f64)> {
        let scale = self.config.gradient_scale;
        let clip = |limit| Some((limit, found.clip_factor(limit, scale)?));
        let Some((limit, (factor, clip))) = self.config.clip_norm.and_then(clip) else {
            return Ok((scale, 1.0));
        };
        if found.is_finite() && (factor == 0.0 || single && f32::from_f64(factor) == 0.0) {
            return Err(Error::Clip { limit, norm: found.norm });
        }
        Ok((factor, clip))
    }
}

/// What is found in gradients: those of each type in one pass.
fn inspect(executor: Executor, gradients: &[Gradient<'_>]) -> Inspection {
    let parts = [
        inspect_type::<f32>(executor, gradients, |gradient| match gradient {
            Gradient::F32(values) => Some(values),
            _ => None,
        }),
        inspect_type::<f64>(executor, gradients, |gradient| match gradient {
            Gradient::F64(values) => Some(values),
            _ => None,
        }),
        inspect_type::<bf16>(executor, gradients, |gradient| match gradient {
            Gradient::Bf16(values) => Some(values),
            _ => None,
        }),
        inspect_type::<f16>(executor, gradients, |gradient| match gradient {
            Gradient::F16(values) => Some(values),
            _ => None,
        }),
    ];
    Inspection::of_parts(parts.into_iter().flatten())
}

fn inspect_type<'g, T: Element>(
    executor: Executor,
    gradients: &[Gradient<'g>],
    of_type: impl Fn(Gradient<'g>) -> Option<&'g [T]>,
) -> Option<Inspection> {
    let places = gradients.iter().enumerate();
    let (places, values): (Vec<usize>, Vec<&[T]>) =
        places.filter_map(|(i, gradient)| Some((i, of_type(*gradient)?))).unzip();
    if values.is_empty() {
        return None;
    }
    let mut found = executor.inspect(&values);
    if let Some((gradient, _)) = &mut found.first_non_finite {
        *gradient = places[*gradient];
    }
    Some(found)
}
