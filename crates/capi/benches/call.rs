//! What a call through C costs above the same calls in Rust, all in turn within one run:
//! `cargo bench -p rootstep-capi`.
//!
//! The functions of C are called by pointers that the compiler does not know, as those of a library are. All work on the
//! same memory: where slices begin within their pages decides more than what is measured here.

#![allow(unsafe_code, reason = "a caller in C")]

use rootstep::optimizer::{MomentumMut, Rule as CoreRule, Step};
use rootstep_capi::{
    Executor, MomentumFormat, Rule, Status, Tensor, Type, rootstep_descend_f32,
    rootstep_executor_free, rootstep_executor_new, rootstep_rule_powerstep, rootstep_step,
};
use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::ptr;
use std::time::Instant;

/// Calls between two looks at the clock.
const CALLS: u32 = 200;
const ROUNDS: usize = 2001;

/// The medians of all in nanoseconds per call, and of what the last takes more than each of the others.
fn compare(calls: &mut [&mut dyn FnMut(); 3]) -> [f64; 5] {
    let mut times = [const { Vec::new() }; 5];
    for round in 0..ROUNDS {
        let mut now = [0.0; 3];
        for i in 0..3 {
            let i = (i + round) % 3;
            let start = Instant::now();
            (0..CALLS).for_each(|_| calls[i]());
            now[i] = start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS);
        }
        let [rust, untrapped, c] = now;
        for (times, time) in times.iter_mut().zip([rust, untrapped, c, c - rust, c - untrapped]) {
            times.push(time);
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    })
}

fn row(what: &str, length: usize, [rust, untrapped, c, above, above_untrapped]: [f64; 5]) {
    println!(
        "| {what} | {length} | {rust:.1} | {untrapped:.1} | {c:.1} | {above:+.1} | {above_untrapped:+.1} |"
    );
}

/// The bits of a call on `start`, each element the same.
fn bits(length: usize, start: f32, call: impl FnOnce(&mut [f32])) -> Vec<u32> {
    let mut values = vec![start; length];
    call(&mut values);
    values.into_iter().map(f32::to_bits).collect()
}

fn descend(length: usize, executor: *const Executor, what: &str) {
    let gradient = vec![0.25_f32; length];
    let call = black_box(
        rootstep_descend_f32
            as unsafe extern "C" fn(*const Executor, *mut f32, *const f32, usize, f32) -> Status,
    );
    let own = rootstep::Executor::default();
    let own = black_box(if executor.is_null() { own } else { own.serial() });
    let rust = |x: &mut [f32]| own.descend(x, black_box(&gradient), 1e-6);
    let untrapped = |x: &mut [f32]| own.untrapped().descend(x, black_box(&gradient), 1e-6);
    let c = |x: &mut [f32]| {
        // SAFETY: both have so many elements.
        let status =
            unsafe { call(executor, x.as_mut_ptr(), black_box(&gradient).as_ptr(), length, 1e-6) };
        assert_eq!(status, Status::Ok);
    };
    assert_eq!(bits(length, 1.0, rust), bits(length, 1.0, c));
    let x = RefCell::new(vec![1.0_f32; length]);
    let times = compare(&mut [
        &mut || rust(black_box(&mut x.borrow_mut())),
        &mut || untrapped(black_box(&mut x.borrow_mut())),
        &mut || c(black_box(&mut x.borrow_mut())),
    ]);
    row(what, length, times);
}

/// Steps by `rates` rules in turn.
fn step(length: usize, rates: usize) {
    let gradient = vec![0.25_f32; length];
    let rate = |i: usize| 1e-6 * (i + 1) as f64;
    let rules: Vec<Rule> = (0..rates)
        .map(|i| {
            let mut rule = MaybeUninit::<Rule>::uninit();
            // SAFETY: there are so many bytes.
            let status =
                unsafe { rootstep_rule_powerstep(rule.as_mut_ptr(), size_of::<Rule>(), rate(i)) };
            assert_eq!(status, Status::Ok);
            // SAFETY: all of it has been set.
            unsafe { rule.assume_init() }
        })
        .collect();
    let core_rules: Vec<CoreRule> = (0..rates).map(|i| CoreRule::powerstep(rate(i))).collect();
    let turn = Cell::new(0);
    let next = || {
        turn.set((turn.get() + 1) % rates);
        turn.get()
    };
    let call =
        black_box(rootstep_step as unsafe extern "C" fn(*const Executor, *const Tensor) -> Status);
    let tensor = |rule: &Rule, x: &mut [f32], momentum: &mut [f32]| Tensor {
        size: size_of::<Tensor>(),
        rule,
        parameters: x.as_mut_ptr().cast(),
        gradient: gradient.as_ptr().cast(),
        length,
        momentum: momentum.as_mut_ptr().cast(),
        momentum_scales: ptr::null_mut(),
        momentum_scales_length: 0,
        storage_memory: ptr::null_mut(),
        draw_seed: 0,
        draw_step: 0,
        draw_start: 0,
        draw_tensor: 0,
        parameters_type: Type::F32 as i32,
        gradient_type: Type::F32 as i32,
        first: 0,
        momentum_format: MomentumFormat::Full as i32,
        storage: 0,
    };
    let c = |tensors: &[Tensor]| {
        // SAFETY: all has so many elements, and is there for all calls.
        let status = unsafe { call(ptr::null(), black_box(&raw const tensors[next()])) };
        assert_eq!(status, Status::Ok);
    };
    let own = rootstep::Executor::default();
    let rust = |executor: rootstep::Executor, x: &mut [f32], momentum: &mut [f32]| {
        let step = Step::later(black_box(&core_rules[next()])).expect("a valid rule");
        let momentum = MomentumMut::Full(momentum);
        executor.step(&step, x, black_box(&gradient), momentum).expect("as it must be");
    };
    let [mut x, mut momentum] = [1.0, 0.5].map(|start| vec![start; length]);
    rust(own, &mut x, &mut momentum);
    let of_rust = (x.clone(), momentum.clone());
    x.fill(1.0);
    momentum.fill(0.5);
    let tensors: Vec<_> = rules.iter().map(|rule| tensor(rule, &mut x, &mut momentum)).collect();
    turn.set(0);
    c(&tensors);
    assert!((&x, &momentum) == (&of_rust.0, &of_rust.1));
    let memory = RefCell::new((x, momentum));
    let rust = |executor| {
        let (x, momentum) = &mut *memory.borrow_mut();
        rust(executor, black_box(x), black_box(momentum));
    };
    let times = compare(&mut [&mut || rust(own), &mut || rust(own.untrapped()), &mut || {
        c(black_box(&tensors));
    }]);
    let what = if rates == 1 { "step" } else { "step, another rule each time" };
    row(what, length, times);
}

fn main() {
    let mut serial = ptr::null_mut();
    // SAFETY: it may be written.
    let status = unsafe { rootstep_executor_new(0, 1, &raw mut serial) };
    assert_eq!(status, Status::Ok);
    println!(
        "| call | elements | Rust, ns | untrapped, ns | C, ns | above Rust | above untrapped |"
    );
    println!("|---|---|---|---|---|---|---|");
    for length in [16, 1 << 10, 1 << 14] {
        descend(length, ptr::null(), "descend");
        descend(length, serial, "descend, one thread");
        step(length, 1);
        step(length, 2);
    }
    // SAFETY: it is not used any more.
    unsafe { rootstep_executor_free(serial) };
}
