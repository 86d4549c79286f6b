//! A tensor in every kind of memory that a step computed in f32 takes, and the same step by the scalar functions
//! of the specification.

use half::{bf16, f16};
use rootstep::optimizer::{Draws, INT8_BLOCK, MomentumMut, Step, StorageMut, TensorStep};
use rootstep::reference;

/// Numbers in one of the types that are computed in f32.
#[derive(Debug, Clone)]
pub enum Numbers {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
    F16(Vec<f16>),
}

/// How parameters are stored.
#[derive(Debug, Clone)]
pub enum Storage {
    Nearest,
    Stochastic(Place),
    Split16(Vec<i16>),
    Split8(Vec<i8>),
    Master(Vec<f32>),
}

/// Which draws a tensor gets.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub seed: u64,
    pub step: u64,
    pub tensor: u32,
    /// Of the first element.
    pub start: u64,
}

#[derive(Debug, Clone)]
pub enum Momentum {
    None,
    Full(Vec<f32>),
    Bf16(Vec<u16>),
    Int8(Vec<i8>, Vec<f32>),
}

/// Each vector has `margin` elements more on both sides, which are not the tensor's.
#[derive(Debug, Clone)]
pub struct Tensor {
    pub step: Step<f32>,
    pub margin: usize,
    pub parameters: Numbers,
    pub storage: Storage,
    pub gradient: Numbers,
    pub momentum: Momentum,
}

/// The types of parameters, each with the ways to store it, by their names.
pub const STORED: [(&str, &str); 9] = [
    ("f32", "Nearest"),
    ("bf16", "Nearest"),
    ("bf16", "Stochastic"),
    ("bf16", "Split16"),
    ("bf16", "Split8"),
    ("bf16", "Master"),
    ("f16", "Nearest"),
    ("f16", "Stochastic"),
    ("f16", "Master"),
];

/// The types of gradients.
pub const GRADIENTS: [&str; 3] = ["f32", "bf16", "f16"];

/// The formats of momentum, and none.
pub const MOMENTA: [&str; 4] = ["None", "Full", "Bf16", "Int8"];

impl Numbers {
    /// These numbers, in the type of this name.
    pub fn of(name: &str, values: &[f32]) -> Self {
        let bits = |value: &f32| reference::bf16(*value);
        match name {
            "f32" => Self::F32(values.to_vec()),
            "bf16" => Self::Bf16(values.iter().map(bits).map(bf16::from_bits).collect()),
            "f16" => Self::F16(values.iter().map(|x| f16::from_bits(reference::f16(*x))).collect()),
            _ => panic!("no type {name}"),
        }
    }

    pub const fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
            Self::F16(values) => values.len(),
        }
    }

    pub fn read(&self, i: usize) -> f32 {
        match self {
            Self::F32(values) => values[i],
            Self::Bf16(values) => reference::from_bf16(values[i].to_bits()),
            Self::F16(values) => reference::from_f16(values[i].to_bits()),
        }
    }

    fn set_nearest(&mut self, i: usize, value: f32) {
        match self {
            Self::F32(values) => values[i] = value,
            Self::Bf16(values) => values[i] = bf16::from_bits(reference::bf16(value)),
            Self::F16(values) => values[i] = f16::from_bits(reference::f16(value)),
        }
    }

    fn set_stochastic(&mut self, i: usize, value: f32, draw: u16) {
        match self {
            Self::F32(_) => unreachable!("f32 is not rounded"),
            Self::Bf16(values) => {
                values[i] = bf16::from_bits(reference::stochastic_bf16(value, draw));
            }
            Self::F16(values) => {
                values[i] = f16::from_bits(reference::stochastic_f16(value, draw));
            }
        }
    }

    fn bf16_mut(&mut self) -> &mut [bf16] {
        match self {
            Self::Bf16(values) => values,
            Self::F32(_) | Self::F16(_) => unreachable!("bf16 alone is split"),
        }
    }

    /// The bits, those of one quiet NaN for all.
    pub fn bits(&self) -> Vec<u32> {
        match self {
            Self::F32(values) => values.iter().map(|x| one_nan(*x)).collect(),
            Self::Bf16(values) => {
                let one_nan =
                    |x: &bf16| if x.is_nan() { 0x7f80 | x.to_bits() & 0x40 } else { x.to_bits() };
                values.iter().map(one_nan).map(u32::from).collect()
            }
            Self::F16(values) => {
                let one_nan =
                    |x: &f16| if x.is_nan() { 0x7c00 | x.to_bits() & 0x200 } else { x.to_bits() };
                values.iter().map(one_nan).map(u32::from).collect()
            }
        }
    }
}

fn one_nan(value: f32) -> u32 {
    if value.is_nan() { 0x7fc0_0000 } else { value.to_bits() }
}

