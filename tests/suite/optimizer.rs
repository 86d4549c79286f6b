//! `Optimizer`: the bits of `reference::step` for every rule, at every level, length and offset, on
//! any number of threads; and what happens to bad input.

use crate::specified::{Common, Specified};
use crate::support::{self, Guarded, TestElement, block_values, executors, random_values, same};
use proptest::prelude::*;
use rootstep::optimizer::{Builder, MomentumFormat, NonFinite, Optimizer, Power, PowerOf, Rule};
use rootstep::{Error, Executor, Float as _};

const POWERS: [Power; 6] = [
    Power::Zero,
    Power::Quarter,
    Power::Half,
    Power::ThreeQuarters,
    Power::One,
    Power::Smoothed { epsilon: 1e-3 },
];

const FORMATS: &[MomentumFormat] =
    &[MomentumFormat::Full, MomentumFormat::Bf16, MomentumFormat::Int8];

const PLAIN: Common = Common { gradient_scale: 1.0, clip_value: None };

fn builder<T: TestElement>(rule: Rule, common: Common, executor: Executor) -> Builder<T> {
    let builder =
        Optimizer::builder(rule).with_gradient_scale(common.gradient_scale).with_executor(executor);
    match common.clip_value {
        Some(limit) => builder.with_clip_value(limit),
        None => builder,
    }
}

/// Values of every class, most of them such as gradients and parameters have.
fn values<T: TestElement>(length: usize, seed: u64) -> Vec<T> {
    let mut bits = support::random_bits(seed);
    let any = random_values(length, seed ^ 0x5555);
    any.into_iter()
        .map(|value| match bits() {
            b if b % 4 == 0 => value,
            b => {
                let unit = (b >> 11) as f64 / (1_u64 << 53) as f64 - 0.5;
                T::from_f64(unit * 10_f64.powi((b % 9) as i32 - 5))
            }
        })
        .collect()
}

/// Takes three steps with guarded tensors of these lengths, and compares each with the specification.
fn check<T: TestElement>(rule: Rule, common: Common, executor: Executor, lengths: &[usize]) {
    // Their seeds differ by multiples of 8: what is of every class is in the same blocks.
    let values = match rule.momentum_format {
        MomentumFormat::Int8 => block_values::<T>,
        _ => values::<T>,
    };
    let tensors = |seed: u64| {
        let tensor = move |(i, &length): (usize, &usize)| {
            Guarded::new(&values(length, seed + i as u64), (i + length) % T::LANES)
        };
        lengths.iter().enumerate().map(tensor).collect::<Vec<_>>()
    };
    let mut model = tensors(1000);
    let mut specified: Vec<_> =
        model.iter().map(|tensor| Specified::new(tensor.slice(), rule)).collect();
    let mut optimizer = builder(rule, common, executor).build().unwrap();
    for step in 0..3 {
        let gradients = tensors(2000 + 1000 * step);
        let gradients: Vec<&[T]> = gradients.iter().map(Guarded::slice).collect();
        let mut parameters: Vec<_> = model.iter_mut().map(Guarded::slice_mut).collect();
        let report = optimizer.step(&mut parameters, &gradients).unwrap();
        assert!(report.taken && report.inspection.is_none());
        for (i, (tensor, specified)) in model.iter().zip(&mut specified).enumerate() {
            tensor.assert_intact();
            let before = specified.x.clone();
            specified.step(gradients[i], common, 1.0, step == 0);
            for (k, (&x, &expected)) in tensor.slice().iter().zip(&specified.x).enumerate() {
                assert!(
                    same(x, expected),
                    "{rule:?} {common:?} {executor:?}, step {step}, element {k} of tensor {i} of \
                     {lengths:?}: {:?} and gradient {:?} gave {x:?}, specified is {expected:?}",
                    before[k],
                    gradients[i][k],
                );
            }
        }
    }
    assert_eq!(optimizer.steps(), 3);
}

