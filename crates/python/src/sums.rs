//! Sums of gradients in the order of a tree, and what is found in a gradient that lies in parts.

use crate::arrays::{Findings, findings};
use crate::limits::{Limits, Report};
use crate::memory::{Claims, Kind, Lent, Seen};
use crate::openmp;
use crate::step::{Gradient, another_layout, wrong};
use crate::tensor::{FLOATS, Torch, negation};
use half::bf16;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rootstep::sums::{BlockSums, SHARD_ELEMENTS, SumOrder, Term};
use rootstep::{Error, Executor, Inspection, sums};

/// Of micro-batches: from the first to before the second.
type Node = (usize, usize);

/// The nodes of the tree over `micro_batches` that lie in `start..end`.
#[pyfunction]
pub fn nodes(micro_batches: usize, start: usize, end: usize) -> PyResult<Vec<Node>> {
    let nodes = sums::nodes(micro_batches, start..end).map_err(|error| invalid(&error))?;
    Ok(nodes.into_iter().map(|node| (node.start, node.end)).collect())
}

/// At multiples of how many elements a tensor may be split.
#[pyfunction]
pub const fn shard_elements() -> usize {
    SHARD_ELEMENTS
}

/// Adds up gradients, and looks at what they add up to.
#[pyclass(module = "rootstep._rootstep")]
#[derive(Debug)]
pub struct Sums {
    torch: Torch,
    seen: Seen,
}

#[pymethods]
impl Sums {
    /// As of `Stepper`.
    #[new]
    #[pyo3(signature = (torch, exchange=true))]
    fn new(torch: &Bound<'_, PyModule>, exchange: bool) -> PyResult<Self> {
        Ok(Self { torch: Torch::new(torch, exchange)?, seen: Seen::default() })
    }

    /// Writes a sum to each of `outs`, that of its `terms`: those of `nodes`, in the order of the tree over
    /// `micro_batches`. `in_bf16` rounds what each node has to bf16; only then an output may be in it.
    ///
    /// Before all is checked nothing is written.
    #[expect(clippy::needless_pass_by_value, reason = "it is called from Python")]
    fn add(
        &mut self,
        py: Python<'_>,
        micro_batches: usize,
        nodes: Vec<Node>,
        in_bf16: bool,
        terms: Vec<Vec<Bound<'_, PyAny>>>,
        outs: Vec<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let nodes: Vec<_> = nodes.into_iter().map(|(start, end)| start..end).collect();
        let order = SumOrder::of_nodes(micro_batches, &nodes).map_err(|error| invalid(&error))?;
        let order = if in_bf16 { order.in_bf16() } else { order };
        if terms.len() != outs.len() {
            let (given, allowed) = (terms.len(), outs.len());
            let message =
                format!("there are terms of {given} sums; allowed: {allowed}, as outputs");
            return Err(PyValueError::new_err(message));
        }
        let claims = self.claim(&order, in_bf16, &terms, &outs)?;
        let lent = claims.lend(&mut self.seen).map_err(|(a, b)| {
            let a_sum = order.terms() + 1;
            let (a, b) = (a / a_sum, b / a_sum);
            PyValueError::new_err(format!(
                "sums {a} and {b} have memory in common; allowed: outputs that nothing else is in"
            ))
        })?;
        let sums = lent_sums(outs.len(), order.terms(), lent);
        let executor = self.torch.executor(py)?;
        openmp::detach(py, || sums.into_iter().try_for_each(|sum| sum.take(executor, &order)))
            .map_err(|error| invalid(&error))
    }

    /// What is found in parts of gradients, but their norm: in those in float32, and in those in float64; with the
    /// sums of squares of their blocks, of `scales` times the elements. Gradients are numbered among all `parts`.
    #[expect(clippy::needless_pass_by_value, reason = "it is called from Python")]
    fn inspect(
        &self,
        py: Python<'_>,
        parts: Vec<Bound<'_, PyAny>>,
        scales: (f64, f64),
    ) -> PyResult<[Part; 2]> {
        let mut claims = Claims::with_capacity(parts.len());
        for (i, part) in parts.iter().enumerate() {
            let read = self.torch.read(part, &[Kind::F32, Kind::F64]);
            let (_, memory) = read.map_err(|problem| wrong(&format!("part {i}"), &problem))?;
            claims.claim(memory, false);
        }
        let mut lent = claims.lend(&mut Seen::default()).map_err(|_| {
            PyValueError::new_err("parts have memory in common that one of them writes")
        })?;
        let (mut single, mut double) = (Places::default(), Places::default());
        for i in 0..parts.len() {
            match Gradient::of(lent.take()) {
                Gradient::F64(values) => double.push(i, values),
                Gradient::F32(values) => single.push(i, values),
                _ => unreachable!("it was claimed as one of these"),
            }
        }
        let executor = self.torch.executor(py)?;
        Ok(openmp::detach(py, || {
            let found = executor.inspect_blocks::<f32, _>(&single.values, scales.0);
            let doubles = executor.inspect_blocks::<f64, _>(&double.values, scales.1);
            [single.part(found), double.part(doubles)]
        }))
    }
}

/// What is found in parts of gradients of one type.
type Part = (Findings, Vec<f64>);

/// What the parts of all ranks, in their order, tell of the whole; and the scales that its squares must be taken at: if
/// these were others, the norm is none yet. The places of what is not finite are those in the whole.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "it is called from Python")]
pub fn whole(ranks: Vec<[Part; 2]>, scales: (f64, f64)) -> (Findings, (f64, f64)) {
    let of_type = |i: usize, scale: f64| {
        let parts = ranks.iter().map(|parts| inspection(parts[i].0));
        let found = Inspection::of_parts(parts);
        let squares = ranks.iter().flat_map(|parts| parts[i].1.iter().copied());
        (found.scale(), found.with_norm_of(scale, squares))
    };
    let (single, double) = (of_type(0, scales.0), of_type(1, scales.1));
    (findings(&Inspection::of_parts([single.1, double.1])), (single.0, double.0))
}

