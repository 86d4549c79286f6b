//! The loop: applies an operation to whole slices.

use crate::element::Sealed;
use crate::simd::{Kernel, Lanes, Portable, Scalar, Simd, Streaming, Vector, prefetch};
use crate::{Element, Level};
use std::sync::OnceLock;
use std::{array, iter};

/// What happens to the elements of the outputs, as an expression over registers.
pub(crate) trait Operation<T: Element, const OUTPUTS: usize, const INPUTS: usize>:
    Copy + Send + Sync
{
    /// The new values of `N` registers of each output, from their `old` values and the inputs. An
    /// operation that ignores `old` costs no read of it; one that takes square roots takes the first
    /// `refined` by the multiply-add units.
    fn apply<V: Vector<T>, const N: usize>(
        self,
        isa: V::Isa,
        refined: usize,
        old: [[V; N]; OUTPUTS],
        inputs: [[V; N]; INPUTS],
    ) -> [[V; N]; OUTPUTS];

    /// Whether it takes a square root. A core waiting for roots reaches the next loads too late to
    /// keep the memory busy, so the loop prefetches for it.
    const ROOT: bool;

    /// Whether `apply` uses `old`: whether the operation works in place.
    const IN_PLACE: bool;
}

/// An operation and the slices it is applied to:
/// `outputs[..][i] = operation(outputs[..][i], inputs[..][i])`.
#[derive(Debug)]
pub(crate) struct Update<'a, T, O, const OUTPUTS: usize, const INPUTS: usize> {
    pub(crate) operation: O,
    /// At least one; each as long as the first.
    pub(crate) outputs: [&'a mut [T]; OUTPUTS],
    /// Each as long as the outputs.
    pub(crate) inputs: [&'a [T]; INPUTS],
    /// Where the slices are.
    pub(crate) place: Place,
}

/// Where the slices of a call are, as their length tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the caches near the core, as far as anyone knows.
    Near,
    /// Beyond those.
    Far,
    /// Beyond all caches: what is written is evicted before anyone reads it again.
    ///
    /// `cargo bench --bench ratios -- 'out of place'`, 32 MiB of last-level cache: from twice that
    /// size on, streaming stores took 0.63 to 0.9 times as long as plain ones; at 1 to 1.5 times,
    /// where a part of the slices stays in the cache, up to 1.3 times as long.
    Memory,
}

impl Place {
    /// Where slices of this many bytes are, taken together.
    #[inline]
    pub(crate) fn of(bytes: usize) -> Self {
        if bytes < FAR_BYTES {
            Self::Near
        } else if bytes < 2 * last_level_cache_bytes() {
            Self::Far
        } else {
            Self::Memory
        }
    }
}

impl<T: Element, O: Operation<T, OUTPUTS, INPUTS>, const OUTPUTS: usize, const INPUTS: usize> Kernel
    for Update<'_, T, O, OUTPUTS, INPUTS>
{
    /// Registers of the widest kind while they fit, then those of 128 bits, then single elements.
    /// Each lane computes the same expression at every width, so an element's result does not
    /// depend on its place.
    ///
    /// The last register must not overlap the one before it, as a search would let it: in place,
    /// the shared lanes would be updated twice.
    #[inline(always)]
    fn call<S: Simd>(self, isa: S) {
        let rest = match self.place {
            Place::Near => self.whole_registers::<S, false, false>(isa),
            Place::Memory if !O::IN_PLACE => self.aligned().whole_registers::<S, true, true>(isa),
            Place::Far | Place::Memory => self.whole_registers::<S, true, false>(isa),
        };
        rest.narrow();
    }
}

impl<T: Element, O: Operation<T, OUTPUTS, INPUTS>, const OUTPUTS: usize, const INPUTS: usize> Part
    for Update<'_, T, O, OUTPUTS, INPUTS>
{
    fn bytes(&self) -> usize {
        size_of_val(self.outputs[0])
    }
}

