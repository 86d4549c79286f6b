//! A step of a whole model, in one call.

use crate::group::{Class, Group};
use crate::limits::{Limits, Report};
use crate::memory::{Claims, Kind, Lent, Seen, Slice};
use crate::openmp;
use crate::tensor::{FLOATS, Torch, negation};
use half::{bf16, f16};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};
use rootstep::optimizer::{
    Draws, INT8_BLOCK, MomentumFormat, MomentumMut, Rule, Step, Storage, StorageMut, TensorStep,
};
use rootstep::{Element, Error, Executor, Float};

/// Takes the steps of an optimizer of PyTorch's kind.
#[pyclass(module = "rootstep._rootstep")]
#[derive(Debug)]
pub struct Stepper {
    torch: Torch,
    class: Class,
    /// Makes a tensor of the state: `begin(parameter, what)`.
    begin: Py<PyAny>,
    seen: Seen,
}

#[pymethods]
impl Stepper {
    /// `power` is None where each group has its own. Tensors are read by the C functions of `torch` if it has them
    /// and `exchange` is true, else by their methods.
    #[new]
    #[pyo3(signature = (torch, begin, power_of, power, exchange=true))]
    fn new(
        torch: &Bound<'_, PyModule>,
        begin: Py<PyAny>,
        power_of: &str,
        power: Option<f64>,
        exchange: bool,
    ) -> PyResult<Self> {
        let class = Class::new(torch, power_of, power)?;
        Ok(Self { torch: Torch::new(torch, exchange)?, class, begin, seen: Seen::default() })
    }

    /// Looks at the settings of a group, number `index`, without a step.
    fn check(&self, group: &Bound<'_, PyDict>, index: usize) -> PyResult<()> {
        Group::read(group, index, &self.class)?.double(false).map(drop)
    }

    /// A step on all parameters of `groups` that have a gradient, with the tensors of `state`. What begins with it
    /// is the state's only after the step; before that nothing is written.
    ///
    /// `places` has for each parameter, with or without a gradient, the number of its tensor and the index in it of
    /// the first element: where this is a part of a model. None where all tensors are here, numbered in their order.
    ///
    /// `gradients` has the gradient of each parameter, or None where it has none, and `factor` what clipping by norm
    /// multiplies them by: where others have looked at the whole of them. None for the tensors' own, which are looked
    /// at here.
    ///
    /// Gives what was found in the gradients if they were looked at.
    #[pyo3(signature = (
        groups, state, clip_norm, clip_value, non_finite, places=None, gradients=None, factor=None
    ))]
    #[expect(
        clippy::too_many_arguments,
        clippy::needless_pass_by_value,
        reason = "it is called from Python"
    )]
    fn step(
        &mut self,
        py: Python<'_>,
        groups: &Bound<'_, PyList>,
        state: &Bound<'_, PyDict>,
        clip_norm: Option<f64>,
        clip_value: Option<f64>,
        non_finite: &str,
        places: Option<Vec<Place>>,
        gradients: Option<Vec<Option<Bound<'_, PyAny>>>>,
        factor: Option<f64>,
    ) -> PyResult<Option<Report>> {
        let limits = Limits::new(clip_norm, clip_value, non_finite)?;
        let given = Given { places: places.as_deref(), gradients: gradients.as_deref() };
        let (mut model, items) = self.gather(groups, state, &given)?;
        let (claims, owners) = self.claim(&model, &items)?;
        let lent = claims
            .lend(&mut self.seen)
            .map_err(|(a, b)| model.overlapping(owners[a], owners[b]))?;
        let Arranged { tensors, gradients, counters } = arrange(&mut model, &items, lent)?;
        let executor = self.torch.executor(py)?;
        let label = |i: usize| model.label(&items[i]);
        let (factor, report) = match factor {
            Some(factor) => (factor, None),
            None => limits.look(py, executor, &gradients, label)?,
        };
        if items.is_empty() || report.is_some_and(|(taken, ..)| !taken) {
            return Ok(report);
        }
        self.count_versions(py, &items)?;
        let factors = Factors { factor, clip_value: limits.clip_value() };
        openmp::detach(py, || take(executor, tensors, &gradients, factors))
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        for steps in counters {
            *steps += 1;
        }
        items.iter().try_for_each(|item| item.keep(state))?;
        Ok(report)
    }
}