/// Every combination of terms.
fn rules() -> Vec<Rule> {
    let mut rules = Vec::new();
    for power in POWERS {
        let plain = Rule::pbsgd(0.1, power);
        let momentum = plain.with_momentum(0.9);
        let mut kinds = vec![plain, plain.with_power_of(PowerOf::Momentum)];
        for &format in FORMATS {
            for power_of in [PowerOf::Gradient, PowerOf::Momentum] {
                let rule = momentum.with_momentum_format(format).with_power_of(power_of);
                kinds.extend([rule, rule.with_nesterov(), rule.with_dampening(0.3)]);
            }
        }
        for rule in kinds {
            for (l2, decoupled) in [(0.0, 0.0), (0.01, -0.0), (-0.0, 0.02), (0.03, 0.04)] {
                let rule = rule.with_weight_decay(l2).with_decoupled_weight_decay(decoupled);
                rules.extend([rule, rule.maximizing()]);
            }
        }
    }
    rules
}

/// Each combination of terms, with tensors that end in every kind of tail and in several blocks.
fn every_rule<T: TestElement>() {
    let scaled = Common { gradient_scale: 0.125, clip_value: Some(0.5) };
    for executor in executors().filter(|executor| !executor.is_parallel()) {
        for (i, rule) in rules().into_iter().enumerate() {
            let common = if i % 3 == 0 { PLAIN } else { scaled };
            check::<T>(rule, common, executor, &[1, 0, 131 + i % 67]);
        }
    }
}

#[test]
fn every_rule_f32() {
    every_rule::<f32>();
}

#[test]
fn every_rule_f64() {
    every_rule::<f64>();
}

/// Every length over two of the largest blocks of each format.
#[test]
fn every_length() {
    for executor in executors() {
        for &format in FORMATS {
            let rule = Rule::powerstep(0.1).with_weight_decay(0.01).with_momentum_format(format);
            let lengths: Vec<usize> = (0..270).chain([1023, 1024, 1025, 2100]).collect();
            check::<f32>(rule, PLAIN, executor, &lengths);
            check::<f64>(rule, PLAIN, executor, &lengths);
        }
        check::<f32>(Rule::pbsgd(0.1, Power::Half), PLAIN, executor, &(0..200).collect::<Vec<_>>());
    }
}

/// Long enough to be split, on any number of threads.
#[cfg(feature = "rayon")]
#[test]
fn any_threads() {
    let lengths = [support::long_length::<f32>(), 3, 70_001, 0, 128];
    for threads in [1, 2, 3, 8] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for executor in executors() {
            for &format in FORMATS {
                let rule = Rule::powerstep(0.1).with_momentum_format(format);
                pool.install(|| check::<f32>(rule, PLAIN, executor, &lengths));
            }
            pool.install(|| check::<f64>(Rule::sign_sgd(0.1), PLAIN, executor, &lengths));
        }
    }
}

#[test]
fn half_without_terms_is_descend() {
    let (x, g) = (random_values::<f32>(1000, 1), random_values::<f32>(1000, 2));
    let mut stepped = [x.clone()];
    let mut optimizer = Optimizer::builder(Rule::pbsgd(0.3, Power::Half)).build().unwrap();
    optimizer.step(&mut stepped, std::slice::from_ref(&g)).unwrap();
    let mut descended = x;
    rootstep::descend(&mut descended, &g, 0.3);
    assert!(stepped[0].iter().zip(&descended).all(|(&a, &b)| same(a, b)));
    assert_eq!(optimizer.momentum_bytes(), 0);
}

#[test]
fn momentum_takes_the_bytes_of_its_format() {
    let bytes = |format| {
        let rule = Rule::powerstep(0.1).with_momentum_format(format);
        let mut optimizer = Optimizer::<f32>::builder(rule).build().unwrap();
        assert_eq!(optimizer.momentum_bytes(), 0);
        optimizer
            .step(&mut [vec![1.0; 1280], vec![2.0; 1]], &[vec![1.0; 1280], vec![2.0]])
            .unwrap();
        optimizer.momentum_bytes()
    };
    assert_eq!(bytes(MomentumFormat::Full), 1281 * 4);
    assert_eq!(bytes(MomentumFormat::Int8), 1281 + 11 * 4);
    assert_eq!(bytes(MomentumFormat::Bf16), 1281 * 2);
}

