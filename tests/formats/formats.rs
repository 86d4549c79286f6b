//! What is written is read back equal, by bits, in every format.

#[path = "../support/random_bits.rs"]
mod random_bits;

use half::bf16;
use proptest::prelude::*;
use random_bits::random_bits;
use rootstep::optimizer::{
    LossScale, MomentumFormat, NonFinite, Optimizer, Plateau, Power, PowerOf, Rule, Schedule,
    State, Storage,
};
use rootstep::{Element, Float};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// What comes of writing and reading in each format, by its name.
fn read_back<T: Serialize + DeserializeOwned>(value: &T) -> Vec<(&'static str, T)> {
    vec![
        ("JSON", serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()),
        ("RON", ron::from_str(&ron::to_string(value).unwrap()).unwrap()),
        ("MessagePack", rmp_serde::from_slice(&rmp_serde::to_vec(value).unwrap()).unwrap()),
        (
            "MessagePack with names",
            rmp_serde::from_slice(&rmp_serde::to_vec_named(value).unwrap()).unwrap(),
        ),
        ("postcard", postcard::from_bytes(&postcard::to_allocvec(value).unwrap()).unwrap()),
        ("TOML", toml::from_str(&toml::to_string(value).unwrap()).unwrap()),
    ]
}

/// `==` tells -0 from 0 by nothing, so the text has to be the same, too.
fn assert_read_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    for (format, read) in read_back(value) {
        assert_eq!((&read, format!("{read:?}")), (value, format!("{value:?}")), "{format}");
    }
}

/// A number of any magnitude within the bounds.
fn number(bits: &mut impl FnMut() -> u64, positive: bool) -> f64 {
    let number = f64::from_bits(bits() >> 1);
    match bits() % 8 {
        0 => 0.1,
        1 if !positive => 0.0,
        2 => f64::MAX,
        3 => f64::from_bits(1),
        _ if number.is_finite() && (number > 0.0 || !positive) => number,
        _ => 0.3,
    }
}

fn schedules(seed: u64) -> Vec<Schedule> {
    let mut bits = random_bits(seed);
    let mut rate = || number(&mut bits, false);
    let rates: Vec<f64> = (0..20).map(|_| rate()).collect();
    let mut bits = random_bits(seed + 1);
    let factors: Vec<f64> = (0..6).map(|_| number(&mut bits, true)).collect();
    let steps = bits() % 1000 + 10;
    let all = [
        Schedule::constant(rates[0]),
        Schedule::linear(rates[1], rates[2], steps),
        Schedule::polynomial(rates[3], rates[4], steps, factors[0]),
        Schedule::step(rates[5], factors[1], steps),
        Schedule::multi_step(rates[6], factors[2], [3, 7, 1 << 40]),
        Schedule::piecewise(rates[7], [(2, rates[8]), (9, rates[9])]),
        Schedule::exponential(rates[10], factors[3]),
        Schedule::cosine(rates[11], rates[12], steps),
        Schedule::cosine_restarts(rates[13], rates[14], steps, 3),
        Schedule::one_cycle(rates[15], rates[16], rates[17], steps, 0.3),
        Schedule::inverse_sqrt(rates[18], factors[4]),
    ];
    let mut all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
    let parts: Vec<_> = all.iter().cloned().zip([steps; 11]).collect();
    all.push(Schedule::sequence(parts, all[3].clone()).unwrap().warm_up(rates[19], 80).unwrap());
    all
}

#[test]
fn schedules_in_every_format() {
    for seed in 0..100 {
        schedules(seed).iter().for_each(assert_read_back);
    }
    assert_read_back(&Schedule::linear(0.1, 0.2, u64::MAX).unwrap());
}

/// Some seeds are beyond what has a place in 63 bits, or in the integers of f64.
const STORAGES: [Storage; 7] = [
    Storage::Nearest,
    Storage::Stochastic { seed: 0 },
    Storage::Stochastic { seed: (1 << 53) + 1 },
    Storage::Stochastic { seed: u64::MAX },
    Storage::Split16,
    Storage::Split8,
    Storage::Master,
];

