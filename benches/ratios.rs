//! The claims of speed, as ratios: contenders take turns within one run, so that a machine whose
//! speed drifts slows them alike, and work on the same slices, so that alignment and pages are the
//! same.
//!
//! `cargo bench --bench ratios` prints a line for each claim: how many times the time of its
//! opponent a kernel takes, the best and the median of many turns. Below 1 the kernel is faster. The
//! opponent takes two turns each time: how far the ratio of those is from 1, best or median, is the noise.
//! `cargo bench --bench ratios -- WORD` runs the claims whose line contains WORD.

mod formats;
mod sums;

use rootstep::optimizer::{MomentumFormat, Optimizer, Power, PowerOf, Rule};
use rootstep::{Executor, Level};
use rootstep_benches::{Number, Operation, SIZES, Slices, check_level, cpu, streaming_axpy, time};
use std::cell::{LazyCell, RefCell};
use std::hint::black_box;
use std::time::Duration;

fn main() {
    check_level();
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let report = Report { filter };
    let levels = Level::available();
    println!("{}; levels: {levels:?}, threads: {}", cpu(), rayon::current_num_threads());
    let columns = ["ns/elem", "best", "median", "noise"];
    println!(
        "{:<66} {:>9} {:>7} {:>7} {:>6}",
        "kernel / opponent", columns[0], columns[1], columns[2], columns[3]
    );
    against_plain_loops::<f32>(&report);
    against_plain_loops::<f64>(&report);
    against_axpy::<f32>(&report);
    against_axpy::<f64>(&report);
    out_of_place::<f32>(&report);
    out_of_place::<f64>(&report);
    against_streaming::<f32>(&report);
    against_streaming::<f64>(&report);
    inspecting::<f32>(&report);
    inspecting::<f64>(&report);
    optimizing(&report);
    lean_momentum(&report);
    formats::stepping(&report);
    sums::adding_up(&report);
    short_slices(&report);
    whole_models(&report);
    parallel_against_serial::<f32>(&report);
    parallel_against_serial::<f64>(&report);
}

/// In cache, each level is at least as fast as the best plain loop compiled for it.
fn against_plain_loops<T: Number>(report: &Report) {
    for &level in Level::available() {
        let executor = Executor::new(level).serial();
        for (place, bytes) in &SIZES[..2] {
            for operation in Operation::ALL {
                let slices = lazy_slices::<T>(bytes / size_of::<T>());
                report.compare_fresh(
                    &format!("{} {} {level} {place} / plain loop", operation.name(), T::NAME),
                    bytes / size_of::<T>(),
                    operation.wears_out().then_some(&|| slices.borrow_mut().refresh()),
                    || slices.borrow_mut().call(operation, executor),
                    || slices.borrow_mut().autovectorized(operation, level),
                );
            }
        }
    }
}

/// Out of cache, a step costs what an axpy of the same traffic costs.
fn against_axpy<T: Number>(report: &Report) {
    let (place, bytes) = SIZES[3];
    for &level in Level::available() {
        for (threads, executor) in
            [("serial", Executor::new(level).serial()), ("parallel", Executor::new(level))]
        {
            let slices = lazy_slices::<T>(bytes / size_of::<T>());
            report.compare(
                &format!("descend {} {level} {threads} {place} / axpy", T::NAME),
                bytes / size_of::<T>(),
                || slices.borrow_mut().call(Operation::Descend, executor),
                || slices.borrow_mut().call(Operation::Axpy, executor),
            );
        }
    }
}

