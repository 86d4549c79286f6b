//! What a call through C costs above the same calls in Rust, all in turn within one run:
//! `cargo bench -p rootstep-capi`.
//!
//! The functions of C are called by pointers that the compiler does not know, as those of a library are.

#![allow(unsafe_code, reason = "a caller in C")]

use rootstep::optimizer::{MomentumMut, Rule as CoreRule, Step};
use rootstep_capi::{
    Executor, MomentumFormat, Rule, Status, Tensor, Type, rootstep_descend_f32,
    rootstep_executor_free, rootstep_executor_new, rootstep_rule_powerstep, rootstep_step,
};
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

fn descend(length: usize, executor: *const Executor, what: &str) {
    let gradient = vec![0.25_f32; length];
    let [mut x, mut y, mut z] = [const { Vec::new() }; 3].map(|_: Vec<f32>| vec![1.0; length]);
    let call = black_box(
        rootstep_descend_f32
            as unsafe extern "C" fn(*const Executor, *mut f32, *const f32, usize, f32) -> Status,
    );
    let own = rootstep::Executor::default();
    let own = black_box(if executor.is_null() { own } else { own.serial() });
    let times = compare(&mut [
        &mut || own.descend(black_box(&mut x), black_box(&gradient), 1e-6),
        &mut || own.untrapped().descend(black_box(&mut y), black_box(&gradient), 1e-6),
        &mut || {
            let (x, g) = (black_box(&mut z).as_mut_ptr(), black_box(&gradient).as_ptr());
            // SAFETY: both have so many elements.
            let status = unsafe { call(executor, x, g, length, 1e-6) };
            assert_eq!(status, Status::Ok);
        },
    ]);
    assert!(x.iter().zip(&z).all(|(a, b)| a.to_bits() == b.to_bits()));
    row(what, length, times);
}

fn step(length: usize) {
    let gradient = vec![0.25_f32; length];
    let [mut x, mut y, mut z] = [const { Vec::new() }; 3].map(|_: Vec<f32>| vec![1.0; length]);
    let [mut of_x, mut of_y, mut of_z] =
        [const { Vec::new() }; 3].map(|_: Vec<f32>| vec![0.5; length]);
    let mut rule = MaybeUninit::<Rule>::uninit();
    // SAFETY: there are so many bytes.
    let status = unsafe { rootstep_rule_powerstep(rule.as_mut_ptr(), size_of::<Rule>(), 1e-6) };
    assert_eq!(status, Status::Ok);
    let tensor = Tensor {
        size: size_of::<Tensor>(),
        rule: rule.as_ptr(),
        parameters: z.as_mut_ptr().cast(),
        gradient: gradient.as_ptr().cast(),
        length,
        momentum: of_z.as_mut_ptr().cast(),
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
    let call =
        black_box(rootstep_step as unsafe extern "C" fn(*const Executor, *const Tensor) -> Status);
    let own = rootstep::Executor::default();
    let take = |executor: rootstep::Executor, x: &mut [f32], m: &mut [f32]| {
        let step = Step::later(black_box(&CoreRule::powerstep(1e-6))).expect("a valid rule");
        let momentum = MomentumMut::Full(m);
        executor.step(&step, x, black_box(&gradient), momentum).expect("as it must be");
    };
    let times = compare(&mut [
        &mut || take(own, black_box(&mut x), black_box(&mut of_x)),
        &mut || take(own.untrapped(), black_box(&mut y), black_box(&mut of_y)),
        &mut || {
            // SAFETY: all has so many elements.
            let status = unsafe { call(ptr::null(), black_box(&raw const tensor)) };
            assert_eq!(status, Status::Ok);
        },
    ]);
    assert!(x.iter().zip(&z).all(|(a, b)| a.to_bits() == b.to_bits()));
    row("step", length, times);
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
        step(length);
    }
    // SAFETY: it is not used any more.
    unsafe { rootstep_executor_free(serial) };
}
