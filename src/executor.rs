//! How a call runs: at which level, on how many threads.

use crate::kernels::{
    Axpy, AxpyInto, BLOCK_ELEMENTS, CHUNK_BYTES, Descend, DescendInto, Findings, InspectBlock,
    Operation, Part, Place, SignedSqrt, SignedSqrtInPlace, Update,
};
#[cfg(feature = "rayon")]
use crate::parallel;
use crate::{Element, Inspection, Level};

/// The operations, at a chosen [`Level`] and on one or several threads.
///
/// The functions at the root of the crate are the methods of `Executor::default()`. Whatever the
/// executor, the bits are the same: it is a choice of speed alone.
///
/// ```
/// use rootstep::{Executor, Level};
///
/// let gradient = [4.0_f32, -9.0, 0.25];
/// for &level in Level::available() {
///     let mut parameters = [1.0_f32; 3];
///     Executor::new(level).serial().descend(&mut parameters, &gradient, 0.5);
///     assert_eq!(parameters, [0.0, 2.5, 0.75]);
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Executor {
    level: Level,
    parallel: bool,
}

impl Default for Executor {
    /// The best level, or the one that `ROOTSTEP_LEVEL` names; parallel.
    ///
    /// # Panics
    ///
    /// If `ROOTSTEP_LEVEL` does not name an available level. [`Level::from_env`] returns that as an
    /// error instead.
    #[inline]
    fn default() -> Self {
        Self::new(Level::of_process())
    }
}

impl Executor {
    /// An executor at `level`, parallel.
    #[inline]
    #[must_use]
    pub const fn new(level: Level) -> Self {
        Self { level, parallel: true }
    }

    /// The same level, on the calling thread alone.
    #[inline]
    #[must_use]
    pub const fn serial(self) -> Self {
        Self { parallel: false, ..self }
    }

    /// The same level; long slices are split over the threads of the current rayon pool (the
    /// caller's own inside `pool.install`). Without the feature `rayon`: serial.
    #[inline]
    #[must_use]
    pub const fn parallel(self) -> Self {
        Self { parallel: true, ..self }
    }

    /// The level.
    #[must_use]
    pub const fn level(self) -> Level {
        self.level
    }

    /// Whether long slices are split over threads.
    #[must_use]
    pub const fn is_parallel(self) -> bool {
        self.parallel
    }

    /// As [`signed_sqrt`](crate::signed_sqrt).
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    pub fn signed_sqrt<T: Element>(self, gradient: &[T], out: &mut [T]) {
        assert_same_length("gradient", gradient.len(), "out", out.len());
        self.update(SignedSqrt, out, [gradient]);
    }

    /// As [`signed_sqrt_in_place`](crate::signed_sqrt_in_place).
    pub fn signed_sqrt_in_place<T: Element>(self, values: &mut [T]) {
        self.update(SignedSqrtInPlace, values, []);
    }

    /// As [`axpy`](crate::axpy).
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    pub fn axpy<T: Element>(self, alpha: T, x: &[T], y: &mut [T]) {
        assert_same_length("x", x.len(), "y", y.len());
        self.update(Axpy { alpha }, y, [x]);
    }

    /// `out = y + (alpha * x)`, streamed past the caches where `descend_into` is: the control of the
    /// benches.
    #[doc(hidden)]
    pub fn axpy_into<T: Element>(self, alpha: T, x: &[T], y: &[T], out: &mut [T]) {
        assert_same_length("x", x.len(), "y", y.len());
        assert_same_length("x", x.len(), "out", out.len());
        self.update(AxpyInto { alpha }, out, [y, x]);
    }

    /// As [`descend`](crate::descend).
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    pub fn descend<T: Element>(self, parameters: &mut [T], gradient: &[T], learning_rate: T) {
        assert_same_length("parameters", parameters.len(), "gradient", gradient.len());
        self.update(Descend { learning_rate }, parameters, [gradient]);
    }

    /// As [`descend_into`](crate::descend_into).
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    pub fn descend_into<T: Element>(
        self,
        parameters: &[T],
        gradient: &[T],
        learning_rate: T,
        out: &mut [T],
    ) {
        assert_same_length("parameters", parameters.len(), "gradient", gradient.len());
        assert_same_length("parameters", parameters.len(), "out", out.len());
        self.update(DescendInto { learning_rate }, out, [parameters, gradient]);
    }