impl Momentum {
    fn read(&self, margin: usize, i: usize) -> f32 {
        match self {
            Self::None => f32::NAN,
            Self::Full(momentum) => momentum[i],
            Self::Bf16(momentum) => reference::from_bf16(momentum[i]),
            Self::Int8(codes, scales) => {
                f32::from(codes[i]) * (scales[margin + (i - margin) / INT8_BLOCK] / 127.0)
            }
        }
    }

    /// Stores what all elements have become.
    fn set_all(&mut self, margin: usize, new: &[f32]) {
        match self {
            Self::None => {}
            Self::Full(momentum) => momentum[margin..][..new.len()].copy_from_slice(new),
            Self::Bf16(momentum) => {
                for (m, &new) in momentum[margin..].iter_mut().zip(new) {
                    *m = reference::bf16(new);
                }
            }
            Self::Int8(codes, scales) => {
                let codes = codes[margin..].chunks_mut(INT8_BLOCK);
                let blocks = new.chunks(INT8_BLOCK).zip(codes).zip(&mut scales[margin..]);
                for ((new, codes), scale) in blocks {
                    *scale = pack(new, codes);
                }
            }
        }
    }

    fn bits(&self) -> Vec<u32> {
        match self {
            Self::None => Vec::new(),
            Self::Full(momentum) => momentum.iter().map(|m| one_nan(*m)).collect(),
            Self::Bf16(momentum) => {
                let numbers = momentum.iter().map(|&bits| bf16::from_bits(bits)).collect();
                Numbers::Bf16(numbers).bits()
            }
            Self::Int8(codes, scales) => {
                let scales = scales.iter().map(|scale| one_nan(*scale));
                codes.iter().map(|&code| code.cast_unsigned().into()).chain(scales).collect()
            }
        }
    }
}

/// Writes the codes of a block, as `reference::int8_momentum` says, and gives its scale.
#[allow(clippy::cast_possible_truncation, reason = "at most 127, or NaN, which becomes 0")]
fn pack(block: &[f32], codes: &mut [i8]) -> f32 {
    let mut scale = 0.0_f32;
    for m in block {
        if m.is_nan() || m.abs() > scale {
            scale = m.abs();
        }
        if scale.is_nan() {
            break;
        }
    }
    for (code, m) in codes.iter_mut().zip(block) {
        *code = (m * (127.0 / (scale + 1e-12))).round_ties_even() as i8;
    }
    scale
}

impl Tensor {
    pub const fn len(&self) -> usize {
        self.parameters.len() - 2 * self.margin
    }