/// The bytes that a thread takes at a time: some ten microseconds of work or more, so that taking
/// them costs nothing, and few enough that the threads end together.
pub(crate) const CHUNK_BYTES: usize = 128 * 1024;

/// A piece of work that one thread takes.
pub(crate) trait Part: Kernel + Send + Sized {
    /// Its share of the bytes of the whole.
    #[cfg_attr(not(feature = "rayon"), allow(dead_code, reason = "one thread takes all"))]
    fn bytes(&self) -> usize;

    /// Runs several, one after the other.
    fn run_all(level: Level, parts: impl Iterator<Item = Self>) {
        level.run(Each(parts));
    }
}

/// Several kernels, one after the other, within one entry into the instruction set.
struct Each<I>(I);

impl<I: Iterator<Item: Kernel>> Kernel for Each<I> {
    #[inline(always)]
    fn call<S: Simd>(self, isa: S) {
        for kernel in self.0 {
            kernel.call(isa);
        }
    }
}

/// Registers in an unrolled block: enough to hide the latency of an addition behind the others.
const BLOCK: usize = 4;

/// How far ahead of the loop to prefetch. `cargo bench --bench ratios -- DRAM`, one thread, AVX2: a
/// step took 1.14 times as long as an axpy of the same traffic without it, 1.07 to 1.10 times with
/// it, 2 KiB ahead; 1.5 and 4 KiB were about as good, 8 and 16 KiB worse. An axpy itself gains
/// nothing, and in the caches loses up to 1.3 times.
pub(super) const PREFETCH_AHEAD_BYTES: usize = 2048;

/// Slices of this many bytes or more, taken together, are beyond what the caches near the core
/// hold. In place, prefetching costs nothing measurable below; out of place it took up to 1.1 times
/// as long.
const FAR_BYTES: usize = 16 << 20;

/// A cache line, the unit of transfer to memory.
const LINE_BYTES: usize = 64;

/// A register of `S` in memory.
pub(super) type LanesOf<T, S> = <<T as Sealed>::Vector<S> as Vector<T>>::Lanes;

impl<T: Element, O: Operation<T, OUTPUTS, INPUTS>, const OUTPUTS: usize, const INPUTS: usize>
    Update<'_, T, O, OUTPUTS, INPUTS>
{
    /// The same update in parts of `bytes` of an output; the last may be shorter.
    pub(crate) fn chunks(mut self, bytes: usize) -> impl Iterator<Item = Self> + Send {
        let length = bytes / size_of::<T>();
        iter::from_fn(move || {
            let length = length.min(self.outputs[0].len());
            (length > 0).then(|| self.split_off(length))
        })
    }

    /// Takes the first `length` elements away.
    #[inline(always)]
    fn split_off(&mut self, length: usize) -> Self {
        let Self { operation, place, .. } = *self;
        let outputs = self.outputs.each_mut().map(|output| take_front(output, length));
        let inputs = self.inputs.map(|input| &input[..length]);
        self.inputs = self.inputs.map(|input| &input[length..]);
        Self { operation, outputs, inputs, place }
    }

    /// Updates the front of the slices up to where the output is aligned to a cache line, and
    /// returns the rest.
    #[inline(always)]
    fn aligned(mut self) -> Self {
        let output = &self.outputs[0];
        let front = output.as_ptr().align_offset(LINE_BYTES).min(output.len());
        self.split_off(front).narrow();
        self
    }

    /// Updates slices too short for wide registers.
    #[inline(always)]
    pub(crate) fn narrow(self) {
        self.whole_registers::<Portable, false, false>(Portable)
            .whole_registers::<Scalar, false, false>(Scalar);
    }

    /// Updates the front of the slices in whole registers of `S`, and returns the rest.
    #[inline(always)]
    fn whole_registers<S: Simd, const PREFETCH: bool, const STREAM: bool>(self, isa: S) -> Self {
        let Self { operation, mut outputs, inputs, place } = self;
        let length = outputs[0].len();
        let inputs = inputs.map(|input| LanesOf::<T, S>::chunks(&input[..length]));
        let input_blocks = inputs.map(|(registers, _)| registers.as_chunks::<BLOCK>());
        let mut registers =
            outputs.each_mut().map(|output| LanesOf::<T, S>::chunks_mut(&mut output[..length]).0);
        let mut blocks = registers.each_mut().map(|registers| registers.as_chunks_mut::<BLOCK>().0);

        let share = match (O::ROOT, PREFETCH && !STREAM) {
            (false, _) => 0,
            (true, false) => T::Vector::<S>::REFINED_OF_FOUR,
            (true, true) => T::Vector::<S>::REFINED_OF_FOUR_FAR,
        };
        let streaming = if STREAM { Some(Streaming::start()) } else { None };
        for b in 0..blocks[0].len() {
            let outputs = blocks.each_mut().map(|blocks| &mut blocks[b]);
            let inputs = input_blocks.map(|(blocks, _)| &blocks[b]);
            if PREFETCH && O::ROOT {
                if O::IN_PLACE {
                    for output in &outputs {
                        prefetch(*output, PREFETCH_AHEAD_BYTES);
                    }
                }
                for input in inputs {
                    prefetch(input, PREFETCH_AHEAD_BYTES);
                }
            }
            apply_to_block(isa, share, operation, outputs, inputs, streaming.as_ref());
        }
        let mut singles =
            registers.each_mut().map(|registers| registers.as_chunks_mut::<BLOCK>().1);
        for i in 0..singles[0].len() {
            let outputs = singles.each_mut().map(|singles| array::from_mut(&mut singles[i]));
            let inputs = input_blocks.map(|(_, singles)| array::from_ref(&singles[i]));
            apply_to_block(isa, 0, operation, outputs, inputs, streaming.as_ref());
        }
        let outputs = outputs.map(|output| LanesOf::<T, S>::chunks_mut(output).1);
        Self { operation, outputs, inputs: inputs.map(|(_, rest)| rest), place }
    }
}

