//! What this program does as a rank, and the tests that start it as such.

use crate::launch::{case, report};
use half::bf16;
use mpi::Threading;
use mpi::topology::{Communicator as _, SimpleCommunicator};
use rootstep::optimizer::{MomentumFormat, NonFinite, Optimizer, Power, Rule, Storage};
use rootstep::{Element, Float, reference};
use rootstep_mpi::{Builder, Error, Parameter, Trainer, Wire};
use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

/// What a rank does.
pub fn run(case: &str) {
    let (universe, _) = mpi::initialize_with_threading(Threading::Funneled).unwrap();
    let world = universe.world();
    match case {
        "one-machine" => as_one_machine(&world),
        "bytes" => count_bytes(&world),
        "disagreements" => disagree(&world),
        "policies" => follow_policies(&world),
        "late" | "stopped" | "returning" | "panicking" => {
            end_early(&world, case);
            std::mem::forget(universe);
            std::thread::sleep(Duration::from_millis(300));
            std::process::exit(1);
        }
        _ => panic!("no such case: {case}"),
    }
}

/// About 3 blocks and a half in all, none of the lengths a multiple of anything.
const LENGTHS: [usize; 5] = [70_001, 0, 300, 32_769, 1];

fn rank(world: &SimpleCommunicator) -> usize {
    usize::try_from(world.rank()).unwrap()
}

fn size(world: &SimpleCommunicator) -> usize {
    usize::try_from(world.size()).unwrap()
}

/// Ordinary numbers, whose sums depend on the order.
fn numbers(seed: u64, length: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / 16_777_216.0 - 0.5
    };
    (0..length).map(|_| next()).collect()
}

fn model<T: Element<Compute: Float>>(seed: u64) -> Vec<Vec<T>> {
    let tensor = |(i, &length): (usize, &usize)| {
        let numbers = numbers(seed * 1000 + i as u64, length);
        numbers.into_iter().map(|x| T::nearest(<T::Compute as Float>::from_f32(x))).collect()
    };
    LENGTHS.iter().enumerate().map(tensor).collect()
}

/// The micro-batches of a rank: uneven, and the second of some ranks has none.
fn uneven(micro_batches: usize, ranks: usize, rank: usize) -> Range<usize> {
    if ranks == 1 {
        return 0..micro_batches;
    }
    let first = micro_batches.div_ceil(ranks);
    let end = |rank: usize| match rank {
        _ if rank + 1 == ranks => micro_batches,
        0 | 1 => first,
        _ => first.max(micro_batches * (rank + 1) / ranks),
    };
    let start = if rank == 0 { 0 } else { end(rank - 1) };
    start..end(rank)
}

struct Way {
    rule: Rule,
    clip_norm: Option<f64>,
    micro_batches: usize,
}

