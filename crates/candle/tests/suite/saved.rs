//! A training that is saved, loaded and continued has the bits of one that was not interrupted.

use crate::support::{
    FORMATS, Number, all_bits, gradients, message, optimizer, rules, storages, variables,
};
use candle_core::{DType, Device, Var};
use candle_nn::{Init, VarBuilder, VarMap};
use half::{bf16, f16};
use rootstep_candle::{Config, MomentumFormat, RootStep, Rule, Schedule, Storage};

const NAMES: [&str; 7] = ["m", "k", "z", "b", "a", "y.low", "x.momentum"];

/// An optimizer of variables with names, and with a schedule that knows the number of steps.
fn made(vars: &[Var], rule: Rule) -> RootStep {
    let schedule = Schedule::linear(1.0, 0.1, 6).unwrap();
    let config = Config::new(rule).with_names(NAMES.into_iter().zip(vars)).with_schedule(schedule);
    optimizer(vars, config)
}

fn train<T: Number>(own: &mut RootStep, vars: &[Var], steps: std::ops::Range<u64>) {
    for seed in steps {
        let (mut store, _) = gradients::<T>(vars, seed);
        // One of them has no gradient before the state is saved.
        if seed < 4 {
            store.remove(&vars[2]);
        }
        own.step_with_report(&store).unwrap();
    }
}

fn compare<T: Number>(rule: Rule) {
    let (through, _) = variables::<T>(1);
    train::<T>(&mut made(&through, rule), &through, 0..6);

    let (saved, _) = variables::<T>(1);
    let mut own = made(&saved, rule);
    train::<T>(&mut own, &saved, 0..3);
    let bytes = own.to_bytes().unwrap();
    // In another order, and with other values, which those that were saved replace.
    let (loaded, _) = variables::<T>(2);
    for (loaded, saved) in loaded.iter().zip(&saved) {
        loaded.set(saved).unwrap();
    }
    let mut resumed = made(&loaded, rule);
    resumed.load_bytes(&bytes).unwrap();
    assert_eq!(resumed.steps(), 3);
    assert_eq!(resumed.to_bytes().unwrap(), bytes);
    train::<T>(&mut resumed, &loaded, 3..6);
    assert_eq!(all_bits::<T>(&loaded), all_bits::<T>(&through), "{rule:?}");
}

fn compare_all<T: Number>() {
    for rule in rules() {
        for format in FORMATS {
            for storage in storages(T::TYPE) {
                compare::<T>(rule.with_momentum_format(format).with_storage(storage));
            }
        }
    }
}

#[test]
fn training_goes_on_with_the_same_bits() {
    compare_all::<f32>();
    compare_all::<f64>();
    compare_all::<bf16>();
    compare_all::<f16>();
}

fn map(dtype: DType, width: usize) -> VarMap {
    let map = VarMap::new();
    let builder = VarBuilder::from_varmap(&map, dtype, &Device::Cpu);
    builder.get_with_hints((2, width), "layer.weight", Init::Const(0.5)).unwrap();
    builder.get_with_hints(2, "layer.bias", Init::Const(0.25)).unwrap();
    map
}

fn loss(map: &VarMap) -> candle_core::Tensor {
    let squares = map.all_vars().into_iter().map(|var| var.sqr().unwrap().sum_all().unwrap());
    squares.reduce(|a, b| (a + b).unwrap()).unwrap()
}

