//! A long time of everything at once: operations, steps and searches of all sizes, from several threads,
//! in pools within pools, with panics in the caller's functions among them. Each result has the bits of
//! `reference`, nothing hangs, and memory stays where it is.
//!
//! The long run measures the memory of its process: it is to be run by itself.

use crate::specified::{Common, Specified};
use crate::support::{
    Operation, TestElement, check, executors, long_length, random_bits, random_values, same,
    same_inspection,
};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use rootstep::optimizer::{MomentumFormat, Optimizer, Power, PowerOf, Rule};
use rootstep::{Error as StepError, Executor, reference};
use rootstep_tuning::{Error, Fold, KFold, Search, search};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Threads that call at the same time.
const USERS: usize = 4;

/// No call takes nearly as long, not even where the CPU is emulated.
const STUCK: Duration = Duration::from_secs(180);

/// Numbers below a bound, as `seed` has them.
fn draws(seed: u64) -> impl FnMut(usize) -> usize {
    let mut bits = random_bits(seed);
    move |bound| usize::try_from(bits() % bound as u64).expect("it is below the bound")
}

/// The seed of a part of a call.
fn part(seed: u64, part: u64) -> u64 {
    random_bits(seed ^ (part << 56))()
}

/// Panics as the caller's code may, but without the message on standard error.
fn panic_on_purpose(text: String) -> ! {
    resume_unwind(Box::new(text))
}

/// Whether `run` panicked with this text. Any other panic goes on.
fn panics_with<R>(text: &str, run: impl FnOnce() -> R) -> bool {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(_) => false,
        Err(panic) if panic.downcast_ref::<String>().is_some_and(|own| own == text) => true,
        Err(panic) => resume_unwind(panic),
    }
}

/// Mostly short, now and then long enough to be split.
fn length<T>(draw: &mut impl FnMut(usize) -> usize) -> usize {
    match draw(100) {
        0..60 => draw(100),
        60..92 => draw(5000),
        92..99 => draw(50_000),
        _ => long_length::<T>() - draw(10_000),
    }
}

/// What slices are taken of: values of every class, and values of about the same magnitude.
struct Data<T>(Vec<T>);

impl<T: TestElement> Data<T> {
    fn new(seed: u64) -> Self {
        let any = random_values::<T>(2 * long_length::<T>(), seed);
        let mut bits = random_bits(!seed);
        let element = |any| match bits() {
            b if b % 2 == 0 => any,
            b => T::from_f64((b >> 11) as f64 / (1_u64 << 53) as f64 - 0.5),
        };
        Self(any.into_iter().map(element).collect())
    }

    fn slice(&self, length: usize, draw: &mut impl FnMut(usize) -> usize) -> &[T] {
        let start = draw(self.0.len() - length + 1);
        &self.0[start..start + length]
    }

    fn tensors(&self, lengths: &[usize], draw: &mut impl FnMut(usize) -> usize) -> Vec<&[T]> {
        lengths.iter().map(|&length| self.slice(length, draw)).collect()
    }
}

/// `clip_norm` multiplies by this.
fn clip_factor<T: TestElement>(gradients: &[&[T]], limit: f64) -> f64 {
    let norm = reference::inspect(gradients).norm;
    if norm > limit || norm.is_nan() { limit / norm } else { 1.0 }
}

fn any_rule(draw: &mut impl FnMut(usize) -> usize) -> Rule {
    let power = match draw(6) {
        0 => Power::Zero,
        1 => Power::Quarter,
        2 => Power::Half,
        3 => Power::ThreeQuarters,
        4 => Power::One,
        _ => Power::Smoothed { epsilon: 1e-3 },
    };
    let of = [PowerOf::Gradient, PowerOf::Momentum][draw(2)];
    let rule = Rule::pbsgd(0.1, power)
        .with_power_of(of)
        .with_weight_decay([0.0, 0.01][draw(2)])
        .with_decoupled_weight_decay([0.0, 0.02][draw(2)]);
    let rule = if draw(2) == 0 { rule } else { rule.maximizing() };
    let momentum = rule
        .with_momentum(0.9)
        .with_momentum_format([MomentumFormat::Full, MomentumFormat::Int8][draw(2)]);
    [rule, momentum, momentum.with_nesterov(), momentum.with_dampening(0.3)][draw(4)]
}