/// Whether the step is taken, and what clipping by norm multiplies the gradients by, after what was `found` in all of
/// them. `single` says whether any is computed in float32; `shown` and `label` are what a message calls the first element
/// that is not finite, and its parameter.
#[pyfunction]
pub fn decide(
    clip_norm: Option<f64>,
    clip_value: Option<f64>,
    non_finite: &str,
    found: Findings,
    single: bool,
    shown: String,
    label: String,
) -> PyResult<Report> {
    let limits = Limits::new(clip_norm, clip_value, non_finite)?;
    limits.decide(&inspection(found), single, |_, _| (shown, label))
}

fn inspection(found: Findings) -> Inspection {
    let mut inspection = Inspection::default();
    (
        inspection.elements,
        inspection.norm,
        inspection.max_magnitude,
        inspection.nan,
        inspection.infinite,
        inspection.zero,
        inspection.subnormal,
        inspection.first_non_finite,
    ) = found;
    inspection
}

/// Slices, each with its number among all gradients.
#[derive(Default)]
struct Places<'t, T> {
    numbers: Vec<usize>,
    values: Vec<&'t [T]>,
}

impl<'t, T> Places<'t, T> {
    fn push(&mut self, number: usize, values: &'t [T]) {
        self.numbers.push(number);
        self.values.push(values);
    }

    fn part(&self, mut found: BlockSums) -> Part {
        if let Some((gradient, _)) = &mut found.inspection.first_non_finite {
            *gradient = self.numbers[*gradient];
        }
        (findings(&found.inspection), found.squares)
    }
}

impl Sums {
    /// Each output, and then its terms.
    fn claim<'t>(
        &self,
        order: &SumOrder,
        in_bf16: bool,
        terms: &'t [Vec<Bound<'_, PyAny>>],
        outs: &'t [Bound<'_, PyAny>],
    ) -> PyResult<Claims<'t>> {
        let mut claims = Claims::with_capacity(outs.len() * (order.terms() + 1));
        let outputs: &[Kind] =
            if in_bf16 { &[Kind::F32, Kind::Bf16] } else { &[Kind::F32, Kind::F64] };
        for (i, (terms, out)) in terms.iter().zip(outs).enumerate() {
            let problem = |what: String, problem: &str| wrong(&format!("{what} {i}"), problem);
            let (output, memory) =
                self.torch.read(out, outputs).map_err(|text| problem("sum".to_owned(), &text))?;
            let kinds = if memory.kind() == Kind::F64 { &FLOATS[3..] } else { &FLOATS[..3] };
            let single = memory.len() == 1;
            claims.claim(memory, true);
            if terms.len() != order.terms() {
                let (given, allowed) = (terms.len(), order.terms());
                let text = format!("has {given} terms; allowed: {allowed}, as there are nodes");
                return Err(problem("sum".to_owned(), &text));
            }
            for (j, term) in terms.iter().enumerate() {
                let what = || format!("term {j} of sum");
                let (given, memory) =
                    self.torch.read(term, kinds).map_err(|text| problem(what(), &text))?;
                if !given.is_laid_out_as(&output) {
                    return Err(problem(what(), &another_layout(&given, &output)));
                }
                claims.claim(memory, false);
            }
            if single {
                for tensor in terms.iter().chain([out]) {
                    if let Some(text) = negation(tensor)? {
                        return Err(problem("a tensor of sum".to_owned(), text));
                    }
                }
            }
        }
        Ok(claims)
    }
}

/// A sum, by the type that it is computed and written in.
enum Sum<'t> {
    Single(Vec<Term<'t, f32>>, &'t mut [f32]),
    Bf16(Vec<Term<'t, f32>>, &'t mut [bf16]),
    Double(Vec<Term<'t, f64>>, &'t mut [f64]),
}

/// What was lent, in the order in which it was claimed.
fn lent_sums(sums: usize, terms: usize, mut lent: Lent<'_>) -> Vec<Sum<'_>> {
    let mut sum = || {
        let out = lent.take();
        let mut gradients = (0..terms).map(|_| Gradient::of(lent.take()));
        if out.kind() == Kind::F64 {
            return Sum::Double(gradients.by_ref().map(double).collect(), out.write());
        }
        let terms = gradients.by_ref().map(single).collect();
        match out.kind() {
            Kind::Bf16 => Sum::Bf16(terms, out.write()),
            _ => Sum::Single(terms, out.write()),
        }
    };
    (0..sums).map(|_| sum()).collect()
}

fn single(gradient: Gradient<'_>) -> Term<'_, f32> {
    match gradient {
        Gradient::F32(values) => Term::new(values),
        Gradient::Bf16(values) => Term::new(values),
        Gradient::F16(values) => Term::new(values),
        Gradient::F64(_) => unreachable!("it was claimed as one that is computed in f32"),
    }
}

fn double(gradient: Gradient<'_>) -> Term<'_, f64> {
    match gradient {
        Gradient::F64(values) => Term::new(values),
        _ => unreachable!("it was claimed as f64"),
    }
}

impl Sum<'_> {
    fn take(self, executor: Executor, order: &SumOrder) -> Result<(), Error> {
        match self {
            Self::Single(terms, out) => executor.sum_all(order, &terms, out),
            Self::Bf16(terms, out) => executor.sum_all(order, &terms, out),
            Self::Double(terms, out) => executor.sum_all(order, &terms, out),
        }
    }
}

#[cold]
fn invalid(error: &Error) -> PyErr {
    PyValueError::new_err(error.to_string())
}
