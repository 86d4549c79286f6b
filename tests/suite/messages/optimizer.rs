//! What a new user of the optimizer does wrong, and the exact messages.

use half::{bf16, f16};
use rootstep::optimizer::{
    LossScale, Momentum, MomentumFormat, NonFinite, Optimizer, Plateau, Power, Rule, Schedule,
    State, Storage,
};
use rootstep::{Element, Error};
use std::fmt::Display;

type Model = Vec<Vec<f32>>;

fn model(lengths: &[usize]) -> Model {
    lengths.iter().map(|&length| vec![1.0; length]).collect()
}

fn built(rule: Rule) -> Result<Optimizer<f32>, Error> {
    Optimizer::builder(rule).build()
}

/// After a step of two tensors.
fn on_its_way() -> Optimizer<f32> {
    let mut optimizer = built(Rule::powerstep(0.1)).unwrap();
    optimizer.step(&mut model(&[2, 3]), &model(&[2, 3])).unwrap();
    optimizer
}

fn named() -> Optimizer<f32> {
    Optimizer::builder(Rule::powerstep(0.1)).with_names(["weight", "bias"]).build().unwrap()
}

fn step(optimizer: &mut Optimizer<f32>, x: &[usize], g: &[usize]) -> Result<bool, Error> {
    optimizer.step(&mut model(x), &model(g)).map(|report| report.taken)
}

fn step_named(optimizer: &mut Optimizer<f32>, names: &[&str]) -> Result<bool, Error> {
    let (mut parameters, gradient) = (vec![vec![1.0; 2]; names.len()], [1.0; 2]);
    let tensors = names.iter().zip(&mut parameters);
    let tensors = tensors.map(|(name, x)| (*name, &mut x[..], Some(&gradient[..])));
    optimizer.step_named(tensors).map(|report| report.taken)
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(text)
}

/// The message of what must be an error.
fn of<T, E: Display>(result: Result<T, E>) -> String {
    result.err().map_or_else(|| "no error".to_owned(), |error| error.to_string())
}

#[test]
fn settings() {
    let sgd = Rule::sgd(0.1);
    let builder = || Optimizer::<f32>::builder(sgd);
    for (given, message) in [
        (
            of(built(Rule::sgd(1e40))),
            "the learning rate is 1e40; allowed: 0 to 3.4028235e38, the largest f32",
        ),
        (
            of(built(Rule::sgd(-0.1))),
            "the learning rate is -0.1; allowed: 0 to 3.4028235e38, the largest f32",
        ),
        (
            of(built(sgd.with_momentum(0.999_999_99))),
            "the momentum is 0.99999999; allowed: 0 to 0.99999994, the largest f32 below 1",
        ),
        (
            of(built(Rule::pbsgd(0.1, Power::Smoothed { epsilon: 1e-60 }))),
            "the epsilon of the smoothed power is 1e-60; allowed: 1e-45 to 3.4028235e38, the smallest \
             and the largest f32",
        ),
        (
            of(built(sgd.with_nesterov())),
            "Nesterov's momentum is true; allowed: false without momentum",
        ),
        (
            of(builder().with_clip_norm(0.0).build()),
            "the limit of the norm is 0; allowed: 1e-45 to 3.4028235e38, the smallest and the largest f32",
        ),
        (
            of(builder().with_group(sgd, [2, 5]).with_group(sgd, [5]).build()),
            "the number of groups with tensor 5 is 2 (groups 1 and 2); allowed: 1",
        ),
        (
            of(builder().with_group(sgd, [2, 2]).build()),
            "the number of groups with tensor 2 is 2 (it is in group 1 twice); allowed: 1",
        ),
        (
            of(builder().with_names(["a", "b"]).with_group(sgd, [2]).build()),
            "a tensor of a group is 2; allowed: below 2",
        ),
        (
            of(builder().with_names(["a", "b", "a"]).build()),
            "the name of a tensor is `a`; allowed: each name once; it is that of tensor 0",
        ),
        (
            of(builder().with_names(["a", "b"]).with_named_group(sgd, ["c"]).build()),
            "the name of a tensor is `c`; allowed in a group: `a`, `b`",
        ),
        (
            of(builder().with_named_group(sgd, ["c"]).build()),
            "the name of a tensor is `c`; allowed in a group: none, unless the builder has names",
        ),
        (of(on_its_way().set_rule(1, sgd)), "the group is 1; allowed: 0 to 0"),
        (of(on_its_way().set_group_learning_rate(7, 0.1)), "the group is 7; allowed: 0 to 0"),
        (
            of(on_its_way()
                .set_rule(0, Rule::powerstep(0.1).with_momentum_format(MomentumFormat::Int8))),
            "the format of the momentum is Int8; allowed: Full, that of the momentum that there is",
        ),
        (
            of(on_its_way().set_learning_rate_factor(-1.0)),
            "the factor of the learning rates is -1; allowed: 0 to 1.7976931348623157e308, the largest f64",
        ),
        (
            of(on_its_way().set_learning_rate_factor(1e40)),
            "the learning rate times its factor is 1.0000000000000001e39; allowed: 0 to 3.4028235e38, the largest f32",
        ),
    ] {
        assert_eq!(given, message);
    }
}