/// Out of place and out of cache, streaming stores save reading what is overwritten; in the caches
/// they would cost, and are not used.
fn out_of_place<T: Number>(report: &Report) {
    let level = Level::detect();
    let executor = Executor::new(level).serial();
    for operation in [Operation::SignedSqrt, Operation::DescendInto] {
        for mib in [1, 4, 8, 16, 32, 64, 256] {
            let length = (mib << 20) / size_of::<T>();
            let slices = lazy_slices::<T>(length);
            report.compare(
                &format!(
                    "{} {} {level} {mib} MiB out of place / plain loop",
                    operation.name(),
                    T::NAME
                ),
                length,
                || slices.borrow_mut().call(operation, executor),
                || slices.borrow_mut().autovectorized(operation, level),
            );
        }
    }
}

/// Far beyond the caches, the root is free: an operation takes as long as one of the same traffic
/// without it. (The copy is the C library's, which streams at this size too.)
fn against_streaming<T: Number>(report: &Report) {
    let executor = Executor::new(Level::detect()).serial();
    let length = 64 << 20;
    let slices = lazy_slices::<T>(length);
    report.compare(
        &format!("signed_sqrt {} 64 Mi elements / streaming copy", T::NAME),
        length,
        || slices.borrow_mut().call(Operation::SignedSqrt, executor),
        || {
            let Slices { gradient, out, .. } = &mut *slices.borrow_mut();
            out.copy_from_slice(gradient);
        },
    );
    report.compare(
        &format!("descend_into {} 64 Mi elements / streaming axpy", T::NAME),
        length,
        || slices.borrow_mut().call(Operation::DescendInto, executor),
        || {
            let Slices { parameters, gradient, out } = &mut *slices.borrow_mut();
            streaming_axpy(executor.level(), T::from_f64(1e-4), gradient, parameters, out);
        },
    );
}

/// Reading gradients to inspect them costs what reading them costs.
fn inspecting<T: Number>(report: &Report) {
    let level = Level::detect();
    for (place, bytes) in &SIZES[1..] {
        let length = bytes / size_of::<T>();
        let slices = lazy_slices::<T>(length);
        for (threads, executor) in
            [("serial", Executor::new(level).serial()), ("parallel", Executor::new(level))]
        {
            report.compare(
                &format!("inspect {} {level} {threads} {place} / pure read", T::NAME),
                length,
                || {
                    black_box(executor.inspect(&[&slices.borrow().gradient]));
                },
                || slices.borrow().read(executor),
            );
        }
    }
}

/// A step with momentum and weight decay is one pass: it takes as long as a loop written by hand for
/// one rule and of the same traffic, and less than several passes by the ratio of their traffic.
fn optimizing(report: &Report) {
    let (rate, momentum, decay) = (1e-4, 0.9, 1e-2);
    let sgd = Rule::sgd(rate.into()).with_momentum(momentum.into()).with_weight_decay(decay.into());
    let rules = [
        ("SGD", sgd),
        ("pbSGD", sgd.with_power(Power::Half)),
        ("PowerStep", sgd.with_power(Power::Half).with_power_of(PowerOf::Momentum)),
    ];
    let (serial, parallel) = (Executor::default().serial(), Executor::default());
    for ((place, bytes), threads, executor) in [
        (SIZES[1], "serial", serial),
        (SIZES[3], "serial", serial),
        (SIZES[3], "parallel", parallel),
    ] {
        let length = bytes / size_of::<f32>();
        for (name, rule) in rules {
            let slices = lazy_slices::<f32>(length);
            let optimizer = LazyCell::new(|| {
                let optimizer = Optimizer::<f32>::builder(rule).with_executor(executor).build();
                RefCell::new(optimizer.expect("the rule is valid"))
            });
            let step = || {
                let Slices { parameters, gradient, .. } = &mut *slices.borrow_mut();
                let stepped = optimizer.borrow_mut().step(&mut [parameters], &[gradient]);
                assert!(stepped.is_ok());
            };
            report.compare(
                &format!("{name} f32 {threads} {place} / hand-written SGD of the same traffic"),
                length,
                step,
                || slices.borrow_mut().momentum_by_hand(executor, [rate, momentum, decay]),
            );
            report.compare(
                &format!(
                    "{name} f32 {threads} {place} / SGD in four passes, 2.2 times the traffic"
                ),
                length,
                step,
                || {
                    let Slices { parameters, gradient, out } = &mut *slices.borrow_mut();
                    executor.signed_sqrt_in_place(out); // The traffic of scaling it.
                    executor.axpy(1.0, gradient, out);
                    executor.axpy(decay, parameters, out);
                    executor.axpy(-rate, out, parameters);
                },
            );
        }
    }
}

