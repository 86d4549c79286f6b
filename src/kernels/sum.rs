//! Sums of several slices in the order of a tree, a piece at a time: what waits to be added up stays in the caches.

use super::block::Block;
use super::place::{Values, ValuesMut};
use super::step::{StepPart, Stepped, split_off_parameters};
use super::stored::Aligned;
use super::update::{CHUNK_BYTES, FAR_BYTES, LINE_BYTES, Operation, Part, Update, WorkingSet};
use crate::format::{Format, Number};
use crate::level::Level;
use crate::simd::{Kernel, Simd, prefetch};
use crate::step::{Gradient, INT8_BLOCK, Parameters, Sum};
use crate::sum_order::{MOST_WAITING, Rounding};
use std::iter;

/// The elements of a piece: whole blocks of momentum in int8, and few enough that some pieces fit in L1.
pub(super) const PIECE: usize = 512;
const _: () = assert!(PIECE.is_multiple_of(INT8_BLOCK));

/// How many pieces ahead terms are prefetched that are beyond the caches near the core, whose own prefetching begins anew
/// with each piece. Measured in docs/performance.md.
const PIECES_AHEAD: usize = 2;

/// `sum = term`
#[derive(Debug, Clone, Copy)]
struct Begin;

impl<C: Number> Operation<C, 0, 1> for Begin {
    const ROOT: bool = false;
    const IN_PLACE: bool = false;

    #[inline(always)]
    fn apply<B: Block<C>>(self, _: B, []: [B; 0], [term]: [B; 1]) -> (B, [B; 0]) {
        (term, [])
    }
}

/// `sum = sum + term`
#[derive(Debug, Clone, Copy)]
struct Add;

impl<C: Number> Operation<C, 0, 1> for Add {
    const ROOT: bool = false;
    const IN_PLACE: bool = true;

    #[inline(always)]
    fn apply<B: Block<C>>(self, sum: B, []: [B; 0], [term]: [B; 1]) -> (B, [B; 0]) {
        (sum + term, [])
    }
}

/// The sums of a piece that wait for the one that they are added to.
struct Waiting<C>([Aligned<[C; PIECE]>; MOST_WAITING]);

impl<C: Stepped> Waiting<C> {
    fn new() -> Self {
        Self(std::array::from_fn(|_| Aligned([C::default(); PIECE])))
    }

    /// Adds up a piece or less.
    #[inline(always)]
    fn add_up<S: Simd>(&mut self, isa: S, sum: Sum<'_, C>) -> &[C] {
        let (mut waiting, rounding) = (0, sum.order.rounding());
        let far = sum.is_far();
        for (term, &completed) in sum.terms.iter().zip(sum.order.completed()) {
            if far {
                prefetch_part(&term.0, sum.start + PIECES_AHEAD * PIECE, sum.elements);
            }
            let term = term.0.part(sum.start, sum.elements);
            // A term that is rounded waits, too, before it is added.
            let begin = completed == 0 || rounding == Rounding::Bf16;
            waiting += usize::from(begin);
            let last = SumMut::new(&mut self.0[waiting - 1].0[..sum.elements], rounding);
            take(isa, begin, last, term);
            for _ in u8::from(!begin)..completed {
                waiting -= 1;
                let (before, last) = self.0.split_at_mut(waiting);
                let term = Gradient::Full(&last[0].0[..sum.elements]);
                let sum = &mut before[waiting - 1].0[..sum.elements];
                take(isa, false, SumMut::new(sum, rounding), term);
            }
        }
        &self.0[0].0[..sum.elements]
    }
}

impl<C> Sum<'_, C> {
    /// Whether all terms, as long as they are, are beyond the caches near the core.
    #[inline(always)]
    const fn is_far(&self) -> bool {
        match self.terms {
            [] => false,
            [term, ..] => {
                (term.len() * size_of::<C>()).saturating_mul(self.terms.len()) >= FAR_BYTES
            }
        }
    }
}

/// Asks for `length` elements of a term from `start` on, or what there is of them.
#[inline(always)]
fn prefetch_part<C>(term: &Gradient<'_, C>, start: usize, length: usize) {
    #[inline(always)]
    fn lines<T>(values: &[T]) {
        for line in values.chunks(LINE_BYTES / size_of::<T>()) {
            prefetch(&line[0], 0);
        }
    }
    let start = start.min(term.len());
    match term.part(start, length.min(term.len() - start)) {
        Gradient::Full(values) => lines(values),
        Gradient::Bf16(bits) | Gradient::F16(bits) => lines(bits),
        Gradient::Sum(_) => unreachable!("no term is a sum"),
    }
}