#[test]
fn tensors() {
    let optimizer = &mut on_its_way();
    let strict = Optimizer::builder(Rule::sgd(0.1)).with_non_finite(NonFinite::Error);
    let bad = || vec![vec![1.0, f32::NAN]];
    for (given, message) in [
        (
            of(step(&mut built(Rule::sgd(0.1)).unwrap(), &[2, 3], &[2])),
            "there are 2 tensors of parameters and 1 gradients; allowed: as many gradients as tensors",
        ),
        (
            of(step(optimizer, &[2], &[2])),
            "there are 1 tensors of parameters and 1 gradients; allowed: as many gradients as tensors, 2 as \
             the optimizer has",
        ),
        (
            of(step(optimizer, &[2, 4], &[2, 4])),
            "tensor 1 has 4 parameters and a gradient of 4 elements; allowed: the same number, 3 as before",
        ),
        (
            of(step(optimizer, &[2, 3], &[2, 2])),
            "tensor 1 has 3 parameters and a gradient of 2 elements; allowed: the same number, 3 as before",
        ),
        (
            of(step(&mut named(), &[2, 3], &[2, 4])),
            "tensor 1 (`bias`) has 3 parameters and a gradient of 4 elements; allowed: the same number",
        ),
        (
            of(strict.build().unwrap().step(&mut model(&[2]), &bad())),
            "element 1 of the gradient of tensor 0 is NaN; allowed: finite numbers",
        ),
        (
            of(step_named(&mut named(), &["weight", "gain"])),
            "the name of a tensor is `gain`; allowed: `weight`, `bias`",
        ),
        (
            of(step_named(&mut named(), &["weight", "weight"])),
            "the name of a tensor is `weight`; allowed: each name once in a step",
        ),
        (
            of(step_named(optimizer, &["weight"])),
            "the name of a tensor is `weight`; allowed: none, unless the optimizer is built with names",
        ),
        (
            of(optimizer.add_named_tensor("gain", 0)),
            "the name of a tensor is `gain`; allowed: none, since the tensors of this optimizer are called \
             by their indices",
        ),
        (
            of(optimizer.step_with_missing(&mut model(&[2, 4]), &[None, Some([1.0; 3])])),
            "tensor 1 has 4 parameters and a gradient of 3 elements; allowed: the same number, 3 as before",
        ),
        (
            of(optimizer.step_with_missing(&mut model(&[2, 4]), &[None::<[f32; 4]>, None])),
            "tensor 1 has 4 parameters; allowed: the same number, 3 as before",
        ),
        (
            of(Optimizer::<f32>::builder(Rule::sgd(0.1))
                .with_group(Rule::sgd(0.2), [1])
                .build()
                .unwrap()
                .add_tensor(0)),
            "the place of the new tensor is 0; allowed: behind the 2 that the groups name, after a first step",
        ),
        (
            of(named().add_tensor(0)),
            "the name of the new tensor is missing; allowed: a name, since the tensors of this optimizer \
             have names",
        ),
        (
            of(optimizer.replace_momentum(0, Momentum::Full(vec![1.0; 5]))),
            "the momentum of tensor 0 does not fit: it has 5 elements of momentum; allowed: 2",
        ),
        (
            of(named().replace_momentum(1, Momentum::Bf16(vec![0; 5]))),
            "the momentum of tensor 1 (`bias`) does not fit: it has bf16 momentum; allowed: f32, \
             as its rule says",
        ),
        (
            of(optimizer.replace_momentum(2, Momentum::None)),
            "the momentum of tensor 2 does not fit: there is no such tensor; allowed: 0 to 1",
        ),
    ] {
        assert_eq!(given, message);
    }
}

fn stored<T: Element>(storage: Storage) -> Result<Optimizer<T>, Error> {
    Optimizer::builder(Rule::sgd(0.1).with_storage(storage)).build()
}

