//! burn's own trait.

use crate::support::{
    LARGE, LENGTHS, address, assert_same, contents, device, executors, gradient_values, gradients,
    model, rules, values,
};
use burn::module::ParamGroup;
use burn::nn::LinearConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, Optimizer as _, SgdConfig};
use burn::tensor::{Device, Tensor};
use half::{bf16, f16};
use rootstep::optimizer::{Momentum, MomentumMut, Power, Rule, Step, Storage};
use rootstep::{Executor, reference};
use rootstep_burn::{Format, PerTensor};

const STEPS: u64 = 3;

fn rule_at(rule: &Rule, learning_rate: f64) -> Rule {
    let mut rule = *rule;
    rule.learning_rate = learning_rate;
    rule
}

fn check<T: Format>() {
    check_of::<T>(&LENGTHS, &rules());
}

fn check_of<T: Format>(lengths: &[usize], rules: &[Rule]) {
    for executor in executors() {
        for &rule in rules {
            let optimizer = PerTensor::new(rule).unwrap().with_executor(executor);
            let mut optimizer = ModuleOptimizer::from(optimizer);
            let mut module = model::<T>(lengths, 1);
            let mut expected = contents::<T>(&module);
            let momentum = |values: &Vec<T>| Momentum::<T::Compute>::new(&rule, values.len());
            let mut momenta: Vec<_> = expected.iter().map(momentum).collect();
            for t in 0..STEPS {
                let rate = 0.02 / (1 + t) as f64;
                let rule = rule_at(&rule, rate);
                let step = if t == 0 { Step::first(&rule) } else { Step::later(&rule) }.unwrap();
                let bare = gradient_values::<T>(&module, 100 * t);
                for ((x, g), m) in expected.iter_mut().zip(&bare).zip(&mut momenta) {
                    executor.step(&step, x, g, m.as_mut()).unwrap();
                }
                let gradients = gradients::<T>(&module, 100 * t);
                module = optimizer.step(rate, module, gradients);
                let what = format!("{}, {rule:?}, {executor:?}, step {t}", T::TYPE);
                assert_same(&contents::<T>(&module), &expected, &what);
            }
        }
    }
}

#[test]
fn every_level_and_rule_gives_the_bits_of_the_bare_step_in_f32() {
    check::<f32>();
}

#[test]
fn every_level_and_rule_gives_the_bits_of_the_bare_step_in_f64() {
    check::<f64>();
}

#[test]
fn every_level_and_rule_gives_the_bits_of_the_bare_step_in_bf16() {
    check::<bf16>();
}

#[test]
fn every_level_and_rule_gives_the_bits_of_the_bare_step_in_f16() {
    check::<f16>();
}

#[test]
fn parameters_that_are_split_over_threads_have_the_same_bits() {
    check_of::<f32>(&[5, LARGE], &[Rule::powerstep(0.02)]);
}

/// Of f32, whose momentum is kept as it is computed.
#[test]
fn the_bits_are_those_of_the_specification() {
    let rule = Rule::powerstep(0.5).with_weight_decay(0.01);
    let mut optimizer = PerTensor::new(rule).unwrap().init();
    let mut module = model::<f32>(&LENGTHS, 7);
    let mut expected = contents::<f32>(&module);
    let mut momenta: Vec<_> = expected.iter().map(|values| vec![f32::NAN; values.len()]).collect();
    for t in 0..STEPS {
        let rule = rule_at(&rule, 0.125);
        let step = if t == 0 { Step::first(&rule) } else { Step::later(&rule) }.unwrap();
        let bare = gradient_values::<f32>(&module, 50 * t);
        for ((x, g), m) in expected.iter_mut().zip(&bare).zip(&mut momenta) {
            for ((x, &g), m) in x.iter_mut().zip(g).zip(m) {
                (*x, *m) = reference::step(&step, *x, *m, g);
            }
        }
        let gradients = gradients::<f32>(&module, 50 * t);
        module = optimizer.step(0.125, module, gradients);
        assert_same(&contents::<f32>(&module), &expected, &format!("step {t}"));
    }
}

#[test]
fn memory_of_its_own_is_written_in_place_and_shared_memory_is_copied() {
    let mut optimizer = PerTensor::new(Rule::sgd(1.0)).unwrap().init();
    let module = model::<f32>(&LENGTHS, 3);
    let before = contents::<f32>(&module);
    let places: Vec<_> = module.vectors.iter().map(address).collect();
    let given = gradients::<f32>(&module, 9);
    let module = optimizer.step(0.5, module, given);
    assert_eq!(module.vectors.iter().map(address).collect::<Vec<_>>(), places);
    assert_ne!(contents::<f32>(&module), before);

    let (copy, before) = (module.clone(), contents::<f32>(&module));
    let given = gradients::<f32>(&module, 10);
    let module = optimizer.step(0.5, module, given);
    assert_same(&contents::<f32>(&copy), &before, "the clone");
    assert_eq!(copy.vectors.iter().map(address).collect::<Vec<_>>(), places);
    assert!(contents::<f32>(&module).iter().zip(&before).all(|(after, before)| after != before));
}

