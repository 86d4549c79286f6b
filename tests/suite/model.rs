//! A state that lives with its model: gradients that are missing, tensors that join, settings that change,
//! momentum that is read, set and lent; and a text for people.

use crate::specified::{Common, Specified};
use crate::support::{TestElement, executors, random_bits, same, unit_values};
use rootstep::optimizer::{
    Momentum, MomentumFormat, MomentumMut, NonFinite, Optimizer, Power, Rule, TensorStep,
};
use rootstep::{Element, Executor, Inspection};

const FORMATS: [MomentumFormat; 3] =
    [MomentumFormat::Full, MomentumFormat::Bf16, MomentumFormat::Int8];

const LENGTHS: [usize; 5] = [300, 1, 0, 129, 64];
const NAMES: [&str; 5] = ["zeta", "alpha", "nothing", "gamma", "beta"];

fn tensors<T: TestElement>(seed: u64) -> Vec<Vec<T>> {
    let mut value = unit_values(seed);
    LENGTHS.iter().map(|&length| (0..length).map(|_| value()).collect()).collect()
}

/// Some of the tensors' gradients, others at each step.
fn some_gradients<T: TestElement>(step: u64) -> Vec<Option<Vec<T>>> {
    let mut bits = random_bits(step);
    let all = tensors(1000 + step);
    // The fourth has none in the first steps, so that its momentum begins late.
    let present = |i: usize, bits: u64| if i == 3 { step >= 4 } else { !bits.is_multiple_of(3) };
    all.into_iter().enumerate().map(|(i, g)| present(i, bits()).then_some(g)).collect()
}

/// A step with some gradients, in one of the ways to take it.
type Take<T> = fn(&mut Optimizer<T>, &mut [Vec<T>], &[Option<Vec<T>>]) -> Option<Inspection>;

fn by_index<T: Element>(
    optimizer: &mut Optimizer<T>,
    parameters: &mut [Vec<T>],
    gradients: &[Option<Vec<T>>],
) -> Option<Inspection> {
    optimizer.step_with_missing(parameters, gradients).unwrap().inspection
}

/// In another order, and without a word of those whose gradient is missing.
fn by_name<T: Element>(
    optimizer: &mut Optimizer<T>,
    parameters: &mut [Vec<T>],
    gradients: &[Option<Vec<T>>],
) -> Option<Inspection> {
    let gradients = gradients.iter().map(|gradient| gradient.as_deref());
    let mut tensors: Vec<_> = NAMES.iter().zip(parameters).zip(gradients).collect();
    tensors.sort_by_key(|((name, _), _)| **name);
    let tensors = tensors.into_iter().filter(|(_, gradient)| gradient.is_some());
    let tensors =
        tensors.map(|((name, parameters), gradient)| (*name, &mut parameters[..], gradient));
    optimizer.step_named(tensors).unwrap().inspection
}

/// Tensors without a gradient keep their bits and their momentum's; the others are as specified, each with
/// its own first step, and the norm is that of the gradients that there are.
fn check_missing<T: TestElement>(rule: Rule, executor: Executor, take: Take<T>) {
    const LIMIT: f64 = 0.75;
    let plain = Common { gradient_scale: 1.0, clip_value: None };
    let mut parameters = tensors::<T>(1);
    let mut specified: Vec<_> = parameters.iter().map(|x| Specified::new(x, rule)).collect();
    let mut steps = [0; LENGTHS.len()];
    let builder = Optimizer::builder(rule).with_executor(executor).with_clip_norm(LIMIT);
    let mut optimizer = builder.with_names(NAMES).build().unwrap();
    for step in 0..9 {
        let gradients = some_gradients::<T>(step);
        let present: Vec<&[T]> = gradients.iter().flatten().map(|g| &g[..]).collect();
        let expected = rootstep::reference::inspect(&present);
        assert_eq!(take(&mut optimizer, &mut parameters, &gradients), Some(expected));
        let clip = if expected.norm > LIMIT { LIMIT / expected.norm } else { 1.0 };
        for (i, gradient) in gradients.iter().enumerate() {
            if let Some(gradient) = gradient {
                specified[i].step(gradient, plain, clip, steps[i] == 0);
                steps[i] += 1;
            }
            let equal = parameters[i].iter().zip(&specified[i].x).all(|(&x, &y)| same(x, y));
            assert!(equal, "{rule:?} {executor:?}, step {step}, tensor {i}");
        }
    }
    assert_eq!(optimizer.steps(), 9);
    assert!(steps.iter().all(|&steps| (3..9).contains(&steps)), "{steps:?}");
}

