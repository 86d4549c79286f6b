//! All parameters of a module in one pass.

use crate::support::{
    LARGE, LENGTHS, address, assert_same, contents, device, executors, gradient_values, gradients,
    model, rules, values,
};
use burn::module::{Module, Param, ParamGroup};
use burn::nn::{Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use half::{bf16, f16};
use rootstep::Executor;
use rootstep::optimizer::{NonFinite, Optimizer, Power, Rule, Storage};
use rootstep_burn::{Format, WholeModule, parameter_names};

fn check<T: Format>(storages: &[Storage]) {
    check_of::<T>(&LENGTHS, &rules(), storages);
}

fn check_of<T: Format>(lengths: &[usize], rules: &[Rule], storages: &[Storage]) {
    for executor in executors() {
        for (rule, &storage) in rules.iter().zip(storages.iter().cycle()) {
            // The norms of these gradients are far above it.
            let builder = || {
                let builder =
                    Optimizer::<T>::builder(rule.with_storage(storage)).with_executor(executor);
                builder.with_clip_norm(1.5).with_clip_value(0.25)
            };
            let mut module = model::<T>(lengths, 1);
            let mut optimizer = WholeModule::new(builder(), &module).unwrap();
            let mut bare = builder().build().unwrap();
            let mut expected = contents::<T>(&module);
            for t in 0..3 {
                let report =
                    bare.step(&mut expected, &gradient_values::<T>(&module, 100 * t)).unwrap();
                assert!(report.clip_factor < 0.1);
                let gradients = gradients::<T>(&module, 100 * t);
                let own;
                (module, own) = optimizer.step(module, gradients).unwrap();
                let what = format!("{}, {rule:?}, {executor:?}, step {t}", T::TYPE);
                assert_eq!(own, report, "{what}");
                assert_same(&contents::<T>(&module), &expected, &what);
            }
        }
    }
}

const NEAREST: &[Storage] = &[Storage::Nearest];

#[test]
fn every_level_and_rule_gives_the_bits_of_the_bare_step_in_f32() {
    check::<f32>(NEAREST);
}

#[test]
fn every_level_and_rule_gives_the_bits_of_the_bare_step_in_f64() {
    check::<f64>(NEAREST);
}

#[test]
fn every_level_and_rule_gives_the_bits_of_the_bare_step_in_bf16() {
    let stochastic = Storage::Stochastic { seed: 5 };
    check::<bf16>(&[
        Storage::Nearest,
        stochastic,
        Storage::Split16,
        Storage::Split8,
        Storage::Master,
    ]);
}

#[test]
fn every_level_and_rule_gives_the_bits_of_the_bare_step_in_f16() {
    check::<f16>(&[Storage::Nearest, Storage::Stochastic { seed: 5 }, Storage::Master]);
}

#[test]
fn parameters_that_are_split_over_threads_have_the_same_bits() {
    check_of::<f32>(&[5, LARGE], &[Rule::powerstep(0.02)], NEAREST);
}

fn plain(rule: Rule, module: &impl Module) -> WholeModule<f32> {
    WholeModule::new(Optimizer::builder(rule), module).unwrap()
}

fn linear(inputs: usize, outputs: usize) -> Linear {
    LinearConfig::new(inputs, outputs).init(&device())
}

fn vector<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().as_slice::<f32>().unwrap().to_vec()
}

#[test]
fn memory_of_its_own_is_written_in_place_and_shared_memory_is_copied() {
    let module = model::<f32>(&LENGTHS, 3);
    let mut optimizer = plain(Rule::sgd(0.5), &module);
    let places: Vec<_> = module.vectors.iter().map(address).collect();
    let given = gradients::<f32>(&module, 9);
    let (module, _) = optimizer.step(module, given).unwrap();
    assert_eq!(module.vectors.iter().map(address).collect::<Vec<_>>(), places);

    let (copy, before) = (module.clone(), contents::<f32>(&module));
    let given = gradients::<f32>(&module, 10);
    let (module, _) = optimizer.step(module, given).unwrap();
    assert_same(&contents::<f32>(&copy), &before, "the clone");
    assert!(contents::<f32>(&module).iter().zip(&before).all(|(after, before)| after != before));
    let places: Vec<_> = module.vectors.iter().map(address).collect();
    drop(copy);
    let given = gradients::<f32>(&module, 11);
    let (module, _) = optimizer.step(module, given).unwrap();
    assert_eq!(module.vectors.iter().map(address).collect::<Vec<_>>(), places);
}