/// A tensor of the caller's, which panics when it is borrowed too often.
struct Fragile<'a> {
    values: &'a mut [f32],
    borrows_left: usize,
}

impl AsMut<[f32]> for Fragile<'_> {
    fn as_mut(&mut self) -> &mut [f32] {
        let Some(left) = self.borrows_left.checked_sub(1) else {
            panic_on_purpose("a tensor broke".to_owned())
        };
        self.borrows_left = left;
        self.values
    }
}

/// All that the calls share.
struct World {
    /// Of 1 to 8 threads.
    pools: Vec<ThreadPool>,
    executors: Vec<Executor>,
    single: Data<f32>,
    double: Data<f64>,
}

impl World {
    fn new() -> Self {
        let pool = |threads| ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        Self {
            pools: (1..=8).map(pool).collect(),
            executors: executors().collect(),
            single: Data::new(1),
            double: Data::new(2),
        }
    }

    /// A call on this thread or in a pool, or several in pools within pools.
    fn anywhere(&self, seed: u64) {
        let mut draw = draws(part(seed, 1));
        let (a, b) = (&self.pools[draw(self.pools.len())], &self.pools[draw(self.pools.len())]);
        match draw(16) {
            0..6 => self.call(seed),
            6..12 => a.install(|| self.call(seed)),
            12..14 => a.install(|| {
                let call = |task| b.install(|| self.call(part(seed, task)));
                (2..5_u64).into_par_iter().for_each(call);
            }),
            14 => a.install(|| {
                let inner = || a.install(|| self.call(part(seed, 3)));
                rayon::join(|| self.call(part(seed, 2)), || b.install(inner));
            }),
            _ => {
                rayon::join(|| self.call(part(seed, 2)), || a.install(|| self.call(part(seed, 3))));
            }
        }
    }

    /// Any call of the library.
    fn call(&self, seed: u64) {
        let mut draw = draws(part(seed, 5));
        match draw(64) {
            60 => self.searching(seed),
            61 => self.searching_in_vain(seed),
            62 => self.panicking_tasks(seed),
            63 => self.panicking_tensor(seed),
            _ if draw(2) == 0 => self.call_of(&self.single, seed),
            _ => self.call_of(&self.double, seed),
        }
    }

    fn call_of<T: TestElement>(&self, data: &Data<T>, seed: u64) {
        match draws(part(seed, 6))(8) {
            0..5 => self.operation(data, seed),
            5 => self.descending_all(data, seed),
            6 => self.inspecting(data, seed),
            _ => self.optimizing(data, seed),
        }
    }

    fn executor(&self, draw: &mut impl FnMut(usize) -> usize) -> Executor {
        self.executors[draw(self.executors.len())]
    }

    fn operation<T: TestElement>(&self, data: &Data<T>, seed: u64) {
        let mut draw = draws(part(seed, 7));
        let length = length::<T>(&mut draw);
        let (x, g) = (data.slice(length, &mut draw), data.slice(length, &mut draw));
        let operation = Operation::all(T::from_f64(0.1))[draw(5)];
        let offsets = [draw(T::LANES), draw(T::LANES), draw(T::LANES)];
        check(operation, self.executor(&mut draw), x, g, offsets);
    }

    fn descending_all<T: TestElement>(&self, data: &Data<T>, seed: u64) {
        let mut draw = draws(part(seed, 8));
        let lengths: Vec<usize> = (0..draw(6)).map(|_| length::<T>(&mut draw)).collect();
        let before = data.tensors(&lengths, &mut draw);
        let gradients = data.tensors(&lengths, &mut draw);
        let rate = T::from_f64(0.1);
        let mut model: Vec<Vec<T>> = before.iter().map(|tensor| tensor.to_vec()).collect();
        self.executor(&mut draw).descend_all(&mut model, &gradients, rate);
        for ((x, g), after) in before.iter().zip(&gradients).zip(&model) {
            for ((&x, &g), &after) in x.iter().zip(*g).zip(after) {
                assert!(same(after, reference::descend(x, g, rate)), "descend_all of {lengths:?}");
            }
        }
    }

