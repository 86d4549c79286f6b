//! The same model in memory, stepped by `step_all`, and what both are made of.

use half::{bf16, f16};
use rootstep::optimizer::{
    Draws, INT8_BLOCK, MomentumFormat, MomentumMut, Rule, Step, Storage, StorageMut, TensorStep,
};
use rootstep::{Executor, reference};
use rootstep_mapped::{Beside, CHUNK_ELEMENTS, Cause, Model, Momentum, Parameters, Tensor, Type};

/// A tensor in every type, storage and format, of several lengths, and long ones.
pub fn all() -> Vec<Tensor> {
    let stochastic = Storage::Stochastic { seed: 7 };
    let stored = [
        (Type::F32, Storage::Nearest),
        (Type::Bf16, Storage::Nearest),
        (Type::Bf16, stochastic),
        (Type::Bf16, Storage::Split16),
        (Type::Bf16, Storage::Split8),
        (Type::Bf16, Storage::Master),
        (Type::F16, Storage::Nearest),
        (Type::F16, stochastic),
        (Type::F16, Storage::Master),
    ];
    let (full, bf16, int8) = (MomentumFormat::Full, MomentumFormat::Bf16, MomentumFormat::Int8);
    let lengths = [1, 0, 127, 128, 129, 1000, 5000];
    let mut tensors = Vec::new();
    for (parameters, storage) in stored {
        for momentum in [None, Some(full), Some(bf16), Some(int8)] {
            let tensor = Tensor::new(parameters, lengths[tensors.len() % lengths.len()]);
            let tensor = tensor.with_storage(storage);
            tensors.push(momentum.map_or(tensor, |format| tensor.with_momentum(format)));
        }
    }
    let long = |parameters, length| Tensor::new(parameters, length);
    tensors.insert(3, long(Type::F32, 2 * CHUNK_ELEMENTS + 77).with_momentum(full));
    tensors.insert(
        9,
        long(Type::Bf16, CHUNK_ELEMENTS + 300).with_momentum(int8).with_storage(stochastic),
    );
    tensors.push(
        long(Type::F16, CHUNK_ELEMENTS + 1).with_momentum(full).with_storage(Storage::Master),
    );
    tensors
}

/// Few tensors, of some windows.
pub fn few() -> Vec<Tensor> {
    let full = MomentumFormat::Full;
    vec![
        Tensor::new(Type::F32, 300).with_momentum(MomentumFormat::Int8),
        Tensor::new(Type::F32, 2 * CHUNK_ELEMENTS + 77).with_momentum(full),
        Tensor::new(Type::Bf16, CHUNK_ELEMENTS + 5)
            .with_momentum(MomentumFormat::Bf16)
            .with_storage(Storage::Stochastic { seed: 3 }),
        Tensor::new(Type::Bf16, 1000).with_momentum(full).with_storage(Storage::Split16),
    ]
}

/// The least memory that a chunk of f32 with momentum allows.
pub const LEAST: usize = 5 * (4 + 4) * CHUNK_ELEMENTS;