/// Trains on some ranks and, with the specified sums, by the optimizer of one machine: the bits are the same.
fn compare<T: Parameter, W: Wire<Compute = T::Compute>>(
    world: &SimpleCommunicator,
    way: &Way,
    wire: impl Fn(Builder<T, T::Compute>) -> Builder<T, W>,
    sum: impl Fn(&[T::Compute]) -> T::Compute,
) {
    let Way { rule, clip_norm, micro_batches } = *way;
    let plain = Rule::sgd(0.01);
    let scale = 1.0 / micro_batches as f64;
    let mut one = Optimizer::<T>::builder(rule)
        .with_group(plain, [3])
        .with_gradient_scale(scale)
        .with_gradients::<T::Compute>()
        .with_clip_value(0.3)
        .with_non_finite(NonFinite::Error);
    let mut many = Trainer::<T>::builder(rule, micro_batches)
        .with_group(plain, [3])
        .with_gradient_scale(scale)
        .with_clip_value(0.3)
        .with_held(uneven(micro_batches, size(world), rank(world)))
        .with_bucket_bytes(100_000)
        .with_time_limit(Duration::from_secs(60));
    if let Some(limit) = clip_norm {
        one = one.with_clip_norm(limit);
        many = many.with_clip_norm(limit).with_non_finite(NonFinite::Error);
    }
    let mut parameters = model::<T>(1);
    let mut one = one.build().unwrap();
    let mut many = wire(many).build(world, &parameters).unwrap();
    for step in 0..3 {
        let gradients: Vec<_> =
            (0..micro_batches).map(|i| model::<T::Compute>(100 + 50 * step + i as u64)).collect();
        // The last layers first, all micro-batches of each; the first ones micro-batch by micro-batch.
        for tensor in [4, 3, 2] {
            for i in many.held() {
                many.accumulate(tensor, i, &gradients[i][tensor]).unwrap();
            }
        }
        for i in many.held() {
            many.accumulate(0, i, &gradients[i][0]).unwrap();
            many.accumulate(1, i, &gradients[i][1]).unwrap();
        }
        let report = many.step().unwrap();
        let sums: Vec<Vec<T::Compute>> = (0..LENGTHS.len())
            .map(|t| {
                let column = |k: usize| gradients.iter().map(|g| g[t][k]).collect::<Vec<_>>();
                (0..LENGTHS[t]).map(|k| sum(&column(k))).collect()
            })
            .collect();
        let expected = one.step(&mut parameters, &sums).unwrap();
        if clip_norm.is_some() {
            assert_eq!(report.inspection, expected.inspection);
            assert_eq!(report.clip_factor.to_bits(), expected.clip_factor.to_bits());
            assert!(report.clip_factor < 1.0);
        }
        for (tensor, expected) in parameters.iter().enumerate() {
            let found: &[u8] = bytemuck::cast_slice(many.parameters(tensor));
            assert!(
                found == bytemuck::cast_slice::<_, u8>(expected),
                "{rule:?} {clip_norm:?} step {step} tensor {tensor}"
            );
        }
    }
    many.finish().unwrap();
}

fn as_one_machine(world: &SimpleCommunicator) {
    let rule = Rule::powerstep(0.01).with_weight_decay(0.01);
    let way = |rule, clip_norm, micro_batches| Way { rule, clip_norm, micro_batches };
    let sum = |column: &[f32]| reference::sum(column);
    let int8 = rule.with_momentum_format(MomentumFormat::Int8);
    let half = rule.with_momentum_format(MomentumFormat::Bf16);
    compare::<f32, f32>(world, &way(rule, None, 8), |b| b, sum);
    compare::<f32, f32>(world, &way(half, Some(0.5), 13), |b| b, sum);
    compare::<f32, f32>(world, &way(int8, Some(0.5), 5), |b| b, sum);
    compare::<f64, f64>(world, &way(rule, Some(0.5), 6), |b| b, reference::sum);
    compare::<f64, f64>(
        world,
        &way(int8.with_power(Power::Quarter), None, 1),
        |b| b,
        reference::sum,
    );
    let stochastic = Storage::Stochastic { seed: 3 };
    compare::<bf16, f32>(world, &way(int8.with_storage(stochastic), None, 7), |b| b, sum);
    compare::<bf16, f32>(
        world,
        &way(half.with_storage(Storage::Split16), Some(0.5), 4),
        |b| b,
        sum,
    );
    compare::<bf16, f32>(world, &way(rule.with_storage(Storage::Split8), None, 3), |b| b, sum);
    compare::<bf16, f32>(world, &way(rule.with_storage(Storage::Master), None, 9), |b| b, sum);
    compare::<bf16, f32>(world, &way(rule, None, 2), |b| b, sum);
    let in_bf16 = |column: &[f32]| reference::sum_in_bf16(column);
    compare::<f32, bf16>(world, &way(rule, None, 11), Builder::with_sums_in_bf16, in_bf16);
    compare::<bf16, bf16>(
        world,
        &way(int8.with_storage(Storage::Split16), Some(0.5), 8),
        Builder::with_sums_in_bf16,
        in_bf16,
    );
    report(rank(world), "the same");
}

