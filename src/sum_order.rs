//! The order of a sum: a binary tree over its terms.

use crate::error::Error;
use std::ops::Range;

/// The most micro-batches of a batch.
pub const MOST_MICRO_BATCHES: usize = 1 << 15;

/// The most sums that wait for another one: the largest tree is as deep.
pub(crate) const MOST_WAITING: usize = 16;

/// How many micro-batches the left half of `count` has: the largest power of two below it. There are two or more.
const fn left_half(count: usize) -> usize {
    1 << (count - 1).ilog2()
}

fn check_count(setting: &'static str, count: usize) -> Result<(), Error> {
    if (1..=MOST_MICRO_BATCHES).contains(&count) {
        return Ok(());
    }
    Err(Error::invalid(setting, count, format!("1 to {MOST_MICRO_BATCHES}")))
}

/// The nodes of the tree over `micro_batches` whose micro-batches are all in `held`, the largest there are, from left to
/// right: at most about twice as many as the tree is deep.
///
/// The sum of a node is [that of its terms](SumOrder::of_terms): the tree has the same shape in each node as in a whole
/// batch of as many.
///
/// # Errors
///
/// [`Error::InvalidSetting`] if there are no micro-batches or more than [`MOST_MICRO_BATCHES`], or `held` ends before it
/// begins or after the last of them.
///
/// ```
/// assert_eq!(rootstep::sums::nodes(8, 3..8).unwrap(), [3..4, 4..8]);
/// ```
pub fn nodes(micro_batches: usize, held: Range<usize>) -> Result<Vec<Range<usize>>, Error> {
    fn collect(node: Range<usize>, held: &Range<usize>, found: &mut Vec<Range<usize>>) {
        if node.end <= held.start || held.end <= node.start {
            return;
        }
        if held.start <= node.start && node.end <= held.end {
            return found.push(node);
        }
        let middle = node.start + left_half(node.len());
        collect(node.start..middle, held, found);
        collect(middle..node.end, held, found);
    }
    check_count("the number of micro-batches", micro_batches)?;
    if held.start > held.end || held.end > micro_batches {
        let allowed = format!("a range in 0..{micro_batches}");
        return Err(Error::invalid("the range of micro-batches", format!("{held:?}"), allowed));
    }
    let mut found = Vec::new();
    collect(0..micro_batches, &held, &mut found);
    Ok(found)
}

/// In which order terms are added up: that of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SumOrder {
    /// How many sums are complete with each term: so many times the last two that wait are added up.
    completed: Vec<u8>,
    rounding: Rounding,
}

/// What the sum of each node is rounded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Rounding {
    /// The type that is computed in.
    Computed,
    Bf16,
}

impl SumOrder {
    /// The order of one term for each micro-batch of a batch, or of a node.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if there are none, or more than [`MOST_MICRO_BATCHES`].
    pub fn of_terms(terms: usize) -> Result<Self, Error> {
        check_count("the number of terms", terms)?;
        let single = |i| i..i + 1;
        Self::of_nodes(terms, &(0..terms).map(single).collect::<Vec<_>>())
    }

    /// The order of terms that are the sums of these nodes: from left to right, all micro-batches once.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSetting`] if they are not, or one is no node of the tree; or there are no micro-batches, or more
    /// than [`MOST_MICRO_BATCHES`].
    pub fn of_nodes(micro_batches: usize, nodes: &[Range<usize>]) -> Result<Self, Error> {
        check_count("the number of micro-batches", micro_batches)?;
        let completed = Vec::with_capacity(nodes.len());
        let mut order = Self { completed, rounding: Rounding::Computed };
        order.add(0..micro_batches, nodes)?;
        match nodes.get(order.terms()) {
            None => Ok(order),
            Some(node) => Err(order.wrong(Some(node), "no more")),
        }
    }

    /// Adds what makes up a node.
    fn add(&mut self, node: Range<usize>, nodes: &[Range<usize>]) -> Result<(), Error> {
        let next = nodes.get(self.terms());
        if next == Some(&node) {
            self.completed.push(0);
            return Ok(());
        }
        if node.len() == 1 || next.is_none_or(|next| next.start != node.start) {
            let allowed = format!("a node of the tree that begins with {}", node.start);
            return Err(self.wrong(next, &allowed));
        }
        let middle = node.start + left_half(node.len());
        self.add(node.start..middle, nodes)?;
        self.add(middle..node.end, nodes)?;
        // It is one of the last two that is complete now.
        *self.completed.last_mut().expect("a node has terms") += 1;
        Ok(())
    }

    #[cold]
    fn wrong(&self, given: Option<&Range<usize>>, allowed: &str) -> Error {
        let given = given.map_or_else(|| "missing".to_owned(), |node| format!("{node:?}"));
        Error::invalid(format!("node {} of the sum", self.terms()), given, allowed)
    }