/// A number of (-1, 1) for each place.
fn number(kind: u64, tensor: usize, i: usize) -> f32 {
    let mut bits = (kind << 48) ^ ((tensor as u64) << 32) ^ i as u64;
    for _ in 0..2 {
        bits = (bits ^ bits >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    ((bits >> 40) as f32 + 0.5) / (1_u64 << 23) as f32 - 1.0
}

/// The first parameters, for [`Model::create`].
#[allow(clippy::unnecessary_wraps, reason = "`create` takes what may fail")]
pub fn first(tensor: usize, start: usize, values: &mut [f32]) -> Result<(), Cause> {
    (start..).zip(values).for_each(|(i, value)| *value = number(0, tensor, i));
    Ok(())
}

/// The gradient of a step, which depends on it.
pub fn gradient(steps: u64, tensor: usize, start: usize, values: &mut [f32]) {
    (start..).zip(values).for_each(|(i, value)| *value = number(1 + steps, tensor, i));
}

pub fn gradients(tensors: &[Tensor], steps: u64) -> Vec<Vec<f32>> {
    let of = |(i, tensor): (usize, &Tensor)| {
        let mut values = vec![0.0; tensor.elements()];
        gradient(steps, i, 0, &mut values);
        values
    };
    tensors.iter().enumerate().map(of).collect()
}

/// The step of each tensor, with momentum if `has` says that it has one.
pub fn steps(has: &[bool], taken: u64) -> Vec<Step<f32>> {
    let plain = Rule::sgd(0.01).with_decoupled_weight_decay(0.1);
    let momentum = Rule::powerstep(0.01).with_momentum(0.9).with_dampening(0.1);
    let make = if taken == 0 { Step::first } else { Step::later };
    has.iter().map(|&has| make(if has { &momentum } else { &plain }).unwrap()).collect()
}

/// A step by gradients that are made chunk by chunk.
pub fn step(model: &mut Model, has: &[bool]) -> Result<(), rootstep_mapped::Error> {
    let taken = model.steps();
    model.step_with(&steps(has, taken), |chunk, values: &mut [f32]| {
        gradient(taken, chunk.tensor, chunk.start, values);
        Ok(())
    })
}

/// All of a tensor: parameters, what is beside them, momentum, scales; by their bytes.
pub type Bytes = [Vec<u8>; 4];

fn raw<T: bytemuck::NoUninit>(values: &[T]) -> &[u8] {
    bytemuck::cast_slice(values)
}

pub fn state(model: &mut Model) -> Vec<Bytes> {
    let mut state: Vec<Bytes> = model.tensors().iter().map(|_| Bytes::default()).collect();
    model
        .for_each_chunk(|chunk| {
            let [x, beside, m, scales] = &mut state[chunk.tensor];
            match chunk.parameters {
                Parameters::F32(values) => x.extend(raw(values)),
                Parameters::Bf16(values) => values.iter().for_each(|v| x.extend(v.to_ne_bytes())),
                Parameters::F16(values) => values.iter().for_each(|v| x.extend(v.to_ne_bytes())),
                _ => unreachable!("there are three types"),
            }
            match chunk.beside {
                Beside::Split16(low) => beside.extend(raw(low)),
                Beside::Split8(low) => beside.extend(raw(low)),
                Beside::Master(values) => beside.extend(raw(values)),
                _ => {}
            }
            match chunk.momentum {
                Momentum::Full(values) => m.extend(raw(values)),
                Momentum::Bf16(values) => m.extend(raw(values)),
                Momentum::Int8 { codes, scales: of_codes } => {
                    m.extend(raw(codes));
                    scales.extend(raw(of_codes));
                }
                _ => {}
            }
            Ok(())
        })
        .unwrap();
    state
}

enum Numbers {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
    F16(Vec<f16>),
}

enum Low {
    None,
    Split16(Vec<i16>),
    Split8(Vec<i8>),
    Master(Vec<f32>),
}

enum Kept {
    None,
    Full(Vec<f32>),
    Bf16(Vec<u16>),
    Int8(Vec<i8>, Vec<f32>),
}

/// A tensor in memory.
pub struct Twin {
    x: Numbers,
    low: Low,
    m: Kept,
    seed: Option<u64>,
}

impl Twin {
    pub fn new(
        i: usize,
        length: usize,
        parameters: Type,
        storage: Storage,
        momentum: Option<MomentumFormat>,
    ) -> Self {
        let mut values = vec![0.0; length];
        first(i, 0, &mut values).unwrap();
        let halves = |f: fn(f32) -> u16| values.iter().map(move |x| f(*x));
        let split = |f: fn(f32) -> u16| halves(f).map(bf16::from_bits).collect();
        let x = match (parameters, storage) {
            (Type::F32, _) => Numbers::F32(values.clone()),
            (Type::F16, _) => Numbers::F16(halves(reference::f16).map(f16::from_bits).collect()),
            (_, Storage::Split16) => Numbers::Bf16(split(|x| reference::split16(x).0)),
            (_, Storage::Split8) => Numbers::Bf16(split(|x| reference::split8(x).0)),
            _ => Numbers::Bf16(split(reference::bf16)),
        };
        let low = match storage {
            Storage::Split16 => {
                Low::Split16(values.iter().map(|x| reference::split16(*x).1).collect())
            }
            Storage::Split8 => {
                Low::Split8(values.iter().map(|x| reference::split8(*x).1).collect())
            }
            Storage::Master => Low::Master(values.clone()),
            _ => Low::None,
        };
        let m = match momentum {
            None => Kept::None,
            Some(MomentumFormat::Full) => Kept::Full(vec![0.0; length]),
            Some(MomentumFormat::Bf16) => Kept::Bf16(vec![0; length]),
            Some(_) => Kept::Int8(vec![0; length], vec![0.0; length.div_ceil(INT8_BLOCK)]),
        };
        let seed = if let Storage::Stochastic { seed } = storage { Some(seed) } else { None };
        Self { x, low, m, seed }
    }

    pub fn has_momentum(&self) -> bool {
        !matches!(self.m, Kept::None)
    }

    fn lend<'a>(
        &'a mut self,
        step: Step<f32>,
        (taken, i): (u64, usize),
        gradient: &'a [f32],
    ) -> TensorStep<'a, f32> {
        let momentum = match &mut self.m {
            Kept::None => MomentumMut::None,
            Kept::Full(m) => MomentumMut::Full(m),
            Kept::Bf16(m) => MomentumMut::Bf16(m),
            Kept::Int8(codes, scales) => MomentumMut::Int8 { codes, scales },
        };
        let tensor = match &mut self.x {
            Numbers::F32(x) => TensorStep::new(step, x, gradient, momentum),
            Numbers::Bf16(x) => TensorStep::new(step, x, gradient, momentum),
            Numbers::F16(x) => TensorStep::new(step, x, gradient, momentum),
        };
        tensor.with_storage(match (&mut self.low, self.seed) {
            (Low::None, Some(seed)) => {
                StorageMut::Stochastic(Draws::new(seed, taken, u32::try_from(i).unwrap()))
            }
            (Low::None, None) => StorageMut::Nearest,
            (Low::Split16(low), _) => StorageMut::Split16(low),
            (Low::Split8(low), _) => StorageMut::Split8(low),
            (Low::Master(x), _) => StorageMut::Master(x),
        })
    }

    fn bytes(&self) -> Bytes {
        let x = match &self.x {
            Numbers::F32(x) => raw(x).to_vec(),
            Numbers::Bf16(x) => x.iter().flat_map(|x| x.to_ne_bytes()).collect(),
            Numbers::F16(x) => x.iter().flat_map(|x| x.to_ne_bytes()).collect(),
        };
        let low = match &self.low {
            Low::None => vec![],
            Low::Split16(low) => raw(low).to_vec(),
            Low::Split8(low) => raw(low).to_vec(),
            Low::Master(x) => raw(x).to_vec(),
        };
        let (m, scales) = match &self.m {
            Kept::None => (vec![], vec![]),
            Kept::Full(m) => (raw(m).to_vec(), vec![]),
            Kept::Bf16(m) => (raw(m).to_vec(), vec![]),
            Kept::Int8(codes, scales) => (raw(codes).to_vec(), raw(scales).to_vec()),
        };
        [x, low, m, scales]
    }
}

