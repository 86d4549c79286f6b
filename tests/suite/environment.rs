//! The bits are those of the default floating-point environment, whatever foreign code has left to the thread
//! that calls and to those of its pool; and they find their own as it was.

use crate::floating_point::Environment;
use crate::specified::{Common, Specified};
use crate::support::{Operation, TestElement, long_length, random_bits, same, same_inspection};
use rootstep::optimizer::{
    INT8_BLOCK, MomentumFormat, MomentumMut, Optimizer, PowerOf, Rule, Step,
};
use rootstep::{Executor, Inspection, Level, reference};

/// Runs a call somewhere.
type Around<'a> = &'a dyn Fn(&mut (dyn FnMut() + Send));

const FORMATS: [MomentumFormat; 3] =
    [MomentumFormat::Full, MomentumFormat::Bf16, MomentumFormat::Int8];

const CLIP_NORM: f64 = 0.01;

/// Slices, and what each call makes of them; specified in the default environment.
struct Cases<T> {
    x: Vec<T>,
    g: Vec<T>,
    rate: T,
    operations: Vec<(Operation<T>, Vec<T>)>,
    inspection: Inspection,
    /// What two steps of a rule make of `x`: without clipping, and clipped by norm.
    steps: Vec<(Rule, Vec<T>, Vec<T>)>,
}

/// Half of them subnormal, others around the smallest normal number, others ordinary; all are finite.
fn small_values<T: TestElement>(length: usize, seed: u64) -> Vec<T> {
    let mut bits = random_bits(seed);
    let smallest = T::MIN_POSITIVE.to_bits();
    let mut value = || {
        let random = bits();
        let magnitude = T::from_bits(match random % 8 {
            0..4 => random >> 8 & (smallest - 1),
            4 => smallest + (random >> 60),
            5 => 0,
            _ => T::from_f64((random >> 11) as f64 / (1_u64 << 53) as f64).to_bits(),
        });
        if random & 128 == 0 { magnitude } else { -magnitude }
    };
    (0..length).map(|_| value()).collect()
}

impl<T: TestElement> Cases<T> {
    fn new(length: usize) -> Self {
        let (x, g) = (small_values::<T>(length, 31), small_values::<T>(length, 32));
        // Its products with roots of subnormal numbers are subnormal.
        let rate = T::MIN_POSITIVE.sqrt();
        let operations = [Operation::Axpy(T::from_f64(0.3))].into_iter();
        let operations = operations.chain(Operation::all(rate)).map(|operation| {
            let specified = x.iter().zip(&g).map(|(&x, &g)| operation.specified(x, g));
            (operation, specified.collect())
        });
        let operations = operations.collect();
        let inspection = reference::inspect(&[&g]);
        let mut cases = Self { x, g, rate, operations, inspection, steps: Vec::new() };
        let rule = Rule::powerstep(rate.to_f64()).with_momentum(0.7).with_weight_decay(0.1);
        let formats = FORMATS.iter().map(|&format| rule.with_momentum_format(format));
        let plain = rule.with_momentum(0.0).with_power_of(PowerOf::Gradient);
        for rule in formats.chain([plain]) {
            let limited = CLIP_NORM / cases.inspection.norm;
            let clip_factor = if cases.inspection.norm > CLIP_NORM { limited } else { 1.0 };
            let [free, clipped] = [1.0, clip_factor].map(|factor| cases.specified(rule, factor));
            cases.steps.push((rule, free, clipped));
        }
        cases
    }

    fn specified(&self, rule: Rule, clip_factor: f64) -> Vec<T> {
        let common = Common { gradient_scale: 1.0, clip_value: None };
        let mut specified = Specified::new(&self.x, rule);
        for t in 0..2 {
            specified.step(&self.g, common, clip_factor, t == 0);
        }
        specified.x
    }

    /// Makes each call `around`, and compares its results with what is specified.
    fn check(&self, executor: Executor, around: Around<'_>, name: &str) {
        let compare = |call: &str, results: &[T], specified: &[T]| {
            for (i, (&result, &specified)) in results.iter().zip(specified).enumerate() {
                assert!(
                    same(result, specified),
                    "{name}, {executor:?}, {call} of {}, element {i}: {result:e}, not {specified:e}",
                    results.len()
                );
            }
        };
        for (operation, specified) in &self.operations {
            let mut out = self.x.clone();
            around(&mut || operation.call(executor, &self.x, &self.g, &mut out));
            compare(&format!("{operation:?}"), &out, specified);
        }
        let (mut first, mut second) = (self.x.clone(), self.x.clone());
        let mut model = [&mut first[..], &mut second[..]];
        around(&mut || executor.descend_all(&mut model, &[&self.g, &self.g], self.rate));
        let descend = &self.operations[4];
        assert!(matches!(descend.0, Operation::Descend(_)));
        compare("descend_all", &first, &descend.1);
        compare("descend_all", &second, &descend.1);

        let mut inspection = Inspection::default();
        around(&mut || inspection = executor.inspect(&[&self.g]));
        let specified = &self.inspection;
        assert!(
            same_inspection(&inspection, specified),
            "{name}, {executor:?}: {inspection:?}, not {specified:?}"
        );
        for (rule, free, clipped) in &self.steps {
            compare(&format!("step, {rule:?}"), &self.step(executor, rule, around), free);
            let stepped = self.optimizer_step(executor, *rule, around);
            compare(&format!("clipped step, {rule:?}"), &stepped, clipped);
        }
    }