#[test]
fn storages_of_other_elements() {
    let stochastic = Storage::Stochastic { seed: 3 };
    let all = [stochastic, Storage::Split16, Storage::Split8, Storage::Master];
    let names = ["stochastic", "split16", "split8", "master"];
    for (storage, name) in all.into_iter().zip(names) {
        let message =
            |of: &str| format!("the storage is {name}; allowed: nearest for parameters in {of}");
        assert_eq!(of(stored::<f32>(storage)), message("f32"));
        assert_eq!(of(stored::<f64>(storage)), message("f64"));
        // The gradients have no part in it.
        let builder = Optimizer::<f32>::builder(Rule::sgd(0.1).with_storage(storage));
        assert_eq!(of(builder.with_gradients::<bf16>().build()), message("f32"));
        // In any group, and later.
        let rule = Rule::sgd(0.1).with_storage(storage);
        let builder = Optimizer::<f32>::builder(Rule::sgd(0.1)).with_group(rule, [1]);
        assert_eq!(of(builder.build()), message("f32"));
        let mut optimizer = stored::<f32>(Storage::Nearest).unwrap();
        assert_eq!(of(optimizer.set_rule(0, rule)), message("f32"));
        assert_eq!(of(stored::<bf16>(storage)), "no error");
        let of_f16 = match name {
            "split16" | "split8" => format!(
                "the storage is {name}; allowed: nearest, stochastic or master for parameters in f16"
            ),
            _ => "no error".to_owned(),
        };
        assert_eq!(of(stored::<f16>(storage)), of_f16);
    }
}

#[test]
fn storages_that_have_begun() {
    let with = |storage| Rule::sgd(0.1).with_storage(storage);
    for (begun, other, message) in [
        (
            Storage::Split16,
            Storage::Nearest,
            "the storage is Nearest; allowed: Split16, that of the tensors that there are",
        ),
        (
            Storage::Master,
            Storage::Stochastic { seed: 3 },
            "the storage is Stochastic { seed: 3 }; allowed: Master, that of the tensors that there are",
        ),
        (
            Storage::Split8,
            Storage::Split16,
            "the storage is Split16; allowed: Split8, that of the tensors that there are",
        ),
        (Storage::Stochastic { seed: 3 }, Storage::Master, "no error"),
        (Storage::Stochastic { seed: 3 }, Storage::Stochastic { seed: 4 }, "no error"),
        (Storage::Nearest, Storage::Split8, "no error"),
    ] {
        let mut optimizer = stored::<bf16>(begun).unwrap();
        optimizer.step(&mut [[bf16::ONE; 2]], &[[bf16::ONE; 2]]).unwrap();
        assert_eq!(of(optimizer.set_rule(0, with(other))), message);
        // Before its first step a tensor may be stored in any way.
        assert_eq!(of(stored::<bf16>(begun).unwrap().set_rule(0, with(other))), "no error");
    }
}

#[test]
fn masters_that_do_not_fit() {
    let rule = Rule::sgd(0.1).with_storage(Storage::Split16);
    let build = || Optimizer::<bf16>::builder(rule);
    let mut optimizer = build().with_names(["weight", "bias"]).build().unwrap();
    let [mut two, mut three] = [vec![bf16::ONE; 2], vec![bf16::ONE; 3]];
    let unseen = "the storage of tensor 1 (`bias`) does not fit: there are 3 parameters and 2 numbers; \
                  allowed: 3 of each";
    let other = "the storage of tensor 0 (`weight`) does not fit: there are 3 parameters and 3 numbers; \
                 allowed: 2 of each";
    let missing = "the storage of tensor 2 does not fit: there is no such tensor; allowed: 0 to 1";
    let none = "the storage of tensor 0 does not fit: there are no tensors before the first step";
    optimizer.write_master(0, &[0.1; 2], &mut two).unwrap();
    let before = optimizer.state();
    assert_eq!(of(optimizer.write_master(1, &[0.5; 2], &mut three)), unseen);
    assert_eq!(of(optimizer.read_master(1, &three, &mut [0.5; 2])), unseen);
    assert_eq!(of(optimizer.write_master(0, &[0.5; 3], &mut three)), other);
    assert_eq!(of(optimizer.read_master(0, &three, &mut [0.5; 3])), other);
    assert_eq!(of(optimizer.write_master(2, &[0.5; 3], &mut three)), missing);
    assert_eq!(of(optimizer.read_master(2, &three, &mut [0.5; 3])), missing);
    let mut by_index = build().build().unwrap();
    assert_eq!(of(by_index.write_master(0, &[0.5; 3], &mut three)), none);
    assert_eq!(of(by_index.read_master(0, &three, &mut [0.5; 3])), none);
    // Nothing was written.
    assert_eq!((optimizer.state(), three), (before, vec![bf16::ONE; 3]));
}