#[test]
fn missing_gradients() {
    for executor in executors() {
        for format in FORMATS {
            let rule = Rule::powerstep(0.1)
                .with_dampening(0.3)
                .with_weight_decay(0.01)
                .with_decoupled_weight_decay(0.02)
                .with_momentum_format(format);
            for take in [by_index, by_name] {
                check_missing::<f32>(rule, executor, take);
            }
            for take in [by_index, by_name] {
                check_missing::<f64>(rule, executor, take);
            }
        }
    }
}

/// The index is that of the model's tensor, and an absent gradient is looked at by nobody.
#[test]
fn the_first_that_is_not_finite_by_its_own_index() {
    let builder = Optimizer::<f32>::builder(Rule::sgd(1.0)).with_names(["a", "b", "c"]);
    let mut optimizer = builder.with_non_finite(NonFinite::Error).build().unwrap();
    let gradients = [None, Some([1.0, 2.0]), Some([3.0, f32::INFINITY])];
    let mut parameters = [[1.0; 2]; 3];
    let error = optimizer.step_with_missing(&mut parameters, &gradients).unwrap_err();
    let message = "element 1 of the gradient of tensor 2 (`c`) is inf; allowed: finite numbers";
    assert_eq!(error.to_string(), message);
    assert_eq!((parameters, optimizer.steps()), ([[1.0; 2]; 3], 0));
    optimizer.step_with_missing(&mut parameters, &[None, Some([1.0, 2.0]), None]).unwrap();
    assert_eq!(parameters, [[1.0; 2], [0.0, -1.0], [1.0; 2]]);
}

/// A step that touches nothing does not say how many tensors there are.
#[test]
fn a_step_of_no_tensors() {
    let mut optimizer = Optimizer::<f32>::builder(Rule::powerstep(1.0)).build().unwrap();
    let none: &mut [Vec<f32>] = &mut [];
    assert!(optimizer.step(none, &[[0.0_f32; 0]; 0]).unwrap().taken);
    assert_eq!((optimizer.steps(), optimizer.tensors()), (1, 0));
    let mut parameters = [[1.0], [2.0]];
    optimizer.step(&mut parameters, &[[4.0], [9.0]]).unwrap();
    assert_eq!((parameters, optimizer.tensors()), ([[-1.0], [-1.0]], 2));
    // Its own state is taken back, that of the steps before the model was known included.
    let mut again = Optimizer::<f32>::builder(Rule::powerstep(1.0)).build().unwrap();
    again.step(none, &[[0.0_f32; 0]; 0]).unwrap();
    let state = again.state();
    let mut third = Optimizer::<f32>::builder(Rule::powerstep(1.0)).build().unwrap();
    third.restore(&state).unwrap();
    assert_eq!(third.steps(), 1);
    // But it is not the state of a model with tensors.
    let problem = optimizer.restore(&state).unwrap_err().to_string();
    assert!(problem.ends_with("it has 0 tensors; allowed: 2, as the model has"), "{problem}");
}

/// A first step that is not taken, or is an error, leaves all open: how many tensors there are, and how long they are.
#[test]
fn a_first_step_that_is_not_taken() {
    for policy in [NonFinite::Skip, NonFinite::Error] {
        let builder = Optimizer::<f32>::builder(Rule::powerstep(1.0)).with_non_finite(policy);
        let mut optimizer = builder.build().unwrap();
        let before = optimizer.state();
        let result = optimizer.step(&mut [[1.0; 3], [2.0; 3]], &[[f32::NAN; 3]; 2]);
        assert!(result.map_or(true, |report| !report.taken));
        assert_eq!((optimizer.tensors(), optimizer.state()), (0, before));
        let mut parameters = [[1.0]];
        optimizer.step(&mut parameters, &[[4.0]]).unwrap();
        assert_eq!((parameters, optimizer.tensors()), ([[-1.0]], 1));
    }
}