/// The groups of a model.
struct Model<'py> {
    groups: Vec<Group<'py>>,
    dictionaries: Bound<'py, PyList>,
}

/// The number of a tensor in the model, and the index in it of the first element that is here.
type Place = (u32, u64);

/// What is given for each parameter beside the groups.
struct Given<'a, 'py> {
    places: Option<&'a [Place]>,
    gradients: Option<&'a [Option<Bound<'py, PyAny>>]>,
}

impl<'py> Given<'_, 'py> {
    /// The place of parameter `number`, and its gradient if it has one.
    fn get(
        &self,
        number: usize,
        parameter: &Bound<'py, PyAny>,
    ) -> PyResult<(Place, Option<Bound<'py, PyAny>>)> {
        let missing =
            |what| PyValueError::new_err(format!("there must be a {what} for each parameter"));
        let place = match self.places {
            Some(places) => *places.get(number).ok_or_else(|| missing("place"))?,
            // As many as u32 has do not fit in memory.
            None => (u32::try_from(number).unwrap_or(u32::MAX), 0),
        };
        let gradient = if let Some(gradients) = self.gradients {
            gradients.get(number).ok_or_else(|| missing("gradient, or None"))?.clone()
        } else {
            let gradient = parameter.getattr(intern!(parameter.py(), "grad"))?;
            (!gradient.is_none()).then_some(gradient)
        };
        Ok((place, gradient))
    }
}

/// A parameter that has a gradient, with its state.
struct Item<'py> {
    group: usize,
    /// In its group.
    index: usize,
    place: Place,
    parameter: Bound<'py, PyAny>,
    gradient: Bound<'py, PyAny>,
    /// As [`ROLES`] from 2 on.
    kept: [Option<Kept<'py>>; 4],
    /// Whether the momentum begins.
    first: bool,
}

/// A tensor of the state.
struct Kept<'py> {
    tensor: Bound<'py, PyAny>,
    /// Whether it is none of the state's yet.
    begins: bool,
}

/// What belongs to a parameter, by the names of the state where it is part of it.
const ROLES: [&str; 6] = ["parameter", "gradient", "momentum_buffer", "momentum_scale", "", "step"];
const MOMENTUM: usize = 0;
const SCALE: usize = 1;
const BESIDE: usize = 2;
const STEPS: usize = 3;

/// Which item, and which of [`ROLES`], a claim is of.
type Owner = (usize, usize, usize);

impl Model<'_> {
    /// What a message calls a parameter.
    fn name(&self, group: usize, index: usize) -> String {
        let names =
            self.dictionaries.get_item(group).and_then(|group| group.get_item("param_names"));
        let name = names.and_then(|names| names.get_item(index)).map(|name| name.to_string());
        let name = name.map_or_else(|_| String::new(), |name| format!(" (`{name}`)"));
        format!("parameter {index} of group {group}{name}")
    }

    fn label(&self, item: &Item<'_>) -> String {
        self.name(item.group, item.index)
    }

    #[cold]
    fn overlapping(&self, a: Owner, b: Owner) -> PyErr {
        let describe = |(group, index, role): Owner| match role {
            0 => self.name(group, index),
            1 => format!("the gradient of {}", self.name(group, index)),
            _ => format!("the state of {}", self.name(group, index)),
        };
        PyValueError::new_err(format!(
            "{} and {} have memory in common; allowed: memory of its own for all that is written",
            describe(b),
            describe(a)
        ))
    }
}

