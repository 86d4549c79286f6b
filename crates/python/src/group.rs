//! The settings of a group of parameters, read at each step.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};
use rootstep::Float;
use rootstep::optimizer::{MomentumFormat, Power, PowerOf, Rule, Step, Storage};

/// What `param_groups` says of a group.
#[derive(Debug)]
pub struct Group<'py> {
    pub parameters: Bound<'py, PyList>,
    pub rule: Rule,
    index: usize,
    single: Option<Steps<f32>>,
    double: Option<Steps<f64>>,
}

/// The first step, and the later ones.
#[derive(Debug, Clone, Copy)]
struct Steps<T> {
    first: Step<T>,
    later: Step<T>,
}

impl<T: Float> Steps<T> {
    fn new(rule: &Rule) -> Result<Self, rootstep::Error> {
        Ok(Self { first: Step::first(rule)?, later: Step::later(rule)? })
    }
}

/// What is the same in all groups of an optimizer: its class says it.
#[derive(Debug)]
pub struct Class {
    pub power_of: PowerOf,
    /// None where each group has a power, or an epsilon.
    pub power: Option<Power>,
    pub bf16: Py<PyAny>,
    pub int8: Py<PyAny>,
}

impl Class {
    /// # Errors
    ///
    /// An exception that names what is wrong.
    pub fn new(torch: &Bound<'_, PyModule>, power_of: &str, power: Option<f64>) -> PyResult<Self> {
        let power_of = match power_of {
            "gradient" => PowerOf::Gradient,
            "momentum" => PowerOf::Momentum,
            _ => return Err(PyValueError::new_err("allowed: \"gradient\" or \"momentum\"")),
        };
        let power =
            power.map(|power| power_of_number(power).ok_or_else(|| PyValueError::new_err(POWERS)));
        let (bf16, int8) = (torch.getattr("bfloat16")?.unbind(), torch.getattr("int8")?.unbind());
        Ok(Self { power_of, power: power.transpose()?, bf16, int8 })
    }
}

const POWERS: &str = "0, 0.25, 0.5, 0.75 or 1";

fn power_of_number(number: f64) -> Option<Power> {
    let powers = [
        (0.0, Power::Zero),
        (0.25, Power::Quarter),
        (0.5, Power::Half),
        (0.75, Power::ThreeQuarters),
        (1.0, Power::One),
    ];
    powers.iter().find(|(known, _)| *known == number).map(|(_, power)| *power)
}

impl<'py> Group<'py> {
    /// # Errors
    ///
    /// An exception that names the setting.
    pub fn read(group: &Bound<'py, PyDict>, index: usize, class: &Class) -> PyResult<Self> {
        let settings = Settings { group, index };
        let py = group.py();
        let mut rule = Rule::sgd(settings.number(intern!(py, "lr"))?)
            .with_momentum(settings.number(intern!(py, "momentum"))?)
            .with_dampening(settings.number(intern!(py, "dampening"))?)
            .with_weight_decay(settings.number(intern!(py, "weight_decay"))?)
            .with_decoupled_weight_decay(settings.number(intern!(py, "decoupled_weight_decay"))?)
            .with_power(class.power.map_or_else(|| settings.power(), Ok)?)
            .with_power_of(class.power_of)
            .with_momentum_format(settings.momentum_format(class)?)
            .with_storage(settings.storage()?);
        rule.nesterov = settings.truth(intern!(py, "nesterov"))?;
        rule.maximize = settings.truth(intern!(py, "maximize"))?;
        for name in [intern!(py, "differentiable"), intern!(py, "capturable")] {
            if settings.truth(name)? {
                let allowed = "False, since the step is not made of operations of torch";
                return Err(settings.wrong(name, "True", allowed));
            }
        }
        let parameters = settings.required(intern!(py, "params"))?.cast_into::<PyList>()?;
        Ok(Self { parameters, rule, index, single: None, double: None })
    }

    /// The numbers of a step on parameters that are computed in f32; those of a group are computed once.
    ///
    /// # Errors
    ///
    /// An exception that names the group and the setting.
    pub fn single(&mut self, first: bool) -> PyResult<Step<f32>> {
        step_of(&mut self.single, &self.rule, first).map_err(|error| wrong(self.index, &error))
    }