#[test]
fn tensors_that_join() {
    let rule = Rule::powerstep(0.1).with_dampening(0.5);
    let other = Rule::sgd(0.5);
    let builder = || Optimizer::<f32>::builder(rule).with_group(other, [1]);
    let mut by_index = builder().build().unwrap();
    let mut by_name = builder().with_names(["a", "b"]).build().unwrap();
    for named in [false, true] {
        let optimizer = if named { &mut by_name } else { &mut by_index };
        let mut parameters = vec![vec![1.0_f32], vec![2.0]];
        optimizer.step(&mut parameters, &[[4.0], [1.0]]).unwrap();
        let add = |optimizer: &mut Optimizer<f32>, name, group| {
            if named {
                optimizer.add_named_tensor(name, group)
            } else {
                optimizer.add_tensor(group)
            }
        };
        assert_eq!(add(optimizer, "c", 0), Ok(2));
        assert_eq!(add(optimizer, "d", 1), Ok(3));
        assert!(add(optimizer, "e", 2).is_err() && optimizer.tensors() == 4);
        parameters.extend([vec![1.0], vec![2.0]]);
        optimizer.step(&mut parameters, &[[4.0], [1.0], [4.0], [1.0]]).unwrap();
        // The first step of the third is as that of the first was; the fourth follows the second's rule.
        assert_eq!(parameters[2], [1.0 - 0.1_f32 * 2.0]);
        assert_eq!(parameters[3], [1.5]);
        assert_eq!(optimizer.momentum(3), Some(&Momentum::None));
        let state = optimizer.state();
        let mut again =
            if named { builder().with_names(["a", "b"]) } else { builder() }.build().unwrap();
        if named {
            assert!(again.restore(&state).is_err());
            add(&mut again, "c", 0).unwrap();
            add(&mut again, "d", 1).unwrap();
        }
        // Those that had joined an optimizer without names join this one, each in its group.
        again.restore(&state).unwrap();
        assert_eq!(again.state(), state);
        let mut copy = parameters.clone();
        let gradients = [[4.0], [1.0], [4.0], [1.0]];
        optimizer.step(&mut parameters, &gradients).unwrap();
        again.step(&mut copy, &gradients).unwrap();
        assert_eq!(copy, parameters);
    }
    // The groups name tensors that are not there yet: which one the new one is, nobody knows.
    let mut early = builder().build().unwrap();
    assert!(early.add_tensor(0).is_err());
    // Without groups it is the first, and its state is taken back.
    let mut early = Optimizer::<f32>::builder(rule).build().unwrap();
    assert_eq!((early.add_tensor(0), early.add_tensor(0)), (Ok(0), Ok(1)));
    let state = early.state();
    early.restore(&state).unwrap();
    let mut again = Optimizer::<f32>::builder(rule).build().unwrap();
    again.restore(&state).unwrap();
    assert_eq!((again.state(), again.tensors()), (state, 2));
    assert_eq!((by_name.find("d"), by_name.name(3), by_name.find("e")), (Some(3), Some("d"), None));
    assert_eq!((by_index.find("0"), by_index.name(0)), (None, None));
}

/// A model that is made as it goes: names are known, their number is not.
#[test]
fn a_model_of_no_names_yet() {
    let none: [&str; 0] = [];
    let mut optimizer = Optimizer::<f32>::builder(Rule::sgd(1.0)).with_names(none).build().unwrap();
    let mut x = [3.0];
    assert!(optimizer.step(&mut [x], &[[1.0]]).is_err());
    optimizer.add_named_tensor("x", 0).unwrap();
    optimizer.step_named([("x", &mut x[..], Some(&[1.0][..]))]).unwrap();
    assert_eq!(x, [2.0]);
}