impl Stepper {
    /// All parameters that have a gradient, with their state or what it begins with.
    fn gather<'py>(
        &self,
        dictionaries: &Bound<'py, PyList>,
        state: &Bound<'py, PyDict>,
        given: &Given<'_, 'py>,
    ) -> PyResult<(Model<'py>, Vec<Item<'py>>)> {
        let mut model = Model { groups: Vec::new(), dictionaries: dictionaries.clone() };
        let (mut items, mut number) = (Vec::new(), 0);
        for (group, dictionary) in dictionaries.iter().enumerate() {
            model.groups.push(Group::read(dictionary.cast::<PyDict>()?, group, &self.class)?);
            let parameters = model.groups[group].parameters.clone();
            items.reserve(parameters.len());
            for (index, parameter) in parameters.iter().enumerate() {
                let (place, gradient) = given.get(number, &parameter)?;
                number += 1;
                if let Some(gradient) = gradient {
                    let state = state.get_item(&parameter)?;
                    let state = state.as_ref().map(|state| state.cast::<PyDict>()).transpose()?;
                    let kept = [const { None }; 4];
                    let mut item =
                        Item { group, index, place, parameter, gradient, kept, first: false };
                    self.find(&model, &mut item, state)?;
                    items.push(item);
                }
            }
        }
        Ok((model, items))
    }

    /// The tensors of the state that an item needs.
    fn find<'py>(
        &self,
        model: &Model<'py>,
        item: &mut Item<'py>,
        state: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<()> {
        let py = item.parameter.py();
        let rule = &model.groups[item.group].rule;
        if rule.momentum != 0.0 && self.has_momentum(model, item)? {
            let what = match rule.momentum_format {
                MomentumFormat::Bf16 => "bfloat16",
                MomentumFormat::Int8 => "int8",
                _ => "full",
            };
            let momentum = self.get(model, item, state, intern!(py, "momentum_buffer"), what)?;
            item.first = momentum.begins;
            if rule.momentum_format == MomentumFormat::Int8 {
                item.kept[SCALE] =
                    Some(self.get(model, item, state, intern!(py, "momentum_scale"), "scale")?);
            }
            item.kept[MOMENTUM] = Some(momentum);
        }
        let beside = match rule.storage {
            Storage::Split16 => Some((intern!(py, "low"), "split16")),
            Storage::Split8 => Some((intern!(py, "low"), "split8")),
            Storage::Master => Some((intern!(py, "master"), "master")),
            _ => None,
        };
        if let Some((name, what)) = beside {
            item.kept[BESIDE] = Some(self.get(model, item, state, name, what)?);
        }
        if matches!(rule.storage, Storage::Stochastic { .. }) {
            item.kept[STEPS] = Some(self.get(model, item, state, intern!(py, "step"), "step")?);
        }
        Ok(())
    }

    /// Whether a momentum is one for this parameter: 1e-60 is 0 in f32.
    fn has_momentum(&self, model: &Model<'_>, item: &Item<'_>) -> PyResult<bool> {
        let momentum = model.groups[item.group].rule.momentum;
        if momentum >= f64::from(f32::MIN_POSITIVE) || f32::from_f64(momentum) != 0.0 {
            return Ok(true);
        }
        let read = self.torch.read(&item.parameter, FLOATS);
        let (_, memory) = read.map_err(|problem| wrong(&model.label(item), &problem))?;
        Ok(memory.kind() == Kind::F64)
    }

    fn get<'py>(
        &self,
        model: &Model<'py>,
        item: &Item<'py>,
        state: Option<&Bound<'py, PyDict>>,
        name: &Bound<'py, PyString>,
        what: &str,
    ) -> PyResult<Kept<'py>> {
        let found = state.map(|state| state.get_item(name)).transpose()?.flatten();
        if let Some(tensor) = found.filter(|found| !found.is_none()) {
            return Ok(Kept { tensor, begins: false });
        }
        // What is made like the parameter needs one that is in order.
        let read =
            self.torch.read(&item.parameter, allowed(&model.groups[item.group].rule.storage));
        read.map_err(|problem| wrong(&model.label(item), &problem))?;
        let tensor = self.begin.bind(item.parameter.py()).call1((&item.parameter, what))?;
        Ok(Kept { tensor, begins: true })
    }

    /// Reads all tensors, and claims their memory. No Python code runs while descriptions
    /// of tensors are compared.
    fn claim<'t>(
        &self,
        model: &Model<'_>,
        items: &'t [Item<'_>],
    ) -> PyResult<(Claims<'t>, Vec<Owner>)> {
        let most = items.len() * ROLES.len();
        let (mut claims, mut owners) = (Claims::with_capacity(most), Vec::with_capacity(most));
        let mut singles = Vec::new();
        for item in items {
            let rule = &model.groups[item.group].rule;
            let problem = |what: &str, problem: String| {
                wrong(&format!("{what}{}", model.label(item)), &problem)
            };
            let (parameter, memory) = self
                .torch
                .read(&item.parameter, allowed(&rule.storage))
                .map_err(|text| problem("", text))?;
            let (kind, elements) = (memory.kind(), memory.len());
            if elements == 1 {
                singles.push(item);
            }
            claims.claim(memory, true);
            let gradients = if kind == Kind::F64 { &FLOATS[3..] } else { &FLOATS[..3] };
            let (gradient, memory) = self
                .torch
                .read(&item.gradient, gradients)
                .map_err(|text| problem("the gradient of ", text))?;
            if !gradient.is_laid_out_as(&parameter) {
                return Err(problem("the gradient of ", another_layout(&gradient, &parameter)));
            }
            claims.claim(memory, false);
            owners.extend([(item.group, item.index, 0), (item.group, item.index, 1)]);
            for (i, kept) in item.kept.iter().enumerate() {
                let Some(kept) = kept else { continue };
                let allowed: &[Kind] = match i {
                    MOMENTUM => match rule.momentum_format {
                        MomentumFormat::Bf16 => &[Kind::Bf16],
                        MomentumFormat::Int8 => &[Kind::I8],
                        _ if kind == Kind::F64 => &[Kind::F64],
                        _ => &[Kind::F32],
                    },
                    SCALE => &[Kind::F32],
                    BESIDE => match rule.storage {
                        Storage::Split16 => &[Kind::I16],
                        Storage::Split8 => &[Kind::I8],
                        _ => &[Kind::F32],
                    },
                    _ => &[Kind::I64],
                };
                let what = || format!("`{}` of the state of ", name_of(i, &rule.storage));
                let (state, memory) = self
                    .torch
                    .read(&kept.tensor, allowed)
                    .map_err(|text| problem(&what(), text))?;
                let fits = match i {
                    SCALE => memory.len() == elements.div_ceil(INT8_BLOCK),
                    STEPS => memory.len() == 1,
                    _ => state.is_laid_out_as(&parameter),
                };
                if !fits {
                    return Err(problem(&what(), another_layout(&state, &parameter)));
                }
                claims.claim(memory, true);
                owners.push((item.group, item.index, i + 2));
            }
        }
        for item in singles {
            let tensors = [("", &item.parameter), ("the gradient of ", &item.gradient)];
            for (what, tensor) in tensors {
                if let Some(problem) = negation(tensor)? {
                    return Err(wrong(&format!("{what}{}", model.label(item)), problem));
                }
            }
        }
        Ok((claims, owners))
    }

    /// Tells autograd that what a step writes is another value from now on.
    fn count_versions(&self, py: Python<'_>, items: &[Item<'_>]) -> PyResult<()> {
        let mut written: Vec<&Bound<'_, PyAny>> = Vec::with_capacity(2 * items.len());
        for item in items {
            written.push(&item.parameter);
            written.extend(item.kept.iter().flatten().map(|kept| &kept.tensor));
        }
        self.torch.increment_version.bind(py).call1((PyList::new(py, written)?,)).map(drop)
    }
}