#[test]
fn files_of_the_model_and_of_the_optimizer() {
    let folder = tempfile::tempdir().unwrap();
    let (model_file, state_file) = (folder.path().join("model"), folder.path().join("state"));
    let rule = Rule::powerstep(0.01);
    let step = |own: &mut RootStep, map: &VarMap| {
        own.step_with_report(&loss(map).backward().unwrap()).unwrap();
    };
    let through = map(DType::F32, 3);
    let mut own = RootStep::of_map(&through, rule).unwrap();
    step(&mut own, &through);
    through.save(&model_file).unwrap();
    own.save(&state_file).unwrap();
    own.save(&state_file).unwrap(); // It replaces what was there.
    step(&mut own, &through);

    let mut later = map(DType::F32, 3);
    later.load(&model_file).unwrap();
    let mut resumed = RootStep::of_map(&later, rule).unwrap();
    resumed.load(&state_file).unwrap();
    step(&mut resumed, &later);
    for name in ["layer.weight", "layer.bias"] {
        let of = |map: &VarMap| {
            let var = map.data().lock().unwrap()[name].clone();
            crate::support::bits_of::<f32>(&var)
        };
        assert_eq!(of(&later), of(&through));
    }

    // Any reader of safetensors finds the momentum by the name of the variable, in its shape.
    let tensors = candle_core::safetensors::load(&state_file, &Device::Cpu).unwrap();
    assert_eq!(tensors["layer.weight.momentum"].dims(), [2, 3]);
    let momentum = tensors["layer.bias.momentum"].to_vec1::<f32>().unwrap();
    assert_eq!(momentum, [0.5, 0.5]);
    assert_eq!(tensors.len(), 2);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn states_that_do_not_fit() {
    let rule = Rule::powerstep(0.01);
    let saved = map(DType::BF16, 3);
    let mut own = RootStep::of_map(&saved, rule).unwrap();
    own.step_with_report(&loss(&saved).backward().unwrap()).unwrap();
    let bytes = own.to_bytes().unwrap();
    let load = |map: &VarMap, rule: Rule| {
        let mut own = RootStep::of_map(map, rule).unwrap();
        let result = own.load_bytes(&bytes);
        assert_eq!((own.steps(), own.state_bytes()), (0, 0));
        message(result)
    };
    assert_eq!(
        load(&map(DType::F32, 3), rule),
        "the state of the optimizer: variable `layer.bias`: its type is bf16; allowed: f32, as the \
         optimizer's"
    );
    assert_eq!(
        load(&map(DType::BF16, 4), rule),
        "the state of the optimizer: variable `layer.weight`: its shape is [2, 3]; allowed: [2, 4], as \
         the optimizer's"
    );
    assert_eq!(
        load(&saved, rule.with_momentum_format(MomentumFormat::Int8)),
        "the state of the optimizer: variable `layer.bias`: its format of momentum is full; allowed: \
         int8, as the optimizer's"
    );
    assert_eq!(
        load(&saved, rule.with_storage(Storage::Master)),
        "the state of the optimizer: variable `layer.bias`: its storage is nearest; allowed: master, as \
         the optimizer's"
    );
    let more = map(DType::BF16, 3);
    let builder = VarBuilder::from_varmap(&more, DType::BF16, &Device::Cpu);
    builder.get(3, "added").unwrap();
    assert_eq!(
        load(&more, rule),
        "the state of the optimizer: variable `added`: it has no such variable"
    );
    more.data().lock().unwrap().retain(|name, _| name == "layer.bias");
    assert_eq!(
        load(&more, rule),
        "the state of the optimizer: it has a variable `layer.weight`, which the optimizer has not"
    );
    let unnamed = optimizer(&saved.all_vars(), rule);
    assert_eq!(
        message(unnamed.to_bytes()),
        "the state of the optimizer: its variables have no names; allowed: names, by `of_map` or \
         `with_names_of`"
    );
}

/// Whatever byte is changed, or how much is cut off, it is noticed, and nothing changes.
#[test]
fn damage_is_noticed() {
    let saved = map(DType::F32, 3);
    let mut own = RootStep::of_map(&saved, Rule::powerstep(0.01)).unwrap();
    own.step_with_report(&loss(&saved).backward().unwrap()).unwrap();
    let bytes = own.to_bytes().unwrap();
    let mut other = RootStep::of_map(&saved, Rule::powerstep(0.01)).unwrap();
    for i in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[i] ^= 1;
        // Blanks at the end of the header mean nothing, but are blanks.
        let problem = other.load_bytes(&damaged);
        assert!(problem.is_err(), "byte {i}, {:?}", char::from(bytes[i]));
        assert!(other.load_bytes(&bytes[..i]).is_err());
    }
    assert_eq!((other.steps(), other.state_bytes()), (0, 0));
    other.load_bytes(&bytes).unwrap();
    assert_eq!(other.to_bytes().unwrap(), bytes);
}
