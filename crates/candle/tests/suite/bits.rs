//! The bits of variables are those of slices, and of the specification.

use crate::support::{
    FORMATS, Number, all_bits, assert_bits, gradients, optimizer, rules, storages, values,
    variables,
};
use candle_core::{Device, Var};
use half::{bf16, f16};
use rootstep::optimizer::{MomentumMut, Optimizer, Step, TensorStep};
use rootstep::{Element, Executor, Level, reference};
use rootstep_candle::{Config, MomentumFormat, RootStep, Rule};

const STEPS: u64 = 3;

fn executors() -> impl Iterator<Item = Executor> {
    Level::available().iter().flat_map(|&level| {
        let executor = Executor::new(level);
        [executor, executor.serial()]
    })
}

/// Trains variables, and slices by an optimizer of slices.
fn compare<T: Number, G: Number + Element<Compute = <T as Element>::Compute>>(rule: Rule) {
    for executor in executors() {
        let (vars, mut slices) = variables::<T>(1);
        let config = Config::new(rule)
            .with_executor(executor)
            .with_gradient_scale(0.5)
            .with_clip_norm(3.0)
            .with_clip_value(0.4);
        let mut own = optimizer(&vars, config);
        let mut bare = Optimizer::<T>::builder(rule)
            .with_gradients::<G>()
            .with_executor(executor.serial())
            .with_gradient_scale(0.5)
            .with_clip_norm(3.0)
            .with_clip_value(0.4)
            .build()
            .unwrap();
        for seed in 0..STEPS {
            let (store, gradients) = gradients::<G>(&vars, 10 + seed);
            let report = own.step_with_report(&store).unwrap();
            let expected = bare.step(&mut slices, &gradients).unwrap();
            assert!(report.clip_factor < 1.0);
            assert_eq!(report.clip_factor, expected.clip_factor);
            assert_eq!(report.inspection, expected.inspection);
        }
        assert_bits(&vars, &slices, &(rule, executor, T::TYPE, G::TYPE));
        assert_eq!(own.state_bytes(), bare.momentum_bytes() + bare.storage_bytes());
    }
}

fn compare_all<T: Number>() {
    for rule in rules() {
        for format in FORMATS {
            for storage in storages(T::TYPE) {
                compare::<T, T>(rule.with_momentum_format(format).with_storage(storage));
            }
        }
    }
}

#[test]
fn variables_in_f32() {
    compare_all::<f32>();
}

#[test]
fn variables_in_f64() {
    compare_all::<f64>();
}

#[test]
fn variables_in_bf16() {
    compare_all::<bf16>();
}

#[test]
fn variables_in_f16() {
    compare_all::<f16>();
}

#[test]
fn gradients_of_other_types() {
    let rule = rules()[0];
    compare::<f32, bf16>(rule);
    compare::<f32, f16>(rule);
    compare::<bf16, f32>(rule);
    compare::<bf16, f16>(rule);
    compare::<f16, f32>(rule);
}

/// The step on slices itself, and the specification, without an optimizer between.
#[test]
fn the_step_on_slices_and_the_specification() {
    for rule in rules() {
        let (vars, mut slices) = variables::<f32>(2);
        let mut momenta: Vec<Vec<f32>> = slices.iter().map(|x| vec![f32::NAN; x.len()]).collect();
        let (mut specified, mut specified_momenta) = (slices.clone(), momenta.clone());
        let mut own = optimizer(&vars, rule);
        for seed in 0..STEPS {
            let (store, gradients) = gradients::<f32>(&vars, 20 + seed);
            own.step_with_report(&store).unwrap();
            let step = if seed == 0 { Step::first(&rule) } else { Step::later(&rule) }.unwrap();
            let tensors = slices.iter_mut().zip(&gradients).zip(&mut momenta);
            let mut tensors: Vec<_> = tensors
                .map(|((x, g), m)| TensorStep::new(step, x, g, MomentumMut::Full(m)))
                .collect();
            Executor::default().step_all(&mut tensors).unwrap();
            let all = specified.iter_mut().zip(&gradients).zip(&mut specified_momenta);
            for ((x, g), m) in all {
                for ((x, &g), m) in x.iter_mut().zip(g).zip(m) {
                    (*x, *m) = reference::step(&step, *x, *m, g);
                }
            }
        }
        assert_bits(&vars, &slices, &rule);
        assert_bits(&vars, &specified, &rule);
    }
}

/// A model whose variables are of all types is stepped as the four models of one type are.
#[test]
fn variables_of_all_types_in_one_model() {
    let rule = rules()[0].with_momentum_format(MomentumFormat::Bf16);
    let (f32s, _) = variables::<f32>(3);
    let (f64s, _) = variables::<f64>(4);
    let (bf16s, _) = variables::<bf16>(5);
    let (f16s, _) = variables::<f16>(6);
    let copies = |vars: &[Var]| -> Vec<Var> {
        vars.iter().map(|var| Var::from_tensor(&var.as_detached_tensor()).unwrap()).collect()
    };
    let alone = [copies(&f32s), copies(&f64s), copies(&bf16s), copies(&f16s)];
    let together: Vec<Var> = f16s.iter().chain(&f64s).chain(&f32s).chain(&bf16s).cloned().collect();
    let mut all = optimizer(&together, rule);
    let mut each: Vec<RootStep> = alone.iter().map(|vars| optimizer(vars, rule)).collect();
    for seed in 0..STEPS {
        let (mut store, _) = gradients::<f32>(&f32s, 30 + seed);
        store.extend(gradients::<f64>(&f64s, 40 + seed).0).unwrap();
        store.extend(gradients::<bf16>(&bf16s, 50 + seed).0).unwrap();
        store.extend(gradients::<f16>(&f16s, 60 + seed).0).unwrap();
        all.step_with_report(&store).unwrap();
        each[0].step_with_report(&gradients::<f32>(&alone[0], 30 + seed).0).unwrap();
        each[1].step_with_report(&gradients::<f64>(&alone[1], 40 + seed).0).unwrap();
        each[2].step_with_report(&gradients::<bf16>(&alone[2], 50 + seed).0).unwrap();
        each[3].step_with_report(&gradients::<f16>(&alone[3], 60 + seed).0).unwrap();
    }
    assert_eq!(all_bits::<f32>(&f32s), all_bits::<f32>(&alone[0]));
    assert_eq!(all_bits::<f64>(&f64s), all_bits::<f64>(&alone[1]));
    assert_eq!(all_bits::<bf16>(&bf16s), all_bits::<bf16>(&alone[2]));
    assert_eq!(all_bits::<f16>(&f16s), all_bits::<f16>(&alone[3]));
}

/// Long enough for several threads, which take parts of it.
#[test]
fn long_variables() {
    let rule = rules()[1];
    let values: Vec<f32> = values(&mut crate::support::generator(9), 1 << 20);
    let trained = |executor| {
        let var = Var::from_slice(&values, (1 << 10, 1 << 10), &Device::Cpu).unwrap();
        let vars = [var];
        let mut own = optimizer(&vars, Config::new(rule).with_executor(executor));
        for seed in 0..STEPS {
            own.step_with_report(&gradients::<f32>(&vars, seed).0).unwrap();
        }
        all_bits::<f32>(&vars)
    };
    let alone = trained(Executor::default().serial());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    assert_eq!(pool.install(|| trained(Executor::default())), alone);
}