/// Where a sum goes.
pub(crate) enum SumMut<'a, C> {
    Full(&'a mut [C]),
    /// As the nearest numbers of bf16.
    Rounded(&'a mut [C]),
    /// By their bits.
    Bf16(&'a mut [u16]),
}

impl<'a, C> SumMut<'a, C> {
    #[inline(always)]
    const fn new(sum: &'a mut [C], rounding: Rounding) -> Self {
        match rounding {
            Rounding::Computed => Self::Full(sum),
            Rounding::Bf16 => Self::Rounded(sum),
        }
    }
}

/// Begins a sum with a term, or adds one to it, in any format.
#[inline(always)]
pub(super) fn take<S: Simd, C: Stepped>(
    isa: S,
    begin: bool,
    sum: SumMut<'_, C>,
    term: Gradient<'_, C>,
) {
    if begin {
        C::update(isa, Begin, sum, term);
    } else {
        C::update(isa, Add, sum, term);
    }
}

/// An update of a slice in a format by one in a format: a call, and a frame of its own on the stack.
#[inline(always)]
pub(super) fn update<S, C, W, M, O>(
    isa: S,
    operation: O,
    output: ValuesMut<'_, C, W>,
    input: Values<'_, C, M>,
) where
    S: Simd,
    C: Number,
    W: Format<C>,
    M: Format<C>,
    O: Operation<C, 0, 1>,
{
    let states: [ValuesMut<'static, C, C>; 0] = [];
    let working_set = WorkingSet::Near;
    isa.run(Update { operation, output, states, inputs: [input], working_set });
}

/// Some elements of a sum, and where it goes.
pub(crate) struct SumPart<'a, C> {
    pub(crate) sum: Sum<'a, C>,
    /// As many, in the type that is computed in, or in bf16 if the order is.
    pub(crate) out: Parameters<'a, C>,
}

impl<C: Stepped> SumPart<'_, C> {
    /// The same sum in parts that a thread takes at a time.
    pub(crate) fn chunks(mut self) -> impl Iterator<Item = Self> + Send {
        iter::from_fn(move || self.split_off(CHUNK_BYTES / size_of::<C>()))
    }

    /// Takes the first `length` elements away, or all; none if there are none left.
    fn split_off(&mut self, length: usize) -> Option<Self> {
        let length = length.min(self.out.len());
        (length > 0).then(|| {
            let out = split_off_parameters(&mut self.out, length);
            Self { sum: self.sum.split_off(length), out }
        })
    }
}

impl<C: Stepped> Part for SumPart<'_, C> {
    fn bytes(&self) -> usize {
        self.out.len() * size_of::<C>()
    }

    /// Each enters the instruction set by itself: that takes no time beside what a chunk does.
    fn run_all(level: Level, parts: impl Iterator<Item = Self>) {
        parts.for_each(|part| level.run(part));
    }
}

impl<C: Stepped> Kernel for SumPart<'_, C> {
    #[inline(always)]
    fn call<S: Simd>(mut self, isa: S) {
        let waiting = &mut Waiting::new();
        while let Some(piece) = self.split_off(PIECE) {
            let term = Gradient::Full(waiting.add_up(isa, piece.sum));
            let sum = match piece.out {
                Parameters::Full(out) => SumMut::Full(out),
                Parameters::Bf16(out) => SumMut::Bf16(out),
                Parameters::F16(_) => unreachable!("no sum is in f16"),
            };
            take(isa, true, sum, term);
        }
    }
}

/// A step whose gradient is a sum.
pub(super) struct SummedStep<'a, C>(pub(super) StepPart<'a, C>);

impl<C: Stepped> Kernel for SummedStep<'_, C> {
    #[inline(always)]
    fn call<S: Simd>(self, isa: S) {
        let waiting = &mut Waiting::new();
        let mut part = self.0;
        while part.parameters.len() > 0 {
            let piece = part.split_off(PIECE.min(part.parameters.len()));
            let Gradient::Sum(sum) = piece.gradient else {
                unreachable!("the gradient is a sum");
            };
            let gradient = Gradient::Full(waiting.add_up(isa, sum));
            isa.run(StepPart { gradient, ..piece });
        }
    }
}