/// Takes the first `length` elements away.
#[inline(always)]
#[allow(clippy::mut_mut, reason = "the slice itself is shortened")]
pub(super) fn take_front<'a, E>(slice: &mut &'a mut [E], length: usize) -> &'a mut [E] {
    let (front, rest) = std::mem::take(slice).split_at_mut(length);
    *slice = rest;
    front
}

/// Applies `operation` to a block, the first `refined` registers with refined roots; then writes it,
/// past the caches if there is permission. (Loads behind a store that waits for its root can wait
/// too, where the CPU takes their addresses for the same.)
#[inline(always)]
fn apply_to_block<
    T: Element,
    O: Operation<T, OUTPUTS, INPUTS>,
    S: Simd,
    const OUTPUTS: usize,
    const INPUTS: usize,
    const N: usize,
>(
    isa: S,
    refined: usize,
    operation: O,
    outputs: [&mut [LanesOf<T, S>; N]; OUTPUTS],
    inputs: [&[LanesOf<T, S>; N]; INPUTS],
    streaming: Option<&Streaming>,
) {
    let zeros = [T::Vector::<S>::splat(isa, T::default()); N];
    let (mut old, mut loaded) = ([zeros; OUTPUTS], [zeros; INPUTS]);
    for (old, output) in old.iter_mut().zip(&outputs) {
        load::<T, S, N>(isa, old, output);
    }
    for (loaded, input) in loaded.iter_mut().zip(inputs) {
        load::<T, S, N>(isa, loaded, input);
    }
    let new = operation.apply(isa, refined, old, loaded);
    for (new, output) in new.into_iter().zip(outputs) {
        for (new, lanes) in new.into_iter().zip(output) {
            match streaming {
                Some(streaming) => new.stream(lanes, streaming),
                None => new.store(lanes),
            }
        }
    }
}

#[inline(always)]
fn load<T: Element, S: Simd, const N: usize>(
    isa: S,
    registers: &mut [T::Vector<S>; N],
    block: &[LanesOf<T, S>; N],
) {
    for (register, lanes) in registers.iter_mut().zip(block) {
        *register = T::Vector::<S>::load(isa, lanes);
    }
}