/// Parts of longer tensors, transposed ones, and repeated ones.
#[test]
fn views_are_stepped_as_what_they_show() {
    let optimizer = PerTensor::new(Rule::pbsgd(1.0, Power::Half)).unwrap();
    let inner = Device::flex();
    let whole = Tensor::<1>::from_data(values::<f32>(60, 1).as_slice(), &inner).reshape([6, 10]);
    let wide = Tensor::<1>::from_data(values::<f32>(60, 2).as_slice(), &inner).reshape([10, 6]);
    let row = Tensor::<1>::from_data(values::<f32>(10, 3).as_slice(), &inner).reshape([1, 10]);
    let views = [
        (whole.clone(), wide.clone().transpose()),
        (whole.clone().transpose(), wide.clone()),
        (whole.clone().slice([2..4, 0..10]), wide.clone().slice([0..10, 1..3]).transpose()),
        (whole.clone().slice([1..6, 3..7]), wide.clone().slice([2..7, 0..4])),
        (whole.clone(), row.expand([6, 10])),
    ];
    let before = whole.to_data();
    for (number, (x, g)) in views.into_iter().enumerate() {
        let vector = |tensor: &Tensor<2>| tensor.to_data().as_slice::<f32>().unwrap().to_vec();
        let (mut expected, gradient) = (vector(&x), vector(&g));
        rootstep::descend(&mut expected, &gradient, 0.25);
        let (stepped, state) = optimizer.step(0.25, x, g, None);
        assert_same(&[vector(&stepped)], &[expected], &format!("view {number}"));
        assert!(state.is_none());
        whole.to_data().assert_eq(&before, true);
    }
    // Of a part that no one else has, the rest of the memory is not copied.
    let part = Tensor::<1>::from_data(values::<f32>(60, 4).as_slice(), &inner).narrow(0, 20, 20);
    let expected = {
        let mut expected = part.to_data().as_slice::<f32>().unwrap().to_vec();
        rootstep::descend(&mut expected, &values::<f32>(20, 5), 0.25);
        expected
    };
    let gradient = Tensor::<1>::from_data(values::<f32>(20, 5).as_slice(), &inner);
    let (stepped, _) = optimizer.step(0.25, part, gradient, None);
    assert_same(&[stepped.to_data().as_slice::<f32>().unwrap().to_vec()], &[expected], "a part");
}

/// As burn's documentation of groups has it: another optimizer for some of the parameters.
#[test]
fn it_is_one_of_the_optimizers_of_a_module() {
    let mut optimizer = SgdConfig::new().init().with_group(
        ParamGroup::from_predicate("matrix"),
        PerTensor::new(Rule::sign_sgd(1.0)).unwrap(),
        None,
    );
    let module = model::<f32>(&[5], 1);
    let before = contents::<f32>(&module);
    let gradients = gradients::<f32>(&module, 4);
    let module = optimizer.step(0.5, module, gradients);
    let after = contents::<f32>(&module);
    let by_sign = |tensor: usize| {
        let mut pairs = after[tensor].iter().zip(&before[tensor]);
        pairs.all(|(&after, before)| after == before + 0.5 || after == before - 0.5)
    };
    assert!(by_sign(1) && !by_sign(0));
}

/// Its result is a parameter as burn's own optimizers leave it.
#[test]
fn a_backward_pass_can_follow_a_step() {
    let mut optimizer = PerTensor::new(Rule::powerstep(1.0)).unwrap().init();
    let device = device().gradient_checkpointing();
    let mut module = LinearConfig::new(7, 3).init(&device);
    let input = Tensor::<1>::from_data(values::<f32>(35, 6).as_slice(), &device).reshape([5, 7]);
    let vector = |tensor: Tensor<2>| tensor.into_data().as_slice::<f32>().unwrap().to_vec();
    let (mut expected, mut momentum) = (vector(module.weight.val()), vec![0.0; 21]);
    for t in 0..3 {
        let loss = module.forward(input.clone()).square().mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &module);
        let gradient = vector(gradients.get::<2>(module.weight.id).unwrap());
        let rule = Rule::powerstep(0.01);
        let step = if t == 0 { Step::first(&rule) } else { Step::later(&rule) }.unwrap();
        let momentum = MomentumMut::Full(&mut momentum);
        Executor::default().step(&step, &mut expected, &gradient, momentum).unwrap();
        module = optimizer.step(0.01, module, gradients);
        assert_same(&[vector(module.weight.val())], &[expected.clone()], "a linear layer");
        assert!(module.weight.is_require_grad());
    }
}

#[test]
fn what_is_wrong_is_named() {
    let error = PerTensor::new(Rule::sgd(-1.0)).unwrap_err().to_string();
    assert_eq!(error, "the learning rate is -1; allowed: 0 to 3.4028235e38, the largest f32");
    let rule = Rule::sgd(1.0).with_storage(Storage::Split16);
    let error = PerTensor::new(rule).unwrap_err().to_string();
    assert_eq!(error, "the storage is Split16; allowed for one tensor at a time: Nearest");
}