fn rules(seed: u64) -> Vec<Rule> {
    let mut bits = random_bits(seed);
    let mut rules = Vec::new();
    for power in [Power::Zero, Power::Quarter, Power::Half, Power::ThreeQuarters, Power::One] {
        rules.push(Rule::pbsgd(number(&mut bits, false), power));
    }
    let epsilon = number(&mut bits, true);
    let full = Rule::powerstep(number(&mut bits, false))
        .with_power(Power::Smoothed { epsilon })
        .with_power_of(PowerOf::Momentum)
        .with_momentum(number(&mut bits, false))
        .with_dampening(number(&mut bits, false))
        .with_nesterov()
        .with_weight_decay(number(&mut bits, false))
        .with_decoupled_weight_decay(-0.0)
        .maximizing();
    for format in [MomentumFormat::Full, MomentumFormat::Bf16, MomentumFormat::Int8] {
        rules.push(full.with_momentum_format(format));
    }
    rules.extend(STORAGES.map(|storage| full.with_storage(storage)));
    rules.push(full.with_storage(Storage::Stochastic { seed: bits() }));
    rules
}

#[test]
fn rules_in_every_format() {
    for seed in 0..100 {
        rules(seed).iter().for_each(assert_read_back);
    }
    for policy in [NonFinite::Propagate, NonFinite::Skip, NonFinite::Error] {
        // TOML has no file of a single word.
        assert_eq!(serde_json::to_string(&policy).unwrap(), format!("\"{policy:?}\""));
        let read: NonFinite =
            postcard::from_bytes(&postcard::to_allocvec(&policy).unwrap()).unwrap();
        assert_eq!(read, policy);
    }
    let of_f32 = Power::Smoothed { epsilon: 0.1_f32 };
    assert_read_back(&of_f32);
}

/// The rates that follow are the same, too.
#[test]
fn plateaus_in_every_format() {
    let losses = [f64::INFINITY, 3.0, f64::NAN, 3.0, 3.0, f64::NEG_INFINITY, 0.0, 0.0, 0.0, 0.0];
    for seed in 0..20 {
        let mut bits = random_bits(seed);
        let share = |bits: u64| (bits >> 11) as f64 / (1_u64 << 53) as f64;
        let plateau = Plateau::new(share(bits()) + 1e-3, share(bits()).max(1e-3), bits() % 3);
        let plateau = plateau.unwrap().threshold(share(bits())).unwrap();
        let mut plateau = plateau.cooldown(bits() % 3);
        for loss in losses {
            assert_read_back(&plateau);
            for (format, mut read) in read_back(&plateau) {
                let mut expected = plateau;
                for loss in losses {
                    assert_eq!(
                        read.observe(loss).to_bits(),
                        expected.observe(loss).to_bits(),
                        "{format}"
                    );
                }
            }
            plateau.observe(loss);
        }
    }
}

/// The scales that follow are the same, too.
#[test]
fn loss_scales_in_every_format() {
    let taken = [true, true, false, true, true, true, false, false, true, true, true];
    for seed in 0..20 {
        let mut bits = random_bits(seed);
        let mut share = || (bits() >> 11) as f64 / (1_u64 << 53) as f64 + 1e-3;
        let scale = LossScale::new(f32::from_f64(1e30 * share())).unwrap();
        let scale = scale.with_growth_factor(1.0 + share()).unwrap().with_growth_interval(2);
        let mut scale = scale.unwrap().with_backoff_factor(share() / 2.0).unwrap();
        for now in taken {
            assert_read_back(&scale);
            for (format, mut read) in read_back(&scale) {
                let mut expected = scale;
                for taken in taken {
                    assert_eq!(read.update(taken), expected.update(taken), "{format}");
                }
            }
            scale.update(now);
        }
    }
}

/// A file may say that so many losses were bad; the next one must not overflow.
#[test]
fn counters_at_their_end() {
    let text = serde_json::to_string(&Plateau::new(0.1, 0.5, u64::MAX).unwrap()).unwrap();
    let text = text.replace("\"bad\":0", "\"bad\":18446744073709551615");
    let mut plateau: Plateau = serde_json::from_str(&text).unwrap();
    assert_eq!([1.0, 1.0, 1.0].map(|loss| plateau.observe(loss)), [0.1; 3]);
}

#[test]
fn states_in_every_format() {
    states::<f32>();
    states::<f64>();
}

fn states<T: Element<Compute = T> + Float>() {
    for format in [MomentumFormat::Full, MomentumFormat::Bf16, MomentumFormat::Int8] {
        let rule = Rule::powerstep(0.1).with_momentum_format(format);
        let mut optimizer =
            Optimizer::<T>::builder(rule).with_names(["a", "b", "c"]).build().unwrap();
        assert_read_back(&optimizer.state());
        let values = [f64::NAN, -0.0, 1e-42, f64::INFINITY, -3.7].map(T::from_f64);
        let gradients = [Some(values), Some([T::from_f64(0.1); 5]), None];
        optimizer.step_with_missing(&mut [[T::ONE; 5]; 3], &gradients).unwrap();
        assert_read_back(&optimizer.state());
        let mut again = Optimizer::<T>::builder(rule).with_names(["a", "b", "c"]).build().unwrap();
        for (_, state) in read_back::<State>(&optimizer.state()) {
            again.restore(&state).unwrap();
            assert_eq!(again.state(), optimizer.state());
        }
    }
}