#[test]
fn rules_with_a_storage() {
    let rule = Rule::sgd(0.5);
    let text = serde_json::to_string(&rule).unwrap();
    let without = text.replace(",\"storage\":\"Nearest\"", "");
    assert!(text != without, "{text}");
    assert_eq!(read::<Rule>(&without).unwrap(), rule);
    let with = |storage: &str| read::<Rule>(&text.replace("\"Nearest\"", storage));
    for (storage, expected) in [
        ("\"Nearest\"", Storage::Nearest),
        ("\"Split16\"", Storage::Split16),
        ("\"Split8\"", Storage::Split8),
        ("\"Master\"", Storage::Master),
        (r#"{"Stochastic":{"seed":18446744073709551615}}"#, Storage::Stochastic { seed: u64::MAX }),
    ] {
        let read = with(storage).unwrap();
        assert_eq!(read, rule.with_storage(expected));
        let again = serde_json::to_string(&read).unwrap();
        assert_eq!(again, text.replace("\"Nearest\"", storage));
    }
    for (storage, start) in [
        ("\"Split32\"", "unknown variant `Split32`, expected one of `Nearest`, `Stochastic`, "),
        (r#"{"Stochastic":{}}"#, "missing field `seed`"),
        (r#"{"Stochastic":{"seed":3,"sead":4}}"#, "unknown field `sead`, expected `seed`"),
        (r#"{"Stochastic":{"seed":-1}}"#, "invalid value: integer `-1`, expected u64"),
    ] {
        let message = of(with(storage));
        assert!(message.starts_with(start), "{message}");
    }
}

#[test]
fn states_and_schedules() {
    let optimizer = &mut on_its_way();
    let state = |optimizer: &Optimizer<f32>| serde_json::to_string(&optimizer.state()).unwrap();
    let damaged = state(optimizer).replace("\"steps\":1", "\"steps\":2");
    let checksum =
        |text: &str| read::<serde_json::Value>(text).unwrap()["checksum"].as_u64().unwrap();
    let right = state(optimizer);
    let of_damaged = of(optimizer.restore(&read(&damaged).unwrap()));
    let start = format!(
        "the optimizer's state cannot be restored: it is damaged: its checksum is {:08x}, and that of \
         what it holds ",
        checksum(&right)
    );
    assert!(of_damaged.starts_with(&start), "{of_damaged}");
    let double = Optimizer::<f64>::builder(Rule::powerstep(0.1)).build().unwrap().state();
    for (given, message) in [
        (
            of(optimizer.restore(&double)),
            "the optimizer's state cannot be restored: its parameters are f64; allowed: f32",
        ),
        (
            of(optimizer.restore(&named().state())),
            "the optimizer's state cannot be restored: it has no tensor `0`, which the model has, since \
             this optimizer was built without names",
        ),
        (
            of(optimizer.read_safetensors(&b"no"[..])),
            "the optimizer's state cannot be restored: not a safetensors file: failed to fill whole buffer",
        ),
        (
            of(optimizer.load_safetensors("/nowhere/state")),
            "the optimizer's state cannot be restored: /nowhere/state cannot be opened: No such file or \
             directory (os error 2)",
        ),
        (of(read::<State>("{\"version\":2}")), "missing field `element` at line 1 column 13"),
        (
            of(Schedule::cosine(0.1, 0.0, 0)),
            "the number of steps of a schedule is 0; allowed: 1 or more",
        ),
        (
            of(Schedule::one_cycle(0.1, 1.0, 0.0, 3, 0.5)),
            "the share of the warm-up is 0.5; allowed: a share that leaves 2 of 3 steps or more to each side",
        ),
        (
            of(Plateau::new(0.1, 1.5, 3)),
            "the factor of a plateau is 1.5; allowed: above 0 and below 1",
        ),
        (
            of(Plateau::new(0.1, 0.5, 3).unwrap().lowest_rate(0.2)),
            "the lowest rate of a plateau is 0.2; allowed: 0 to 0.1, the learning rate",
        ),
        (
            of(LossScale::new(0.0)),
            "the loss scale is 0; allowed: 1.1754944e-38 to 3.4028235e38, the normal f32 above 0",
        ),
        (
            of(LossScale::new(1e-40)),
            "the loss scale is 1e-40; allowed: 1.1754944e-38 to 3.4028235e38, the normal f32 above 0",
        ),
        (
            of(LossScale::default().with_growth_factor(1.0)),
            "the growth factor of a loss scale is 1; allowed: above 1, and finite",
        ),
        (
            of(LossScale::default().with_growth_factor(f64::INFINITY)),
            "the growth factor of a loss scale is inf; allowed: above 1, and finite",
        ),
        (
            of(LossScale::default().with_backoff_factor(2.0)),
            "the backoff factor of a loss scale is 2; allowed: above 0 and below 1",
        ),
        (
            of(LossScale::default().with_backoff_factor(0.0)),
            "the backoff factor of a loss scale is 0; allowed: above 0 and below 1",
        ),
        (
            of(LossScale::default().with_growth_interval(0)),
            "the growth interval of a loss scale is 0; allowed: 1 or more",
        ),
    ] {
        assert_eq!(given, message);
    }
}
