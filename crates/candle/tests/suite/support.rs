//! What the tests have in common.

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var, WithDType};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use rootstep::{Element, Float};
use rootstep_candle::{Config, MomentumFormat, Power, RootStep, Rule, Storage};

/// A type of variables.
pub trait Number: WithDType + Element {}

impl<T: WithDType + Element> Number for T {}

/// Shapes whose lengths are beside and across those of registers, blocks of int8 and chunks.
pub const SHAPES: [&[usize]; 7] = [&[1], &[7], &[3, 5], &[128], &[129], &[3, 11, 31], &[40, 103]];

pub const FORMATS: [MomentumFormat; 3] =
    [MomentumFormat::Full, MomentumFormat::Bf16, MomentumFormat::Int8];

/// The storages of a type.
pub fn storages(of: &str) -> Vec<Storage> {
    let stochastic = Storage::Stochastic { seed: 5 };
    match of {
        "bf16" => {
            let split = [Storage::Split16, Storage::Split8];
            [Storage::Nearest, stochastic, Storage::Master].into_iter().chain(split).collect()
        }
        "f16" => vec![Storage::Nearest, stochastic, Storage::Master],
        _ => vec![Storage::Nearest],
    }
}

/// Rules that use every term.
pub fn rules() -> Vec<Rule> {
    vec![
        Rule::powerstep(0.01).with_decoupled_weight_decay(0.1),
        Rule::pbsgd(0.02, Power::Half)
            .with_momentum(0.8)
            .with_dampening(0.3)
            .with_weight_decay(0.01),
        Rule::sgd(0.05).with_momentum(0.9).with_nesterov(),
        Rule::sign_sgd(0.003).maximizing(),
    ]
}

pub fn generator(seed: u64) -> Pcg64 {
    Pcg64::seed_from_u64(seed)
}

/// Numbers in ±[0.1, 1): none is 0, or near it.
pub fn values<T: Element>(generator: &mut Pcg64, length: usize) -> Vec<T> {
    let mut value = || {
        let magnitude = generator.random_range(0.1..1.0);
        let value = if generator.random() { magnitude } else { -magnitude };
        T::nearest(T::Compute::from_f64(value))
    };
    (0..length).map(|_| value()).collect()
}

/// A variable for each shape, with its values.
pub fn variables<T: Number>(seed: u64) -> (Vec<Var>, Vec<Vec<T>>) {
    let mut generator = generator(seed);
    let of_shape = |shape: &&[usize]| {
        let values = values(&mut generator, shape.iter().product());
        (Var::from_slice(&values, *shape, &Device::Cpu).unwrap(), values)
    };
    SHAPES.iter().map(of_shape).unzip()
}

/// A gradient for each variable, as candle has them and as slices.
pub fn gradients<G: Number>(vars: &[Var], seed: u64) -> (GradStore, Vec<Vec<G>>) {
    let (mut generator, mut store) = (generator(seed), GradStore::default());
    let mut all = Vec::new();
    for var in vars {
        let values: Vec<G> = values(&mut generator, var.elem_count());
        store.insert(var, Tensor::from_slice(&values, var.shape(), &Device::Cpu).unwrap());
        all.push(values);
    }
    (store, all)
}

pub fn optimizer(vars: &[Var], config: impl Into<Config>) -> RootStep {
    RootStep::of_variables(vars.to_vec(), config).unwrap()
}

/// The message of an error.
pub fn message<T>(result: rootstep_candle::Result<T>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

/// The bits of numbers.
pub fn bits<T: Element>(values: &[T]) -> Vec<u64> {
    values.iter().map(|value| value.widen().to_bits()).collect()
}

/// The bits of a variable.
pub fn bits_of<T: Number>(var: &Var) -> Vec<u64> {
    bits(&var.flatten_all().unwrap().to_vec1::<T>().unwrap())
}

pub fn all_bits<T: Number>(vars: &[Var]) -> Vec<Vec<u64>> {
    vars.iter().map(bits_of::<T>).collect()
}

pub fn assert_bits<T: Number>(vars: &[Var], expected: &[Vec<T>], what: &dyn std::fmt::Debug) {
    for (i, (var, expected)) in vars.iter().zip(expected).enumerate() {
        assert_eq!(bits_of::<T>(var), bits(expected), "variable {i}: {what:?}");
    }
}
