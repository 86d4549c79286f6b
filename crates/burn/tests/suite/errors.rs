//! What is refused, and that nothing is changed then.

use crate::support::{assert_same, contents, gradients, model};
use burn::optim::Optimizer as _;
use burn::tensor::{DType, Device, Tensor};
use half::bf16;
use rootstep::optimizer::{MomentumFormat, Optimizer, Rule};
use rootstep_burn::{Error, PerTensor, WholeModule};
use std::panic::catch_unwind;

fn whole(rule: Rule, module: &crate::support::Model) -> WholeModule<f32> {
    WholeModule::new(Optimizer::builder(rule), module).unwrap()
}

#[test]
fn parameters_of_another_type_are_named() {
    let module = model::<bf16>(&[3], 1);
    let mut optimizer = whole(Rule::sgd(1.0), &module);
    let (before, given) = (contents::<bf16>(&module), gradients::<bf16>(&module, 1));
    let rejected = optimizer.step(module, given).unwrap_err();
    assert_eq!(rejected.to_string(), "the parameter `vectors.0` is of type bf16; allowed: f32");
    assert_same(&contents::<bf16>(&rejected.module), &before, "after");
    assert!(rejected.module.vectors[0].is_require_grad());
    assert!(matches!(Error::from(rejected), Error::Parameter { .. }));
}

#[test]
fn gradients_of_another_type_are_named() {
    let module = model::<f32>(&[3, 4], 1);
    let mut optimizer = whole(Rule::sgd(1.0), &module);
    let (before, mut given) = (contents::<f32>(&module), gradients::<f32>(&module, 1));
    let device = Device::flex();
    given.register(module.vectors[1].id, Tensor::<1>::ones([4], (&device, DType::F64)));
    let rejected = optimizer.step(module, given).unwrap_err();
    let expected = "the parameter `vectors.1` has a gradient that is of type f64; allowed: f32";
    assert_eq!(rejected.to_string(), expected);
    assert_same(&contents::<f32>(&rejected.module), &before, "after");
}

#[test]
fn gradients_of_another_length_are_named() {
    let module = model::<f32>(&[3, 4], 1);
    let mut optimizer = whole(Rule::sgd(1.0), &module);
    let (before, mut given) = (contents::<f32>(&module), gradients::<f32>(&module, 1));
    given.register(module.vectors[1].id, Tensor::<1>::ones([5], &Device::flex()));
    let rejected = optimizer.step(module, given).unwrap_err();
    let expected = "tensor 1 (`vectors.1`) has 4 parameters and a gradient of 5 elements; allowed: the same number";
    assert_eq!(rejected.to_string(), expected);
    assert_same(&contents::<f32>(&rejected.module), &before, "after");
}

#[test]
fn parameters_that_the_optimizer_was_not_built_for_are_named() {
    let mut optimizer = whole(Rule::sgd(1.0), &model::<f32>(&[3], 1));
    let module = model::<f32>(&[3, 4], 1);
    let (before, given) = (contents::<f32>(&module), gradients::<f32>(&module, 1));
    let rejected = optimizer.step(module, given).unwrap_err();
    let expected = "the parameter `vectors.1` is not one that the optimizer was built for";
    assert_eq!(rejected.to_string(), expected);
    assert_same(&contents::<f32>(&rejected.module), &before, "after");
}

/// The message of a step of burn's trait, which panics.
fn panics(
    optimizer: &PerTensor,
    rate: f64,
    tensor: &Tensor<1>,
    gradient: &Tensor<1>,
    state: Option<rootstep_burn::TensorState>,
) -> String {
    let step = || optimizer.step(rate, tensor.clone(), gradient.clone(), state);
    let panic = catch_unwind(std::panic::AssertUnwindSafe(step)).unwrap_err();
    panic.downcast_ref::<String>().unwrap().clone()
}

#[test]
fn burns_own_trait_panics_with_what_is_wrong() {
    let device = Device::flex();
    let optimizer = PerTensor::new(Rule::powerstep(1.0)).unwrap();
    let tensor = Tensor::<1>::ones([4], &device);
    let wide = Tensor::<1>::ones([4], (&device, DType::F64));
    let longer = Tensor::<1>::ones([5], &device);
    let (_, state) = optimizer.step(0.1, tensor.clone(), tensor.clone(), None);
    let (_, wide_state) = optimizer.step(0.1, wide.clone(), wide.clone(), None);
    let (_, longer_state) = optimizer.step(0.1, longer.clone(), longer.clone(), None);
    let narrow =
        PerTensor::new(Rule::powerstep(1.0).with_momentum_format(MomentumFormat::Bf16)).unwrap();
    let none = PerTensor::new(Rule::sgd(1.0)).unwrap();
    let head = "the step cannot be taken: ";
    for (message, expected) in [
        (panics(&optimizer, 0.1, &tensor, &wide, None), "a gradient is of type f64; allowed: f32"),
        (
            panics(&optimizer, -0.1, &tensor, &tensor, None),
            "the learning rate is -0.1; allowed: 0 to 3.4028235e38, the largest f32",
        ),
        (
            panics(&optimizer, 0.1, &tensor, &longer, None),
            "tensor 0 has 4 parameters and a gradient of 5 elements; allowed: the same number",
        ),
        (
            panics(&optimizer, 0.1, &tensor, &tensor, longer_state),
            "the momentum of tensor 0 does not fit: it has 5 elements; allowed: 4, as the parameters",
        ),
        (
            panics(&optimizer, 0.1, &tensor, &tensor, wide_state),
            "the state of a parameter has a momentum in f64; allowed: Full of steps in f32",
        ),
        (
            panics(&narrow, 0.1, &tensor, &tensor, state.clone()),
            "the state of a parameter has a momentum in f32; allowed: Bf16 of steps in f32",
        ),
        (
            panics(&none, 0.1, &tensor, &tensor, state),
            "the state of a parameter has a momentum in f32; allowed: none, since the rule has none",
        ),
    ] {
        assert_eq!(message, format!("{head}{expected}"));
    }
    assert_eq!(tensor.into_data().as_slice::<f32>().unwrap(), [1.0; 4]);
}
