//! A module of many lengths, and numbers that leave something to compare.

use burn::backend::Flex;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use rootstep::optimizer::{MomentumFormat, Power, PowerOf, Rule};
use rootstep::{Executor, Level};
use rootstep_burn::Format;

/// Below, at and above the lengths of registers, blocks of int8 and chunks.
pub const LENGTHS: [usize; 12] = [1, 2, 7, 16, 31, 64, 127, 128, 129, 1000, 4099, 20_011];

/// Of f32, more than 4 MiB: split over threads.
pub const LARGE: usize = 1_100_003;

#[derive(Module, Debug)]
pub struct Model {
    pub vectors: Vec<Param<Tensor<1>>>,
    pub matrix: Param<Tensor<2>>,
}

/// The shape of the matrix.
pub const SHAPE: [usize; 2] = [17, 23];

pub fn device() -> Device {
    Device::flex().autodiff()
}

/// A model of numbers that a seed draws.
pub fn model<T: Format>(lengths: &[usize], seed: u64) -> Model {
    let vector = |(i, &length): (usize, &usize)| {
        parameter(Tensor::from_data(numbers::<T>(length, seed + i as u64), (&device(), T::dtype())))
    };
    let matrix = numbers::<T>(SHAPE[0] * SHAPE[1], seed + 1000);
    let matrix = TensorData::new(matrix.as_slice::<T>().unwrap().to_vec(), SHAPE);
    Model {
        vectors: lengths.iter().enumerate().map(vector).collect(),
        matrix: parameter(Tensor::from_data(matrix, (&device(), T::dtype()))),
    }
}

pub fn parameter<const D: usize>(tensor: Tensor<D>) -> Param<Tensor<D>> {
    Param::from_tensor(tensor)
}

/// Numbers of both signs and many magnitudes, none of them 0.
pub fn values<T: Format>(length: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 11
    };
    let number = |_| {
        let fraction = 1.0 + (draw() % (1 << 20)) as f64 / f64::from(1 << 20);
        let magnitude = fraction * f64::from(2_u32.pow((draw() % 8) as u32)) / 64.0;
        T::from_elem(if draw() % 2 == 0 { magnitude } else { -magnitude })
    };
    (0..length).map(number).collect()
}

pub fn numbers<T: Format>(length: usize, seed: u64) -> TensorData {
    TensorData::new(values::<T>(length, seed), [length])
}

/// Gradients for all parameters, which a seed draws; as burn gives them, outside of autodiff.
pub fn gradients<T: Format>(model: &Model, seed: u64) -> GradientsParams {
    let mut gradients = GradientsParams::new();
    model.visit(&mut Draw::<T> { gradients: &mut gradients, seed, of: std::marker::PhantomData });
    gradients
}

struct Draw<'a, T> {
    gradients: &'a mut GradientsParams,
    seed: u64,
    of: std::marker::PhantomData<T>,
}

impl<T: Format> ModuleVisitor for Draw<'_, T> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.seed += 1;
        let shape = param.val().shape();
        let data = TensorData::new(values::<T>(shape.num_elements(), self.seed), shape);
        let gradient = Tensor::<D>::from_data(data, (&Device::flex(), T::dtype()));
        self.gradients.register(param.id, gradient);
    }
}

/// The same as [`gradients`], as slices.
pub fn gradient_values<T: Format>(model: &Model, seed: u64) -> Vec<Vec<T>> {
    let lengths = contents::<T>(model).into_iter().map(|values| values.len());
    lengths.zip(seed + 1..).map(|(length, seed)| values(length, seed)).collect()
}

/// The numbers of all parameters.
pub fn contents<T: Format>(model: &Model) -> Vec<Vec<T>> {
    let mut contents = Contents(Vec::new());
    model.visit(&mut contents);
    contents.0
}

struct Contents<T>(Vec<Vec<T>>);

impl<T: Format> ModuleVisitor for Contents<T> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.val().into_data().as_slice::<T>().unwrap().to_vec());
    }
}

/// Where the numbers of a parameter are.
pub fn address<const D: usize>(param: &Param<Tensor<D>>) -> usize {
    let memory = param.val().inner().try_into_primitive::<Flex>().unwrap();
    memory.bytes().as_ptr().addr()
}

#[track_caller]
pub fn assert_same<T: Format>(given: &[Vec<T>], expected: &[Vec<T>], what: &str) {
    assert_eq!(given.len(), expected.len(), "{what}");
    for (tensor, (given, expected)) in given.iter().zip(expected).enumerate() {
        let (given, expected) =
            (bytemuck::cast_slice::<_, u8>(given), bytemuck::cast_slice::<_, u8>(expected));
        assert!(given == expected, "{what}: tensor {tensor} of {} bytes", expected.len());
    }
}

/// Rules with every kind of term.
pub fn rules() -> Vec<Rule> {
    let momentum = Rule::pbsgd(0.03, Power::Half).with_momentum(0.9);
    vec![
        Rule::pbsgd(0.03, Power::Half),
        Rule::sign_sgd(0.01),
        Rule::sgd(0.1).with_momentum(0.5).with_dampening(0.25),
        Rule::powerstep(0.02),
        momentum.with_nesterov().with_weight_decay(0.01),
        momentum.with_power_of(PowerOf::Momentum).with_decoupled_weight_decay(0.1),
        momentum.with_momentum_format(MomentumFormat::Bf16),
        momentum.with_momentum_format(MomentumFormat::Int8).maximizing(),
    ]
}

/// Every level that the machine has, on one thread and on several.
pub fn executors() -> Vec<Executor> {
    let levels = Level::available().iter().copied().map(Executor::new);
    levels.flat_map(|executor| [executor, executor.serial()]).collect()
}