impl Item<'_> {
    /// Puts what has begun into the state.
    fn keep(&self, state: &Bound<'_, PyDict>) -> PyResult<()> {
        for (i, kept) in self.kept.iter().enumerate() {
            let Some(kept) = kept.as_ref().filter(|kept| kept.begins) else { continue };
            let state = state.as_any().get_item(&self.parameter)?;
            let name = if i == BESIDE { beside_name(&kept.tensor)? } else { ROLES[i + 2] };
            state.set_item(name, &kept.tensor)?;
        }
        Ok(())
    }
}

/// Halves and bytes are what a parameter has no place for; a float is the parameter itself.
fn beside_name(tensor: &Bound<'_, PyAny>) -> PyResult<&'static str> {
    let floats = tensor.call_method0("is_floating_point")?.is_truthy()?;
    Ok(if floats { "master" } else { "low" })
}

fn name_of(kept: usize, storage: &Storage) -> &'static str {
    match (kept, storage) {
        (BESIDE, Storage::Master) => "master",
        (BESIDE, _) => "low",
        _ => ROLES[kept + 2],
    }
}

/// The types that parameters can have which are stored like this.
fn allowed(storage: &Storage) -> &'static [Kind] {
    match storage {
        Storage::Stochastic { .. } | Storage::Master => &FLOATS[1..3],
        Storage::Split16 | Storage::Split8 => &FLOATS[1..2],
        _ => FLOATS,
    }
}