    fn inspecting<T: TestElement>(&self, data: &Data<T>, seed: u64) {
        let mut draw = draws(part(seed, 9));
        let lengths: Vec<usize> = (0..draw(4)).map(|_| length::<T>(&mut draw)).collect();
        let gradients = data.tensors(&lengths, &mut draw);
        let found = self.executor(&mut draw).inspect(&gradients);
        let specified = reference::inspect(&gradients);
        assert!(
            same_inspection(&found, &specified),
            "inspect of {lengths:?}: {found:?}, not {specified:?}"
        );
    }

    fn optimizing<T: TestElement>(&self, data: &Data<T>, seed: u64) {
        let mut draw = draws(part(seed, 10));
        let lengths: Vec<usize> = (0..draw(4)).map(|_| length::<T>(&mut draw)).collect();
        let rule = any_rule(&mut draw);
        let (clip_value, clip_norm) = (draw(2) == 0, draw(4) == 0);
        let mut builder = Optimizer::<T>::builder(rule).with_executor(self.executor(&mut draw));
        if clip_value {
            builder = builder.with_clip_value(0.25);
        }
        if clip_norm {
            builder = builder.with_clip_norm(3.0);
        }
        let mut optimizer = builder.build().unwrap();
        let owned = |tensors: Vec<&[T]>| tensors.into_iter().map(<[T]>::to_vec).collect();
        let mut model: Vec<Vec<T>> = owned(data.tensors(&lengths, &mut draw));
        let mut specified: Vec<_> = model.iter().map(|x| Specified::new(x, rule)).collect();
        let clip_value = clip_value.then_some(0.25);
        let common = Common { gradient_scale: 1.0, clip_value };
        for step in 0..=draw(3) {
            let gradients = data.tensors(&lengths, &mut draw);
            let result = optimizer.step(&mut model, &gradients);
            let factor = if clip_norm { clip_factor(&gradients, 3.0) } else { 1.0 };
            let finite = reference::inspect(&gradients).is_finite();
            if finite && T::from_f64(factor).to_f64() == 0.0 {
                // The norm is beyond the numbers, or the factor below those of the type.
                assert!(matches!(result, Err(StepError::InvalidSetting { .. })), "{result:?}");
                continue;
            }
            let report = result.unwrap();
            assert!(report.clip_factor == factor || factor.is_nan() && report.clip_factor.is_nan());
            for (i, gradient) in gradients.iter().enumerate() {
                specified[i].step(gradient, common, factor, optimizer.steps() == 1);
                assert!(
                    model[i].iter().zip(&specified[i].x).all(|(&a, &b)| same(a, b)),
                    "{rule:?}, step {step}, tensor {i} of {lengths:?}"
                );
            }
        }
    }

    /// Folds, and the place of one among them.
    fn folds(count: usize) -> (Vec<Fold>, impl Fn(&Fold) -> usize) {
        (KFold::new(count).unwrap().split(4 * count).unwrap(), |fold: &Fold| fold.test[0] / 4)
    }

    /// A search whose score function calls the library.
    fn searching(&self, seed: u64) {
        let mut draw = draws(part(seed, 11));
        let (folds, place) = Self::folds(2 + draw(3));
        let candidates = 1 + draw(5) as u64;
        let results = search(0..candidates, &folds, |&candidate, fold| {
            let own = place(fold) as u64;
            self.call_of(&self.single, part(seed, 100 + 10 * candidate + own));
            (10 * candidate + own) as f64
        });
        let results = results.expect("no call inside fails");
        for (candidate, row) in results.rows().iter().enumerate() {
            let expected = (0..folds.len()).map(|fold| (10 * candidate + fold) as f64);
            assert_eq!(row.metric().scores, expected.collect::<Vec<_>>());
        }
        assert_eq!(results.best().expect("no score is NaN").candidate, candidates - 1);
    }