    /// The step on it, to be taken.
    pub fn lend(&mut self) -> TensorStep<'_, f32> {
        let (length, margin) = (self.len(), self.margin);
        let inside = margin..margin + length;
        let momentum = match &mut self.momentum {
            Momentum::None => MomentumMut::None,
            Momentum::Full(momentum) => MomentumMut::Full(&mut momentum[inside.clone()]),
            Momentum::Bf16(momentum) => MomentumMut::Bf16(&mut momentum[inside.clone()]),
            Momentum::Int8(codes, scales) => {
                let blocks = length.div_ceil(INT8_BLOCK);
                let scales = &mut scales[margin..][..blocks];
                MomentumMut::Int8 { codes: &mut codes[inside.clone()], scales }
            }
        };
        let gradient = match &self.gradient {
            Numbers::F32(values) => {
                with(self.step, &mut self.parameters, values, &inside, momentum)
            }
            Numbers::Bf16(values) => {
                with(self.step, &mut self.parameters, values, &inside, momentum)
            }
            Numbers::F16(values) => {
                with(self.step, &mut self.parameters, values, &inside, momentum)
            }
        };
        gradient.with_storage(match &mut self.storage {
            Storage::Nearest => StorageMut::Nearest,
            Storage::Stochastic(Place { seed, step, tensor, start }) => {
                StorageMut::Stochastic(Draws::new(*seed, *step, *tensor).starting_at(*start))
            }
            Storage::Split16(low) => StorageMut::Split16(&mut low[inside]),
            Storage::Split8(low) => StorageMut::Split8(&mut low[inside]),
            Storage::Master(master) => StorageMut::Master(&mut master[inside]),
        })
    }

    /// Takes other draws from now on, if any.
    pub const fn draw_from(&mut self, new: Place) {
        if let Storage::Stochastic(place) = &mut self.storage {
            *place = new;
        }
    }

    /// The number that a parameter is.
    pub fn read(&self, i: usize) -> f32 {
        match (&self.storage, &self.parameters) {
            (Storage::Split16(low), Numbers::Bf16(high)) => {
                reference::join16(high[i].to_bits(), low[i])
            }
            (Storage::Split8(low), Numbers::Bf16(high)) => {
                reference::join8(high[i].to_bits(), low[i])
            }
            (Storage::Master(master), _) => master[i],
            (_, parameters) => parameters.read(i),
        }
    }

    /// Stores a parameter.
    fn set(&mut self, i: usize, value: f32) {
        match &mut self.storage {
            Storage::Nearest => self.parameters.set_nearest(i, value),
            Storage::Stochastic(Place { seed, step, tensor, start }) => {
                let index = start.wrapping_add((i - self.margin) as u64);
                let draw = reference::draw(*seed, *step, *tensor, index);
                self.parameters.set_stochastic(i, value, draw);
            }
            Storage::Split16(low) => {
                let (upper, lower) = reference::split16(value);
                (self.parameters.bf16_mut()[i], low[i]) = (bf16::from_bits(upper), lower);
            }
            Storage::Split8(low) => {
                let (upper, lower) = reference::split8(value);
                (self.parameters.bf16_mut()[i], low[i]) = (bf16::from_bits(upper), lower);
            }
            Storage::Master(master) => {
                master[i] = value;
                self.parameters.set_nearest(i, value);
            }
        }
    }

    /// Takes the step element by element.
    pub fn step_by_reference(&mut self) {
        let mut momentum = Vec::new();
        for i in self.margin..self.margin + self.len() {
            let (x, m) = (self.read(i), self.momentum.read(self.margin, i));
            let (x, m) = reference::step(&self.step, x, m, self.gradient.read(i));
            self.set(i, x);
            momentum.push(m);
        }
        if self.step.has_momentum() {
            self.momentum.set_all(self.margin, &momentum);
        }
    }

    /// All that a step may write, with its margins, by its bits: those of one NaN for all.
    pub fn written(&self) -> [Vec<u32>; 3] {
        let storage = match &self.storage {
            Storage::Nearest | Storage::Stochastic(_) => Vec::new(),
            Storage::Split16(low) => low.iter().map(|low| low.cast_unsigned().into()).collect(),
            Storage::Split8(low) => low.iter().map(|low| low.cast_unsigned().into()).collect(),
            Storage::Master(master) => master.iter().map(|x| one_nan(*x)).collect(),
        };
        let parameters = match (&self.storage, &self.parameters) {
            // The bits of a NaN are specified.
            (Storage::Split16(_) | Storage::Split8(_), Numbers::Bf16(high)) => {
                high.iter().map(|high| high.to_bits().into()).collect()
            }
            (_, parameters) => parameters.bits(),
        };
        [parameters, storage, self.momentum.bits()]
    }
}

fn with<'a, G: rootstep::Element<Compute = f32>>(
    step: Step<f32>,
    parameters: &'a mut Numbers,
    gradient: &'a [G],
    inside: &std::ops::Range<usize>,
    momentum: MomentumMut<'a, f32>,
) -> TensorStep<'a, f32> {
    let (inside, gradient) = (inside.clone(), &gradient[inside.clone()]);
    match parameters {
        Numbers::F32(x) => TensorStep::new(step, &mut x[inside], gradient, momentum),
        Numbers::Bf16(x) => TensorStep::new(step, &mut x[inside], gradient, momentum),
        Numbers::F16(x) => TensorStep::new(step, &mut x[inside], gradient, momentum),
    }
}

impl Tensor {
    /// One without margins that begins as these numbers, rounded by its storage, and without a momentum yet.
    pub fn of(
        step: Step<f32>,
        (parameters, storage): (&str, &str),
        values: &[f32],
        gradient: Numbers,
        momentum: &str,
        place: Place,
    ) -> Self {
        let length = values.len();
        let storage = match storage {
            "Nearest" => Storage::Nearest,
            "Stochastic" => Storage::Stochastic(place),
            "Split16" => Storage::Split16(vec![0; length]),
            "Split8" => Storage::Split8(vec![0; length]),
            "Master" => Storage::Master(vec![0.0; length]),
            _ => panic!("no storage {storage}"),
        };
        let momentum = match momentum {
            "None" => Momentum::None,
            "Full" => Momentum::Full(vec![0.0; length]),
            "Bf16" => Momentum::Bf16(vec![0; length]),
            "Int8" => Momentum::Int8(vec![0; length], vec![0.0; length.div_ceil(INT8_BLOCK)]),
            _ => panic!("no momentum {momentum}"),
        };
        let parameters = Numbers::of(parameters, values);
        let mut tensor = Self { step, margin: 0, parameters, storage, gradient, momentum };
        if !matches!(tensor.storage, Storage::Stochastic(_)) {
            values.iter().enumerate().for_each(|(i, &value)| tensor.set(i, value));
        }
        tensor
    }
}