pub fn steps_are_those_of_one_machine() {
    for ranks in [1, 3, 4] {
        let (reports, ended) = case("one-machine", ranks, &[]);
        let ended = ended.succeeded();
        assert!(
            reports.iter().all(|report| report.as_deref() == Some("the same")),
            "{}",
            ended.errors()
        );
    }
}

/// The bytes of a step, of f32, against those of a ring's reduce-scatter and all-gather.
fn count_bytes(world: &SimpleCommunicator) {
    let elements = 1 << 20;
    let ranks = size(world) as u64;
    let mut text = String::new();
    for bf16 in [false, true] {
        let builder = Trainer::<f32>::builder(Rule::powerstep(0.01), 8);
        let parameters = [vec![0.0_f32; elements]];
        let sent = if bf16 {
            sent(builder.with_sums_in_bf16().build(world, &parameters).unwrap())
        } else {
            sent(builder.build(world, &parameters).unwrap())
        };
        let each_way = (ranks - 1) * elements as u64 / ranks;
        let ring = if bf16 { each_way * 6 } else { each_way * 8 };
        let ratio = if ring == 0 { sent as f64 } else { sent as f64 / ring as f64 };
        let _ = write!(text, "{ratio:.4} ");
    }
    report(rank(world), &text);
}

fn sent<W: Wire<Compute = f32>>(mut trainer: Trainer<f32, W>) -> u64 {
    let gradient = numbers(1, trainer.parameters(0).len());
    let mut sent = 0;
    for _ in 0..2 {
        for micro_batch in trainer.held() {
            trainer.accumulate(0, micro_batch, &gradient).unwrap();
        }
        let before = trainer.sent_bytes();
        let report = trainer.step().unwrap();
        assert!(trainer.sent_bytes() - before <= report.sent_bytes);
        sent = report.sent_bytes;
    }
    trainer.finish().unwrap();
    sent
}

pub fn bytes_are_those_of_a_ring() {
    for ranks in [1, 2, 3, 4, 5, 6, 7, 8] {
        let (reports, ended) = case("bytes", ranks, &[]);
        ended.succeeded();
        let ratios: Vec<Vec<f64>> = reports
            .iter()
            .map(|report| {
                report.as_ref().unwrap().split_whitespace().map(|x| x.parse().unwrap()).collect()
            })
            .collect();
        let most = |i: usize| ratios.iter().map(|ratios| ratios[i]).fold(0.0, f64::max);
        println!("{ranks} ranks: {:.4} of a ring's bytes; sums in bf16: {:.4}", most(0), most(1));
        if 8 % ranks == 0 {
            assert!(most(0) <= 1.05 && most(1) <= 1.05, "{ratios:?}");
        }
        let mean = ratios.iter().map(|ratios| ratios[0]).sum::<f64>() / ranks as f64;
        assert!(ranks == 1 && mean == 0.0 || mean >= 0.99, "{ratios:?}");
    }
}

