//! A small transformer learns to guess the characters of Shakespeare's plays: which optimizer, at which rate?
//!
//! ```sh
//! cargo run --release --example shakespeare            # in crates/candle: the tables, in Markdown
//! cargo run --release --example shakespeare -- --quick # some seconds
//! ```
//!
//! Each optimizer is trained at each rate of a grid, with the same steps, pieces of text and first parameters. Its rate
//! is the one with the least loss on a part of the text that is for this alone. With it, the model is trained again from
//! other seeds, and the losses on the last part of the text are reported.

mod model;

use candle_core::{Device, Result, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, SGD, VarMap, loss};
use model::{CONTEXT, Transformer, initialise};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use rootstep_candle::{Error, Power, RootStep, Rule, Schedule};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

const TEXT: &str = include_str!("text.txt");
const BATCH: usize = 8;
/// So many pieces, from all over a text, tell the loss on it.
const PIECES: usize = 128;

/// How much is computed.
struct Effort {
    rates: Vec<f64>,
    steps: u64,
    seeds: usize,
}

#[derive(Clone, Copy)]
enum Contender {
    Sgd,
    AdamW,
    Rule(Rule),
}

fn contenders() -> [(&'static str, Contender); 6] {
    [
        ("SGD of candle", Contender::Sgd),
        ("AdamW of candle", Contender::AdamW),
        ("SGD, momentum", Contender::Rule(Rule::sgd(1.0).with_momentum(0.9))),
        ("pbSGD, momentum", Contender::Rule(Rule::pbsgd(1.0, Power::Half).with_momentum(0.9))),
        ("PowerStep", Contender::Rule(Rule::powerstep(1.0))),
        ("signSGD of the momentum", Contender::Rule(Rule::powerstep(1.0).with_power(Power::Zero))),
    ]
}

/// The text as numbers of characters.
struct Text {
    characters: usize,
    train: Vec<u32>,
    validation: Vec<u32>,
    test: Vec<u32>,
}

impl Text {
    /// Of ten pieces of 2,048 characters, eight are to train on and one each is for the others.
    fn new() -> Self {
        let mut alphabet: Vec<char> = TEXT.chars().collect();
        alphabet.sort_unstable();
        alphabet.dedup();
        let numbers = (0_u32..).zip(&alphabet).map(|(number, &character)| (character, number));
        let numbers: std::collections::HashMap<char, u32> = numbers.collect();
        let all: Vec<u32> = TEXT.chars().map(|character| numbers[&character]).collect();
        let part = |wanted: std::ops::Range<usize>| {
            let pieces = all.chunks(2048).enumerate();
            pieces
                .filter(move |(i, _)| wanted.contains(&(i % 10)))
                .flat_map(|(_, piece)| piece.to_vec())
        };
        let [train, validation, test] = [0..8, 8..9, 9..10].map(|wanted| part(wanted).collect());
        Self { characters: alphabet.len(), train, validation, test }
    }
}

/// The mean cross-entropy of the next characters, in nats.
fn loss_of(model: &Transformer, pieces: &[&[u32]]) -> Result<Tensor> {
    let of = |from: usize| {
        let numbers: Vec<u32> =
            pieces.iter().flat_map(|piece| piece[from..from + CONTEXT].to_vec()).collect();
        Tensor::from_vec(numbers, (pieces.len(), CONTEXT), &Device::Cpu)
    };
    loss::cross_entropy(&model.forward(&of(0)?)?, &of(1)?.flatten_all()?)
}

/// The loss over pieces of a text.
fn evaluate(model: &Transformer, text: &[u32]) -> Result<f64> {
    let starts = (0..text.len() - CONTEXT).step_by(text.len() / PIECES);
    let pieces: Vec<&[u32]> = starts.map(|start| &text[start..=start + CONTEXT]).collect();
    let mut sum = 0.0;
    for pieces in pieces.chunks(64) {
        let loss: f32 = loss_of(model, pieces)?.detach().to_scalar()?;
        sum += f64::from(loss) * pieces.len() as f64;
    }
    Ok(sum / pieces.len() as f64)
}

/// A run: the losses on the texts for the choice of the rate and for the test. Infinite if it has diverged.
type Losses = (f64, f64);

/// Trains by any optimizer of candle's. The rate falls by a cosine to a tenth, after a warm-up.
fn train_by<O: Optimizer>(
    config: O::Config,
    rate: f64,
    seed: u64,
    steps: u64,
    text: &Text,
) -> Result<Losses> {
    let map = VarMap::new();
    let model = Transformer::new(text.characters, &map)?;
    initialise(&map, seed)?;
    let mut optimizer = O::new(map.all_vars(), config)?;
    let warm_up = steps.div_ceil(10);
    let schedule = Schedule::cosine(rate, 0.1 * rate, steps - warm_up)
        .and_then(|schedule| schedule.warm_up(0.1 * rate, warm_up))
        .map_err(Error::from)?;
    let mut generator = Pcg64::seed_from_u64(1_000_000 + seed);
    for step in 0..steps {
        optimizer.set_learning_rate(schedule.at(step));
        let start = |_| generator.random_range(0..text.train.len() - CONTEXT);
        let starts: Vec<usize> = (0..BATCH).map(start).collect();
        let pieces: Vec<&[u32]> =
            starts.iter().map(|&start| &text.train[start..=start + CONTEXT]).collect();
        let loss = loss_of(&model, &pieces)?;
        if !loss.to_scalar::<f32>()?.is_finite() {
            return Ok((f64::INFINITY, f64::INFINITY));
        }
        optimizer.backward_step(&loss)?;
    }
    let finite = |loss: f64| if loss.is_finite() { loss } else { f64::INFINITY };
    Ok((finite(evaluate(&model, &text.validation)?), finite(evaluate(&model, &text.test)?)))
}

fn train(contender: Contender, rate: f64, seed: u64, steps: u64, text: &Text) -> Result<Losses> {
    match contender {
        Contender::Sgd => train_by::<SGD>(rate, rate, seed, steps, text),
        Contender::AdamW => train_by::<AdamW>(ParamsAdamW::default(), rate, seed, steps, text),
        Contender::Rule(rule) => train_by::<RootStep>(rule.into(), rate, seed, steps, text),
    }
}

/// The losses of a contender: for the choice at each rate, and of the test from each seed at the best one.
struct Outcome {
    name: &'static str,
    at_rates: Vec<f64>,
    best: usize,
    tests: Vec<f64>,
}

/// The results of runs, in their order: as many at a time as there are cores.
fn side_by_side<T: Send>(runs: usize, run: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, T)>> {
        let taken = std::iter::repeat_with(|| next.fetch_add(1, Relaxed));
        let own = taken.take_while(|&place| place < runs);
        own.map(|place| Ok((place, run(place)?))).collect()
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(runs);
    let mut results = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            results.extend(worker.join().expect("a run has panicked")?);
        }
        Ok::<_, candle_core::Error>(())
    })?;
    results.sort_unstable_by_key(|(place, _)| *place);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

