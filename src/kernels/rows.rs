//! The step on some rows of a table.

use super::step::{StepPart, Stepped};
use super::stored::Aligned;
use super::sum::{PIECE, SumMut, take};
use super::update::{Part, WorkingSet};
use crate::level::Level;
use crate::rows::{Row, RowOrder, RowsStep};
use crate::simd::{Kernel, Simd};
use crate::step::Gradient;

/// The steps on rows of a table, from the first row on: what lies behind is not taken yet, so that no two have the same
/// memory.
pub(crate) struct RowParts<'a, C> {
    /// Its gradient is that of all rows.
    table: StepPart<'a, C>,
    width: usize,
    order: &'a RowOrder<'a>,
    /// How many places of the order are done.
    done: usize,
    /// The row that the rest of the table begins with.
    next: usize,
}

impl<'a, C: Stepped> RowParts<'a, C> {
    /// Those of rows that are as they must be.
    pub(crate) fn new(rows: &'a mut RowsStep<'_, C>, order: &'a RowOrder<'a>) -> Self {
        // Each row is short, and what lies behind it is not asked for.
        let table = StepPart::of(&mut rows.table, WorkingSet::Near);
        Self { table, width: rows.width, order, done: 0, next: 0 }
    }
}

impl<'a, C: Stepped> Iterator for RowParts<'a, C> {
    type Item = RowPart<'a, C>;

    fn next(&mut self) -> Option<RowPart<'a, C>> {
        let Row { number, place, more } = self.order.row(self.done)?;
        let (width, gradient) = (self.width, self.table.gradient);
        self.table.split_off_by((number - self.next) * width, gradient);
        let part = self.table.split_off_by(width, gradient.row(place, width));
        self.done += 1 + more.len();
        self.next = number + 1;
        Some(RowPart { part, more, gradient })
    }
}

/// The step on a row.
pub(crate) struct RowPart<'a, C> {
    /// By the first of its gradients.
    part: StepPart<'a, C>,
    /// The places of the others.
    more: &'a [(usize, usize)],
    /// Of all rows.
    gradient: Gradient<'a, C>,
}

impl<C: Stepped> Part for RowPart<'_, C> {
    fn bytes(&self) -> usize {
        self.part.bytes()
    }

    /// Each enters the instruction set by itself, as any step does.
    fn run_all(level: Level, parts: impl Iterator<Item = Self>) {
        let sum = &mut Aligned([C::default(); PIECE]);
        for row in parts {
            if row.more.is_empty() {
                level.run(row.part);
            } else {
                level.run(SummedRow { row, sum });
            }
        }
    }
}

impl<C: Stepped> Kernel for RowPart<'_, C> {
    #[inline(always)]
    fn call<S: Simd>(self, isa: S) {
        SummedRow { row: self, sum: &mut Aligned([C::default(); PIECE]) }.call(isa);
    }
}

/// The step on a row by the sum of several gradients, a piece at a time.
struct SummedRow<'a, 'b, C> {
    row: RowPart<'a, C>,
    sum: &'b mut Aligned<[C; PIECE]>,
}

impl<C: Stepped> Kernel for SummedRow<'_, '_, C> {
    #[inline(always)]
    fn call<S: Simd>(self, isa: S) {
        let RowPart { mut part, more, gradient } = self.row;
        let width = part.parameters.len();
        let mut start = 0;
        while start < width {
            let piece = part.split_off(PIECE.min(width - start));
            let sum = &mut self.sum.0[..piece.parameters.len()];
            take(isa, true, SumMut::Full(&mut *sum), piece.gradient);
            for (_, place) in more {
                let term = gradient.part(place * width + start, sum.len());
                take(isa, false, SumMut::Full(&mut *sum), term);
            }
            start += sum.len();
            isa.run(StepPart { gradient: Gradient::Full(sum), ..piece });
        }
    }
}
