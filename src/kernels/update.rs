//! The loop: applies an operation to whole slices.

use super::block::{Block, Registers};
use super::place::{Load, Place, Source, Store, Values, ValuesMut, take_front};
use crate::format::{Format, Number};
use crate::level::Level;
use crate::simd::{Kernel, Portable, Scalar, Simd, Streaming, Vector};
use std::iter;
use std::sync::OnceLock;

/// What happens to the elements of the output and of the states that go with it, as an expression over
/// numbers of type `C`.
pub(crate) trait Operation<C, const STATES: usize, const INPUTS: usize>:
    Copy + Send + Sync
{
    /// The new values, from the `old` ones and the inputs.
    fn apply<B: Block<C>>(
        self,
        old: B,
        states: [B; STATES],
        inputs: [B; INPUTS],
    ) -> (B, [B; STATES]);

    /// Whether it takes a square root. A core waiting for roots reaches the next loads too late to
    /// keep the memory busy, so the loop prefetches for it.
    const ROOT: bool;

    /// Whether `old` is read: whether the operation works in place.
    const IN_PLACE: bool;

    /// Whether it is so long that it is compiled once for all working sets. It works in place.
    const LONG: bool = false;
}

/// An operation and the memory it is applied to: what is written, as long as the states and the inputs.
pub(crate) struct Update<W, M, I, O, const STATES: usize, const INPUTS: usize> {
    pub(crate) operation: O,
    pub(crate) output: W,
    pub(crate) states: [M; STATES],
    pub(crate) inputs: [I; INPUTS],
    /// Where all of it is.
    pub(crate) working_set: WorkingSet,
}

/// Where the slices of a call are, as their length tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkingSet {
    /// In the caches near the core, as far as anyone knows.
    Near,
    /// Beyond those.
    Far,
    /// Beyond all caches: what is written is evicted before anyone reads it again. (From twice their
    /// size on, as far as that is believed.)
    Memory,
}

impl WorkingSet {
    /// The working set of slices of this many bytes, taken together.
    #[inline]
    pub(crate) fn of(bytes: usize) -> Self {
        if bytes < FAR_BYTES {
            Self::Near
        } else if bytes < 2 * last_level_cache_bytes().min(BELIEVED_CACHE_BYTES) {
            Self::Far
        } else {
            Self::Memory
        }
    }
}

impl<C, W, M, I, O, const STATES: usize, const INPUTS: usize> Kernel
    for Update<W, M, I, O, STATES, INPUTS>
where
    C: Number,
    W: Place<Compute = C>,
    M: Place<Compute = C>,
    I: Source<Compute = C>,
    O: Operation<C, STATES, INPUTS>,
{
    /// Registers of the widest kind while they fit, then those of 128 bits, then single elements.
    /// Each lane computes the same expression at every width, so an element's result does not
    /// depend on its place.
    ///
    /// The last register must not overlap the one before it, as a search would let it: in place,
    /// the shared lanes would be updated twice.
    #[inline(always)]
    fn call<S: Simd>(self, isa: S) {
        let rest = match self.working_set {
            working_set if O::LONG => {
                self.whole_registers::<S>(isa, working_set != WorkingSet::Near, None)
            }
            WorkingSet::Near => self.whole_registers::<S>(isa, false, None),
            WorkingSet::Far | WorkingSet::Memory
                if !O::IN_PLACE && streams::<S>(self.working_set) =>
            {
                self.whole_registers::<S>(isa, true, Some(&Streaming::start()))
            }
            WorkingSet::Far | WorkingSet::Memory => self.whole_registers::<S>(isa, true, None),
        };
        rest.tail();
    }
}