    /// A search whose functions panic on some of the folds, alone or in a task of their own.
    fn searching_in_vain(&self, seed: u64) {
        let mut draw = draws(part(seed, 12));
        let (folds, place) = Self::folds(2 + draw(3));
        let candidates = 1 + draw(5);
        let bad: BTreeSet<_> =
            (0..=draw(3)).map(|_| (draw(candidates), draw(folds.len()))).collect();
        let (in_fit, in_task) = (draw(2) == 0, draw(2) == 0);
        let attempt = |candidate: usize, fold: usize| {
            let call = || self.operation(&self.double, part(seed, candidate as u64));
            let fail = || {
                if bad.contains(&(candidate, fold)) {
                    panic_on_purpose(format!("on purpose at {candidate}, {fold}"));
                }
            };
            if in_task {
                rayon::join(call, fail);
            } else {
                call();
                fail();
            }
        };
        let error = Search::new(&folds)
            .run(
                0..candidates,
                |&candidate, fold| {
                    if in_fit {
                        attempt(candidate, place(fold));
                    }
                    Ok::<_, Error>((candidate, place(fold)))
                },
                |&(candidate, fold), _| {
                    if !in_fit {
                        attempt(candidate, fold);
                    }
                    Ok(vec![0.0])
                },
            )
            .expect_err("a function panicked");
        let Error::FailedFit { candidate, fold, ref problem, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(bad.first(), Some(&(candidate, fold)), "{error}, but the bad ones are {bad:?}");
        assert_eq!(*problem, format!("it panicked: on purpose at {candidate}, {fold}"));
        self.operation(&self.double, part(seed, 13));
    }

    /// Tasks of the caller's, one of which panics while the others call the library.
    fn panicking_tasks(&self, seed: u64) {
        let bad = draws(part(seed, 14))(4) as u64;
        let task = |task| {
            self.call_of(&self.single, part(seed, 20 + task));
            if task == bad {
                panic_on_purpose("a task broke".to_owned());
            }
        };
        assert!(panics_with("a task broke", || (0..4).into_par_iter().for_each(task)));
        self.operation(&self.single, part(seed, 15));
    }

    /// A step during which a tensor of the caller's panics.
    fn panicking_tensor(&self, seed: u64) {
        let mut draw = draws(part(seed, 16));
        let mut lengths: Vec<usize> = (0..=draw(4)).map(|_| length::<f32>(&mut draw)).collect();
        if draw(8) == 0 {
            lengths.push(long_length::<f32>());
        }
        let bad = draw(lengths.len());
        let mut model: Vec<_> =
            self.single.tensors(&lengths, &mut draw).into_iter().map(<[f32]>::to_vec).collect();
        let gradients = self.single.tensors(&lengths, &mut draw);
        let rule = any_rule(&mut draw);
        let executor = self.executor(&mut draw);
        let mut optimizer = Optimizer::builder(rule).with_executor(executor).build().unwrap();
        let borrows = draw(5);
        let mut tensors: Vec<_> = model
            .iter_mut()
            .enumerate()
            .map(|(i, values)| Fragile {
                values,
                borrows_left: if i == bad { borrows } else { usize::MAX },
            })
            .collect();
        let panicked =
            panics_with("a tensor broke", || optimizer.step(&mut tensors, &gradients).unwrap());
        assert_eq!(optimizer.steps(), u64::from(!panicked));
        self.operation(&self.single, part(seed, 17));
    }
}

/// The memory of this process that is resident, in KiB; `None` where the system does not say.
fn resident_kib() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// Aborts the process if `done` stays what it is for too long.
fn watch(done: &AtomicU64, running: &[AtomicU64], ended: &std::sync::mpsc::Receiver<()>) {
    let (mut last, mut since) = (0, Instant::now());
    while ended.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
        let now = done.load(Ordering::Relaxed);
        if now != last {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() > STUCK {
            // `eprintln!` would write to what the test has captured, which is lost.
            let text = format!("stuck after {now} calls, in some of these: {running:?}\n");
            std::io::stderr().write_all(text.as_bytes()).ok();
            std::process::abort();
        }
    }
}

/// Makes the calls of these numbers, on several threads.
fn make(world: &World, calls: std::ops::Range<u64>) {
    let (next, done) = (AtomicU64::new(calls.start), AtomicU64::new(0));
    let running = [const { AtomicU64::new(0) }; USERS];
    thread::scope(|scope| {
        let (end, ended) = channel();
        let (calls, next, done, running) = (&calls, &next, &done, &running);
        scope.spawn(move || watch(done, running, &ended));
        for own in running {
            let end = end.clone();
            scope.spawn(move || {
                let _end = end; // The watch ends with the last of the users.
                loop {
                    let call = next.fetch_add(1, Ordering::Relaxed);
                    if !calls.contains(&call) {
                        break;
                    }
                    own.store(call, Ordering::Relaxed);
                    let result = catch_unwind(AssertUnwindSafe(|| world.anywhere(call)));
                    if let Err(panic) = result {
                        next.store(calls.end, Ordering::Relaxed);
                        eprintln!("call {call} failed");
                        resume_unwind(panic);
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        drop(end);
    });
}

#[test]
fn a_short_while() {
    make(&World::new(), 0..2000);
}

/// Makes the same calls over and over, on memory that is there already: what they leave behind adds up.
fn repeat(world: &World, pool: &ThreadPool, out: &mut [f32], times: usize) {
    let g = &world.single.0[..out.len()];
    let folds = KFold::new(2).unwrap().split(4).unwrap();
    pool.install(|| {
        for time in 0..times {
            let executor = world.executors[time % world.executors.len()];
            executor.descend(out, g, 0.1);
            let (front, back) = out.split_at_mut(100);
            executor.descend_all(&mut [front, back], &[&g[..100], &g[100..]], 0.1);
            assert_eq!(executor.inspect(&[g]).elements, g.len() as u64);

            let rule = any_rule(&mut draws(time as u64));
            let builder = Optimizer::builder(rule).with_executor(executor).with_clip_norm(1.0);
            let mut optimizer = builder.build().unwrap();
            for _ in 0..3 {
                optimizer.step(&mut [&mut out[..1000]], &[&g[..1000]]).unwrap();
            }
            search([1.0, 2.0], &folds, |&candidate, _| candidate).unwrap();
            let error = search([1.0, 2.0], &folds, |_, _| panic_on_purpose("so".to_owned()));
            assert!(matches!(error, Err(Error::FailedFit { .. })));
        }
    });
}

/// Fails if more memory is resident than `before`, by more than `allowed` KiB.
fn assert_flat(what: &str, before: Option<i64>, allowed: i64) {
    if let (Some(before), Some(after)) = (before, resident_kib()) {
        println!("{what}: {} KiB more than {before} KiB, allowed {allowed}", after - before);
        assert!(after - before <= allowed, "{what} take more and more memory");
    }
}

#[test]
#[ignore = "100,000 calls: a minute on two cores, optimised"]
fn a_long_while() {
    let world = World::new();
    // First, as long as no freed memory is about that could take up a leak. Just long enough to be split.
    let mut out = world.single.0[..(4 << 20) / size_of::<f32>() + 100].to_vec();
    let pool = ThreadPoolBuilder::new().num_threads(4).build().unwrap();
    repeat(&world, &pool, &mut out, 1000);
    let before = resident_kib();
    repeat(&world, &pool, &mut out, 4000);
    // They took 0 to 40 KiB in 6000. A block of 64 bytes at each of the 4000 is more.
    assert_flat("repeated calls", before, 200);

    // Which thread frees which memory is chance here: from 10,000 calls to the next it went up or down by
    // up to 33 MiB, at 75 to 160 MiB. What leaks a slice that was split once in a thousand calls is more.
    make(&world, 0..50_000);
    let before = resident_kib();
    make(&world, 50_000..100_000);
    assert_flat("random calls", before, 100 << 10);
}