#[cold]
pub fn wrong(what: &str, problem: &str) -> PyErr {
    let message = format!("{what} {problem}");
    if problem.starts_with("is of") {
        PyTypeError::new_err(message)
    } else {
        PyValueError::new_err(message)
    }
}

#[cold]
pub fn another_layout(
    given: &crate::memory::Description<'_>,
    parameter: &crate::memory::Description<'_>,
) -> String {
    format!(
        "has the shape {:?} and the strides {:?}; allowed: what fits the parameter, which has the shape {:?} and \
         the strides {:?}",
        given.shape(),
        given.strides(),
        parameter.shape(),
        parameter.strides()
    )
}

/// A gradient, by its type.
#[derive(Debug, Clone, Copy)]
pub enum Gradient<'t> {
    F32(&'t [f32]),
    F64(&'t [f64]),
    Bf16(&'t [bf16]),
    F16(&'t [f16]),
}

impl<'t> Gradient<'t> {
    pub fn of(slice: Slice<'t>) -> Self {
        match slice.kind() {
            Kind::F64 => Self::F64(slice.read()),
            Kind::Bf16 => Self::Bf16(slice.read()),
            Kind::F16 => Self::F16(slice.read()),
            _ => Self::F32(slice.read()),
        }
    }

    /// An element, for a message.
    pub fn show(&self, index: usize) -> String {
        match self {
            Self::F32(values) => values[index].to_string(),
            Self::F64(values) => values[index].to_string(),
            Self::Bf16(values) => values[index].to_string(),
            Self::F16(values) => values[index].to_string(),
        }
    }
}

/// The parameters of a tensor and its state, by their types.
enum Tensor<'t> {
    Single {
        step: Step<f32>,
        parameters: Slice<'t>,
        momentum: MomentumMut<'t, f32>,
        storage: StorageMut<'t>,
    },
    Double {
        step: Step<f64>,
        parameters: &'t mut [f64],
        momentum: MomentumMut<'t, f64>,
    },
}

/// All tensors, each with its gradient, and the counters of steps.
struct Arranged<'t> {
    tensors: Vec<Tensor<'t>>,
    gradients: Vec<Gradient<'t>>,
    counters: Vec<&'t mut i64>,
}

/// Sorts out what was lent, in the order in which it was claimed.
fn arrange<'t>(
    model: &mut Model<'_>,
    items: &[Item<'_>],
    mut lent: Lent<'t>,
) -> PyResult<Arranged<'t>> {
    let mut tensors = Vec::with_capacity(items.len());
    let mut gradients = Vec::with_capacity(items.len());
    let mut counters = Vec::new();
    for item in items {
        let group = &mut model.groups[item.group];
        let (parameters, gradient) = (lent.take(), Gradient::of(lent.take()));
        gradients.push(gradient);
        let format = item.kept[MOMENTUM].as_ref().map(|_| group.rule.momentum_format);
        tensors.push(if parameters.kind() == Kind::F64 {
            let (step, parameters) = (group.double(item.first)?, parameters.write());
            Tensor::Double { step, parameters, momentum: momentum(format, &mut lent) }
        } else {
            let (step, momentum) = (group.single(item.first)?, momentum(format, &mut lent));
            let storage = storage(&group.rule, item.place, &mut lent, &mut counters);
            Tensor::Single { step, parameters, momentum, storage }
        });
    }
    Ok(Arranged { tensors, gradients, counters })
}

fn momentum<'t, C: crate::memory::Plain>(
    format: Option<MomentumFormat>,
    lent: &mut Lent<'t>,
) -> MomentumMut<'t, C> {
    match format {
        None => MomentumMut::None,
        Some(MomentumFormat::Bf16) => MomentumMut::Bf16(lent.take().write()),
        Some(MomentumFormat::Int8) => {
            MomentumMut::Int8 { codes: lent.take().write(), scales: lent.take().write() }
        }
        Some(_) => MomentumMut::Full(lent.take().write()),
    }
}

