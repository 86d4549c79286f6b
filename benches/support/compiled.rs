//! Loops of the benches compiled for an instruction set: the controls that kernels are measured against.
//!
//! The crate shows no one its registers; the benches build the same files once more.

#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Kernel, Lanes, Portable, Simd, Streaming, Vector, prefetch};
use rootstep::Level;
use std::hint::black_box;

/// Runs `kernel` compiled for `level`.
fn run(level: Level, kernel: impl Kernel) {
    match level.name() {
        "portable" => Portable.run(kernel),
        #[cfg(target_arch = "x86_64")]
        "avx2" => Avx2::detect().expect("the level has been detected").run(kernel),
        #[cfg(target_arch = "x86_64")]
        "avx512" => Avx512::detect().expect("the level has been detected").run(kernel),
        other => unimplemented!("the level {other}"),
    }
}

/// Runs `code`, an `#[inline(always)]` closure, compiled for `level`: what the compiler makes of a plain
/// loop.
pub fn autovectorize(level: Level, code: impl FnOnce()) {
    struct Plain<F>(F);

    impl<F: FnOnce()> Kernel for Plain<F> {
        #[inline(always)]
        fn call<S: Simd>(self, _: S) {
            (self.0)();
        }
    }
    run(level, Plain(code));
}

/// An element type that has registers.
pub trait Registers: Copy {
    type Register<S: Simd>: Vector<Element = Self, Isa = S>;
}

impl Registers for f32 {
    type Register<S: Simd> = S::F32;
}
impl Registers for f64 {
    type Register<S: Simd> = S::F64;
}

/// `out = y + (alpha * x)`, written past the caches where the memory is aligned: the traffic of
/// `descend_into` without its root.
pub fn streaming_axpy<T: Registers>(level: Level, alpha: T, x: &[T], y: &[T], out: &mut [T]) {
    struct Axpy<'a, T>(T, &'a [T], &'a [T], &'a mut [T]);

    impl<T: Registers> Kernel for Axpy<'_, T> {
        #[inline(always)]
        fn call<S: Simd>(self, isa: S) {
            let Self(alpha, x, y, out) = self;
            let alpha = T::Register::<S>::splat(isa, alpha);
            let (x, _) = <T::Register<S> as Vector>::Lanes::chunks(x);
            let (y, _) = <T::Register<S> as Vector>::Lanes::chunks(y);
            let (out, rest) = <T::Register<S> as Vector>::Lanes::chunks_mut(out);
            assert!(rest.is_empty(), "the benches' lengths fill whole registers");
            let streaming = Streaming::start();
            for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
                let (x, y) = (T::Register::load(isa, x), T::Register::load(isa, y));
                y.add(alpha.mul(x)).stream(out, &streaming);
            }
        }
    }
    run(level, Axpy(alpha, x, y, out));
}

/// Loads all registers of `values` and takes the larger of each and another: next to nothing.
pub fn read<T: Registers>(level: Level, values: &[T]) {
    /// As far ahead as an inspection prefetches.
    const AHEAD_BYTES: usize = 3072;

    struct Read<'a, T>(&'a [T]);

    impl<T: Registers> Kernel for Read<'_, T> {
        #[inline(always)]
        fn call<S: Simd>(self, isa: S) {
            let [first, ..] = self.0 else { return };
            let mut largest = [T::Register::<S>::splat(isa, *first); 8];
            let (registers, _) = <T::Register<S> as Vector>::Lanes::chunks(self.0);
            for row in registers.as_chunks::<8>().0 {
                prefetch(row, AHEAD_BYTES);
                for (largest, lanes) in largest.iter_mut().zip(row) {
                    *largest = largest.larger(T::Register::load(isa, lanes));
                }
            }
            black_box(largest);
        }
    }
    run(level, Read(values));
}