    fn step(&self, executor: Executor, rule: &Rule, around: Around<'_>) -> Vec<T> {
        let mut x = self.x.clone();
        let length = x.len();
        let mut full = vec![T::default(); length];
        let (mut halves, mut codes) = (vec![0; length], vec![0; length]);
        let mut scales = vec![0.0; length.div_ceil(INT8_BLOCK)];
        for t in 0..2 {
            let step = if t == 0 { Step::first(rule) } else { Step::later(rule) }.unwrap();
            let momentum = match rule.momentum_format {
                MomentumFormat::Bf16 => MomentumMut::Bf16(&mut halves),
                MomentumFormat::Int8 => {
                    MomentumMut::Int8 { codes: &mut codes, scales: &mut scales }
                }
                _ => MomentumMut::Full(&mut full),
            };
            let mut momentum = Some(momentum);
            around(&mut || {
                executor.step(&step, &mut x, &self.g, momentum.take().unwrap()).unwrap();
            });
        }
        x
    }

    fn optimizer_step(&self, executor: Executor, rule: Rule, around: Around<'_>) -> Vec<T> {
        let mut x = self.x.clone();
        let builder = Optimizer::<T>::builder(rule).with_clip_norm(CLIP_NORM);
        let mut optimizer = builder.with_executor(executor).build().unwrap();
        for _ in 0..2 {
            around(&mut || {
                optimizer.step(&mut [&mut x], &[&self.g]).unwrap();
            });
        }
        x
    }
}

/// Those that bear the environment.
fn executors(environment: Environment) -> impl Iterator<Item = Executor> {
    let all = Level::available().iter().flat_map(|&level| {
        let executor = Executor::new(level);
        [executor, executor.untrapped()]
    });
    all.filter(move |executor| executor.is_untrapped() || !environment.traps)
}

/// Short slices, in each environment.
fn same_bits_in_any_environment<T: TestElement>() {
    for cases in (0..=20).chain([70, 300]).map(Cases::<T>::new) {
        for environment in Environment::all() {
            for executor in executors(environment) {
                cases.check(executor, &|call| environment.around(call), environment.name);
            }
        }
    }
}

#[test]
fn same_bits_in_any_environment_f32() {
    same_bits_in_any_environment::<f32>();
}

#[test]
fn same_bits_in_any_environment_f64() {
    same_bits_in_any_environment::<f64>();
}

/// The numbers of a step are those of the default environment: subnormal ones, and such as are rounded. No trap comes.
#[test]
fn same_steps_in_any_environment() {
    fn steps<T: TestElement>() -> Vec<Step<T>> {
        let mut steps = Vec::new();
        // (To compare such a small number is a trap, too.)
        for (rate, factor) in [(1e-40, 1e-40), (1e-310, 1e-40), (0.1, 0.1)] {
            let rule = Rule::powerstep(rate)
                .with_momentum(0.7)
                .with_dampening(0.3)
                .with_weight_decay(rate);
            for step in [Step::<T>::first(&rule), Step::later(&rule)] {
                let step = step.unwrap().with_gradient_factor(factor).unwrap();
                steps.push(step.with_clip_value(factor).unwrap());
            }
        }
        steps
    }
    // (What is printed depends on the environment, too.)
    let show = |steps: &(Vec<Step<f32>>, Vec<Step<f64>>)| format!("{steps:?}");
    let expected = (steps::<f32>(), steps::<f64>());
    for environment in Environment::all() {
        let mut found = Default::default();
        environment.around(&mut || found = (steps::<f32>(), steps::<f64>()));
        assert_eq!(show(&found), show(&expected), "{}", environment.name);
    }
}

/// Long slices, on the calling thread alone, and with the help of others to which nothing has happened.
#[test]
fn same_bits_of_long_slices_in_any_environment() {
    let cases = Cases::<f32>::new(long_length::<f32>());
    for environment in Environment::hardest() {
        for executor in executors(environment) {
            let around: Around<'_> = &|call| environment.around(call);
            cases.check(executor, around, environment.name);
            cases.check(executor.serial(), around, environment.name);
        }
    }
}

/// Each thread of the pool has had the environment since it started, and keeps it.
#[cfg(feature = "rayon")]
#[test]
fn same_bits_from_threads_in_any_environment() {
    let cases = Cases::<f64>::new(long_length::<f64>());
    for environment in Environment::hardest() {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(3)
            .start_handler(move |_| environment.switch_on())
            .build()
            .unwrap();
        let before = pool.broadcast(|_| Environment::of_this_thread());
        for executor in executors(environment) {
            cases.check(executor, &|call| pool.install(call), environment.name);
        }
        let after = pool.broadcast(|_| Environment::of_this_thread());
        assert_eq!(after, before, "{}: the environment of the pool has changed", environment.name);
    }
}

/// Without this, those above could pass where nothing is flushed, rounded otherwise or trapped at all.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "s390x"))]
#[test]
fn environments_change_what_arithmetic_gives() {
    use std::hint::black_box;
    let small = black_box(f64::MIN_POSITIVE);
    let sums = || {
        let half = black_box(small) * black_box(0.5);
        [half, black_box(half) * black_box(2.0), 1.0 / black_box(10.0), 1.0 / black_box(3.0)]
            .map(f64::to_bits)
    };
    let default = sums();
    for environment in Environment::all().into_iter().filter(|environment| !environment.traps) {
        let mut results = default;
        environment.around(&mut || results = black_box(sums()));
        let arithmetic = !["flush half precision to zero", "default NaN"]
            .contains(&environment.name)
            && !environment.name.starts_with("traps");
        assert_eq!(results != default, arithmetic, "{}", environment.name);
    }
}
