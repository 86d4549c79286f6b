//! Models of candle's: names, groups, ties, schedules, the trait.

use crate::support::{all_bits, bits_of, gradients, message, optimizer, rules, variables};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Init, Module, Optimizer, VarBuilder, VarMap};
use half::bf16;
use rootstep_candle::{Config, RootStep, Rule, Schedule, Storage};

/// A map with variables called `a`, `b`, `c`, each of three ones.
fn map() -> VarMap {
    let map = VarMap::new();
    let builder = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    for name in ["b", "c", "a"] {
        builder.get_with_hints(3, name, Init::Const(1.0)).unwrap();
    }
    map
}

fn named(map: &VarMap, name: &str) -> Var {
    map.data().lock().unwrap()[name].clone()
}

/// The gradient of the sum of all variables: 1.
fn sum(map: &VarMap) -> Tensor {
    let sums = map.all_vars().into_iter().map(|var| var.sum_all().unwrap());
    sums.reduce(|a, b| (a + b).unwrap()).unwrap()
}

fn first(map: &VarMap, name: &str) -> f32 {
    named(map, name).to_vec1::<f32>().unwrap()[0]
}

#[test]
fn groups_by_names_and_by_variables() {
    let map = map();
    let config = Config::new(Rule::sgd(1.0))
        .with_named_group(Rule::sgd(2.0), ["b"])
        .with_group(Rule::sgd(4.0), [&named(&map, "c")]);
    let mut own = RootStep::of_map(&map, config).unwrap();
    assert_eq!(own.names().collect::<Vec<_>>(), ["a", "b", "c"]);
    own.backward_step(&sum(&map)).unwrap();
    assert_eq!(["a", "b", "c"].map(|name| first(&map, name)), [0.0, -1.0, -3.0]);

    own.set_rule(1, Rule::sgd(8.0)).unwrap();
    own.set_learning_rate_factor(0.5).unwrap();
    own.backward_step(&sum(&map)).unwrap();
    assert_eq!(["a", "b", "c"].map(|name| first(&map, name)), [-0.5, -5.0, -5.0]);
    assert_eq!(own.learning_rate(), 1.0);

    own.set_learning_rate(16.0);
    own.backward_step(&sum(&map)).unwrap();
    assert_eq!(["a", "b", "c"].map(|name| first(&map, name)), [-8.5, -13.0, -13.0]);
    assert_eq!(own.rules().map(|rule| rule.learning_rate).collect::<Vec<_>>(), [16.0; 3]);
}

#[test]
fn a_variable_with_two_names_is_stepped_once() {
    let map = map();
    let tied = named(&map, "b");
    map.data().lock().unwrap().insert("head".to_owned(), tied);
    // Of a variable that is there twice the gradient is 2.
    let loss = sum(&map);
    let config = Config::new(Rule::sgd(1.0)).with_named_group(Rule::sgd(0.25), ["head"]);
    let mut own = RootStep::of_map(&map, config.clone()).unwrap();
    assert_eq!(own.names().collect::<Vec<_>>(), ["a", "b", "c"]);
    own.backward_step(&loss).unwrap();
    assert_eq!(["a", "b", "c", "head"].map(|name| first(&map, name)), [0.0, 0.5, 0.0, 0.5]);

    let twice = config.with_named_group(Rule::sgd(0.5), ["b"]);
    let expected = "variable `b` is in the groups 1 and 2; allowed: one";
    assert_eq!(message(RootStep::of_map(&map, twice)), expected);
}

#[test]
fn a_variable_that_is_given_twice_is_stepped_once() {
    let x = Var::new(&[1.0_f32], &Device::Cpu).unwrap();
    let mut own = optimizer(&[x.clone(), x.clone()], Rule::sgd(1.0));
    own.backward_step(&x.sum_all().unwrap()).unwrap();
    assert_eq!(x.to_vec1::<f32>().unwrap(), [0.0]);
}