    /// The same order, with what each node has rounded to bf16, the single micro-batches' too, as
    /// [`reference::sum_in_bf16`](crate::reference::sum_in_bf16) specifies: so that sums can be sent in bf16, half of the
    /// bytes, and their bits still do not depend on who added up what. For terms that are computed in f32; the sums may be
    /// written in either type.
    ///
    /// ```
    /// # #[cfg(feature = "half")] {
    /// use half::bf16;
    /// use rootstep::sums::{SumOrder, Term};
    ///
    /// let (a, b) = ([0.1_f32; 100], [0.2_f32; 100]);
    /// let order = SumOrder::of_terms(2).unwrap().in_bf16();
    /// let mut sent = [bf16::ZERO; 100];
    /// rootstep::Executor::default().sum_all(&order, &[Term::new(&a), Term::new(&b)], &mut sent).unwrap();
    /// assert_eq!(sent, [bf16::from_f32(bf16::from_f32(0.1).to_f32() + bf16::from_f32(0.2).to_f32()); 100]);
    /// # }
    /// ```
    #[must_use]
    pub fn in_bf16(self) -> Self {
        Self { rounding: Rounding::Bf16, ..self }
    }

    pub(crate) const fn rounding(&self) -> Rounding {
        self.rounding
    }

    /// How many terms there are.
    #[must_use]
    pub const fn terms(&self) -> usize {
        self.completed.len()
    }

    pub(crate) fn completed(&self) -> &[u8] {
        &self.completed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(node: Range<usize>) -> [Range<usize>; 1] {
        [node]
    }

    /// The nodes of every range are those of the tree: none is part of a larger one of the range, and all orders that
    /// machines can have are orders.
    #[test]
    fn nodes_of_machines_make_up_the_batch() {
        for count in 1..=33 {
            for first in 0..=count {
                for second in first..=count {
                    let ranges = [0..first, first..second, second..count];
                    let held: Vec<_> = ranges
                        .iter()
                        .flat_map(|held| nodes(count, held.clone()).unwrap())
                        .collect();
                    let order = SumOrder::of_nodes(count, &held).unwrap();
                    assert_eq!(order.terms(), held.len());
                    assert_eq!(usize::from(order.completed.iter().sum::<u8>()), held.len() - 1);
                }
            }
            assert_eq!(nodes(count, 0..count).unwrap(), alone(0..count));
        }
        assert_eq!(nodes(13, 1..12).unwrap(), [1..2, 2..4, 4..8, 8..12]);
        assert_eq!(nodes(13, 8..13).unwrap(), alone(8..13));
    }

    #[test]
    fn the_order_is_that_of_a_binary_counter() {
        let completed = |terms| SumOrder::of_terms(terms).unwrap().completed;
        assert_eq!(completed(8), [0, 1, 0, 2, 0, 1, 0, 3]);
        assert_eq!(completed(7), [0, 1, 0, 2, 0, 1, 2]);
        assert_eq!(SumOrder::of_nodes(7, &[0..4, 4..6, 6..7]).unwrap().completed, [0, 0, 2]);
    }

    /// As many wait as there is room for.
    #[test]
    fn the_deepest_tree() {
        let nodes: Vec<_> = (0..MOST_MICRO_BATCHES).map(|i| i..i + 1).collect();
        for count in [MOST_MICRO_BATCHES, MOST_MICRO_BATCHES - 1] {
            let (mut waiting, mut most) = (0, 0);
            for &completed in SumOrder::of_nodes(count, &nodes[..count]).unwrap().completed() {
                waiting += 1;
                most = most.max(waiting);
                waiting -= usize::from(completed);
            }
            assert_eq!(waiting, 1);
            assert!(most <= MOST_WAITING, "{most}");
        }
    }

    #[test]
    fn messages() {
        let message = |result: Result<SumOrder, Error>| result.unwrap_err().to_string();
        assert_eq!(
            message(SumOrder::of_nodes(8, &[0..4, 4..7, 7..8])),
            "node 1 of the sum is 4..7; allowed: a node of the tree that begins with 4"
        );
        assert_eq!(
            message(SumOrder::of_nodes(8, &alone(0..4))),
            "node 1 of the sum is missing; allowed: a node of the tree that begins with 4"
        );
        assert_eq!(
            message(SumOrder::of_nodes(8, &[0..8, 8..9])),
            "node 1 of the sum is 8..9; allowed: no more"
        );
        assert_eq!(message(SumOrder::of_terms(0)), "the number of terms is 0; allowed: 1 to 32768");
        assert_eq!(
            nodes(4, 2..5).unwrap_err().to_string(),
            "the range of micro-batches is 2..5; allowed: a range in 0..4"
        );
    }
}