/// Blocks of int8 whose largest magnitude is so small that the 1e-12 beside it counts.
#[test]
fn tiny_momentum_in_int8() {
    let rule = Rule::powerstep(0.1).with_momentum_format(MomentumFormat::Int8);
    for gradient_scale in [1e-9, 1e-11, 3e-13, 1e-20, 1e-40] {
        let common = Common { gradient_scale, clip_value: None };
        for executor in executors() {
            let mut bits = support::random_bits(5);
            let mut gradient = || -> Vec<f32> {
                (0..300).map(|_| f32::from_f64((bits() >> 40) as f64 / 1e7 - 0.8)).collect()
            };
            let mut parameters = [vec![0.0; 300]];
            let mut specified = Specified::new(&parameters[0], rule);
            let mut optimizer = builder(rule, common, executor).build().unwrap();
            for step in 0..4 {
                let gradient = [gradient()];
                optimizer.step(&mut parameters, &gradient).unwrap();
                specified.step(&gradient[0], common, 1.0, step == 0);
                let pairs = parameters[0].iter().zip(&specified.x);
                assert!(pairs.clone().all(|(a, b)| a.to_bits() == b.to_bits()), "{gradient_scale}");
            }
        }
    }
}

/// A momentum that is 0 in the type of the parameters is none.
#[test]
fn momentum_below_the_smallest_number() {
    for format in FORMATS {
        let rule = Rule::pbsgd(0.1, Power::Half).with_momentum(1e-60).with_momentum_format(*format);
        for power_of in [PowerOf::Gradient, PowerOf::Momentum] {
            let rule = rule.with_power_of(power_of);
            for executor in executors() {
                check::<f32>(rule, PLAIN, executor, &[1, 300]);
                check::<f64>(rule, PLAIN, executor, &[1, 300]);
            }
        }
        let mut optimizer = Optimizer::<f32>::builder(rule).build().unwrap();
        optimizer.step(&mut [[1.0; 10]], &[[1.0; 10]]).unwrap();
        assert_eq!(optimizer.momentum_bytes(), 0);
        let message =
            |rule| Optimizer::<f32>::builder(rule).build().map(|_| ()).unwrap_err().to_string();
        assert_eq!(
            message(rule.with_dampening(0.5)),
            "the dampening is 0.5; allowed: 0 without momentum"
        );
        assert_eq!(
            message(rule.with_nesterov()),
            "Nesterov's momentum is true; allowed: false without momentum"
        );
        assert!(Optimizer::<f64>::builder(rule.with_dampening(0.5)).build().is_ok());
    }
}

#[test]
fn each_group_has_its_rule() {
    let rules = [Rule::powerstep(0.1), Rule::sgd(0.5), Rule::sign_sgd(0.25)];
    let group_of = [0, 2, 1, 2, 0];
    for executor in executors() {
        let mut optimizer = Optimizer::<f32>::builder(rules[0])
            .with_group(rules[1], [2])
            .with_group(rules[2], [3, 1])
            .with_executor(executor)
            .build()
            .unwrap();
        let mut parameters: Vec<Vec<f32>> = (0..5).map(|i| values(100 + i, 7)).collect();
        let mut specified: Vec<_> =
            (0..5).map(|i| Specified::new(&parameters[i], rules[group_of[i]])).collect();
        for step in 0..4 {
            if step == 2 {
                optimizer.set_learning_rate(0.01).unwrap();
                optimizer.set_group_learning_rate(1, 0.02).unwrap();
                for (specified, group) in specified.iter_mut().zip(group_of) {
                    specified.rule.learning_rate = if group == 1 { 0.02 } else { 0.01 };
                }
            }
            let gradients: Vec<Vec<f32>> = (0..5).map(|i| values(100 + i, 8 + step)).collect();
            optimizer.step(&mut parameters, &gradients).unwrap();
            for (i, specified) in specified.iter_mut().enumerate() {
                specified.step(&gradients[i], PLAIN, 1.0, step == 0);
                let pairs = parameters[i].iter().zip(&specified.x);
                assert!(pairs.clone().all(|(&a, &b)| same(a, b)), "tensor {i}, step {step}");
            }
        }
        assert_eq!(optimizer.groups()[1].learning_rate, 0.02);
        assert_eq!(optimizer.momentum_bytes(), (100 + 104) * 4);
    }
}