/// Neither the norm nor stochastic draws depend on the order in which a map lists its variables.
#[test]
fn the_order_of_variables_with_names_does_not_matter() {
    let rule = rules()[0].with_storage(Storage::Stochastic { seed: 3 });
    let trained = |reversed: bool| {
        let (vars, _) = variables::<bf16>(1);
        let names = ["m", "k", "z", "b", "a", "y", "x"];
        let config = Config::new(rule).with_names(names.into_iter().zip(&vars)).with_clip_norm(0.1);
        let mut given = vars.clone();
        if reversed {
            given.reverse();
        }
        let mut own = optimizer(&given, config);
        for seed in 0..3 {
            own.step_with_report(&gradients::<bf16>(&vars, seed).0).unwrap();
        }
        all_bits::<bf16>(&vars)
    };
    assert_eq!(trained(true), trained(false));
}

#[test]
fn a_schedule_is_that_of_rates_set_by_hand() {
    let schedule = Schedule::cosine(0.1, 0.001, 5).unwrap().warm_up(0.0, 2).unwrap();
    let (scheduled, _) = variables::<f32>(1);
    let (by_hand, _) = variables::<f32>(1);
    let mut own =
        optimizer(&scheduled, Config::new(Rule::powerstep(1.0)).with_schedule(schedule.clone()));
    let mut other = optimizer(&by_hand, Rule::powerstep(1.0));
    for step in 0..9 {
        assert_eq!(own.learning_rate_factor(), schedule.at(step));
        other.set_learning_rate(schedule.at(step));
        own.step(&gradients::<f32>(&scheduled, step).0).unwrap();
        other.step(&gradients::<f32>(&by_hand, step).0).unwrap();
    }
    assert_eq!(all_bits::<f32>(&scheduled), all_bits::<f32>(&by_hand));
}

/// With SGD without momentum the bits are those of candle's SGD, as long as it rounds as often.
#[test]
fn code_that_knows_the_trait_alone() {
    fn trained<O: Optimizer>(config: O::Config) -> Vec<u64> {
        let map = VarMap::new();
        let builder = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
        let weight = builder.get_with_hints((3, 4), "weight", Init::Const(0.25)).unwrap();
        let bias = builder.get_with_hints(3, "bias", Init::Const(0.0)).unwrap();
        let model = candle_nn::Linear::new(weight, Some(bias));
        let inputs: Vec<f32> = (0..20_u8).map(|i| f32::from(i).sin()).collect();
        let inputs = Tensor::from_vec(inputs, (5, 4), &Device::Cpu).unwrap();
        let mut optimizer = O::new(map.all_vars(), config).unwrap();
        for _ in 0..20 {
            let loss = model.forward(&inputs).unwrap().powf(2.0).unwrap().sum_all().unwrap();
            optimizer.backward_step(&loss).unwrap();
        }
        bits_of::<f32>(&named(&map, "weight"))
    }
    assert_eq!(trained::<RootStep>(Rule::sgd(0.01).into()), trained::<candle_nn::SGD>(0.01));
}

#[test]
fn what_is_kept_follows_the_rule() {
    let (vars, _) = variables::<bf16>(1);
    let rule = Rule::powerstep(0.1).with_storage(Storage::Master);
    let mut own = optimizer(&vars, rule);
    let elements: usize = vars.iter().map(|var| var.elem_count()).sum();
    own.step(&gradients::<bf16>(&vars, 1).0).unwrap();
    assert_eq!(own.state_bytes(), 8 * elements);
    own.set_rule(0, rule.with_momentum(0.0)).unwrap();
    assert_eq!(own.state_bytes(), 4 * elements);
    own.reset();
    assert_eq!((own.state_bytes(), own.steps()), (0, 0));
}

/// Every now and then, values are set from outside.
#[test]
fn after_a_reset_it_begins_anew() {
    let rule = Rule::powerstep(0.1).with_storage(Storage::Split16);
    let (vars, _) = variables::<bf16>(1);
    let (fresh, _) = variables::<bf16>(1);
    let mut own = optimizer(&vars, rule);
    own.step(&gradients::<bf16>(&vars, 1).0).unwrap();
    for (var, fresh) in vars.iter().zip(&fresh) {
        var.set(fresh).unwrap();
    }
    own.reset();
    let mut other = optimizer(&fresh, rule);
    own.step(&gradients::<bf16>(&vars, 2).0).unwrap();
    other.step(&gradients::<bf16>(&fresh, 2).0).unwrap();
    assert_eq!(all_bits::<bf16>(&vars), all_bits::<bf16>(&fresh));
}