fn storage<'t>(
    rule: &Rule,
    (tensor, start): Place,
    lent: &mut Lent<'t>,
    counters: &mut Vec<&'t mut i64>,
) -> StorageMut<'t> {
    match rule.storage {
        Storage::Stochastic { seed } => {
            let steps: &mut [i64] = lent.take().write();
            let draws = Draws::new(seed, steps[0].cast_unsigned(), tensor);
            // A step of length 0 rounds nothing. Checkpoints take one to make the state: training must not depend
            // on it.
            if rule.learning_rate != 0.0 {
                counters.extend(steps);
            }
            StorageMut::Stochastic(draws.starting_at(start))
        }
        Storage::Split16 => StorageMut::Split16(lent.take().write()),
        Storage::Split8 => StorageMut::Split8(lent.take().write()),
        Storage::Master => StorageMut::Master(lent.take().write()),
        _ => StorageMut::Nearest,
    }
}

/// What gradients are multiplied by, and then clipped at.
#[derive(Debug, Clone, Copy)]
struct Factors {
    factor: f64,
    clip_value: Option<f64>,
}

impl Factors {
    fn apply<T: Float>(self, step: Step<T>) -> Result<Step<T>, Error> {
        let step = if self.factor == 1.0 { step } else { step.with_gradient_factor(self.factor)? };
        self.clip_value.map_or(Ok(step), |limit| step.with_clip_value(limit))
    }

    /// Whether a step takes this factor: not NaN, of a norm that is NaN, or 0, of an infinite one.
    fn is_one_of_a_step(self) -> bool {
        self.factor > 0.0
    }
}

/// The one pass.
fn take(
    executor: Executor,
    tensors: Vec<Tensor<'_>>,
    gradients: &[Gradient<'_>],
    factors: Factors,
) -> Result<(), Error> {
    if !factors.is_one_of_a_step() {
        let scaled: Vec<Scaled> =
            gradients.iter().map(|gradient| Scaled::of(*gradient, factors.factor)).collect();
        let gradients: Vec<Gradient<'_>> = scaled.iter().map(Scaled::lend).collect();
        return take(executor, tensors, &gradients, Factors { factor: 1.0, ..factors });
    }
    let (mut single, mut double) = (Vec::new(), Vec::new());
    single.reserve(tensors.len());
    for (tensor, gradient) in tensors.into_iter().zip(gradients) {
        match tensor {
            Tensor::Single { step, parameters, momentum, storage } => {
                let step = factors.apply(step)?;
                single.push(lend(step, parameters, *gradient, momentum).with_storage(storage));
            }
            Tensor::Double { step, parameters, momentum } => {
                let Gradient::F64(gradient) = gradient else {
                    unreachable!("it was claimed as f64")
                };
                double.push(TensorStep::new(factors.apply(step)?, parameters, gradient, momentum));
            }
        }
    }
    executor.step_all(&mut single)?;
    executor.step_all(&mut double)
}

fn lend<'a>(
    step: Step<f32>,
    parameters: Slice<'a>,
    gradient: Gradient<'a>,
    momentum: MomentumMut<'a, f32>,
) -> TensorStep<'a, f32> {
    match parameters.kind() {
        Kind::Bf16 => with_gradient::<bf16>(step, parameters.write(), gradient, momentum),
        Kind::F16 => with_gradient::<f16>(step, parameters.write(), gradient, momentum),
        _ => with_gradient::<f32>(step, parameters.write(), gradient, momentum),
    }
}

fn with_gradient<'a, T: Element<Compute = f32>>(
    step: Step<f32>,
    parameters: &'a mut [T],
    gradient: Gradient<'a>,
    momentum: MomentumMut<'a, f32>,
) -> TensorStep<'a, f32> {
    match gradient {
        Gradient::F32(gradient) => TensorStep::new(step, parameters, gradient, momentum),
        Gradient::Bf16(gradient) => TensorStep::new(step, parameters, gradient, momentum),
        Gradient::F16(gradient) => TensorStep::new(step, parameters, gradient, momentum),
        Gradient::F64(_) => unreachable!("it was claimed as one that is computed in f32"),
    }
}

/// A gradient times a factor that no step takes.
enum Scaled {
    Single(Vec<f32>),
    Double(Vec<f64>),
}

impl Scaled {
    fn of(gradient: Gradient<'_>, factor: f64) -> Self {
        fn times<T: Element<Compute = f32>>(values: &[T], factor: f64) -> Scaled {
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
