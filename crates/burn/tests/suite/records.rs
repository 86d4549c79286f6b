//! A model that is trained, saved, loaded and trained on has the bits of one that was never interrupted.

use crate::support::{LENGTHS, Model, assert_same, contents, gradients, model, parameter};
use burn::module::Module as _;
use burn::optim::ModuleOptimizer;
use burn::store::ModuleRecord;
use half::{bf16, f16};
use rootstep::optimizer::{MomentumFormat, Optimizer, Rule, Storage};
use rootstep_burn::{Format, PerTensor, WholeModule, adopt_ids};

const HALF: u64 = 3;

fn per_tensor(rule: Rule) -> ModuleOptimizer {
    PerTensor::new(rule).unwrap().init()
}

fn train<T: Format>(
    mut module: Model,
    optimizer: &mut ModuleOptimizer,
    steps: std::ops::Range<u64>,
) -> Model {
    for t in steps {
        let gradients = gradients::<T>(&module, 100 * t);
        module = optimizer.step(0.01, module, gradients);
    }
    module
}

fn train_whole<T: Format>(
    mut module: Model,
    optimizer: &mut WholeModule<T>,
    steps: std::ops::Range<u64>,
) -> Model {
    for t in steps {
        let gradients = gradients::<T>(&module, 100 * t);
        (module, _) = optimizer.step(module, gradients).unwrap();
    }
    module
}

fn momentum_rules() -> [Rule; 4] {
    let rule = Rule::powerstep(0.01).with_weight_decay(0.01);
    [
        rule,
        rule.with_momentum_format(MomentumFormat::Bf16),
        rule.with_momentum_format(MomentumFormat::Int8),
        Rule::sign_sgd(0.01),
    ]
}

/// In a process of its own the ids of a module built anew are others; burn's records bring back the old ones.
fn check_per_tensor<T: Format>() {
    for rule in momentum_rules() {
        let mut optimizer = per_tensor(rule);
        let halfway = train::<T>(model::<T>(&LENGTHS, 1), &mut optimizer, 0..HALF);
        let saved =
            (halfway.clone().into_record().into_bytes().unwrap(), optimizer.into_bytes().unwrap());
        let expected = train::<T>(halfway, &mut optimizer, HALF..2 * HALF);

        let fresh = model::<T>(&LENGTHS, 99);
        let (record, state) = saved;
        let resumed = fresh.load_record(ModuleRecord::from_bytes(record).unwrap());
        let mut optimizer = per_tensor(rule).from_bytes(state).unwrap();
        let resumed = train::<T>(resumed, &mut optimizer, HALF..2 * HALF);
        let what = format!("{}, {rule:?}", T::TYPE);
        assert_same(&contents::<T>(&resumed), &contents::<T>(&expected), &what);
        // No state is left behind that belongs to no parameter.
        let tensors = optimizer.to_record().len();
        let per_parameter = match rule.momentum_format {
            _ if rule.momentum == 0.0 => 0,
            MomentumFormat::Int8 => 2,
            _ => 1,
        };
        assert_eq!(tensors, (LENGTHS.len() + 1) * per_parameter, "{what}");
    }
}

#[test]
fn burns_records_go_on_in_f32_and_f64() {
    check_per_tensor::<f32>();
    check_per_tensor::<f64>();
}

#[test]
fn burns_records_go_on_in_bf16_and_f16() {
    check_per_tensor::<bf16>();
    check_per_tensor::<f16>();
}

/// The same numbers in parameters that have new ids, as of a module that was loaded from a file without ids.
fn with_new_ids(module: &Model) -> Model {
    let vectors = module.vectors.iter().map(|param| parameter(param.val().detach()));
    Model { vectors: vectors.collect(), matrix: parameter(module.matrix.val().detach()) }
}

fn check_whole<T: Format>(rule: Rule) {
    let builder = || Optimizer::<T>::builder(rule).with_clip_norm(2.0);
    let module = model::<T>(&LENGTHS, 1);
    let mut optimizer = WholeModule::new(builder(), &module).unwrap();
    let halfway = train_whole(module, &mut optimizer, 0..HALF);
    let mut file = Vec::new();
    optimizer.optimizer().write_safetensors(&mut file).unwrap();
    let other = with_new_ids(&halfway);
    assert_ne!(other.matrix.id, halfway.matrix.id);
    let expected = train_whole(halfway, &mut optimizer, HALF..2 * HALF);

    let mut resumed = WholeModule::new(builder(), &other).unwrap();
    resumed.optimizer_mut().read_safetensors(&file[..]).unwrap();
    let other = train_whole(other, &mut resumed, HALF..2 * HALF);
    let what = format!("{}, {rule:?}", T::TYPE);
    assert_same(&contents::<T>(&other), &contents::<T>(&expected), &what);
    assert_eq!(resumed.optimizer().state(), optimizer.optimizer().state(), "{what}");
}

#[test]
fn files_of_the_whole_module_go_on_whatever_the_ids() {
    for rule in momentum_rules() {
        check_whole::<f32>(rule);
        check_whole::<f64>(rule);
        check_whole::<f16>(rule.with_storage(Storage::Stochastic { seed: 1 }));
        check_whole::<bf16>(rule.with_storage(Storage::Split16));
    }
}

/// As above, by burn's trait: the record alone would be of use to none of the new parameters.
#[test]
fn records_adopt_new_ids() {
    for rule in momentum_rules() {
        let mut optimizer = per_tensor(rule);
        let halfway = train::<f32>(model::<f32>(&LENGTHS, 1), &mut optimizer, 0..HALF);
        let record = optimizer.to_record();
        let other = with_new_ids(&halfway);
        let expected = train::<f32>(halfway, &mut optimizer, HALF..2 * HALF);

        let record = adopt_ids(record, &other).unwrap();
        let mut optimizer = per_tensor(rule).load_record(record);
        let other = train::<f32>(other, &mut optimizer, HALF..2 * HALF);
        assert_same(&contents::<f32>(&other), &contents::<f32>(&expected), &format!("{rule:?}"));
    }
}

#[test]
fn a_record_of_another_module_is_refused() {
    let mut optimizer = per_tensor(Rule::powerstep(0.01));
    train::<f32>(model::<f32>(&[3, 4], 1), &mut optimizer, 0..1);
    let error = adopt_ids(optimizer.to_record(), &model::<f32>(&[3], 1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the record of the optimizer has the state of a parameter `vectors.1`; allowed: those of the module's 2 \
         parameters"
    );
}