/// One thing after the other that rank 1 sees in another way.
fn disagree(world: &SimpleCommunicator) {
    let other = world.rank() == 1;
    let mut text = String::new();
    let parameters = [vec![1.0_f32; 10], vec![2.0; 20]];
    let base = || {
        Trainer::<f32>::builder(Rule::powerstep(0.1), 6).with_time_limit(Duration::from_secs(30))
    };
    let mut say = |built: Result<Trainer<f32>, Error>| {
        let error = built.map(|_| "built").unwrap_err();
        assert!(matches!(error, Error::Disagreement { .. }), "{error:?}");
        let _ = writeln!(text, "{error}");
    };
    let of = |rule, k| Trainer::<f32>::builder(rule, k);
    say(of(Rule::powerstep(0.1), if other { 8 } else { 6 }).build(world, &parameters));
    say(of(Rule::powerstep(if other { 0.2 } else { 0.1 }), 6).build(world, &parameters));
    let shapes = [vec![1.0_f32; 10], vec![2.0; if other { 21 } else { 20 }]];
    say(base().build(world, &shapes));
    say(base().build(world, &parameters[..if other { 1 } else { 2 }]));
    let clip = if other { 1.5 } else { 1.0 };
    say(base().with_non_finite(NonFinite::Skip).with_clip_norm(clip).build(world, &parameters));
    say(base()
        .with_non_finite(if other { NonFinite::Skip } else { NonFinite::Error })
        .build(world, &parameters));
    say(base().with_bucket_bytes(if other { 1 } else { 2 }).build(world, &parameters));
    say(base().with_gradient_scale(if other { -1.0 } else { 1.0 }).build(world, &parameters));
    say(base().with_clip_norm(1.0).build(world, &parameters));
    let of_ranks = [0..2, if other { 3..4 } else { 2..4 }, 4..6];
    say(base().with_held(of_ranks[rank(world)].clone()).build(world, &parameters));
    let first = [vec![if other { 1.5_f32 } else { 1.0 }; 10], vec![2.0; 20]];
    say(base().build(world, &first));
    let group = if other { vec![1] } else { vec![0] };
    let half = Rule::powerstep(0.1).with_momentum_format(MomentumFormat::Bf16);
    say(base().with_group(half, group).build(world, &parameters));
    // The type of the sums, which is one of the trainer, too.
    let built = if other {
        base().with_sums_in_bf16().build(world, &parameters).map(|_| ())
    } else {
        base().build(world, &parameters).map(|_| ())
    };
    let _ = writeln!(text, "{}", built.unwrap_err());

    // Later on, the rates.
    let mut trainer = base().build(world, &parameters).unwrap();
    trainer.set_learning_rate(if other { 0.3 } else { 0.2 }).unwrap();
    for micro_batch in trainer.held() {
        trainer.accumulate(0, micro_batch, &parameters[0]).unwrap();
        trainer.accumulate(1, micro_batch, &parameters[1]).unwrap();
    }
    let error = trainer.step().unwrap_err();
    let _ = writeln!(text, "{error}\n{}", trainer.step().unwrap_err());
    report(rank(world), &text);
}

