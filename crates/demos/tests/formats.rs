//! What formats of half the bytes cost on the digits: nothing where the gradients are the same and all bits are
//! kept, and less than half a point where the rounding is stochastic.

#![cfg(feature = "half")]

#[path = "../src/bin/digits/data.rs"]
mod data;
#[path = "../src/bin/digits/formats.rs"]
mod formats;
#[allow(dead_code, reason = "the program uses the rest")]
#[path = "../src/bin/digits/network.rs"]
mod network;

use data::Data;
use formats::{FORMATS, Format, Reads, Training, rule};
use half::{bf16, f16};
use network::Network;
use rayon::prelude::*;
use rootstep::Element;
use rootstep::optimizer::{MomentumFormat, Rule, Storage};
use rootstep_tuning::{Fold, StratifiedHoldOut};

const SEEDS: u64 = 5;
const EPOCHS: u32 = 20;

fn split(data: &Data, seed: u64) -> Fold {
    StratifiedHoldOut::new(360, seed).split(&data.digits).unwrap()
}

fn format(name: &str) -> &'static Format {
    FORMATS.iter().find(|format| format.name == name).unwrap()
}

fn bits(network: &Network) -> Vec<u32> {
    network.parameters.iter().flatten().map(|number| number.to_bits()).collect()
}

/// The numbers that the passes read, after each epoch.
fn training<T: Element<Compute = f32> + Into<f32>>(
    data: &Data,
    rule: Rule,
    epochs: u32,
) -> Vec<Vec<u32>> {
    let mut training = Training::<T>::new(rule, 1, Reads::Joined).unwrap();
    let mut rows = split(data, 1).train;
    let mut all = vec![bits(&training.network)];
    for _ in 0..epochs {
        training.epoch(data, &mut rows).unwrap();
        all.push(bits(&training.network));
    }
    all
}

/// The gradients are of the joined numbers, so they are the same as long as the numbers are.
fn bit_for_bit(epochs: u32) {
    let data = data::digits().unwrap();
    for rule in [rule(), Rule::powerstep(0.003).with_weight_decay(1e-4)] {
        let single = training::<f32>(&data, rule, epochs);
        assert!(single[0] == bits(&Network::new(1).unwrap()), "the same weights before");
        let split16 = training::<bf16>(&data, rule.with_storage(Storage::Split16), epochs);
        let master = training::<bf16>(&data, rule.with_storage(Storage::Master), epochs);
        let master_of_f16 = training::<f16>(&data, rule.with_storage(Storage::Master), epochs);
        assert!(single == split16, "split 16+16");
        assert!(single == master, "bf16 of a master");
        assert!(single == master_of_f16, "f16 of a master");
        // Every epoch changes something, and fewer bits change the training.
        assert!(single.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(single != training::<bf16>(&data, rule.with_storage(Storage::Split8), epochs));
    }
}

#[test]
fn kept_bits_are_those_of_training_in_f32() {
    bit_for_bit(2);
}

#[test]
#[ignore = "some seconds in release"]
fn kept_bits_are_those_of_training_in_f32_to_the_end() {
    bit_for_bit(EPOCHS);
}

#[test]
fn formats_are_what_their_names_say() {
    let data = data::digits().unwrap();
    let split = split(&data, 0);
    // Blocks of 128: 32 of 4096 weights, 1 of 64 biases, 5 of 640 weights, 1 of 10 biases.
    let int8 = 4810 + 4 * (32 + 1 + 5 + 1);
    let expected = [
        ("f32", Storage::Nearest, MomentumFormat::Full, 4810 * 8),
        ("bf16, nearest", Storage::Nearest, MomentumFormat::Full, 4810 * 6),
        ("bf16, stochastic", Storage::Stochastic { seed: 7 }, MomentumFormat::Full, 4810 * 6),
        ("bf16, split 16+16", Storage::Split16, MomentumFormat::Full, 4810 * 8),
        ("bf16, split 16+8", Storage::Split8, MomentumFormat::Full, 4810 * 7),
        ("bf16 of an f32 master", Storage::Master, MomentumFormat::Full, 4810 * 10),
        ("f16, nearest", Storage::Nearest, MomentumFormat::Full, 4810 * 6),
        ("f16, stochastic", Storage::Stochastic { seed: 7 }, MomentumFormat::Full, 4810 * 6),
        ("f32, momentum int8", Storage::Nearest, MomentumFormat::Int8, 4810 * 4 + int8),
        ("bf16, split 16+8, momentum int8", Storage::Split8, MomentumFormat::Int8, 4810 * 3 + int8),
    ];
    assert_eq!(FORMATS.len(), expected.len());
    for (format, (name, storage, momentum, bytes)) in FORMATS.iter().zip(expected) {
        assert_eq!(format.name, name);
        let own = rule().with_storage(storage).with_momentum_format(momentum);
        assert_eq!(format.rule(rule(), 7), own, "{name}");
        let trained = format.train(&data, &split, 0, 1).unwrap();
        assert_eq!(trained.bytes, f64::from(bytes) / 4810.0, "{name}");
        assert_eq!(trained.losses.len(), 1, "{name}");
    }
}

/// The mean accuracy in percent, and the mean loss of the last epoch.
fn trained(data: &Data, format: &Format) -> (f64, f64) {
    let of_seeds: Vec<(f64, f64)> = (0..SEEDS)
        .into_par_iter()
        .map(|seed| {
            let trained = format.train(data, &split(data, seed), seed, EPOCHS).unwrap();
            (trained.accuracy, *trained.losses.last().unwrap())
        })
        .collect();
    let mean = |number: fn(&(f64, f64)) -> f64| {
        of_seeds.iter().map(number).sum::<f64>() / of_seeds.len() as f64
    };
    (100.0 * mean(|of_seed| of_seed.0), mean(|of_seed| of_seed.1))
}

#[test]
#[ignore = "some seconds in release"]
fn stochastic_rounding_is_as_accurate_as_f32() {
    let data = data::digits().unwrap();
    let names = ["f32", "bf16, stochastic", "f16, stochastic", "bf16, nearest"];
    let [single, stochastic, of_f16, nearest] = names.map(|name| {
        let (accuracy, loss) = trained(&data, format(name));
        println!("{name}: accuracy {accuracy:.2}, loss {loss:.4}");
        (accuracy, loss)
    });
    for (name, other) in [("bf16", stochastic), ("f16", of_f16)] {
        assert!((other.0 - single.0).abs() <= 0.5, "{name}: {} and {}", other.0, single.0);
        assert!((other.1 / single.1 - 1.0).abs() < 0.02, "{name}: {} and {}", other.1, single.1);
    }
    // What stochastic rounding is for: to the nearest number, steps are lost.
    assert!(nearest.1 > 1.1 * single.1, "{} and {}", nearest.1, single.1);
}