fn place_of_least(losses: &[f64]) -> usize {
    let mut places: Vec<usize> = (0..losses.len()).collect();
    places.sort_by(|&a, &b| losses[a].total_cmp(&losses[b]));
    places[0]
}

fn compare(effort: &Effort, text: &Text) -> Result<Vec<Outcome>> {
    let contenders = contenders();
    let (rates, seeds) = (effort.rates.len(), effort.seeds);
    let losses = side_by_side(contenders.len() * rates, |run| {
        let (_, contender) = contenders[run / rates];
        Ok(train(contender, effort.rates[run % rates], 0, effort.steps, text)?.0)
    })?;
    let best: Vec<usize> = losses.chunks(rates).map(place_of_least).collect();
    // From each seed, all contenders.
    let tests = side_by_side(contenders.len() * seeds, |run| {
        let (place, seed) = (run % contenders.len(), run / contenders.len() + 1);
        let ((_, contender), rate) = (contenders[place], effort.rates[best[place]]);
        Ok(train(contender, rate, seed as u64, effort.steps, text)?.1)
    })?;
    let of_contenders = contenders.iter().zip(losses.chunks(rates)).zip(best).enumerate();
    let outcomes = of_contenders.map(|(place, (((name, _), at_rates), best))| {
        let tests = tests.iter().copied().skip(place).step_by(contenders.len()).collect();
        Outcome { name, at_rates: at_rates.to_vec(), best, tests }
    });
    Ok(outcomes.collect())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn print_tables(outcomes: &[Outcome], effort: &Effort) {
    println!(
        "The loss on the test text in nats per character, after {} steps, at the rate that is best on another text: the \
         mean of {} seeds, the least and the largest.\n",
        effort.steps, effort.seeds
    );
    println!("| optimizer | rate | mean | least | largest |\n|---|---|---|---|---|");
    for Outcome { name, best, tests, .. } in outcomes {
        let least = tests.iter().copied().fold(f64::INFINITY, f64::min);
        let largest = tests.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (rate, mean) = (effort.rates[*best], mean(tests));
        println!("| {name} | {rate} | {mean:.3} | {least:.3} | {largest:.3} |");
    }
    println!("\nThe loss on the text for the choice, at each rate; one seed.\n");
    let rates: Vec<String> = effort.rates.iter().map(f64::to_string).collect();
    println!("| optimizer | {} |\n|---{}|", rates.join(" | "), "|---".repeat(rates.len()));
    for Outcome { name, at_rates, .. } in outcomes {
        let losses: Vec<String> = at_rates
            .iter()
            .map(|loss| if loss.is_finite() { format!("{loss:.3}") } else { "diverged".to_owned() })
            .collect();
        println!("| {name} | {} |", losses.join(" | "));
    }
    let ours = |outcome: &&Outcome| outcome.name == "PowerStep";
    if let Some(ours) = outcomes.iter().find(ours) {
        println!();
        for other in outcomes.iter().filter(|other| other.name.ends_with("of candle")) {
            let difference = mean(&ours.tests) - mean(&other.tests);
            let (word, size) =
                (if difference < 0.0 { "better" } else { "worse" }, difference.abs());
            println!("- PowerStep is {size:.3} nats {word} than {}.", other.name);
        }
    }
}

/// Candle shares each operation, however short, with threads of its own, which spin until there is more, and which serve
/// one caller at a time. Trainings side by side would wait for them: they take a quarter of the time without. How many
/// there are is read from the environment, once.
fn without_candles_threads() -> Result<()> {
    const THREADS: &str = "RAYON_NUM_THREADS";
    if std::env::var_os(THREADS).is_some() {
        return Ok(());
    }
    let mut again = std::process::Command::new(std::env::current_exe()?);
    let status = again.args(std::env::args_os().skip(1)).env(THREADS, "1").status()?;
    std::process::exit(status.code().unwrap_or(1));
}

fn main() -> Result<()> {
    without_candles_threads()?;
    let effort = match std::env::args().nth(1).as_deref() {
        None => {
            Effort { rates: vec![0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0], steps: 150, seeds: 3 }
        }
        Some("--quick") => Effort { rates: vec![0.003, 0.03], steps: 20, seeds: 1 },
        Some(other) => {
            eprintln!("unknown argument `{other}`; allowed: none, or --quick");
            std::process::exit(2);
        }
    };
    let begun = Instant::now();
    let outcomes = compare(&effort, &Text::new())?;
    print_tables(&outcomes, &effort);
    eprintln!("{:.0} s", begun.elapsed().as_secs_f64());
    Ok(())
}