    /// As [`descend_all`](crate::descend_all).
    ///
    /// # Panics
    ///
    /// If the lengths of a pair differ.
    pub fn descend_all<T: Element>(self, tensors: &mut [(&mut [T], &[T])], learning_rate: T) {
        for (i, (parameters, gradient)) in tensors.iter().enumerate() {
            if parameters.len() != gradient.len() {
                unequal_lengths(
                    &format!("parameters of tensor {i}"),
                    parameters.len(),
                    &format!("gradient of tensor {i}"),
                    gradient.len(),
                );
            }
        }
        let bytes: usize = tensors.iter().map(|(parameters, _)| size_of_val(*parameters)).sum();
        let place = Place::of(bytes.saturating_mul(2));
        let operation = Descend { learning_rate };
        let updates = tensors.iter_mut().map(|(output, gradient)| Update {
            operation,
            outputs: [output],
            inputs: [*gradient],
            place,
        });
        self.run(bytes, updates.flat_map(|update| update.chunks(CHUNK_BYTES)));
    }

    /// As [`inspect`](crate::inspect).
    #[must_use]
    pub fn inspect<T: Element>(self, gradients: &[&[T]]) -> Inspection {
        let (mut inspection, mut squares) = self.inspect_scaled(gradients, 1.0);
        let scale = inspection.scale();
        if scale != 1.0 {
            (inspection, squares) = self.inspect_scaled(gradients, scale);
        }
        inspection.norm = squares.sqrt() / scale;
        inspection
    }

    /// What there is in `gradients` but the norm, and the sum of the squares of all elements times
    /// `scale`.
    fn inspect_scaled<T: Element>(self, gradients: &[&[T]], scale: f64) -> (Inspection, f64) {
        let blocks = || {
            gradients.iter().enumerate().flat_map(|(tensor, gradient)| {
                let blocks = gradient.chunks(BLOCK_ELEMENTS).enumerate();
                blocks.map(move |(i, values)| (tensor, i * BLOCK_ELEMENTS, values))
            })
        };
        let mut findings = vec![Findings::default(); blocks().count()];
        let parts = blocks().zip(&mut findings).map(|((_, _, values), findings)| InspectBlock {
            values,
            scale,
            findings,
        });
        self.run(gradients.iter().map(|gradient| size_of_val(*gradient)).sum(), parts);
        let mut whole = (Inspection::default(), 0.0);
        for ((tensor, start, _), block) in blocks().zip(&findings) {
            whole.0.add(tensor, start, &block.inspection);
            whole.1 += block.squares;
        }
        whole
    }

    /// Runs parts that have `bytes` together.
    #[cfg_attr(not(feature = "rayon"), allow(unused_variables, reason = "on one thread anyway"))]
    pub(crate) fn run<P: Part>(self, bytes: usize, parts: impl Iterator<Item = P> + Send) {
        #[cfg(feature = "rayon")]
        if self.parallel && parallel::pays(bytes) {
            return parallel::run(self.level, bytes, parts);
        }
        P::run_all(self.level, parts);
    }

    #[inline]
    fn update<T: Element, O: Operation<T, 1, INPUTS>, const INPUTS: usize>(
        self,
        operation: O,
        output: &mut [T],
        inputs: [&[T]; INPUTS],
    ) {
        let bytes = size_of_val(output);
        if bytes < SHORT_BYTES {
            return Update { operation, outputs: [output], inputs, place: Place::Near }.narrow();
        }
        let place = Place::of(bytes.saturating_mul(1 + INPUTS));
        let update = Update { operation, outputs: [output], inputs, place };
        #[cfg(feature = "rayon")]
        if self.parallel && parallel::pays(bytes) {
            return parallel::run(self.level, bytes, update.chunks(CHUNK_BYTES));
        }
        self.level.run(update);
    }
}

/// Outputs of fewer bytes are worked on where the call stands, in registers of 128 bits, which every
/// level uses for what is left of a slice.
///
/// `cargo bench --bench ratios -- 'elements / inlined'` on a Zen 3: with it, 1 to 16 f32 took 1.0 to
/// 1.5 times as long as the inlined loop of their length; without, 1.1 to 2.2 times. With 32 bytes,
/// 8 elements took 2.1 times as long.
const SHORT_BYTES: usize = 64;

#[inline]
fn assert_same_length(a: &str, a_length: usize, b: &str, b_length: usize) {
    if a_length != b_length {
        unequal_lengths(a, a_length, b, b_length);
    }
}

#[cold]
#[inline(never)]
fn unequal_lengths(a: &str, a_length: usize, b: &str, b_length: usize) -> ! {
    panic!("`{a}` has {a_length} elements and `{b}` has {b_length}; they must have the same length")
}