pub fn disagreements() {
    let (reports, ended) = case("disagreements", 3, &[]);
    ended.succeeded();
    let expected = "\
the number of micro-batches is 6 on rank 0, but 8 on rank 1
rule 0 is Rule { learning_rate: 0.1
the length of tensor 1 is 20 on rank 0, but 21 on rank 1
the number of tensors is 2 on rank 0, but 1 on rank 1
the limit of the norm is Some(1.0) on rank 0, but Some(1.5) on rank 1
the policy for what is not finite is Error on rank 0, but Skip on rank 1
the bytes of a bucket is 2 on rank 0, but 1 on rank 1
rank 1 cannot begin: the gradient scale is -1; allowed:
rank 0 cannot begin: the policy for what is not finite is Propagate; allowed: Skip or Error with clipping by norm
rank 1 has the micro-batches 3..4; allowed: from 2 on
the checksum of the parameters is
the format of the momentum of tensor 0 is Bf16 on rank 0, but Full on rank 1
the type of the sums that are sent is f32 on rank 0, but bf16 on rank 1
the learning rates or the gradient scale of rank 1 are not those of rank 0
the training has ended before, by an error: the ranks do not agree: the learning rates";
    for report in reports {
        let report = report.unwrap();
        assert_eq!(report.lines().count(), expected.lines().count(), "{report}");
        for (said, expected) in report.lines().zip(expected.lines()) {
            assert!(said.contains(expected), "{said}\nhas no: {expected}");
        }
    }
}

/// What is not finite on one rank is so for all; and what a call is given that does not fit changes nothing.
fn follow_policies(world: &SimpleCommunicator) {
    let parameters = [vec![1.0_f32; 40_000], vec![2.0; 40_000]];
    let mut text = String::new();
    for policy in [NonFinite::Skip, NonFinite::Error] {
        let builder = Trainer::<f32>::builder(Rule::powerstep(0.01), 4).with_non_finite(policy);
        let mut trainer = builder.build(world, &parameters).unwrap();
        for bad in [true, false] {
            if trainer.held().contains(&3) {
                let error = trainer.step().unwrap_err();
                assert!(
                    error.to_string().starts_with("the next gradient of tensor 0 is missing"),
                    "{error}"
                );
            }
            for micro_batch in trainer.held() {
                let mut gradient = numbers(micro_batch as u64, 40_000);
                trainer.accumulate(0, micro_batch, &gradient).unwrap();
                if bad && micro_batch == 3 {
                    gradient[35_000] = f32::NEG_INFINITY;
                    gradient[36_000] = f32::NAN;
                }
                trainer.accumulate(1, micro_batch, &gradient).unwrap();
            }
            let before = trainer.parameters(0).to_vec();
            let _ = match trainer.step() {
                Ok(report) => {
                    let found = report.inspection.unwrap();
                    write!(
                        text,
                        "taken {} nan {} first {:?}; ",
                        report.taken, found.nan, found.first_non_finite
                    )
                }
                Err(error) => write!(text, "{error}; "),
            };
            assert_eq!(bad, before == trainer.parameters(0));
            assert_eq!(trainer.steps(), u64::from(!bad));
        }
        trainer.finish().unwrap();
    }
    report(rank(world), &text);
}

pub fn policies() {
    let (reports, ended) = case("policies", 3, &[]);
    ended.succeeded();
    let expected = "taken false nan 1 first Some((1, 35000)); taken true nan 0 first None; \
                    element 35000 of the sum of gradients of tensor 1 is -inf; allowed: finite numbers; \
                    taken true nan 0 first None; ";
    for report in reports {
        assert_eq!(report.as_deref(), Some(expected));
    }
}

/// Rank 1 of some does not go on, in one way or another.
fn end_early(world: &SimpleCommunicator, how: &str) {
    let rank = rank(world);
    let other = rank == 1;
    if other && how == "late" {
        std::thread::sleep(Duration::from_secs(6));
        return;
    }
    let parameters = [vec![1.0_f32; 100_000]];
    let limit = if how == "late" || how == "stopped" { 2 } else { 60 };
    let builder = Trainer::<f32>::builder(Rule::powerstep(0.01), 6);
    let builder = builder.with_time_limit(Duration::from_secs(limit));
    let trained = builder.build(world, &parameters).and_then(|mut trainer| {
        for step in 0.. {
            for micro_batch in trainer.held() {
                if other && step == 3 {
                    match how {
                        // Itself, and a moment later (by another) it ends.
                        "stopped" => stop(),
                        "returning" => return Ok(()),
                        _ => {
                            let _ =
                                std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                                    let _trainer = trainer;
                                    panic!("on purpose");
                                }));
                            return Ok(());
                        }
                    }
                }
                trainer.accumulate(0, micro_batch, &parameters[0])?;
            }
            trainer.step()?;
        }
        unreachable!()
    });
    if let Err(error) = trained {
        assert!(error.is_fatal());
        report(rank, &error.to_string());
    }
}

/// Stops this process; another one ends it later.
fn stop() {
    let own = std::process::id();
    let ends = format!("sleep 8; kill -KILL {own}");
    let mut ending = std::process::Command::new("sh").args(["-c", &ends]).spawn().unwrap();
    crate::launch::signal("STOP", own);
    let _ = ending.wait();
}

/// The order matters: with what each rank has added up first, whatever the tree says, the bits depend on the ranks.
pub fn sums_in_the_order_of_ranks_have_other_bits() {
    let gradients: Vec<_> = (0..8).map(|i| numbers(i, 1000)).collect();
    let of_ranks = |ranks: usize| -> Vec<u32> {
        (0..1000)
            .map(|k| {
                let share = |rank: usize| &gradients[8 * rank / ranks..8 * (rank + 1) / ranks];
                let one = |share: &[Vec<f32>]| share.iter().fold(0.0, |sum, g| sum + g[k]);
                (0..ranks).map(|rank| one(share(rank))).fold(0.0, |sum, part| sum + part).to_bits()
            })
            .collect()
    };
    assert_ne!(of_ranks(1), of_ranks(2));
    assert_ne!(of_ranks(2), of_ranks(3));
    assert_ne!(of_ranks(4), of_ranks(8));
}