/// The size of the last-level cache, as the CPU tells; a common size where it does not.
#[cold]
fn last_level_cache_bytes() -> usize {
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(|| detect_last_level_cache_bytes().unwrap_or(32 << 20))
}

#[cfg(target_arch = "x86_64")]
fn detect_last_level_cache_bytes() -> Option<usize> {
    let caches = raw_cpuid::CpuId::new().get_cache_parameters()?;
    let last = caches.max_by_key(raw_cpuid::CacheParameter::level)?;
    let ways = last.associativity() * last.physical_line_partitions();
    Some(ways * last.coherency_line_size() * last.sets())
}

#[cfg(not(target_arch = "x86_64"))]
fn detect_last_level_cache_bytes() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Axpy, AxpyInto, Descend, DescendInto, SignedSqrt, SignedSqrtInPlace};
    use crate::reference;

    /// Applies `operation` as if the slices were at each place, at every length over two of the
    /// widest blocks and every offset within a cache line.
    fn check<T: Element, O: Operation<T, 1, INPUTS>, const INPUTS: usize>(
        operation: O,
        specified: impl Fn(T, [T; INPUTS]) -> T,
    ) {
        let value = |i: usize| T::nearest((i as f64 - 77.3) * 1.7);
        let old: Vec<T> = (0..200).map(|i| value(i * 31 % 200)).collect();
        let input: Vec<Vec<T>> =
            (0..INPUTS).map(|k| (0..200).map(|i| value(i * (k + 3) % 200)).collect()).collect();
        for place in [Place::Near, Place::Far, Place::Memory] {
            for &level in Level::available() {
                for (offset, length) in (0..16).flat_map(|o| (0..180).map(move |l| (o, l))) {
                    let range = offset..offset + length;
                    let mut output = old.clone();
                    let inputs = std::array::from_fn(|k| &input[k][range.clone()]);
                    let outputs = [&mut output[range.clone()]];
                    level.run(Update { operation, outputs, inputs, place });
                    for i in 0..200 {
                        let new = specified(old[i], std::array::from_fn(|k| input[k][i]));
                        let expected = if range.contains(&i) { new } else { old[i] };
                        assert!(
                            output[i].to_bits() == expected.to_bits(),
                            "{level} {place:?}, element {i} of {range:?}"
                        );
                    }
                }
            }
        }
    }

    fn every_place_gives_the_same_bits<T: Element>() {
        let rate = T::nearest(0.3);
        check(SignedSqrt, |_, [g]: [T; 1]| reference::signed_sqrt(g));
        check(SignedSqrtInPlace, |x: T, []| reference::signed_sqrt(x));
        check(Axpy { alpha: rate }, |y, [x]| reference::axpy(rate, x, y));
        check(AxpyInto { alpha: rate }, |_, [y, x]| reference::axpy(rate, x, y));
        check(Descend { learning_rate: rate }, |x, [g]| reference::descend(x, g, rate));
        check(DescendInto { learning_rate: rate }, |_, [x, g]| reference::descend(x, g, rate));
    }

    #[test]
    fn every_place_gives_the_same_bits_f32() {
        every_place_gives_the_same_bits::<f32>();
    }

    #[test]
    fn every_place_gives_the_same_bits_f64() {
        every_place_gives_the_same_bits::<f64>();
    }

    #[test]
    fn places_follow_the_caches() {
        assert_eq!(Place::of(FAR_BYTES - 1), Place::Near);
        assert_eq!(Place::of(FAR_BYTES), Place::Far);
        let beyond_all = FAR_BYTES.max(2 * last_level_cache_bytes());
        assert_eq!(Place::of(beyond_all), Place::Memory);
        assert_ne!(Place::of(beyond_all - 1), Place::Memory);
        // A last-level cache is neither tiny nor larger than any that was ever built.
        assert!((256 << 10..16 << 30).contains(&last_level_cache_bytes()));
    }
}