/// The bits are those of the specification, with the rule of each step.
fn check_changing_rules<T: TestElement>(executor: Executor) {
    let plain = Common { gradient_scale: 1.0, clip_value: None };
    for format in FORMATS {
        let rule = Rule::powerstep(0.1).with_momentum_format(format);
        let mut parameters = tensors::<T>(1);
        let mut specified: Vec<_> = parameters.iter().map(|x| Specified::new(x, rule)).collect();
        let builder = Optimizer::builder(rule).with_group(Rule::sgd(0.2), [1]);
        let mut optimizer = builder.with_executor(executor).build().unwrap();
        specified[1].rule = Rule::sgd(0.2);
        for step in 0..6_u64 {
            let factor = 1.0 / (step as f64 + 1.0);
            // From the fourth step on there is no momentum, from the sixth on there is again.
            let momentum = if (3..=4).contains(&step) { 0.0 } else { 0.9 - 0.1 * step as f64 };
            let rule = rule.with_momentum(momentum).with_weight_decay(0.01 * step as f64);
            optimizer.set_rule(0, rule).unwrap();
            optimizer.set_learning_rate_factor(factor).unwrap();
            assert_eq!(optimizer.learning_rate_factor().to_bits(), factor.to_bits());
            let gradients = tensors::<T>(50 + step);
            optimizer.step(&mut parameters, &gradients).unwrap();
            for (i, specified) in specified.iter_mut().enumerate() {
                let base = if i == 1 { Rule::sgd(0.2) } else { rule };
                specified.rule = base;
                specified.rule.learning_rate = base.learning_rate * factor;
                specified.step(&gradients[i], plain, 1.0, step == 0 || step == 5);
                let equal = parameters[i].iter().zip(&specified.x).all(|(&x, &y)| same(x, y));
                assert!(equal, "{format:?} {executor:?}, step {step}, tensor {i}");
            }
            assert_eq!(optimizer.momentum_bytes() == 0, momentum == 0.0);
        }
        let other = FORMATS[(FORMATS.iter().position(|&own| own == format).unwrap() + 1) % 3];
        let (before, bytes) = (optimizer.groups().to_vec(), optimizer.momentum_bytes());
        let error = optimizer.set_rule(0, rule.with_momentum_format(other)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the format of the momentum is {other:?}; allowed: {format:?}, that of the momentum \
                 that there is"
            )
        );
        assert!(optimizer.set_rule(2, rule).is_err());
        assert!(optimizer.set_rule(1, Rule::sgd(-1.0)).is_err());
        assert_eq!((optimizer.groups(), optimizer.momentum_bytes()), (&before[..], bytes));
    }
}

#[test]
fn rules_that_change() {
    for executor in executors() {
        check_changing_rules::<f32>(executor);
        check_changing_rules::<f64>(executor);
    }
}

/// A factor must leave every group a learning rate, whichever of the two comes last.
#[test]
fn factors_of_learning_rates() {
    let builder = Optimizer::<f32>::builder(Rule::sgd(1e38)).with_group(Rule::sgd(1.0), [1]);
    let mut optimizer = builder.build().unwrap();
    for bad in [f64::NAN, -1.0, f64::INFINITY, 4.0] {
        assert!(optimizer.set_learning_rate_factor(bad).is_err(), "{bad}");
        assert_eq!(optimizer.learning_rate_factor(), 1.0);
    }
    optimizer.set_learning_rate_factor(3.0).unwrap();
    assert!(optimizer.set_learning_rate(2e38).is_err());
    assert!(optimizer.set_group_learning_rate(1, 2e38).is_err());
    assert!(optimizer.set_rule(1, Rule::sgd(2e38)).is_err());
    assert_eq!(optimizer.groups(), [Rule::sgd(1e38), Rule::sgd(1.0)]);
}

/// Momentum that was trained elsewhere is set before the first step, and is not begun anew.
#[test]
fn momentum_from_elsewhere() {
    for format in FORMATS {
        let rule = Rule::powerstep(0.1).with_dampening(0.5).with_momentum_format(format);
        let build = || Optimizer::<f32>::builder(rule).with_names(["w"]).build().unwrap();
        let (mut expected, gradients) = ([tensors::<f32>(1).remove(0)], tensors::<f32>(2));
        let mut first = build();
        first.step(&mut expected, &gradients[..1]).unwrap();
        let mut parameters = expected.clone();
        let mut second = build();
        let own = first.momentum(0).unwrap().clone();
        assert_eq!(second.replace_momentum(0, Momentum::new(&rule, 300)), Ok(Momentum::None));
        match (second.momentum_mut(0).unwrap(), &own) {
            (MomentumMut::Full(lent), Momentum::Full(own)) => lent.copy_from_slice(own),
            (MomentumMut::Bf16(lent), Momentum::Bf16(own)) => lent.copy_from_slice(own),
            (
                MomentumMut::Int8 { codes, scales },
                Momentum::Int8 { codes: own, scales: of_own },
            ) => {
                codes.copy_from_slice(own);
                scales.copy_from_slice(of_own);
            }
            other => panic!("{other:?}"),
        }
        first.step(&mut expected, &gradients[..1]).unwrap();
        second.step(&mut parameters, &gradients[..1]).unwrap();
        assert!(parameters[0].iter().zip(&expected[0]).all(|(&a, &b)| same(a, b)), "{format:?}");
        assert_eq!(second.momentum(0), first.momentum(0));
        // None makes the next step the first.
        assert_eq!(
            &second.replace_momentum(0, Momentum::None).unwrap(),
            first.momentum(0).unwrap()
        );
        let mut anew = parameters.clone();
        second.step(&mut anew, &gradients[..1]).unwrap();
        build().step(&mut parameters, &gradients[..1]).unwrap();
        assert!(parameters[0].iter().zip(&anew[0]).all(|(&a, &b)| same(a, b)), "{format:?}");
    }
}