/// A tensor for each storage.
fn of_storages() -> Optimizer<bf16> {
    let rule = |storage| Rule::powerstep(0.1).with_storage(storage);
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let mut builder = Optimizer::builder(rule(Storage::Nearest)).with_names(names);
    for (name, storage) in names.into_iter().zip(STORAGES) {
        builder = builder.with_named_group(rule(storage), [name]);
    }
    builder.build().unwrap()
}

/// After a step that leaves numbers of every class beside the parameters.
fn of_storages_on_its_way() -> Optimizer<bf16> {
    let mut optimizer = of_storages();
    let gradient = [f32::NAN, -0.0, 1e-42, f32::INFINITY, -3.7].map(bf16::from_f32);
    optimizer.step(&mut [[bf16::ONE; 5]; 7], &[gradient; 7]).unwrap();
    optimizer
}

#[test]
fn states_of_storages_in_every_format() {
    assert_read_back(&of_storages().state());
    let state = of_storages_on_its_way().state();
    assert_read_back(&state);
    for (format, read) in read_back::<State>(&state) {
        let mut again = of_storages();
        again.restore(&read).unwrap();
        assert_eq!(again.state(), state, "{format}");
    }
}

#[test]
fn flipped_bits_of_storages() {
    let (right, new) = (of_storages_on_its_way().state(), of_storages().state());
    let file = postcard::to_allocvec(&right).unwrap();
    for bit in 0..file.len() * 8 {
        let mut flipped = file.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let mut again = of_storages();
        let read = postcard::from_bytes::<State>(&flipped).ok();
        let taken = read.is_some_and(|state| again.restore(&state).is_ok());
        assert_eq!(again.state(), if taken { right.clone() } else { new.clone() }, "bit {bit}");
    }
}

/// Whatever bit of a binary file is flipped, the state is refused, or is the same.
#[test]
fn flipped_bits_of_a_binary_format() {
    for format in [MomentumFormat::Full, MomentumFormat::Bf16, MomentumFormat::Int8] {
        let rule = Rule::powerstep(0.1).with_momentum_format(format);
        let build = || Optimizer::<f32>::builder(rule).with_names(["a", "b"]).build().unwrap();
        let mut optimizer = build();
        optimizer.step(&mut [[1.0; 40]; 2], &[[-0.3; 40], [0.7; 40]]).unwrap();
        let file = postcard::to_allocvec(&optimizer.state()).unwrap();
        for bit in 0..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let mut again = build();
            let read = postcard::from_bytes::<State>(&flipped).ok();
            let taken = read.is_some_and(|state| again.restore(&state).is_ok());
            let expected = if taken { optimizer.state() } else { build().state() };
            assert_eq!(again.state(), expected, "bit {bit}");
        }
    }
}

/// What a person writes by hand: numbers, too, but no settings that there are not.
#[test]
fn written_by_hand() {
    let text = serde_json::to_string(&Rule::sgd(0.5)).unwrap();
    assert!(text.contains(r#""learning_rate":"0.5""#), "{text}");
    for number in ["0.5", "\"0.5\"", "\"5e-1\""] {
        let text = text.replace("\"0.5\"", number);
        assert_eq!(serde_json::from_str::<Rule>(&text).unwrap(), Rule::sgd(0.5));
    }
    let message = |from: &str, to: &str| {
        let text = text.replace(from, to);
        serde_json::from_str::<Rule>(&text).unwrap_err().to_string()
    };
    let error = message("\"0.5\"", "\"half\"");
    assert!(error.starts_with("`half` is not a number"), "{error}");
    let error = message("\"0.5\"", "true");
    assert!(
        error.starts_with("invalid type: boolean `true`, expected a number, or its text"),
        "{error}"
    );
    let error = message("\"learning_rate\":", "\"learnig_rate\":");
    assert!(error.starts_with("unknown field `learnig_rate`"), "{error}");
    let smoothed = r#"{"Smoothed":{"epsilon":1,"epsilom":2}}"#;
    let error = serde_json::from_str::<Power>(smoothed).unwrap_err().to_string();
    assert!(error.starts_with("unknown field `epsilom`"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_rate_in_every_format(bits in 0..f64::INFINITY.to_bits()) {
        assert_read_back(&Schedule::constant(f64::from_bits(bits)).unwrap());
    }
}