/// The states of a model in memory after each step up to `count`, and which tensors have a momentum.
pub fn expected(mut twins: Vec<Twin>, count: u64) -> (Vec<Vec<Bytes>>, Vec<bool>) {
    let has: Vec<bool> = twins.iter().map(Twin::has_momentum).collect();
    let state = |twins: &[Twin]| twins.iter().map(Twin::bytes).collect::<Vec<_>>();
    let mut states = vec![state(&twins)];
    for taken in 0..count {
        let length = |twin: &Twin| match &twin.x {
            Numbers::F32(x) => x.len(),
            Numbers::Bf16(x) => x.len(),
            Numbers::F16(x) => x.len(),
        };
        let gradient = |(i, twin): (usize, &Twin)| {
            let mut values = vec![0.0; length(twin)];
            gradient(taken, i, 0, &mut values);
            values
        };
        let gradients: Vec<_> = twins.iter().enumerate().map(gradient).collect();
        let lent = twins.iter_mut().zip(&gradients).zip(steps(&has, taken)).enumerate();
        let mut lent: Vec<_> =
            lent.map(|(i, ((twin, g), step))| twin.lend(step, (taken, i), g)).collect();
        Executor::default().step_all(&mut lent).unwrap();
        states.push(state(&twins));
    }
    (states, has)
}

/// The same tensors in memory.
pub fn twins(tensors: &[Tensor]) -> Vec<Twin> {
    let twin = |(i, tensor): (usize, &Tensor)| {
        Twin::new(i, tensor.elements(), tensor.parameters(), tensor.storage(), tensor.momentum())
    };
    tensors.iter().enumerate().map(twin).collect()
}