/// Whatever an optimizer remembers before its first step, it takes back.
#[test]
fn the_state_before_the_first_step() {
    for format in FORMATS {
        let rule = Rule::powerstep(0.1).with_momentum_format(format);
        let build = || Optimizer::<f32>::builder(rule).with_names(["w", "b"]).build().unwrap();
        let mut optimizer = build();
        optimizer.replace_momentum(1, Momentum::new(&rule, 200)).unwrap();
        let mut again = build();
        again.restore(&optimizer.state()).unwrap();
        assert_eq!((again.state(), again.steps()), (optimizer.state(), 0));
        assert_eq!(again.momentum(1), optimizer.momentum(1));
        // It knows the length, and is not to begin anew.
        assert!(again.step(&mut [[1.0], [2.0]], &[[1.0], [2.0]]).is_err());
        let (mut parameters, gradients) =
            ([vec![1.0], vec![2.0; 200]], [vec![1.0], vec![2.0; 200]]);
        again.step(&mut parameters, &gradients).unwrap();
        let dampened = rule.with_dampening(0.5);
        let mut other = Optimizer::<f32>::builder(dampened).with_names(["w", "b"]).build().unwrap();
        other.replace_momentum(1, Momentum::new(&dampened, 200)).unwrap();
        let mut dampened = [vec![1.0], vec![2.0; 200]];
        other.step(&mut dampened, &gradients).unwrap();
        assert!(dampened[0] == parameters[0] && dampened[1] != parameters[1]);
    }
}

/// A million elements, and a text that fits a line or two.
#[test]
fn texts_are_short() {
    for format in FORMATS {
        let rule = Rule::powerstep(0.1).with_momentum_format(format);
        let mut optimizer = Optimizer::<f32>::builder(rule).build().unwrap();
        let mut parameters = vec![vec![1.0; 1_000_000], vec![1.0; 7]];
        let gradients = parameters.clone();
        optimizer.step(&mut parameters, &gradients).unwrap();
        let text = format!("{optimizer:?}");
        assert!(
            text.contains("steps: 1, tensors: 2, elements: 1000007, momentum_bytes: "),
            "{text}"
        );
        assert!(text.len() < 700, "{text}");
        let text = format!("{:?}", optimizer.state());
        assert!(text.contains("steps: 1, tensors: 2, elements: 1000007"), "{text}");
        assert!(text.len() < 150, "{text}");
        let text = format!("{:?}", optimizer.momentum(0).unwrap());
        assert!(text.contains("... (1000000 in all)") && text.len() < 300, "{text}");
        let lent = optimizer.momentum_mut(0).unwrap();
        let step = rootstep::optimizer::Step::first(&rule).unwrap();
        let tensor = TensorStep::new(step, &mut parameters[0], &gradients[0], lent);
        let text = format!("{tensor:?}");
        assert!(text.contains("... (1000000 in all)") && text.len() < 1000, "{text}");
        let few = Momentum::Full(vec![1.0_f32, 2.0]);
        assert_eq!(format!("{few:?}"), "Full([1.0, 2.0])");
    }
    assert_eq!(format!("{:?}", Momentum::<f32>::new(&Rule::pbsgd(0.1, Power::Half), 5)), "None");
}
