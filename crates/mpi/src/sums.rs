//! The sums of the gradients of this rank's micro-batches: one for each node of the tree that it holds whole.

use crate::border::Buffer;
use crate::error::Error;
use crate::layout::Layout;
use crate::{Parameter, Wire};
use rootstep::sums::{SumOrder, Term, nodes};
use rootstep::{Element, Executor};
use std::ops::Range;

/// As many elements are added up at a time: what comes out is still in the caches when it is put where it belongs.
const AT_A_TIME: usize = 1 << 18;

/// The sums of a rank, which come in the order of its micro-batches, tensor by tensor.
///
/// Each tensor has a stack of sums, as a binary counter has digits: with a micro-batch the sums that are complete are added
/// up. The bottom of the stack is where the sum of the node will be.
pub struct Sums<W: Wire> {
    held: Range<usize>,
    nodes: Vec<Range<usize>>,
    /// The sums of the nodes, one model after the other.
    pub buffer: Buffer<W>,
    /// What else there is of the stack: a model for each level.
    waiting: Vec<Vec<W>>,
    /// The next micro-batch of each tensor.
    next: Vec<usize>,
    scratch: Vec<W>,
    elements: usize,
    single: SumOrder,
    pair: SumOrder,
}

/// The order of such a sum, in bf16 if that is what is sent.
pub fn order_of<W: Element>(order: SumOrder) -> SumOrder {
    if W::TYPE == "bf16" { order.in_bf16() } else { order }
}

impl<W: Wire> Sums<W> {
    pub fn new(layout: &Layout, micro_batches: usize, held: Range<usize>) -> Result<Self, Error> {
        let nodes = nodes(micro_batches, held.clone())?;
        let elements = layout.elements();
        let levels = nodes.iter().map(|node| most_waiting(node.len())).max().unwrap_or(0);
        let mut sums = Self {
            buffer: Buffer::zeroed(nodes.len() * elements),
            waiting: vec![vec![W::default(); elements]; levels.saturating_sub(1)],
            next: Vec::new(),
            scratch: vec![W::default(); AT_A_TIME.min(elements)],
            elements,
            single: order_of::<W>(SumOrder::of_terms(1)?),
            pair: order_of::<W>(SumOrder::of_terms(2)?),
            held,
            nodes,
        };
        sums.begin(layout);
        Ok(sums)
    }

    /// Begins a step.
    pub fn begin(&mut self, layout: &Layout) {
        let first =
            |tensor| if layout.tensor(tensor).is_empty() { self.held.end } else { self.held.start };
        self.next = (0..layout.tensors()).map(first).collect();
    }

    pub fn nodes(&self) -> &[Range<usize>] {
        &self.nodes
    }

    pub fn held(&self) -> Range<usize> {
        self.held.clone()
    }

    /// Where the sums of a node are in the buffer.
    pub fn of_node(&self, node: usize, range: &Range<usize>) -> Range<usize> {
        let start = node * self.elements;
        start + range.start..start + range.end
    }

    /// Whether all gradients of a tensor have come.
    pub fn is_complete(&self, tensor: usize) -> bool {
        self.next[tensor] == self.held.end
    }

    /// The first tensor and micro-batch that is missing.
    pub fn missing(&self) -> Option<(usize, usize)> {
        self.next.iter().copied().enumerate().find(|&(_, next)| next != self.held.end)
    }

    /// Adds the gradient of a tensor of a micro-batch: the next of this rank for this tensor.
    pub fn add<G: Element<Compute = W::Compute>>(
        &mut self,
        executor: Executor,
        layout: &Layout,
        tensor: usize,
        micro_batch: usize,
        gradient: &[G],
    ) -> Result<(), Error> {
        self.check(layout, tensor, micro_batch, gradient.len())?;
        let range = layout.tensor(tensor);
        let found = self.nodes.iter().position(|node| node.contains(&micro_batch));
        let node = found.expect("the nodes have all micro-batches of the rank");
        let (number, last) = (micro_batch - self.nodes[node].start, self.nodes[node].end - 1);
        let mut level = number.count_ones() as usize;
        let complete = if micro_batch == last { level } else { number.trailing_ones() as usize };
        if complete == 0 {
            let single = self.single.clone();
            let out = self.level(level, node, &range);
            executor.sum_all(&single, &[Term::new(gradient)], out)?;
        } else {
            level -= 1;
            let out = split_level(
                &mut self.buffer,
                &mut self.waiting,
                level,
                (node, self.elements),
                &range,
            )
            .0;
            add_to(executor, &self.pair, &mut self.scratch, out, gradient)?;
        }
        for _ in 1..complete {
            level -= 1;
            let (out, above) = split_level(
                &mut self.buffer,
                &mut self.waiting,
                level,
                (node, self.elements),
                &range,
            );
            add_to(executor, &self.pair, &mut self.scratch, out, &above[0][range.clone()])?;
        }
        self.next[tensor] += 1;
        Ok(())
    }

    fn check(
        &self,
        layout: &Layout,
        tensor: usize,
        micro_batch: usize,
        given: usize,
    ) -> Result<(), Error> {
        if tensor >= layout.tensors() {
            let allowed = format!("below {}", layout.tensors());
            return Err(Error::invalid("the tensor of a gradient", tensor, allowed));
        }
        let length = layout.tensor(tensor).len();
        if given != length {
            let what = format!("the length of the gradient of tensor {tensor}");
            return Err(Error::invalid(what, given, format!("{length}, as its parameters")));
        }
        let (next, held) = (self.next[tensor], self.held());
        if micro_batch == next && next < held.end {
            return Ok(());
        }
        let what = format!("the micro-batch of a gradient of tensor {tensor}");
        let allowed = if next == held.end {
            format!("none before the step: this rank has {held:?}, and all have come")
        } else {
            format!("{next}: the micro-batches of this rank, {held:?}, come in their order")
        };
        Err(Error::invalid(what, micro_batch, allowed))
    }

