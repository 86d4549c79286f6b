//! Steps on some rows of a table: gradients that are (indices, rows), as those of an embedding are.

use crate::float::Float;
use crate::step::{Gradient, INT8_BLOCK, MomentumMut, StorageMut, TensorStep};
use std::fmt;

/// A step on some rows of a table, such as those of an embedding that a batch has asked for, all in memory of the
/// caller's: what [`Executor::step_rows`](crate::Executor::step_rows) takes.
///
/// The table is rows of the same number of elements, its width, one after the other. Its gradient is
/// `indices`, and for each of them a row, in any type that is computed in the same one as the parameters. An index that
/// is there several times has the sum of its rows, added up in the order that they stand in:
/// [`reference::sum_left_to_right`](crate::reference::sum_left_to_right).
///
/// Momentum, the [storage](Self::with_storage) and its draws are those of the whole table: the draws of an element are
/// those of its place in the table.
///
/// # Rows without a gradient
///
/// They are neither read nor written. Their momentum stays as it is and is not multiplied, and no weight decay
/// is taken off them, however many steps pass: it is lazy, as that of `torch.optim.SparseAdam`, which updates "only
/// moments that show up in the gradient", and applies "only those portions of the gradient". When such a row has a
/// gradient again, its momentum counts as that of the step before. So this is not the step on the whole table with
/// a gradient of zeros; it is the step on each of these rows as if it was a tensor by itself.
///
/// # The first step of a row
///
/// A [first](crate::optimizer::Step::first) step writes the momentum of the rows that it has, and does not read it. Rows
/// that are met later have none then. So begin with a momentum of zeros, and take
/// [later](crate::optimizer::Step::later) steps alone. Two things differ from a first step then: the new momentum
/// is multiplied by one minus the dampening, as in every later step, and its zeros are +0. (With -0, and without
/// dampening, all bits are those of a first step.) Who wants the first step of every row keeps a list of those
/// that were met, and makes two calls.
///
/// ```
/// use rootstep::Executor;
/// use rootstep::optimizer::{MomentumMut, RowsStep, Rule, Step};
///
/// # fn main() -> Result<(), rootstep::Error> {
/// // Four rows of two elements. The batch has asked for row 3 twice, and for row 1.
/// let (mut table, mut momentum) = ([1.0_f32; 8], [0.0; 8]);
/// let (indices, rows) = ([3, 1, 3], [1.0_f32, 2.0, 4.0, 4.0, 8.0, 7.0]);
/// let step = Step::later(&Rule::powerstep(0.5))?;
/// let momentum = MomentumMut::Full(&mut momentum);
/// let rows = RowsStep::new(step, &mut table, 2, &indices, &rows, momentum);
/// Executor::default().step_rows(&mut [rows])?;
/// // Row 3 has the gradient (9, 9), row 1 has (4, 4).
/// assert_eq!(table, [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, -0.5, -0.5]);
/// # Ok(())
/// # }
/// ```
pub struct RowsStep<'a, C> {
    /// On the whole table; its gradient is that of the rows.
    pub(crate) table: TensorStep<'a, C>,
    /// The elements of a row.
    pub(crate) width: usize,
    pub(crate) indices: &'a [usize],
}

impl<'a, C> RowsStep<'a, C> {
    /// The same step, with the parameters of the table stored in this way.
    #[must_use]
    pub fn with_storage(self, storage: StorageMut<'a>) -> Self {
        Self { table: self.table.with_storage(storage), ..self }
    }

