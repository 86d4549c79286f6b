//! Sums of many gradients in one order, whoever adds them up.
//!
//! A batch is K micro-batches, and their gradients are added up along a binary tree over their numbers: the left half of
//! the micro-batches 0..n is the largest power of two below n, and so on in each half
//! ([`reference::sum`](crate::reference::sum)). A machine that holds some micro-batches in a row adds up the [`nodes`] of
//! the tree that it has whole; what is left is added up in the tree's [order](SumOrder) by whoever steps. So the bits do
//! not depend on how many machines there are.
//!
//! ```
//! use rootstep::optimizer::{MomentumMut, Rule, Step, TensorStep};
//! use rootstep::sums::{SumOrder, Term, nodes};
//! use rootstep::{Executor, reference};
//!
//! # fn main() -> Result<(), rootstep::Error> {
//! // Five micro-batches: machine 0 holds three of them, machine 1 the others.
//! let gradients = [[0.1_f32; 300], [0.2; 300], [0.3; 300], [0.4; 300], [0.5; 300]];
//! let (mut held, mut partial) = (Vec::new(), Vec::new());
//! for machine in [0..3, 3..5] {
//!     for node in nodes(5, machine)? {
//!         let terms: Vec<_> = gradients[node.clone()].iter().map(|g| Term::new(g)).collect();
//!         let mut sum = vec![0.0; 300];
//!         Executor::default().sum_all(&SumOrder::of_terms(node.len())?, &terms, &mut sum)?;
//!         held.push(node);
//!         partial.push(sum);
//!     }
//! }
//! assert_eq!(held, [0..2, 2..3, 3..4, 4..5]);
//!
//! // Whoever steps adds up what there is.
//! let order = SumOrder::of_nodes(5, &held)?;
//! let terms: Vec<_> = partial.iter().map(|sum| Term::new(sum)).collect();
//! let mut parameters = vec![1.0_f32; 300];
//! let step = Step::first(&Rule::sgd(1.0))?;
//! let tensor = TensorStep::of_sum(step, &mut parameters, &order, &terms, MomentumMut::None);
//! Executor::default().step_all(&mut [tensor])?;
//! let sum = reference::sum(&[0.1_f32, 0.2, 0.3, 0.4, 0.5]);
//! assert_eq!(parameters, [1.0 - sum; 300]);
//! # Ok(())
//! # }
//! ```

use crate::element::Element;
use crate::error::Error;
use crate::float::Float;
use crate::step::Gradient;
use std::fmt;
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
        let mut order = Self { completed: Vec::with_capacity(nodes.len()) };
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

    /// How many terms there are.
    #[must_use]
    pub const fn terms(&self) -> usize {
        self.completed.len()
    }

    pub(crate) fn completed(&self) -> &[u8] {
        &self.completed
    }
}

/// A term of a sum: a gradient, or a sum of some. In any type that is computed in `C`; it is read exactly.
#[derive(Clone, Copy)]
pub struct Term<'a, C>(pub(crate) Gradient<'a, C>);

impl<'a, C: Float> Term<'a, C> {
    /// The term in this slice.
    #[must_use]
    pub fn new<G: Element<Compute = C>>(values: &'a [G]) -> Self {
        Self(G::gradient(values))
    }

    /// How many elements it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<C: fmt::Debug> fmt::Debug for Term<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Some elements of a sum.
#[derive(Clone, Copy)]
pub struct Sum<'a, C> {
    pub(crate) order: &'a SumOrder,
    pub(crate) terms: &'a [Term<'a, C>],
    /// The first of these elements, in each term.
    pub(crate) start: usize,
    pub(crate) elements: usize,
}

impl<'a, C> Sum<'a, C> {
    pub(crate) const fn new(
        order: &'a SumOrder,
        terms: &'a [Term<'a, C>],
        elements: usize,
    ) -> Self {
        Self { order, terms, start: 0, elements }
    }

    /// Takes the first `length` elements away.
    pub(crate) const fn split_off(&mut self, length: usize) -> Self {
        let front = Self { elements: length, ..*self };
        self.start += length;
        self.elements -= length;
        front
    }

    /// What is wrong with the terms, if anything is.
    pub(crate) fn problem(&self) -> Option<String> {
        let (given, allowed) = (self.terms.len(), self.order.terms());
        if given != allowed {
            return Some(format!("there are {given} terms; allowed: {allowed}, as the order has"));
        }
        let elements = self.elements;
        let (i, term) = self.terms.iter().enumerate().find(|(_, term)| term.0.len() != elements)?;
        let given = term.0.len();
        Some(format!("term {i} has {given} elements; allowed: {elements}"))
    }
}

impl<C: fmt::Debug> fmt::Debug for Sum<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { order, terms, start, elements } = self;
        let mut text = f.debug_struct("Sum");
        text.field("order", order).field("terms", terms).field("start", start);
        text.field("elements", elements).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(nodes(count, 0..count).unwrap(), [0..count]);
        }
        assert_eq!(nodes(13, 1..12).unwrap(), [1..2, 2..4, 4..8, 8..12]);
        assert_eq!(nodes(13, 8..13).unwrap(), [8..13]);
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
            message(SumOrder::of_nodes(8, &[0..4])),
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