/// The scale that is set counts from the next step on.
#[test]
fn the_gradient_scale_can_be_set() {
    let mut optimizer = Optimizer::<f32>::builder(Rule::sgd(1.0)).build().unwrap();
    let mut parameters = [vec![8.0; 100]];
    optimizer.step(&mut parameters, &[vec![2.0; 100]]).unwrap();
    optimizer.set_gradient_scale(0.25).unwrap();
    optimizer.step(&mut parameters, &[vec![2.0; 100]]).unwrap();
    assert_eq!(parameters[0], [5.5; 100]);
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-60] {
        let error = optimizer.set_gradient_scale(wrong).unwrap_err().to_string();
        assert!(error.starts_with("the gradient scale is "), "{error}");
    }
    optimizer.step(&mut parameters, &[vec![2.0; 100]]).unwrap();
    assert_eq!(parameters[0], [5.0; 100]);
}

/// The norm is that of all gradients, scaled; below the limit nothing changes.
#[test]
fn clipping_by_norm() {
    let gradients = [vec![3.0_f32; 100], vec![-4.0; 100]]; // The norm is 50.
    for executor in executors() {
        for (scale, limit, factor) in [
            (1.0, 100.0, 1.0),
            (1.0, 50.0, 1.0),
            (1.0, 25.0, 0.5),
            (0.5, 25.0, 1.0),
            (0.5, 5.0, 0.2),
            (4.0, 5.0, 0.025),
        ] {
            let common = Common { gradient_scale: scale, clip_value: Some(1.5) };
            let rule = Rule::sgd(0.1);
            let mut optimizer =
                builder::<f32>(rule, common, executor).with_clip_norm(limit).build().unwrap();
            let mut parameters = [vec![1.0; 100], vec![2.0; 100]];
            let mut specified = parameters.each_ref().map(|x| Specified::new(x, rule));
            let report = optimizer.step(&mut parameters, &gradients).unwrap();
            assert_eq!(report.clip_factor, factor);
            assert_eq!(report.inspection.unwrap().norm, 50.0);
            for (i, specified) in specified.iter_mut().enumerate() {
                specified.step(&gradients[i], common, factor, true);
                assert_eq!(parameters[i], specified.x);
            }
        }
    }
}

/// Where the scaled norm is beyond all numbers, the factor is not.
#[test]
fn clipping_by_norm_far_above_the_limit() {
    for executor in executors() {
        let common = Common { gradient_scale: 1e200, clip_value: None };
        let builder = builder::<f64>(Rule::sgd(1.0), common, executor).with_clip_norm(8.0);
        let mut optimizer = builder.build().unwrap();
        let mut parameters = [[1.0, 2.0, 3.0]];
        let report = optimizer.step(&mut parameters, &[[3e200, 0.0, -4e200]]).unwrap();
        let factor = 8.0 / report.inspection.unwrap().norm;
        let expected = [1.0 - 3e200 * factor, 2.0, 3.0 + 4e200 * factor];
        assert_eq!(parameters[0].map(f64::to_bits), expected.map(f64::to_bits));
        assert_eq!(report.clip_factor, factor / 1e200);

        // In f32 the factor would be 0: the gradients must not be lost without a word.
        let builder = Optimizer::<f32>::builder(Rule::powerstep(1.0)).with_executor(executor);
        let mut optimizer = builder.with_clip_norm(1e-10).build().unwrap();
        let mut parameters = [[1.0, 2.0]];
        let error = optimizer.step(&mut parameters, &[[3e37, -4e37]]).unwrap_err();
        let norm = rootstep::inspect(&[[3e37_f32, -4e37]]).norm;
        assert_eq!(
            error.to_string(),
            format!(
                "the limit of the norm is 1e-10; allowed: more for gradients whose norm is {norm:e}: their \
                 factor is 0 in f32"
            )
        );
        assert_eq!(
            (parameters, optimizer.steps(), optimizer.momentum_bytes()),
            ([[1.0, 2.0]], 0, 0)
        );
        // A norm beyond the numbers, of gradients that are not.
        let builder = Optimizer::<f64>::builder(Rule::powerstep(1.0)).with_executor(executor);
        let mut optimizer = builder.with_clip_norm(1.0).build().unwrap();
        let error = optimizer.step(&mut [[1.0, 2.0]], &[[f64::MAX; 2]]).unwrap_err().to_string();
        let message = "the limit of the norm is 1e0; allowed: more for gradients whose norm is inf: their \
                       factor is 0 in f64";
        assert_eq!((&error[..], optimizer.momentum_bytes()), (message, 0));
        // The limit is so far below the scaled norm that their quotient would be lost.
        let common = Common { gradient_scale: 1e300, clip_value: None };
        for limit in [1e-20, 1e-15] {
            let builder = self::builder::<f64>(Rule::sgd(1.0), common, executor);
            let mut optimizer = builder.with_clip_norm(limit).build().unwrap();
            let mut parameters = [[0.0, 0.0]];
            optimizer.step(&mut parameters, &[[3e5, -4e5]]).unwrap();
            assert_eq!(parameters, [[-3e5 * (limit / 5e5), 4e5 * (limit / 5e5)]]);
        }
        // With a limit that is allowed it goes on.
        let builder = Optimizer::<f32>::builder(Rule::sgd(1.0)).with_clip_norm(1e-5);
        let mut optimizer = builder.with_executor(executor).build().unwrap();
        optimizer.step(&mut parameters, &[[3e37, -4e37]]).unwrap();
        assert!(parameters[0][0] < 1.0 && parameters[0][1] > 2.0, "{parameters:?}");
    }
}