    /// What is wrong with the rows, if anything is.
    pub(crate) fn problem(&self) -> Option<String>
    where
        C: Float,
    {
        let Self { table, width, indices } = self;
        let (width, elements) = (*width, table.parameters.len());
        if width == 0 || !elements.is_multiple_of(width) {
            return Some(format!(
                "the table has {elements} elements and a row of it {width}; allowed: whole rows, of one element or more"
            ));
        }
        let (rows, given) = (indices.len(), table.gradient.len());
        if rows.checked_mul(width) != Some(given) {
            return Some(format!(
                "there are {rows} indices and a gradient of {given} elements; allowed: {width} elements for each index"
            ));
        }
        let rows = elements / width;
        if let Some((i, row)) = indices.iter().enumerate().find(|(_, row)| **row >= rows) {
            return Some(format!(
                "index {i} is {row}; allowed: below {rows}, the rows of the table"
            ));
        }
        let in_blocks =
            table.step.has_momentum() && matches!(table.momentum, MomentumMut::Int8 { .. });
        (in_blocks && !width.is_multiple_of(INT8_BLOCK)).then(|| {
            format!(
                "a row has {width} elements and momentum in int8; allowed: whole blocks of {INT8_BLOCK}, so that no two rows \
                 share a scale"
            )
        })
    }
}

impl<C: fmt::Debug> fmt::Debug for RowsStep<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, width, indices } = self;
        let mut text = f.debug_struct("RowsStep");
        text.field("table", table).field("width", width);
        text.field("indices", &crate::step::Head(indices)).finish()
    }
}

/// Indices in the order of the rows that they name, and for the same row in their own.
#[derive(Debug)]
pub(crate) enum RowOrder<'a> {
    /// They ascend, and none is there twice.
    Given(&'a [usize]),
    /// Each with its place among them.
    Sorted(Vec<(usize, usize)>),
}

impl<'a> RowOrder<'a> {
    pub(crate) fn of(indices: &'a [usize]) -> Self {
        if indices.is_sorted_by(|a, b| a < b) {
            return Self::Given(indices);
        }
        let mut sorted: Vec<_> = indices.iter().copied().zip(0..).collect();
        // No two are equal: the place decides.
        sorted.sort_unstable();
        Self::Sorted(sorted)
    }

    /// The row that the place number `from` of the order begins.
    pub(crate) fn row(&self, from: usize) -> Option<Row<'_>> {
        match self {
            Self::Given(indices) => {
                let number = *indices.get(from)?;
                Some(Row { number, place: from, more: &[] })
            }
            Self::Sorted(sorted) => {
                let (&(number, place), rest) = sorted.get(from..)?.split_first()?;
                let more = rest.iter().take_while(|(other, _)| *other == number).count();
                Some(Row { number, place, more: &rest[..more] })
            }
        }
    }
}

/// A row that has gradients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    /// In the table.
    pub(crate) number: usize,
    /// Where the first of its gradients stands.
    pub(crate) place: usize,
    /// Its number again, and where the others stand.
    pub(crate) more: &'a [(usize, usize)],
}

impl<C> Gradient<'_, C> {
    /// That of a row, among rows.
    pub(crate) fn row(&self, place: usize, width: usize) -> Self {
        self.part(place * width, width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(indices: &[usize]) -> Vec<(usize, Vec<usize>)> {
        let order = RowOrder::of(indices);
        let (mut rows, mut from) = (Vec::new(), 0);
        while let Some(Row { number, place, more }) = order.row(from) {
            from += 1 + more.len();
            rows.push((number, [place].into_iter().chain(more.iter().map(|(_, i)| *i)).collect()));
        }
        rows
    }

    #[test]
    fn rows_ascend_and_their_places_do() {
        assert_eq!(rows(&[]), []);
        assert_eq!(rows(&[2, 5, 9]), [(2, vec![0]), (5, vec![1]), (9, vec![2])]);
        assert!(matches!(RowOrder::of(&[2, 5, 9]), RowOrder::Given(_)));
        assert_eq!(rows(&[4, 4]), [(4, vec![0, 1])]);
        assert_eq!(rows(&[7, 1, 7, 0, 1, 7]), [(0, vec![3]), (1, vec![1, 4]), (7, vec![0, 2, 5])]);
    }
}
