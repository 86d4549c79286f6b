//! Errors name the variable and what is allowed, and nothing is written then.

use crate::support::{all_bits, gradients, message, optimizer, variables};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::Optimizer;
use half::bf16;
use rootstep_candle::{Config, Error, MomentumFormat, RootStep, Rule, Storage};

/// What is said of the last gradient. The others are right.
fn of_gradient(gradient: &Tensor) -> String {
    let (vars, _) = variables::<f32>(1);
    let (mut store, _) = gradients::<f32>(&vars, 2);
    store.insert(&vars[6], gradient.clone());
    let mut own = optimizer(&vars, Rule::powerstep(0.1));
    let message = message(own.step_with_report(&store));
    assert_eq!(all_bits::<f32>(&vars), all_bits::<f32>(&variables::<f32>(1).0));
    assert_eq!((own.steps(), own.state_bytes()), (0, 0));
    // It goes on.
    own.step_with_report(&gradients::<f32>(&vars, 2).0).unwrap();
    message
}

#[test]
fn gradients_that_do_not_fit() {
    let zeros = |shape: (usize, usize), dtype| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
    assert_eq!(
        of_gradient(&zeros((103, 40), DType::F32)),
        "variable `6` has a gradient of shape [103, 40]; allowed: [40, 103]"
    );
    assert_eq!(
        of_gradient(&zeros((40, 103), DType::F64)),
        "variable `6` of f32 has a gradient of f64; allowed: f32, bf16, f16"
    );
    assert_eq!(
        of_gradient(&zeros((40, 103), DType::U32)),
        "variable `6` of f32 has a gradient of u32; allowed: f32, bf16, f16"
    );
    let x = Var::new(&[1.0_f64], &Device::Cpu).unwrap();
    let mut store = GradStore::default();
    store.insert(&x, Tensor::new(&[1.0_f32], &Device::Cpu).unwrap());
    assert_eq!(
        message(optimizer(&[x], Rule::sgd(1.0)).step_with_report(&store)),
        "variable `0` of f64 has a gradient of f32; allowed: f64"
    );
}

#[test]
fn variables_that_cannot_be_stepped() {
    let x = Var::new(&[1.0_f32], &Device::Cpu).unwrap();
    let narrow = Var::zeros(3, DType::F8E4M3, &Device::Cpu).unwrap();
    assert_eq!(
        message(RootStep::of_variables(vec![x.clone(), narrow], Rule::sgd(1.0))),
        "variable `1` is of f8e4m3; allowed: f32, f64, bf16, f16"
    );
    let whole = Var::new(&[1_u32], &Device::Cpu).unwrap();
    assert_eq!(optimizer(&[whole, x.clone()], Rule::sgd(1.0)).names().collect::<Vec<_>>(), ["0"]);
    let other = Var::new(&[1.0_f32], &Device::Cpu).unwrap();
    let names = Config::new(Rule::sgd(1.0)).with_names([("x", &x)]);
    assert_eq!(
        message(RootStep::of_variables(vec![other.clone(), x.clone()], names.clone())),
        "variable `0` of shape [1] has no name; allowed: one for each"
    );
    assert_eq!(
        message(RootStep::of_variables(
            vec![x.clone()],
            names.clone().with_named_group(Rule::sgd(2.0), ["y"])
        )),
        "variable `y` of group 1 is not among those that are stepped"
    );
    assert_eq!(
        message(RootStep::of_variables(
            vec![x.clone()],
            names.with_group(Rule::sgd(2.0), [&other])
        )),
        "variable `?` of group 1 is not among those that are stepped"
    );
    let twice = Config::new(Rule::sgd(1.0)).with_names([("x", &x), ("x", &other)]);
    assert_eq!(
        message(RootStep::of_variables(vec![x, other], twice)),
        "variable `x` is there twice; allowed: each name once"
    );
}

#[test]
fn settings() {
    let x = Var::new(&[1.0_f32], &Device::Cpu).unwrap();
    let made = |config: Config| message(RootStep::of_variables(vec![x.clone()], config));
    assert_eq!(
        made(Rule::sgd(-1.0).into()),
        "the learning rate is -1; allowed: 0 to 3.4028235e38, the largest f32"
    );
    assert_eq!(
        made(Config::new(Rule::sgd(1.0)).with_clip_norm(0.0)),
        "the limit of the norm is 0; allowed: 1e-45 to 3.4028235e38, the smallest and the largest f32"
    );
    assert_eq!(
        made(Rule::sgd(1.0).with_storage(Storage::Split16).into()),
        "variable `0` does not fit its rule: the storage is split16; allowed: nearest for parameters \
         in f32"
    );

    let mut own = optimizer(std::slice::from_ref(&x), Rule::powerstep(0.1));
    assert_eq!(
        message(own.set_rule(1, Rule::sgd(1.0))),
        "the group is 1; allowed: below 1, the number of groups"
    );
    assert!(own.set_learning_rate_factor(-1.0).is_err());
    assert!(own.set_gradient_scale(0.0).is_err());
    own.backward_step(&x.sum_all().unwrap()).unwrap();
    assert_eq!(
        message(own.set_rule(0, Rule::powerstep(0.1).with_momentum_format(MomentumFormat::Int8))),
        "variable `0` has a momentum in Full; allowed: Int8, as its rule says"
    );
    let before = x.to_vec1::<f32>().unwrap();
    own.set_learning_rate(f64::NAN);
    let error = own.backward_step(&x.sum_all().unwrap()).unwrap_err();
    // Candle may add a backtrace.
    let expected = "the learning rate is NaN; allowed: 0 to 3.4028235e38, the largest f32";
    assert!(error.to_string().starts_with(expected), "{error}");
    assert_eq!((x.to_vec1::<f32>().unwrap(), own.steps()), (before, 1));
}

#[test]
fn a_limit_that_would_make_gradients_zero() {
    let x = Var::new(&[1.0_f32], &Device::Cpu).unwrap();
    let mut own =
        optimizer(std::slice::from_ref(&x), Config::new(Rule::sgd(1.0)).with_clip_norm(1e-30));
    let error = own.step_with_report(&(x.as_tensor() * 1e30).unwrap().backward().unwrap());
    assert!(matches!(error, Err(Error::Clip { .. })));
    assert_eq!(x.to_vec1::<f32>().unwrap(), [1.0]);
}

#[test]
fn a_storage_that_others_have_is_not_changed() {
    let (vars, _) = variables::<bf16>(1);
    let rule = Rule::sgd(0.1).with_storage(Storage::Split8);
    let mut own = optimizer(&vars, rule);
    own.step(&gradients::<bf16>(&vars, 1).0).unwrap();
    assert_eq!(
        message(own.set_rule(0, rule.with_storage(Storage::Master))),
        "variable `0` is stored as Split8; allowed: Master, as its rule says"
    );
}
