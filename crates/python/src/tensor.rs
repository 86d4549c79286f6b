//! Tensors of PyTorch, as a step takes them: in the memory of the CPU, dense, of a known type.

use crate::level;
use crate::memory::{Description, Exchange, Kind, Memory, describe_by_methods};
use crate::openmp;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyType;
use rootstep::Executor;

/// What is needed of the module `torch`.
#[derive(Debug)]
pub struct Torch {
    exchange: Option<Exchange>,
    /// `torch.Tensor`.
    tensor: Py<PyType>,
    strided: Py<PyAny>,
    kinds: Vec<(Py<PyAny>, Kind)>,
    num_threads: Py<PyAny>,
    pub increment_version: Py<PyAny>,
}

const KINDS: [(&str, Kind); 7] = [
    ("float32", Kind::F32),
    ("float64", Kind::F64),
    ("bfloat16", Kind::Bf16),
    ("float16", Kind::F16),
    ("int8", Kind::I8),
    ("int16", Kind::I16),
    ("int64", Kind::I64),
];

/// What PyTorch calls a type.
pub fn name(kind: Kind) -> &'static str {
    KINDS.iter().find(|(_, other)| *other == kind).map_or("", |(name, _)| name)
}

/// The types of parameters and gradients: those that are computed in f32, and f64.
pub const FLOATS: &[Kind] = &[Kind::F32, Kind::Bf16, Kind::F16, Kind::F64];

impl Torch {
    /// By the C functions of `torch`, if it has them and `exchange` is true, else by methods.
    pub fn new(torch: &Bound<'_, PyModule>, exchange: bool) -> PyResult<Self> {
        let tensor = torch.getattr("Tensor")?.cast_into::<PyType>()?;
        let kinds = KINDS.iter().map(|&(name, kind)| Ok((torch.getattr(name)?.unbind(), kind)));
        let increment =
            torch.getattr("autograd")?.getattr("graph")?.getattr("increment_version")?;
        Ok(Self {
            exchange: if exchange { Exchange::new(&tensor)? } else { None },
            tensor: tensor.unbind(),
            strided: torch.getattr("strided")?.unbind(),
            kinds: kinds.collect::<PyResult<_>>()?,
            num_threads: torch.getattr("get_num_threads")?.unbind(),
            increment_version: increment.unbind(),
        })
    }

    /// On PyTorch's own threads, or where those are not found on rayon's, if PyTorch has more than one.
    ///
    /// # Errors
    ///
    /// Those of the function that says how many threads there are.
    pub fn executor(&self, py: Python<'_>) -> PyResult<Executor> {
        let executor = level::executor();
        if openmp::find() {
            return Ok(executor);
        }
        let threads: usize = self.num_threads.bind(py).call0()?.extract()?;
        Ok(if threads > 1 { executor } else { executor.serial() })
    }

    /// The description of a tensor of one of these kinds, and its memory.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what is allowed.
    #[inline]
    pub fn read<'t>(
        &self,
        tensor: &'t Bound<'_, PyAny>,
        allowed: &[Kind],
    ) -> Result<(Description<'t>, Memory<'t>), String> {
        let description = match &self.exchange {
            None => self.describe(tensor, allowed)?,
            Some(exchange) => match exchange.describe(tensor) {
                Some(description) => description,
                None => return Err(self.problem(tensor, allowed)),
            },
        };
        if !allowed.contains(&description.kind()) {
            return Err(wrong_type(name(description.kind()), allowed));
        }
        let Some(memory) = description.memory(tensor) else {
            return Err(wrong_strides(&description));
        };
        Ok((description, memory))
    }

    /// What is wrong with a tensor that PyTorch does not describe.
    #[cold]
    fn problem(&self, tensor: &Bound<'_, PyAny>, allowed: &[Kind]) -> String {
        let problem = self.describe(tensor, allowed).err();
        problem.unwrap_or_else(|| {
            "has no memory that can be lent; allowed: a tensor that has".to_owned()
        })
    }

    /// The slow way, which finds out what is wrong, too.
    fn describe<'t>(
        &self,
        tensor: &'t Bound<'_, PyAny>,
        allowed: &[Kind],
    ) -> Result<Description<'t>, String> {
        let py = tensor.py();
        if !tensor.is_instance(self.tensor.bind(py)).unwrap_or(false) {
            return Err(format!("is {}; allowed: a tensor", type_name(tensor)));
        }
        let attribute = |name: &str| tensor.getattr(name).map_err(|error| error.to_string());
        let layout = attribute("layout")?;
        if !layout.is(&self.strided) {
            return Err(format!("has the layout {layout}; allowed: torch.strided"));
        }
        let device = attribute("device")?;
        if !attribute("is_cpu")?.is_truthy().unwrap_or(false) {
            return Err(format!("is on the device `{device}`; allowed: `cpu`"));
        }
        let dtype = attribute("dtype")?;
        let Some((_, kind)) = self.kinds.iter().find(|(known, _)| dtype.is(known)) else {
            let given = dtype.to_string();
            return Err(wrong_type(given.trim_start_matches("torch."), allowed));
        };
        describe_by_methods(tensor, *kind).map_err(|error| {
            format!("has no memory that can be lent ({error}); allowed: a tensor that has")
        })
    }
}

/// What is wrong with a number that is to be negated when it is read, if this is one. It is a view of a complex one, so
/// no dense tensor of more elements is of this kind.
///
/// # Errors
///
/// Those of the method.
pub fn negation(tensor: &Bound<'_, PyAny>) -> PyResult<Option<&'static str>> {
    let negated = tensor.call_method0(intern!(tensor.py(), "is_neg"))?.is_truthy()?;
    Ok(negated.then_some("is negated lazily; allowed: a tensor as `resolve_neg()` gives it"))
}

fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "something else".to_owned(), |name| name.to_string())
}

#[cold]
fn wrong_type(given: &str, allowed: &[Kind]) -> String {
    let allowed: Vec<&str> = allowed.iter().copied().map(name).collect();
    let (last, others) = allowed.split_last().unwrap_or((&"", &[]));
    let allowed = if others.is_empty() {
        (*last).to_owned()
    } else {
        format!("{} or {last}", others.join(", "))
    };
    format!("is of {given}; allowed: {allowed}")
}

#[cold]
fn wrong_strides(description: &Description<'_>) -> String {
    let (shape, strides) = (description.shape(), description.strides());
    if shape.iter().zip(strides).any(|(&length, &stride)| length > 1 && stride == 0) {
        return format!(
            "has elements that share their memory (shape {shape:?}, strides {strides:?}); allowed: a tensor \
             that is not expanded"
        );
    }
    format!(
        "has gaps or no memory (shape {shape:?}, strides {strides:?}); allowed: a dense tensor, as `contiguous()` \
         gives it"
    )
}