impl<C, F, O, const INPUTS: usize> Part for SliceUpdate<'_, C, F, O, INPUTS>
where
    C: Number,
    F: Format<C>,
    O: Operation<C, 0, INPUTS>,
{
    fn bytes(&self) -> usize {
        size_of_val(self.output.0)
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

/// How far ahead of the loop to prefetch, where the slices are beyond the caches near the core and a root
/// delays the loads. (An axpy gains nothing, and nothing gains in the caches.) Measured in
/// docs/performance.md.
pub(super) const PREFETCH_AHEAD_BYTES: usize = 3072;

/// A cache line, the unit of transfer to memory.
pub(super) const LINE_BYTES: usize = 64;

/// Slices of this many bytes or more, taken together, are beyond what the caches near the core hold.
/// Measured in docs/performance.md.
pub(super) const FAR_BYTES: usize = 16 << 20;

/// The most of a last-level cache that a call counts on: one that is larger is shared by many cores, and the
/// CPU names it as a whole. Measured in docs/performance.md.
const BELIEVED_CACHE_BYTES: usize = 32 << 20;

/// Whether what is written out of place goes past the caches. Registers as long as a cache line write it at
/// once, which pays as soon as the slices are far; shorter ones, where no part of the slices stays in the
/// last cache. Measured in docs/performance.md.
#[inline(always)]
fn streams<S: Simd>(working_set: WorkingSet) -> bool {
    match working_set {
        WorkingSet::Near => false,
        WorkingSet::Far => size_of::<S::F32>() == LINE_BYTES,
        WorkingSet::Memory => true,
    }
}

/// An update of a slice by slices, without states.
pub(crate) type SliceUpdate<'a, C, F, O, const INPUTS: usize> =
    Update<ValuesMut<'a, C, F>, ValuesMut<'static, C, C>, Values<'a, C, F>, O, 0, INPUTS>;

impl<'a, C, F, O, const INPUTS: usize> SliceUpdate<'a, C, F, O, INPUTS>
where
    C: Number,
    F: Format<C>,
    O: Operation<C, 0, INPUTS>,
{
    /// Of slices of one length.
    #[inline(always)]
    pub(crate) fn of_slices(
        operation: O,
        output: &'a mut [F::Memory],
        inputs: [&'a [F::Memory]; INPUTS],
        working_set: WorkingSet,
    ) -> Self {
        let (output, inputs) = (ValuesMut(output), inputs.map(Values));
        Self { operation, output, states: [], inputs, working_set }
    }

    /// The same update in parts of `bytes` of the output; the last may be shorter.
    pub(crate) fn chunks(mut self, bytes: usize) -> impl Iterator<Item = Self> + Send {
        let length = bytes / size_of::<F::Memory>();
        iter::from_fn(move || {
            let length = length.min(self.output.len());
            (length > 0).then(|| self.split_off(length))
        })
    }

    /// Updates the front of the slices up to where the output is aligned to a cache line, and
    /// returns the rest.
    pub(crate) fn aligned(mut self) -> Self {
        let front = self.output.0.as_ptr().align_offset(LINE_BYTES).min(self.output.len());
        self.split_off(front).tail();
        self
    }

    /// Takes the first `length` elements away.
    #[inline(always)]
    fn split_off(&mut self, length: usize) -> Self {
        let Self { operation, working_set, .. } = *self;
        let output = take_front(&mut self.output.0, length);
        let inputs = self.inputs.each_ref().map(|input| &input.0[..length]);
        self.inputs.iter_mut().for_each(|input| input.0 = &input.0[length..]);
        Self::of_slices(operation, output, inputs, working_set)
    }
}

impl<C, W, M, I, O, const STATES: usize, const INPUTS: usize> Update<W, M, I, O, STATES, INPUTS>
where
    C: Number,
    W: Place<Compute = C>,
    M: Place<Compute = C>,
    I: Source<Compute = C>,
    O: Operation<C, STATES, INPUTS>,
{
    /// Updates fewer elements than a wide register has.
    #[inline(always)]
    pub(crate) fn tail(self) {
        if W::ANY {
            return self.elements();
        }
        let rest = self.single_registers(Portable, None).single_registers(Scalar, None);
        debug_assert!(rest.output.len() == 0, "there were more than a tail has");
    }

    /// One by one: another loop over registers would be compiled for every kind of memory.
    #[inline(always)]
    fn elements(self) {
        let mut rows = self.rows::<Scalar, 1>();
        for row in 0..rows.output.len() {
            rows.update(Scalar, row, 0, None);
        }
    }

    /// Updates the front of the memory in whole registers of `S`, and returns the rest.
    #[inline(always)]
    fn whole_registers<S: Simd>(self, isa: S, far: bool, streaming: Option<&Streaming>) -> Self {
        self.blocks(isa, far, streaming).single_registers(isa, streaming)
    }

    #[inline(always)]
    fn blocks<S: Simd>(self, isa: S, far: bool, streaming: Option<&Streaming>) -> Self {
        let refined = match (O::ROOT && !W::BUSY && !M::BUSY, far && streaming.is_none()) {
            (false, _) => 0,
            (true, false) => C::Vector::<S>::refined_of_four(isa),
            (true, true) => C::Vector::<S>::REFINED_OF_FOUR_FAR,
        };
        let prefetches = far && O::ROOT && isa.prefetches();
        let mut rows = self.rows::<S, BLOCK>();
        for row in 0..rows.output.len() {
            if prefetches {
                rows.prefetch(row, PREFETCH_AHEAD_BYTES);
            }
            rows.update(isa, row, refined, streaming);
        }
        rows.rest()
    }

    /// Fewer than a block.
    #[inline(always)]
    fn single_registers<S: Simd>(self, isa: S, streaming: Option<&Streaming>) -> Self {
        let mut rows = self.rows::<S, 1>();
        if O::LONG {
            for row in 0..rows.output.len() {
                rows.update(isa, row, 0, streaming);
            }
            return rows.rest();
        }
        // Not a loop as long as there are registers: the compiler would vectorise that of `Scalar`, by masks.
        for row in 0..BLOCK - 1 {
            if row >= rows.output.len() {
                break;
            }
            rows.update(isa, row, 0, streaming);
        }
        rows.rest()
    }

    #[inline(always)]
    fn rows<S: Simd, const N: usize>(self) -> RowsOf<S, N, W, M, I, O, STATES, INPUTS> {
        let Self { operation, output, states, inputs, working_set } = self;
        let length = output.len();
        Rows {
            operation,
            output: output.rows(length),
            states: states.map(|state| state.rows(length)),
            inputs: inputs.map(|input| input.rows(length)),
            working_set,
        }
    }
}

/// The rows of an update.
type RowsOf<S, const N: usize, W, M, I, O, const STATES: usize, const INPUTS: usize> = Rows<
    <W as Place>::Rows<S, N>,
    <M as Place>::Rows<S, N>,
    <I as Source>::Rows<S, N>,
    O,
    STATES,
    INPUTS,
>;

/// The memory of an update as rows of registers.
struct Rows<W, M, I, O, const STATES: usize, const INPUTS: usize> {
    operation: O,
    output: W,
    states: [M; STATES],
    inputs: [I; INPUTS],
    working_set: WorkingSet,
}

impl<W, M, I, O, const STATES: usize, const INPUTS: usize> Rows<W, M, I, O, STATES, INPUTS> {
    /// Applies the operation to a row, the first `refined` registers with refined roots; then writes it,
    /// past the caches if there is permission. (Loads behind a store that waits for its root can wait
    /// too, where the CPU takes their addresses for the same.)
    #[inline(always)]
    fn update<C, S, const N: usize>(
        &mut self,
        isa: S,
        row: usize,
        refined: usize,
        streaming: Option<&Streaming>,
    ) where
        C: Number,
        S: Simd,
        W: Store<C, S, N>,
        M: Store<C, S, N>,
        I: Load<C, S, N>,
        O: Operation<C, STATES, INPUTS>,
    {
        let registers = |all| Registers { isa, refined, all };
        let zeros = [C::Vector::<S>::splat(isa, C::default()); N];
        let old = registers(if O::IN_PLACE { self.output.load(isa, row) } else { zeros });
        let (mut states, mut inputs) = ([registers(zeros); STATES], [registers(zeros); INPUTS]);
        for (old, state) in states.iter_mut().zip(&mut self.states) {
            old.all = state.load(isa, row);
        }
        for (loaded, input) in inputs.iter_mut().zip(&mut self.inputs) {
            loaded.all = input.load(isa, row);
        }
        let (new, new_states) = self.operation.apply(old, states, inputs);
        self.output.store(isa, row, new.all, streaming);
        for (new, state) in new_states.into_iter().zip(&mut self.states) {
            state.store(isa, row, new.all, None);
        }
    }

    /// Asks for what lies `ahead` bytes behind a row.
    #[inline(always)]
    fn prefetch<C, S, const N: usize>(&self, row: usize, ahead: usize)
    where
        C: Number,
        S: Simd,
        W: Store<C, S, N>,
        M: Store<C, S, N>,
        I: Load<C, S, N>,
        O: Operation<C, STATES, INPUTS>,
    {
        if O::IN_PLACE {
            self.output.prefetch(row, ahead);
        }
        self.states.iter().for_each(|state| state.prefetch(row, ahead));
        self.inputs.iter().for_each(|input| input.prefetch(row, ahead));
    }

    /// What is left behind the last row.
    #[inline(always)]
    fn rest<C, S, const N: usize>(self) -> Update<W::Rest, M::Rest, I::Rest, O, STATES, INPUTS>
    where
        C: Number,
        S: Simd,
        W: Store<C, S, N>,
        M: Store<C, S, N>,
        I: Load<C, S, N>,
    {
        Update {
            operation: self.operation,
            output: self.output.rest(),
            states: self.states.map(M::rest),
            inputs: self.inputs.map(I::rest),
            working_set: self.working_set,
        }
    }
}

/// The size of the last-level cache, as the CPU tells; a common size where it does not.
#[cold]
fn last_level_cache_bytes() -> usize {
    static BYTES: OnceLock<usize> = OnceLock::new();
    #[cfg(test)]
    if let Some(bytes) = tests::SMALLER_CACHE.get() {
        return bytes;
    }
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
    use crate::element::Element;
    use crate::executor::Executor;
    use crate::float::{Bf16, Float, Narrow};
    use crate::kernels::{Axpy, Descend, DescendInto, SignedSqrt, SignedSqrtInPlace};
    use crate::optimizer::{Rule, Step};
    use crate::reference;
    use std::cell::Cell;

    thread_local! {
        /// What a test says that the last-level cache has, to calls of its thread.
        pub static SMALLER_CACHE: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// What is beyond all caches goes past them by calls of the public functions, too, whatever the size of
    /// this machine's caches: from a place within a cache line to another, serial and parallel.
    fn beyond_all_caches<T: Element<Compute = T> + Float>() {
        const OFFSET: usize = 3;
        let length = FAR_BYTES / size_of::<T>() / 2 + 77;
        let value = |i: usize| T::from_f64((i as f64 * 0.618).fract() - 0.5);
        let g: Vec<T> = (0..length).map(value).collect();
        let x: Vec<T> = (0..length).map(|i| value(i + 7)).collect();
        let rate = T::from_f64(0.3);
        let bits = |value: T| Float::to_bits(value);
        let roots: Vec<u64> = g.iter().map(|&g| bits(reference::signed_sqrt(g))).collect();
        let pairs = x.iter().zip(&g);
        let steps: Vec<u64> = pairs.map(|(&x, &g)| bits(reference::descend(x, g, rate))).collect();
        for &level in Level::available() {
            for executor in [Executor::new(level), Executor::new(level).serial()] {
                let check = |expected: &[u64], call: &dyn Fn(&mut [T])| {
                    let mut out = vec![T::ONE; OFFSET + length + OFFSET];
                    call(&mut out[OFFSET..][..length]);
                    let inner = out[OFFSET..].iter().zip(expected);
                    assert!(
                        inner.clone().all(|(&out, &expected)| bits(out) == expected),
                        "{executor:?}"
                    );
                    assert!(
                        out[..OFFSET]
                            .iter()
                            .chain(&out[OFFSET + length..])
                            .all(|&out| out == T::ONE)
                    );
                };
                for cache in [1 << 20, FAR_BYTES] {
                    SMALLER_CACHE.set(Some(cache));
                    check(&roots, &|out| executor.signed_sqrt(&g, out));
                    check(&steps, &|out| executor.descend_into(&x, &g, rate, out));
                }
                assert_eq!(WorkingSet::of(FAR_BYTES), WorkingSet::Far);
                SMALLER_CACHE.set(Some(1 << 20));
                assert_eq!(WorkingSet::of(FAR_BYTES), WorkingSet::Memory);
                SMALLER_CACHE.set(None);
            }
        }
    }

    #[test]
    fn beyond_all_caches_f32() {
        beyond_all_caches::<f32>();
    }

    #[test]
    fn beyond_all_caches_f64() {
        beyond_all_caches::<f64>();
    }

    /// Applies `operation` as if the slices were each working set, at every length over two of the
    /// widest blocks and every offset within a cache line.
    fn check<T: Number, O: Operation<T, 0, INPUTS>, const INPUTS: usize>(
        operation: O,
        specified: impl Fn(T, [T; INPUTS]) -> T,
    ) {
        let value = |i: usize| T::from_f64((i as f64 - 77.3) * 1.7);
        let old: Vec<T> = (0..200).map(|i| value(i * 31 % 200)).collect();
        let input: Vec<Vec<T>> =
            (0..INPUTS).map(|k| (0..200).map(|i| value(i * (k + 3) % 200)).collect()).collect();
        for working_set in [WorkingSet::Near, WorkingSet::Far, WorkingSet::Memory] {
            for &level in Level::available() {
                for (offset, length) in (0..16).flat_map(|o| (0..180).map(move |l| (o, l))) {
                    let range = offset..offset + length;
                    let mut output = old.clone();
                    let inputs = std::array::from_fn(|k| &input[k][range.clone()]);
                    level.run(SliceUpdate::<T, T, O, INPUTS>::of_slices(
                        operation,
                        &mut output[range.clone()],
                        inputs,
                        working_set,
                    ));
                    for i in 0..200 {
                        let new = specified(old[i], std::array::from_fn(|k| input[k][i]));
                        let expected = if range.contains(&i) { new } else { old[i] };
                        assert!(
                            Float::to_bits(output[i]) == Float::to_bits(expected),
                            "{level} {working_set:?}, element {i} of {range:?}"
                        );
                    }
                }
            }
        }
    }

    fn every_working_set_gives_the_same_bits<T: Number>() {
        let rate = T::from_f64(0.3);
        check(SignedSqrt, |_, [g]: [T; 1]| reference::signed_sqrt(g));
        check(SignedSqrtInPlace, |x: T, []| reference::signed_sqrt(x));
        check(Axpy { alpha: rate }, |y, [x]| reference::axpy(rate, x, y));
        check(Descend { learning_rate: rate }, |x, [g]| reference::descend(x, g, rate));
        check(DescendInto { learning_rate: rate }, |_, [x, g]| reference::descend(x, g, rate));
    }

    #[test]
    fn every_working_set_gives_the_same_bits_f32() {
        every_working_set_gives_the_same_bits::<f32>();
    }

    #[test]
    fn every_working_set_gives_the_same_bits_f64() {
        every_working_set_gives_the_same_bits::<f64>();
    }

    /// Momentum in bf16, at every length over two of the widest blocks, with values of every class: the
    /// specified one, rounded once more.
    fn bf16_states_are_rounded_once<T: Number>(same: impl Fn(T, T) -> bool)
    where
        Bf16: Narrow<T, Memory = u16> + Format<T, Memory = u16>,
    {
        let value = |i: usize, k: usize| {
            T::from_f64(match i * k % 41 {
                0 => f64::NAN,
                1 => f64::INFINITY,
                2 => -0.0,
                3 => 1e-40,
                4 => f64::from(f32::MAX),
                n => (n as f64 - 20.3) * [1e-3, 0.1, 1.0, 20.0, 1e3][i % 5],
            })
        };
        let rule = Rule::powerstep(0.3).with_weight_decay(0.1);
        for step in [Step::<T>::first(&rule).unwrap(), Step::later(&rule).unwrap()] {
            for working_set in [WorkingSet::Near, WorkingSet::Far, WorkingSet::Memory] {
                for (&level, length) in
                    Level::available().iter().flat_map(|level| (0..180).map(move |l| (level, l)))
                {
                    let g: Vec<T> = (0..length).map(|i| value(i, 7)).collect();
                    let old: Vec<T> = (0..length).map(|i| value(i, 5)).collect();
                    let old_m: Vec<u16> = (0..length).map(|i| Bf16::narrow(value(i, 3))).collect();
                    let (mut x, mut m) = (old.clone(), old_m.clone());
                    let output = ValuesMut::<T, T>(&mut x);
                    let states = [ValuesMut::<T, Bf16>(&mut m)];
                    let inputs = [Values::<T, T>(&g)];
                    level.run(Update { operation: step, output, states, inputs, working_set });
                    for i in 0..length {
                        let (new, new_m) =
                            reference::step(&step, old[i], Bf16::widen(old_m[i]), g[i]);
                        let new_m = reference::bf16_momentum(new_m);
                        assert!(same(x[i], new), "{level} {working_set:?} {i}: {} {new}", x[i]);
                        let m: T = Bf16::widen(m[i]);
                        assert!(same(m, new_m), "{level} {working_set:?} {i}: {m} {new_m}");
                    }
                }
            }
        }
    }

    #[test]
    fn bf16_states_are_rounded_once_f32() {
        bf16_states_are_rounded_once::<f32>(|a, b| {
            a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
        });
    }

    #[test]
    fn bf16_states_are_rounded_once_f64() {
        bf16_states_are_rounded_once::<f64>(|a, b| {
            a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
        });
    }

    #[test]
    fn working_sets_follow_the_caches() {
        assert_eq!(WorkingSet::of(FAR_BYTES - 1), WorkingSet::Near);
        assert_eq!(WorkingSet::of(FAR_BYTES), WorkingSet::Far);
        // A last-level cache is neither tiny nor larger than any that was ever built.
        assert!((256 << 10..16 << 30).contains(&last_level_cache_bytes()));
        for (named, beyond_all) in [(1, 16), (8, 16), (12, 24), (32, 64), (33, 64), (260, 64)] {
            SMALLER_CACHE.set(Some(named << 20));
            assert_eq!(WorkingSet::of(beyond_all << 20), WorkingSet::Memory, "{named} MiB");
            assert_ne!(WorkingSet::of((beyond_all << 20) - 1), WorkingSet::Memory, "{named} MiB");
        }
        SMALLER_CACHE.set(None);
    }

    /// Registers as long as a cache line go past the caches as soon as they are far, shorter ones later.
    #[test]
    fn far_registers_stream_where_they_are_lines() {
        use WorkingSet::{Far, Memory, Near};
        assert_eq!([Near, Far, Memory].map(streams::<Portable>), [false, false, true]);
        #[cfg(target_arch = "x86_64")]
        {
            use crate::simd::{Avx2, Avx512};
            assert_eq!([Near, Far, Memory].map(streams::<Avx2>), [false, false, true]);
            assert_eq!([Near, Far, Memory].map(streams::<Avx512>), [false, true, true]);
        }
    }
}