/// Parameters without a gradient: not even copied where they are shared.
#[test]
fn parameters_without_a_gradient_stay() {
    let module = model::<f32>(&[100, 200], 3);
    let mut optimizer = plain(Rule::sgd(0.5).with_weight_decay(0.5), &module);
    let (copy, before) = (module.clone(), contents::<f32>(&module));
    let mut given = gradients::<f32>(&module, 9);
    given.remove::<1>(module.vectors[0].id).unwrap();
    let (module, _) = optimizer.step(module, given).unwrap();
    let after = contents::<f32>(&module);
    assert_eq!((&after[0], address(&module.vectors[0])), (&before[0], address(&copy.vectors[0])));
    assert!(after[1] != before[1] && after[2] != before[2]);
}

/// Parameters and gradients that are transposed, and parts of other tensors.
#[test]
fn views_are_stepped_as_what_they_show() {
    let mut module = model::<f32>(&[], 3);
    let whole = Tensor::<1>::from_data(values::<f32>(60, 1).as_slice(), &device()).reshape([6, 10]);
    module.matrix = module
        .matrix
        .map(|_| whole.clone().slice([0..6, 2..6]).transpose().detach().require_grad());
    let mut optimizer = plain(Rule::pbsgd(0.25, Power::Half), &module);
    let gradient = Tensor::<1>::from_data(values::<f32>(60, 2).as_slice(), &Device::flex());
    let gradient = gradient.reshape([10, 6]).slice([3..7, 0..6]);
    let mut expected = vector(module.matrix.val());
    let before = whole.to_data();
    for _ in 0..2 {
        rootstep::descend(&mut expected, &vector(gradient.clone()), 0.25);
        let mut gradients = GradientsParams::new();
        gradients.register(module.matrix.id, gradient.clone());
        (module, _) = optimizer.step(module, gradients).unwrap();
        assert_same(&[vector(module.matrix.val())], &[expected.clone()], "a view");
        whole.to_data().assert_eq(&before, true);
    }
}

/// The same step as by the gradients' own slices, on a module of burn's after a backward pass of burn's.
#[test]
fn gradients_of_a_backward_pass_are_stepped() {
    let device = device().gradient_checkpointing();
    let mut module = LinearConfig::new(7, 3).init(&device);
    let mut optimizer = plain(Rule::powerstep(0.01), &module);
    let mut bare = Optimizer::<f32>::builder(Rule::powerstep(0.01)).build().unwrap();
    let input = Tensor::<1>::from_data(values::<f32>(35, 6).as_slice(), &device).reshape([5, 7]);
    let parameters = |module: &Linear| {
        [vector(module.weight.val()), vector(module.bias.as_ref().unwrap().val())]
    };
    let mut expected = parameters(&module);
    for _ in 0..3 {
        let loss = module.forward(input.clone()).square().mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &module);
        let weight = vector(gradients.get::<2>(module.weight.id).unwrap());
        let bias = vector(gradients.get::<1>(module.bias.as_ref().unwrap().id).unwrap());
        bare.step(&mut expected, &[weight, bias]).unwrap();
        (module, _) = optimizer.step(module, gradients).unwrap();
        assert_same(&parameters(&module), &expected, "a linear layer");
        // As burn's own optimizers leave a parameter.
        let weight = module.weight.val();
        assert!(weight.is_require_grad());
        assert_eq!(
            weight.gradient_checkpointing_strategy(),
            device.gradient_checkpointing_strategy()
        );
    }
    let _ = module.valid();
}

#[test]
fn what_was_not_trained_is_not_trained_afterwards() {
    let module = linear(4, 2).no_grad();
    let mut optimizer = plain(Rule::sgd(0.5), &module);
    let before = vector(module.weight.val());
    let mut gradients = GradientsParams::new();
    gradients.register(module.weight.id, Tensor::<2>::ones([4, 2], &Device::flex()));
    let (module, _) = optimizer.step(module, gradients).unwrap();
    assert!(
        vector(module.weight.val())
            .iter()
            .zip(before)
            .all(|(after, before)| *after == before - 0.5)
    );
    assert!(!module.weight.is_require_grad());
    // Outside of autodiff, too.
    let module = module.valid();
    let mut gradients = GradientsParams::new();
    gradients.register(module.weight.id, Tensor::<2>::ones([4, 2], &Device::flex()));
    let (module, _) = optimizer.step(module, gradients).unwrap();
    assert!(!module.weight.val().is_autodiff());
}

#[derive(Module, Debug)]
struct Tied {
    embedding: Linear,
    between: Linear,
    output: Linear,
}

fn tied() -> Tied {
    let embedding = linear(6, 6);
    Tied { output: embedding.clone(), between: linear(6, 6), embedding }
}