#[test]
fn clipping_what_is_not_finite_by_norm() {
    let step = |gradient: [f32; 2]| {
        let mut optimizer = Optimizer::builder(Rule::sgd(1.0)).with_clip_norm(1.0).build().unwrap();
        let mut parameters = [[1.0_f32, 2.0]];
        optimizer.step(&mut parameters, &[gradient]).unwrap();
        parameters[0]
    };
    // The factor is 0, and 0 * ∞ is NaN.
    let [finite, infinite] = step([5.0, f32::INFINITY]);
    assert!(finite == 1.0 && infinite.is_nan());
    assert!(step([5.0, f32::NAN]).iter().all(|x| x.is_nan()));
}

#[test]
fn policies_for_what_is_not_finite() {
    let good = [vec![1.0_f32; 10], vec![2.0; 3000]];
    for bad_value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut bad = good.clone();
        bad[1][2500] = bad_value;
        for executor in executors() {
            let build = |policy| {
                let builder = Optimizer::builder(Rule::powerstep(0.1)).with_executor(executor);
                builder.with_non_finite(policy).build().unwrap()
            };
            let mut parameters = good.clone();

            let mut optimizer = build(NonFinite::Skip);
            assert!(!optimizer.step(&mut parameters, &bad).unwrap().taken);
            assert_eq!((&parameters, optimizer.steps()), (&good, 0));
            assert!(optimizer.step(&mut parameters, &good).unwrap().taken);
            let (after, state) = (parameters.clone(), optimizer.state());
            let report = optimizer.step(&mut parameters, &bad).unwrap();
            assert_eq!(report.inspection.unwrap().first_non_finite, Some((1, 2500)));
            assert_eq!((&parameters, optimizer.state()), (&after, state.clone()));

            let mut optimizer = build(NonFinite::Error);
            optimizer.restore(&state).unwrap();
            let error = optimizer.step(&mut parameters, &bad).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "element 2500 of the gradient of tensor 1 is {bad_value}; allowed: finite numbers"
                )
            );
            assert_eq!((&parameters, optimizer.state()), (&after, state));

            let mut optimizer = build(NonFinite::Propagate);
            assert!(optimizer.step(&mut parameters, &bad).unwrap().taken);
            assert!(!parameters[1][2500].is_finite() && parameters[1][2499].is_finite());
        }
    }
}

#[test]
fn inspecting_on_request() {
    let mut optimizer = Optimizer::builder(Rule::sgd(0.1)).with_inspection().build().unwrap();
    let gradients = [[3.0_f64, 0.0, -4.0]];
    let report = optimizer.step(&mut [[1.0; 3]], &gradients).unwrap();
    assert_eq!(report.inspection, Some(rootstep::inspect(&[&gradients[0]])));
}