/// Lean momentum moves fewer bytes, and costs the work of unpacking and packing it: PowerStep moves 20
/// bytes per f32, 16 with momentum in bf16, 14 in int8.
fn lean_momentum(report: &Report) {
    let formats = [("bf16", MomentumFormat::Bf16), ("int8", MomentumFormat::Int8)];
    for (place, bytes) in [SIZES[1], SIZES[3]] {
        let length = bytes / size_of::<f32>();
        for (name, format) in formats {
            for (threads, executor) in
                [("serial", Executor::default().serial()), ("parallel", Executor::default())]
            {
                let slices = lazy_slices::<f32>(length);
                let step = |format| {
                    let rule = Rule::powerstep(1e-4).with_momentum_format(format);
                    let optimizer = LazyCell::new(move || {
                        let optimizer =
                            Optimizer::<f32>::builder(rule).with_executor(executor).build();
                        RefCell::new(optimizer.expect("the rule is valid"))
                    });
                    let slices = &slices;
                    move || {
                        let Slices { parameters, gradient, .. } = &mut *slices.borrow_mut();
                        let stepped = optimizer.borrow_mut().step(&mut [parameters], &[gradient]);
                        assert!(stepped.is_ok());
                    }
                };
                report.compare(
                    &format!("PowerStep f32 {threads} {place}, momentum in {name} / in f32"),
                    length,
                    step(format),
                    step(MomentumFormat::Full),
                );
            }
        }
    }
}

/// What a call costs where there is next to nothing to do.
fn short_slices(report: &Report) {
    for length in [1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 64] {
        for &level in Level::available() {
            let executor = Executor::new(level);
            let slices = lazy_slices::<f32>(length);
            report.compare(
                &format!("descend f32 {level} {length} elements / inlined scalar loop"),
                length,
                || slices.borrow_mut().call(Operation::Descend, executor),
                || slices.borrow_mut().plain_loop(Operation::Descend),
            );
        }
    }
}

/// A whole model in one pass, against a call for each tensor and against one long slice. The lengths
/// are those of a transformer's tensors.
fn whole_models(report: &Report) {
    const LENGTHS: [usize; 6] = [10, 64, 768, 3072, 65_536, 589_824];
    let lengths = || (0..2000_usize).map(|i| LENGTHS[(i.wrapping_mul(0x9e37_79b9) >> 7) % 6]);
    let tensors = LazyCell::new(|| {
        let tensors = lengths().map(|length| RefCell::new(Slices::<f32>::new(length)));
        tensors.collect::<Vec<_>>()
    });
    let whole = lazy_slices::<f32>(lengths().sum());
    let rate = 1e-4;
    let one_by_one = |executor: Executor| {
        for tensor in &*tensors {
            tensor.borrow_mut().call(Operation::Descend, executor);
        }
    };
    let at_once = |executor: Executor| {
        let mut tensors: Vec<_> = tensors.iter().map(RefCell::borrow_mut).collect();
        let (mut parameters, gradients): (Vec<_>, Vec<_>) = tensors
            .iter_mut()
            .map(|slices| {
                let Slices { parameters, gradient, .. } = &mut **slices;
                (parameters.as_mut_slice(), gradient.as_slice())
            })
            .unzip();
        executor.descend_all(&mut parameters, &gradients, rate);
    };
    let elements = lengths().sum();
    for (name, executor) in [
        ("parallel", Executor::new(Level::detect())),
        ("serial", Executor::new(Level::detect()).serial()),
    ] {
        report.compare(
            &format!("descend_all {name} 2000 tensors / descend one by one"),
            elements,
            || at_once(executor),
            || one_by_one(executor),
        );
        report.compare(
            &format!("descend_all {name} 2000 tensors / descend of one long slice"),
            elements,
            || at_once(executor),
            || whole.borrow_mut().call(Operation::Descend, executor),
        );
    }
}