#[test]
fn tied_parameters_stay_tied() {
    let mut module = tied();
    let mut optimizer = plain(Rule::powerstep(0.01), &module);
    let mut bare = Optimizer::<f32>::builder(Rule::powerstep(0.01)).build().unwrap();
    let input = Tensor::<1>::from_data(values::<f32>(30, 6).as_slice(), &device()).reshape([5, 6]);
    let mut expected = [vector(module.embedding.weight.val())];
    let place = address(&module.embedding.weight);
    for _ in 0..4 {
        let hidden = module.between.forward(module.embedding.forward(input.clone()));
        let loss = module.output.forward(hidden).square().mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &module);
        let gradient = vector(gradients.get::<2>(module.embedding.weight.id).unwrap());
        bare.step(&mut expected, &[gradient]).unwrap();
        (module, _) = optimizer.step(module, gradients).unwrap();
        assert_same(&[vector(module.embedding.weight.val())], &expected, "the first");
        assert_same(&[vector(module.output.weight.val())], &expected, "the second");
        assert_eq!(
            (address(&module.embedding.weight), address(&module.output.weight)),
            (place, place)
        );
        assert_eq!(module.embedding.weight.id, module.output.weight.id);
    }
}

#[test]
fn an_id_with_other_memory_is_an_error() {
    let mut module = tied();
    let other = linear(6, 6).weight.val();
    module.output.weight = Param::initialized(module.embedding.weight.id, other);
    let mut optimizer = plain(Rule::sgd(0.5), &module);
    let before = [vector(module.embedding.weight.val()), vector(module.output.weight.val())];
    let mut gradients = GradientsParams::new();
    gradients.register(module.embedding.weight.id, Tensor::<2>::ones([6, 6], &Device::flex()));
    let rejected = optimizer.step(module, gradients).unwrap_err();
    assert_eq!(
        rejected.to_string(),
        "the parameter `output.weight` has the id of `embedding.weight` and other memory; allowed: the same, as a \
         clone has it, or an id of its own"
    );
    let module = rejected.module;
    assert_same(
        &[vector(module.embedding.weight.val()), vector(module.output.weight.val())],
        &before,
        "after",
    );
}

#[test]
fn groups_go_by_burns_own() {
    let module = model::<f32>(&[3, 4], 2);
    let names = parameter_names(&module, &ParamGroup::from_predicate("matrix"));
    assert_eq!(names, ["matrix"]);
    assert_eq!(parameter_names(&module, &ParamGroup::all()), ["vectors.0", "vectors.1", "matrix"]);
    let builder = Optimizer::builder(Rule::sgd(0.0)).with_named_group(Rule::sign_sgd(0.5), names);
    let mut optimizer = WholeModule::<f32>::new(builder, &module).unwrap();
    let before = contents::<f32>(&module);
    let gradients = gradients::<f32>(&module, 5);
    let (module, _) = optimizer.step(module, gradients).unwrap();
    let after = contents::<f32>(&module);
    assert_eq!(after[..2], before[..2]);
    let mut pairs = after[2].iter().zip(&before[2]);
    assert!(pairs.all(|(&after, before)| after == before + 0.5 || after == before - 0.5));
}

/// Also after a tensor that has no gradient.
#[test]
fn a_rejected_or_skipped_step_changes_nothing() {
    for policy in [NonFinite::Error, NonFinite::Skip] {
        let module = model::<f32>(&[3, 4, 5], 2);
        let builder = Optimizer::builder(Rule::powerstep(0.5)).with_non_finite(policy);
        let mut optimizer = WholeModule::<f32>::new(builder, &module).unwrap();
        let (before, state) = (contents::<f32>(&module), optimizer.optimizer().state());
        let places: Vec<_> = module.vectors.iter().map(address).collect();
        let mut given = gradients::<f32>(&module, 9);
        given.remove::<1>(module.vectors[0].id).unwrap();
        given.register(
            module.vectors[2].id,
            Tensor::<1>::from_floats([1.0, 2.0, 3.0, f32::NAN, 5.0], &Device::flex()),
        );
        let module = match optimizer.step(module, given) {
            Ok((module, report)) => {
                assert!(!report.taken && policy == NonFinite::Skip);
                module
            }
            Err(rejected) => {
                assert_eq!(
                    rejected.to_string(),
                    "element 3 of the gradient of tensor 2 (`vectors.2`) is NaN; allowed: finite numbers"
                );
                *rejected.module
            }
        };
        assert_same(&contents::<f32>(&module), &before, "the parameters");
        assert_eq!(optimizer.optimizer().state(), state);
        assert_eq!(module.vectors.iter().map(address).collect::<Vec<_>>(), places);
        assert!(module.vectors[2].is_require_grad());
    }
}

#[test]
fn the_executor_is_that_of_the_builder() {
    let module = model::<f64>(&[3], 2);
    let builder = Optimizer::builder(Rule::sgd(0.5)).with_executor(Executor::default().serial());
    let optimizer = WholeModule::<f64>::new(builder, &module).unwrap();
    assert!(format!("{optimizer:?}").contains("parallel: false"));
}