/// The message names what is wrong; nothing is written, in any tensor, and the state stays.
#[test]
fn shapes() {
    let mut optimizer =
        Optimizer::builder(Rule::powerstep(0.1)).with_group(Rule::sgd(1.0), [1]).build().unwrap();
    let tensors = |lengths: &[usize]| -> Vec<Vec<f32>> {
        lengths.iter().map(|&length| vec![1.0; length]).collect()
    };
    let refused = |optimizer: &mut Optimizer<f32>, x: &[usize], g: &[usize], message: &str| {
        let (mut parameters, state) = (tensors(x), optimizer.state());
        let error = optimizer.step(&mut parameters, &tensors(g)).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!((parameters, optimizer.state()), (tensors(x), state));
    };
    let same_number = "allowed: as many gradients as tensors";
    refused(
        &mut optimizer,
        &[5],
        &[5],
        &format!(
            "there are 1 tensors of parameters and 1 gradients; {same_number}, 2 or more since the groups name them"
        ),
    );
    refused(
        &mut optimizer,
        &[5, 6],
        &[5, 7],
        "tensor 1 has 6 parameters and a gradient of 7 elements; allowed: the same number",
    );
    refused(
        &mut Optimizer::builder(Rule::sgd(1.0)).build().unwrap(),
        &[5, 6],
        &[5],
        &format!("there are 2 tensors of parameters and 1 gradients; {same_number}"),
    );
    optimizer.step(&mut tensors(&[5, 6]), &tensors(&[5, 6])).unwrap();
    refused(
        &mut optimizer,
        &[5, 6],
        &[5, 6, 1],
        &format!(
            "there are 2 tensors of parameters and 3 gradients; {same_number}, 2 as the optimizer has"
        ),
    );
    refused(
        &mut optimizer,
        &[5, 6, 1],
        &[5, 6, 1],
        &format!(
            "there are 3 tensors of parameters and 3 gradients; {same_number}, 2 as the optimizer has"
        ),
    );
    refused(
        &mut optimizer,
        &[5, 7],
        &[5, 7],
        "tensor 1 has 7 parameters and a gradient of 7 elements; allowed: the same number, 6 as before",
    );
    optimizer.step(&mut tensors(&[5, 6]), &tensors(&[5, 6])).unwrap();
}

#[test]
fn each_builder_sets_its_own() {
    let plain = Rule::sgd(0.1);
    let with = |change: fn(&mut Rule)| {
        let mut rule = plain;
        change(&mut rule);
        rule
    };
    for (built, expected) in [
        (plain.with_power(Power::Half), with(|rule| rule.power = Power::Half)),
        (plain.with_power_of(PowerOf::Momentum), with(|rule| rule.power_of = PowerOf::Momentum)),
        (plain.with_momentum(0.9), with(|rule| rule.momentum = 0.9)),
        (plain.with_dampening(0.5), with(|rule| rule.dampening = 0.5)),
        (plain.with_nesterov(), with(|rule| rule.nesterov = true)),
        (plain.with_weight_decay(0.01), with(|rule| rule.weight_decay = 0.01)),
        (plain.with_decoupled_weight_decay(0.01), with(|rule| rule.decoupled_weight_decay = 0.01)),
        (plain.maximizing(), with(|rule| rule.maximize = true)),
        (
            plain.with_momentum_format(MomentumFormat::Int8),
            with(|rule| rule.momentum_format = MomentumFormat::Int8),
        ),
    ] {
        assert_eq!(built, expected);
        assert_ne!(built, plain);
    }
}