/// Parallel is never slower than serial: around the threshold and far from it.
fn parallel_against_serial<T: Number>(report: &Report) {
    let level = Level::detect();
    for operation in [Operation::SignedSqrt, Operation::Axpy, Operation::Descend] {
        for kib in [16, 64, 256, 512, 1024, 1536, 2048, 3072, 4096, 8192, 32 * 1024] {
            let slices = lazy_slices::<T>(kib * 1024 / size_of::<T>());
            report.compare(
                &format!("{} {} {level} {kib} KiB parallel / serial", operation.name(), T::NAME),
                kib * 1024 / size_of::<T>(),
                || slices.borrow_mut().call(operation, Executor::new(level)),
                || {
                    slices.borrow_mut().call(operation, Executor::new(level).serial());
                },
            );
        }
    }
}

/// Slices of this length, allocated by the first contender that runs: most runs pick a few claims.
fn lazy_slices<T: Number>(
    length: usize,
) -> LazyCell<RefCell<Slices<T>>, impl FnOnce() -> RefCell<Slices<T>>> {
    LazyCell::new(move || RefCell::new(Slices::new(length)))
}

struct Report {
    filter: Option<String>,
}

impl Report {
    /// Lets both take turns and prints the ratio of their times.
    fn compare(&self, name: &str, elements: usize, kernel: impl FnMut(), opponent: impl FnMut()) {
        self.compare_fresh(name, elements, None, kernel, opponent);
    }

    /// The same; `refresh` gives both the values that they work on, every few calls.
    fn compare_fresh(
        &self,
        name: &str,
        elements: usize,
        refresh: Option<&dyn Fn()>,
        mut kernel: impl FnMut(),
        mut opponent: impl FnMut(),
    ) {
        const TURNS: usize = 41;
        if self.filter.as_ref().is_some_and(|word| !name.contains(word)) {
            return;
        }
        let calls = calls_for(&mut kernel).max(calls_for(&mut opponent));
        let times: Vec<[f64; 3]> = (0..TURNS)
            .map(|_| {
                let first = time(calls, refresh, &mut opponent);
                let own = time(calls, refresh, &mut kernel);
                let second = time(calls, refresh, &mut opponent);
                [own, first, second].map(|time| time.as_secs_f64())
            })
            .collect();
        let best = |who: usize| times.iter().map(|turn| turn[who]).fold(f64::INFINITY, f64::min);
        let median = |ratio: fn(&[f64; 3]) -> f64| {
            let mut ratios: Vec<f64> = times.iter().map(ratio).collect();
            ratios.sort_by(f64::total_cmp);
            ratios[TURNS / 2]
        };
        let noise = [best(2) / best(1), median(|[_, first, second]| second / first)];
        println!(
            "{name:<66} {:>9.3} {:>7.3} {:>7.3} {:>6.3}",
            best(0) * 1e9 / (calls as f64 * elements as f64),
            best(0) / best(1).min(best(2)),
            median(|[own, first, second]| 2.0 * own / (first + second)),
            noise.map(|ratio| (ratio - 1.0).abs()).into_iter().fold(0.0, f64::max),
        );
    }
}

/// How many calls take long enough to be timed.
fn calls_for(call: &mut impl FnMut()) -> u64 {
    const LONG_ENOUGH: Duration = Duration::from_micros(500);
    let mut calls = 1;
    while time(calls, None, call) < LONG_ENOUGH {
        calls *= 2;
    }
    calls
}
