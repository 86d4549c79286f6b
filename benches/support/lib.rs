//! What the benches share: the operations as data, the loops that they are measured against, and
//! the sizes.

#![allow(missing_docs, clippy::must_use_candidate, reason = "no one else reads it")]

mod compiled;
#[allow(dead_code, unused_imports, reason = "the crate uses the rest")]
#[path = "../../src/float.rs"]
mod float;
#[allow(dead_code, unused_imports, reason = "the crate uses the rest")]
#[allow(unsafe_code, reason = "the registers of the crate, as they are there")]
#[path = "../../src/simd/mod.rs"]
mod simd;

use compiled::Registers;
pub use compiled::{autovectorize, read, streaming_axpy};
use rootstep::{Element, Executor, Float, Level, reference};
use std::time::{Duration, Instant};

/// Ends the process if `ROOTSTEP_LEVEL` names no instruction set of this machine: the crate would take
/// another one, and the numbers would be of that.
pub fn check_level() {
    if let Err(error) = Level::from_env() {
        eprintln!("error: ROOTSTEP_LEVEL: {error}");
        std::process::exit(2);
    }
}

/// The name of this CPU, by what it says of itself.
pub fn cpu() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        let cpuid = raw_cpuid::CpuId::new();
        let brand = cpuid.get_processor_brand_string();
        let name = brand.as_ref().map_or("a CPU without a name", |brand| brand.as_str().trim());
        cpuid.get_feature_info().map_or_else(
            || name.to_owned(),
            |info| format!("{name}, family {}, model {}", info.family_id(), info.model_id()),
        )
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::env::consts::ARCH.to_owned()
}

/// The calls that work on values as they have left them. A root of a root and so on is 1 after some twenty,
/// which a square-root unit takes early; after eight the mantissas are as long as before.
pub const FRESH_CALLS: u64 = 8;

/// The time of so many calls; with `refresh`, that is called untimed before each [`FRESH_CALLS`] of them.
pub fn time(calls: u64, refresh: Option<&dyn Fn()>, call: &mut impl FnMut()) -> Duration {
    let longest = if refresh.is_some() { FRESH_CALLS } else { calls };
    let (mut total, mut left) = (Duration::ZERO, calls);
    while left > 0 {
        let batch = left.min(longest);
        if let Some(refresh) = refresh {
            refresh();
        }
        let start = Instant::now();
        for _ in 0..batch {
            call();
        }
        total += start.elapsed();
        left -= batch;
    }
    total
}

/// The operations of the crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    SignedSqrt,
    SignedSqrtInPlace,
    Axpy,
    Descend,
    DescendInto,
}

impl Operation {
    pub const ALL: [Self; 5] =
        [Self::SignedSqrt, Self::SignedSqrtInPlace, Self::Axpy, Self::Descend, Self::DescendInto];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SignedSqrt => "signed_sqrt",
            Self::SignedSqrtInPlace => "signed_sqrt_in_place",
            Self::Axpy => "axpy",
            Self::Descend => "descend",
            Self::DescendInto => "descend_into",
        }
    }

    /// Whether it works on what it wrote before, which is then to be refreshed.
    #[must_use]
    pub fn wears_out(self) -> bool {
        self == Self::SignedSqrtInPlace
    }

    /// Slices read or written, each counted once per direction: the traffic in elements.
    #[must_use]
    pub const fn streams(self) -> usize {
        match self {
            Self::SignedSqrt | Self::SignedSqrtInPlace => 2,
            Self::Axpy | Self::Descend | Self::DescendInto => 3,
        }
    }
}

/// An element type of the benches.
pub trait Number: Element<Compute = Self> + Float + Registers + bytemuck::Pod {}

impl<T: Element<Compute = T> + Float + Registers + bytemuck::Pod> Number for T {}

/// The slices of a call.
#[derive(Debug, Clone)]
pub struct Slices<T> {
    pub parameters: Vec<T>,
    pub gradient: Vec<T>,
    pub out: Vec<T>,
}

impl<T: Number> Slices<T> {
    /// Gradients of both signs and of many magnitudes; no zeros.
    #[must_use]
    pub fn new(length: usize) -> Self {
        let value = |i: usize, multiplier: usize| {
            let bits = (i + 1).wrapping_mul(multiplier) >> 7;
            let magnitude = ((bits % 1021) as f64 + 1.0) / 512.0;
            T::from_f64(if bits & 1024 == 0 { magnitude } else { -magnitude })
        };
        Self {
            parameters: (0..length).map(|i| value(i, 0x9e37_79b9)).collect(),
            gradient: (0..length).map(|i| value(i, 0x85eb_ca6b)).collect(),
            out: vec![T::from_f64(0.0); length],
        }
    }

    /// Values as at the beginning in what the roots in place are taken of.
    pub fn refresh(&mut self) {
        self.out.copy_from_slice(&self.gradient);
    }