#[test]
fn settings_out_of_range() {
    fn message(builder: Builder<f32>) -> String {
        builder.build().unwrap_err().to_string()
    }
    let finite = "allowed: 0 to 3.4028235e38, the largest f32";
    let positive = "allowed: 1e-45 to 3.4028235e38, the smallest and the largest f32";
    let below_one = "allowed: 0 to 0.99999994, the largest f32 below 1";
    // Such as a person writes them.
    let text = |number: f64| match number {
        1e39 => "1e39".to_owned(),
        1e-60 => "1e-60".to_owned(),
        number => number.to_string(),
    };
    let rule = |rule| message(Optimizer::builder(rule));
    let sgd = Rule::sgd(0.1);
    for rate in [-1.0, f64::NAN, f64::INFINITY, 1e39] {
        let is = format!("is {}; {finite}", text(rate));
        assert_eq!(rule(Rule::sgd(rate)), format!("the learning rate {is}"));
        assert_eq!(rule(sgd.with_weight_decay(rate)), format!("the weight decay {is}"));
        assert_eq!(
            rule(sgd.with_decoupled_weight_decay(rate)),
            format!("the decoupled weight decay {is}")
        );
    }
    for share in [-0.1, 1.0, 0.999_999_999_9, f64::NAN, f64::INFINITY] {
        assert_eq!(rule(sgd.with_momentum(share)), format!("the momentum is {share}; {below_one}"));
        let momentum = sgd.with_momentum(0.5).with_dampening(share);
        assert_eq!(rule(momentum), format!("the dampening is {share}; {below_one}"));
    }
    for epsilon in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-60] {
        let is = format!("is {}; {positive}", text(epsilon));
        assert_eq!(
            rule(sgd.with_power(Power::Smoothed { epsilon })),
            format!("the epsilon of the smoothed power {is}")
        );
        let builder = || Optimizer::builder(sgd);
        assert_eq!(
            message(builder().with_gradient_scale(epsilon)),
            format!("the gradient scale {is}")
        );
        assert_eq!(
            message(builder().with_clip_norm(epsilon)),
            format!("the limit of the norm {is}")
        );
        assert_eq!(
            message(builder().with_clip_value(epsilon)),
            format!("the limit of the values {is}")
        );
    }
    assert_eq!(rule(sgd.with_dampening(0.5)), "the dampening is 0.5; allowed: 0 without momentum");
    assert_eq!(
        rule(sgd.with_nesterov()),
        "Nesterov's momentum is true; allowed: false without momentum"
    );
    assert_eq!(
        rule(sgd.with_momentum(0.5).with_nesterov().with_dampening(0.5)),
        "the dampening is 0.5; allowed: 0 with Nesterov's momentum"
    );
    let builder = || Optimizer::builder(sgd).with_group(sgd, [0, 2]);
    assert_eq!(
        message(builder().with_group(sgd, [1, 2])),
        "the number of groups with tensor 2 is 2 (groups 1 and 2); allowed: 1"
    );
    assert_eq!(
        message(builder().with_group(sgd, [usize::MAX])),
        format!("a tensor of a group is {}; allowed: below 16777216", usize::MAX)
    );
    assert_eq!(
        message(builder().with_group(Rule::sgd(-2.0), [1])),
        format!("the learning rate is -2; {finite}")
    );
    let mut optimizer = builder().build().unwrap();
    assert!(optimizer.set_learning_rate(f64::NAN).is_err());
    assert!(optimizer.set_gradient_scale(0.0).is_err());
    assert!(matches!(
        optimizer.set_group_learning_rate(2, 0.5),
        Err(Error::InvalidSetting { given, allowed, .. }) if given == "2" && allowed == "0 to 1"
    ));
    assert_eq!(optimizer.groups(), [sgd, sgd]);
}

fn any_rule() -> impl Strategy<Value = Rule> {
    (prop::sample::select(rules()), 0.0..2.0, 0.0..0.999, 0.0..0.5).prop_map(
        |(mut rule, rate, momentum, decay)| {
            rule.learning_rate = rate;
            if rule.momentum != 0.0 {
                rule.momentum = momentum + 1e-4;
            }
            rule.weight_decay *= decay;
            rule.decoupled_weight_decay *= decay;
            rule
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tensors(
        rule in any_rule(),
        gradient_scale in prop::sample::select(vec![1.0, 0.1, 1024.0]),
        clip_value in prop::option::of(1e-6..10.0),
        lengths in prop::collection::vec(0..600_usize, 0..6),
        executor in prop::sample::select(executors().collect::<Vec<_>>()),
    ) {
        let common = Common { gradient_scale, clip_value };
        check::<f32>(rule, common, executor, &lengths);
        check::<f64>(rule, common, executor, &lengths);
    }
}