    fn level(&mut self, level: usize, node: usize, range: &Range<usize>) -> &mut [W] {
        split_level(&mut self.buffer, &mut self.waiting, level, (node, self.elements), range).0
    }
}

/// Some elements of a level of the stack, and the levels above it.
fn split_level<'a, W: Parameter>(
    buffer: &'a mut Buffer<W>,
    waiting: &'a mut [Vec<W>],
    level: usize,
    (node, elements): (usize, usize),
    range: &Range<usize>,
) -> (&'a mut [W], &'a [Vec<W>]) {
    if level == 0 {
        let start = node * elements;
        return (buffer.slice_mut(start + range.start..start + range.end), waiting);
    }
    let (below, above) = waiting.split_at_mut(level);
    (&mut below[level - 1][range.clone()], above)
}

/// How many sums of a node's micro-batches are there at a time, at most: with those that complete no other.
fn most_waiting(micro_batches: usize) -> usize {
    let waits = |number: &usize| *number == 0 || number + 1 < micro_batches;
    let waiting = (0..micro_batches).step_by(2).filter(waits);
    waiting.map(|number| number.count_ones() as usize + 1).max().unwrap_or(0)
}

/// `sum = sum + term`, each rounded as the order says.
fn add_to<W: Wire, G: Element<Compute = W::Compute>>(
    executor: Executor,
    pair: &SumOrder,
    scratch: &mut [W],
    sum: &mut [W],
    term: &[G],
) -> Result<(), Error> {
    for (sum, term) in sum.chunks_mut(AT_A_TIME).zip(term.chunks(AT_A_TIME)) {
        let out = &mut scratch[..sum.len()];
        executor.sum_all(pair, &[Term::new(sum), Term::new(term)], out)?;
        sum.copy_from_slice(out);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;
    use rootstep::reference;

    fn gradients(count: usize, length: usize) -> Vec<Vec<f32>> {
        let value = |i: usize, k: usize| ((i * 7919 + k * 104_729) % 9973) as f32 / 9973.0 - 0.3;
        (0..count).map(|i| (0..length).map(|k| value(i, k)).collect()).collect()
    }

    /// For every share of micro-batches: the sum of a node is that of the tree.
    #[test]
    fn sums_of_nodes_are_those_of_the_tree() {
        let layout = Layout::new(&[5, 0, 3], 2, 1, 10);
        for count in 1..=20 {
            let all = gradients(count, 8);
            for start in 0..=count {
                for end in start..=count {
                    check::<f32>(&layout, &all, start..end, reference::sum);
                    check::<bf16>(&layout, &all, start..end, |column| {
                        bf16::from_f32(reference::sum_in_bf16(column))
                    });
                }
            }
        }
    }

    fn check<W: Wire<Compute = f32>>(
        layout: &Layout,
        all: &[Vec<f32>],
        held: Range<usize>,
        specified: impl Fn(&[f32]) -> W,
    ) {
        let mut sums = Sums::<W>::new(layout, all.len(), held.clone()).unwrap();
        for _ in 0..2 {
            sums.begin(layout);
            for tensor in [2, 0] {
                for micro_batch in held.clone() {
                    let gradient = &all[micro_batch][layout.tensor(tensor)];
                    sums.add(Executor::default(), layout, tensor, micro_batch, gradient).unwrap();
                }
            }
            assert_eq!(sums.missing(), None);
            for (i, node) in sums.nodes().iter().enumerate() {
                let found = sums.buffer.slice(sums.of_node(i, &(0..8)));
                for (k, &found) in found.iter().enumerate() {
                    let column: Vec<_> = all[node.clone()].iter().map(|g| g[k]).collect();
                    assert_eq!(found, specified(&column), "{held:?} {node:?}");
                }
            }
        }
    }

    #[test]
    fn gradients_that_do_not_fit() {
        let layout = Layout::new(&[5, 3], 2, 1, 10);
        let mut sums = Sums::<f32>::new(&layout, 4, 1..3).unwrap();
        let executor = Executor::default();
        let mut add = |tensor, micro_batch, length| {
            let added = sums.add(executor, &layout, tensor, micro_batch, &vec![1.0_f32; length]);
            added.map_err(|error| error.to_string())
        };
        let message = |text: &str| Err(text.to_owned());
        assert_eq!(add(2, 1, 5), message("the tensor of a gradient is 2; allowed: below 2"));
        assert_eq!(
            add(1, 1, 5),
            message("the length of the gradient of tensor 1 is 5; allowed: 3, as its parameters")
        );
        assert_eq!(
            add(1, 2, 3),
            message(
                "the micro-batch of a gradient of tensor 1 is 2; allowed: 1: the micro-batches of this rank, 1..3, \
                 come in their order"
            )
        );
        assert_eq!((add(1, 1, 3), add(1, 2, 3)), (Ok(()), Ok(())));
        assert_eq!(
            add(1, 3, 3),
            message(
                "the micro-batch of a gradient of tensor 1 is 3; allowed: none before the step: this rank has 1..3, \
                 and all have come"
            )
        );
        assert_eq!(sums.missing(), Some((0, 1)));
    }
}