    /// As [`single`](Self::single), of parameters in f64.
    pub fn double(&mut self, first: bool) -> PyResult<Step<f64>> {
        step_of(&mut self.double, &self.rule, first).map_err(|error| wrong(self.index, &error))
    }
}

fn step_of<T: Float>(
    steps: &mut Option<Steps<T>>,
    rule: &Rule,
    first: bool,
) -> Result<Step<T>, rootstep::Error> {
    let steps = match steps {
        Some(steps) => steps,
        None => steps.insert(Steps::new(rule)?),
    };
    Ok(if first { steps.first } else { steps.later })
}

#[cold]
fn wrong(group: usize, error: &rootstep::Error) -> PyErr {
    PyValueError::new_err(format!("parameter group {group}: {error}"))
}

struct Settings<'a, 'py> {
    group: &'a Bound<'py, PyDict>,
    index: usize,
}

impl<'py> Settings<'_, 'py> {
    fn required(&self, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        self.group.get_item(name)?.ok_or_else(|| {
            PyValueError::new_err(format!(
                "parameter group {} has no `{name}`; it needs one",
                self.index
            ))
        })
    }

    fn wrong(
        &self,
        name: impl std::fmt::Display,
        given: impl std::fmt::Display,
        allowed: &str,
    ) -> PyErr {
        PyValueError::new_err(format!(
            "`{name}` of parameter group {} is {given}; allowed: {allowed}",
            self.index
        ))
    }

    /// A float, or what can be one: a tensor of one element.
    fn number(&self, name: &Bound<'py, PyString>) -> PyResult<f64> {
        let value = self.required(name)?;
        value.extract().map_err(|_| {
            let (given, index) = (shown(&value), self.index);
            PyTypeError::new_err(format!(
                "`{name}` of parameter group {index} is {given}; allowed: a number, or a tensor of one element"
            ))
        })
    }

    fn truth(&self, name: &Bound<'py, PyString>) -> PyResult<bool> {
        self.required(name)?.is_truthy()
    }

    fn power(&self) -> PyResult<Power> {
        let py = self.group.py();
        if let Some(epsilon) = self.group.get_item(intern!(py, "epsilon"))? {
            let epsilon = epsilon
                .extract()
                .map_err(|_| self.wrong("epsilon", shown(&epsilon), "a number"))?;
            return Ok(Power::Smoothed { epsilon });
        }
        let power = self.required(intern!(py, "power"))?;
        let known = power.extract().ok().and_then(power_of_number);
        known.ok_or_else(|| self.wrong("power", shown(&power), POWERS))
    }

    fn momentum_format(&self, class: &Class) -> PyResult<MomentumFormat> {
        let value = self.required(intern!(self.group.py(), "momentum_dtype"))?;
        if value.is_none() {
            Ok(MomentumFormat::Full)
        } else if value.is(&class.bf16) {
            Ok(MomentumFormat::Bf16)
        } else if value.is(&class.int8) {
            Ok(MomentumFormat::Int8)
        } else {
            Err(self.wrong("momentum_dtype", shown(&value), "None, torch.bfloat16 or torch.int8"))
        }
    }

    fn storage(&self) -> PyResult<Storage> {
        let py = self.group.py();
        let value = self.required(intern!(py, "storage"))?;
        Ok(match text(&value).as_deref() {
            Some("nearest") => Storage::Nearest,
            Some("stochastic") => {
                let seed = self.required(intern!(py, "seed"))?;
                let allowed = "an integer from 0 to 2^64 - 1";
                let seed = seed.extract().map_err(|_| self.wrong("seed", shown(&seed), allowed))?;
                Storage::Stochastic { seed }
            }
            Some("split16") => Storage::Split16,
            Some("split8") => Storage::Split8,
            Some("master") => Storage::Master,
            _ => {
                let allowed = "\"nearest\", \"stochastic\", \"split16\", \"split8\" or \"master\"";
                return Err(self.wrong("storage", shown(&value), allowed));
            }
        })
    }
}

fn text(value: &Bound<'_, PyAny>) -> Option<String> {
    value.extract().ok()
}

fn shown(value: &Bound<'_, PyAny>) -> String {
    value.repr().map_or_else(|_| "something else".to_owned(), |text| text.to_string())
}