    /// This crate.
    #[inline]
    pub fn call(&mut self, operation: Operation, executor: Executor) {
        let rate = T::from_f64(1e-4);
        let (x, g, out) = (&mut self.parameters, &self.gradient, &mut self.out);
        match operation {
            Operation::SignedSqrt => executor.signed_sqrt(g, out),
            Operation::SignedSqrtInPlace => executor.signed_sqrt_in_place(out),
            Operation::Axpy => executor.axpy(rate, g, x),
            Operation::Descend => executor.descend(x, g, rate),
            Operation::DescendInto => executor.descend_into(x, g, rate, out),
        }
    }

    /// A step of SGD with momentum (in `out`) and weight decay, written by hand for this rule, as the
    /// compiler vectorises it; on several threads each takes an equal share.
    pub fn momentum_by_hand(&mut self, executor: Executor, [rate, momentum, decay]: [T; 3]) {
        let share = self.share(executor);
        let outputs = self.parameters.chunks_mut(share).zip(self.out.chunks_mut(share));
        on_threads(executor.level(), outputs.zip(self.gradient.chunks(share)), |((x, m), g)| {
            for ((x, m), &g) in x.iter_mut().zip(m).zip(g) {
                *m = (momentum * *m) + (g + (decay * *x));
                *x = *x - (rate * *m);
            }
        });
    }

    /// Reads the gradient and does next to nothing with it: the limit of what only reads.
    pub fn read(&self, executor: Executor) {
        let mut shares = self.gradient.chunks(self.share(executor));
        let own = shares.next();
        rayon::in_place_scope(|scope| {
            for share in shares {
                scope.spawn(move |_| read(executor.level(), share));
            }
            if let Some(share) = own {
                read(executor.level(), share);
            }
        });
    }

    /// The elements of each thread, if all get the same.
    fn share(&self, executor: Executor) -> usize {
        let threads = if executor.is_parallel() { rayon::current_num_threads() } else { 1 };
        self.gradient.len().div_ceil(threads)
    }

    /// The loop a user would write, as the compiler builds it for the features it is inlined into.
    #[inline(always)]
    pub fn plain_loop(&mut self, operation: Operation) {
        let rate = T::from_f64(1e-4);
        let (x, g, out) = (&mut self.parameters, &self.gradient, &mut self.out);
        match operation {
            Operation::SignedSqrt => {
                for (out, &g) in out.iter_mut().zip(g) {
                    *out = reference::signed_sqrt(g);
                }
            }
            Operation::SignedSqrtInPlace => {
                for value in out {
                    *value = reference::signed_sqrt(*value);
                }
            }
            Operation::Axpy => {
                for (x, &g) in x.iter_mut().zip(g) {
                    *x = reference::axpy(rate, g, *x);
                }
            }
            Operation::Descend => {
                for (x, &g) in x.iter_mut().zip(g) {
                    *x = reference::descend(*x, g, rate);
                }
            }
            Operation::DescendInto => {
                for ((out, &x), &g) in out.iter_mut().zip(&*x).zip(g) {
                    *out = reference::descend(x, g, rate);
                }
            }
        }
    }

    /// [`Slices::plain_loop`] vectorised by the compiler for `level`.
    pub fn autovectorized(&mut self, operation: Operation, level: Level) {
        autovectorize(
            level,
            #[inline(always)]
            || self.plain_loop(operation),
        );
    }

    /// [`Slices::plain_loop`], one element at a time.
    pub fn scalar(&mut self, operation: Operation) {
        let rate = T::from_f64(1e-4);
        let (x, g, out) = (&mut self.parameters, &self.gradient, &mut self.out);
        // The compiler does not vectorise over a value that it must take as unknown each time.
        for i in 0..g.len() {
            let i = std::hint::black_box(i);
            match operation {
                Operation::SignedSqrt => out[i] = reference::signed_sqrt(g[i]),
                Operation::SignedSqrtInPlace => out[i] = reference::signed_sqrt(out[i]),
                Operation::Axpy => x[i] = reference::axpy(rate, g[i], x[i]),
                Operation::Descend => x[i] = reference::descend(x[i], g[i], rate),
                Operation::DescendInto => out[i] = reference::descend(x[i], g[i], rate),
            }
        }
    }
}

/// Runs a loop on each share, the first on the calling thread, as the compiler vectorises it.
fn on_threads<S: Send>(
    level: Level,
    mut shares: impl Iterator<Item = S>,
    body: impl Fn(S) + Copy + Send + Sync,
) {
    let run = move |share| {
        autovectorize(
            level,
            #[inline(always)]
            || body(share),
        );
    };
    let own = shares.next();
    rayon::in_place_scope(|scope| {
        for share in shares {
            scope.spawn(move |_| run(share));
        }
        own.map(run);
    });
}

/// Bytes of one slice, by the part of the memory where the slices of a call then live on current
/// server cores (L1 of 32 KiB, L2 of 512 KiB or more, L3 of 32 MiB).
pub const SIZES: [(&str, usize); 4] =
    [("L1", 8 << 10), ("L2", 128 << 10), ("L3", 4 << 20), ("DRAM", 128 << 20)];
