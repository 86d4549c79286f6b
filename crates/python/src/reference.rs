//! The specification on tensors, element by element: what the tests compare a step with.

use crate::group::{Class, Group};
use crate::memory::{Claims, Kind, Lent, Seen};
use crate::tensor::{FLOATS, Torch};
use half::{bf16, f16};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rootstep::optimizer::{INT8_BLOCK, Step, Storage};
use rootstep::{Error, Float, reference};

/// Takes the step of `settings`, those of a group, on one parameter, by `rootstep::reference` alone.
///
/// `tensors` are the parameter, its gradient, and where there are such (else None) the momentum, its scales, and
/// what is kept beside the parameter. `class` has what the power is taken of, and the power where it is the same in
/// all groups; `draws` the step and the tensor whose draws are taken; `limits` the factor of gradients and their
/// largest magnitude.
///
/// # Errors
///
/// An exception that says what is wrong with the settings or a tensor.
#[pyfunction]
#[allow(
    clippy::needless_pass_by_value,
    clippy::too_many_arguments,
    reason = "as arguments come from Python; for tests, which name each"
)]
#[pyo3(signature = (torch, settings, tensors, power_of, power, first, draws, limits))]
pub fn reference_step(
    torch: &Bound<'_, PyModule>,
    settings: &Bound<'_, PyDict>,
    tensors: [Option<Bound<'_, PyAny>>; 5],
    power_of: &str,
    power: Option<f64>,
    first: bool,
    draws: (u64, u32),
    limits: (f64, Option<f64>),
) -> PyResult<()> {
    let mut group = Group::read(settings, 0, &Class::new(torch, power_of, power)?)?;
    let torch = Torch::new(torch, false)?;
    let kinds = [FLOATS, &[Kind::I8, Kind::I16]].concat();
    let (mut claims, mut found) = (Claims::with_capacity(tensors.len()), Vec::new());
    for tensor in &tensors {
        let Some(tensor) = tensor else {
            found.push(None);
            continue;
        };
        let (_, memory) = torch.read(tensor, &kinds).map_err(PyValueError::new_err)?;
        found.push(Some((memory.kind(), memory.len())));
        claims.claim(memory, true);
    }
    let lent = claims.lend(&mut Seen::default());
    let lent = lent.map_err(|_| PyValueError::new_err("tensors have memory in common"))?;
    let step = (group.single(first)?, group.double(first)?);
    let steps = limited(step, limits).map_err(|error| PyValueError::new_err(error.to_string()))?;
    let elements = found[0].map_or(0, |(_, elements)| elements);
    let mut tensor = Tensor::new(group.rule.storage, draws, &found, lent);
    if matches!(tensor.parameters, Numbers::F64(_)) {
        tensor.step(&steps.1, elements);
    } else {
        tensor.step(&steps.0, elements);
    }
    Ok(())
}

type Both = (Step<f32>, Step<f64>);

fn limited(steps: Both, (factor, clip_value): (f64, Option<f64>)) -> Result<Both, Error> {
    let steps = (steps.0.with_gradient_factor(factor)?, steps.1.with_gradient_factor(factor)?);
    let Some(limit) = clip_value else { return Ok(steps) };
    Ok((steps.0.with_clip_value(limit)?, steps.1.with_clip_value(limit)?))
}

/// Numbers of any type.
enum Numbers<'t> {
    None,
    F32(&'t mut [f32]),
    F64(&'t mut [f64]),
    Bf16(&'t mut [bf16]),
    F16(&'t mut [f16]),
    I8(&'t mut [i8]),
    I16(&'t mut [i16]),
}

impl<'t> Numbers<'t> {
    fn of(found: Option<(Kind, usize)>, lent: &mut Lent<'t>) -> Self {
        match found.map(|(kind, _)| kind) {
            None => Self::None,
            Some(Kind::F64) => Self::F64(lent.take().write()),
            Some(Kind::Bf16) => Self::Bf16(lent.take().write()),
            Some(Kind::F16) => Self::F16(lent.take().write()),
            Some(Kind::I8) => Self::I8(lent.take().write()),
            Some(Kind::I16) => Self::I16(lent.take().write()),
            Some(_) => Self::F32(lent.take().write()),
        }
    }

    /// Exact. (Of f64, where `T` is f64.)
    fn read<T: Float>(&self, i: usize) -> T {
        match self {
            Self::None => T::NAN,
            Self::F32(values) => T::from_f32(values[i]),
            Self::F64(values) => T::from_f64(values[i]),
            Self::Bf16(values) => T::from_f32(reference::from_bf16(values[i].to_bits())),
            Self::F16(values) => T::from_f32(reference::from_f16(values[i].to_bits())),
            Self::I8(values) => T::from_f32(f32::from(values[i])),
            Self::I16(values) => T::from_f32(f32::from(values[i])),
        }
    }

    /// As the nearest number of the type.
    fn set<T: Float>(&mut self, i: usize, value: T) {
        match self {
            Self::F32(values) => values[i] = value.to_f32(),
            Self::F64(values) => values[i] = value.to_f64(),
            Self::Bf16(values) => values[i] = bf16::from_bits(reference::bf16(value.to_f32())),
            Self::F16(values) => values[i] = f16::from_bits(reference::f16(value.to_f32())),
            Self::None | Self::I8(_) | Self::I16(_) => unreachable!("no numbers of a parameter"),
        }
    }
}

struct Tensor<'t> {
    storage: Storage,
    draws: (u64, u32),
    parameters: Numbers<'t>,
    gradient: Numbers<'t>,
    momentum: Numbers<'t>,
    scales: Numbers<'t>,
    beside: Numbers<'t>,
}

impl<'t> Tensor<'t> {
    fn new(
        storage: Storage,
        draws: (u64, u32),
        found: &[Option<(Kind, usize)>],
        mut lent: Lent<'t>,
    ) -> Self {
        let mut next = found.iter().map(|found| Numbers::of(*found, &mut lent));
        let mut next = || next.next().unwrap_or(Numbers::None);
        let (parameters, gradient, momentum) = (next(), next(), next());
        Self { storage, draws, parameters, gradient, momentum, scales: next(), beside: next() }
    }

    fn step<T: Float>(&mut self, step: &Step<T>, elements: usize) {
        let mut momentum: Vec<T> = Vec::new();
        for i in 0..elements {
            let (x, m) =
                reference::step(step, self.number(i), self.momentum_of(i), self.gradient.read(i));
            self.set(i, x);
            momentum.push(m);
        }
        if step.has_momentum() {
            self.set_momentum(&momentum);
        }
    }

    fn number<T: Float>(&self, i: usize) -> T {
        match (&self.beside, &self.parameters) {
            (Numbers::I16(low), Numbers::Bf16(high)) => {
                T::from_f32(reference::join16(high[i].to_bits(), low[i]))
            }
            (Numbers::I8(low), Numbers::Bf16(high)) => {
                T::from_f32(reference::join8(high[i].to_bits(), low[i]))
            }
            (Numbers::F32(master), _) => T::from_f32(master[i]),
            (_, parameters) => parameters.read(i),
        }
    }

    fn set<T: Float>(&mut self, i: usize, value: T) {
        let single = value.to_f32();
        if let Storage::Stochastic { seed } = self.storage {
            let draw = reference::draw(seed, self.draws.0, self.draws.1, i as u64);
            match &mut self.parameters {
                Numbers::Bf16(x) => {
                    x[i] = bf16::from_bits(reference::stochastic_bf16(single, draw));
                }
                Numbers::F16(x) => {
                    x[i] = f16::from_bits(reference::stochastic_f16(single, draw));
                }
                _ => unreachable!("numbers of 16 bits alone are rounded at random"),
            }
            return;
        }
        match (&mut self.beside, &mut self.parameters) {
            (Numbers::I16(low), Numbers::Bf16(high)) => {
                let (upper, lower) = reference::split16(single);
                (high[i], low[i]) = (bf16::from_bits(upper), lower);
            }
            (Numbers::I8(low), Numbers::Bf16(high)) => {
                let (upper, lower) = reference::split8(single);
                (high[i], low[i]) = (bf16::from_bits(upper), lower);
            }
            (Numbers::F32(master), parameters) => {
                master[i] = single;
                parameters.set(i, value);
            }
            (_, parameters) => parameters.set(i, value),
        }
    }

    fn momentum_of<T: Float>(&self, i: usize) -> T {
        match (&self.momentum, &self.scales) {
            (Numbers::I8(codes), Numbers::F32(scales)) => {
                T::from_f32(f32::from(codes[i]) * (scales[i / INT8_BLOCK] / 127.0))
            }
            (momentum, _) => momentum.read(i),
        }
    }

    fn set_momentum<T: Float>(&mut self, new: &[T]) {
        match (&mut self.momentum, &mut self.scales) {
            (Numbers::I8(codes), Numbers::F32(scales)) => {
                let blocks = new.chunks(INT8_BLOCK).zip(codes.chunks_mut(INT8_BLOCK));
                for ((new, codes), scale) in blocks.zip(scales.iter_mut()) {
                    *scale = pack(new, codes);
                }
            }
            (momentum, _) => {
                for (i, m) in new.iter().enumerate() {
                    momentum.set(i, *m);
                }
            }
        }
    }
}

/// Writes the codes of a block of finite numbers, as `reference::int8_momentum` says, and gives its scale.
#[allow(clippy::cast_possible_truncation, reason = "at most 127")]
fn pack<T: Float>(block: &[T], codes: &mut [i8]) -> f32 {
    let scale = block.iter().map(|m| m.to_f32().abs()).fold(0.0, f32::max);
    for (code, m) in codes.iter_mut().zip(block) {
        *code = (m.to_f32() * (127.0 / (scale + 1e-12))).round_ties_even() as i8;
    }
    scale
}
