//! The exchange of the sums: each rank sends those of its nodes to the owners of the shards, a bucket at a time, as soon as
//! they are complete.

use crate::border::{Buffer, Failure, InFlight as _, Link};
use crate::error::{Error, Phase};
use crate::group::{Group, STAMP};
use crate::layout::{Layout, overlap};
use crate::sums::{Sums, order_of};
use crate::{Wire, error};
use rootstep::sums::{SumOrder, Term, nodes};
use rootstep::{Element, Executor};
use std::ops::Range;

/// The sums of all ranks for this rank's shard, and of this rank for all others.
pub struct Exchange<W: Wire> {
    own: Sums<W>,
    /// The sums of the other ranks' nodes, one shard after the other.
    arrived: Buffer<W>,
    /// What each rank says with a step: how many it has taken, and the checksum of its settings.
    stamps: Buffer<u64>,
    rank: usize,
    shard: Range<usize>,
    /// How many nodes each rank has.
    nodes_of: Vec<usize>,
    order: SumOrder,
    /// How many tensors of each bucket are not complete.
    missing: Vec<usize>,
    begun: bool,
}

impl<W: Wire> Exchange<W> {
    /// Of ranks that hold these micro-batches.
    pub fn new(layout: &Layout, held: &[Range<usize>], rank: usize) -> Result<Self, Error> {
        let micro_batches = held.last().map_or(0, |held| held.end);
        let nodes = held.iter().map(|held| nodes(micro_batches, held.clone()));
        let nodes: Vec<_> = nodes.collect::<Result<_, _>>()?;
        let order = SumOrder::of_nodes(micro_batches, &nodes.concat())?;
        let nodes_of: Vec<_> = nodes.iter().map(Vec::len).collect();
        let foreign = order.terms() - nodes_of[rank];
        let shard = layout.shard(rank);
        Ok(Self {
            own: Sums::new(layout, micro_batches, held[rank].clone())?,
            arrived: Buffer::zeroed(foreign * shard.len()),
            stamps: Buffer::zeroed(STAMP_WORDS * held.len()),
            rank,
            shard,
            nodes_of,
            order: order_of::<W>(order),
            missing: Vec::new(),
            begun: false,
        })
    }

    pub fn held(&self) -> Range<usize> {
        self.own.held()
    }

    /// Expects the sums of all other ranks, if this was not done for this step.
    fn begin(&mut self, layout: &Layout, link: &Link<'_>) -> Result<(), Failure> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        self.own.begin(layout);
        let tensors = |bucket| layout.tensors_of(bucket).filter(|&t| !layout.tensor(t).is_empty());
        self.missing = layout.buckets().iter().map(|bucket| tensors(bucket).count()).collect();
        for (tag, bucket) in (0..).zip(layout.buckets()) {
            let part = overlap(bucket, &self.shard);
            if part.is_empty() {
                continue;
            }
            let mut node = 0;
            for rank in (0..link.ranks()).filter(|&rank| rank != link.rank()) {
                for _ in 0..self.nodes_of[rank] {
                    let part = self.of_arrived(node, &part);
                    self.arrived.receive(link, part, rank, tag)?;
                    node += 1;
                }
            }
        }
        for other in link.others() {
            self.stamps.receive(link, stamp_of(other), other, STAMP)?;
        }
        Ok(())
    }

    /// Takes the gradient of a tensor of a micro-batch; begins to send the buckets that are complete with it.
    pub fn accumulate<G: Element<Compute = W::Compute>>(
        &mut self,
        group: &mut Group<'_>,
        executor: Executor,
        layout: &Layout,
        (tensor, micro_batch): (usize, usize),
        gradient: &[G],
    ) -> Result<(), Error> {
        let begun = self.begin(layout, group.link());
        group.mpi(Phase::Gradients, begun)?;
        let empty =
            gradient.is_empty() && tensor < layout.tensors() && layout.tensor(tensor).is_empty();
        if empty {
            return Ok(());
        }
        self.own.add(executor, layout, tensor, micro_batch, gradient)?;
        if self.own.is_complete(tensor) {
            let sent = self.send_complete(layout, group.link(), tensor);
            group.mpi(Phase::Gradients, sent)?;
        }
        // MPI works only while it is called.
        let tested = self.own.buffer.test().and_then(|_| self.arrived.test());
        group.mpi(Phase::Gradients, tested)?;
        Ok(())
    }

    /// Sends those buckets of a tensor that are complete with it.
    fn send_complete(
        &mut self,
        layout: &Layout,
        link: &Link<'_>,
        tensor: usize,
    ) -> Result<(), Failure> {
        let tensor = layout.tensor(tensor);
        let first = layout.buckets().partition_point(|bucket| bucket.end <= tensor.start);
        for (bucket, range) in layout.buckets().iter().enumerate().skip(first) {
            if range.start >= tensor.end {
                break;
            }
            self.missing[bucket] -= 1;
            if self.missing[bucket] > 0 {
                continue;
            }
            let tag = u16::try_from(bucket).expect("there are not so many buckets");
            for owner in link.others() {
                let part = overlap(range, &layout.shard(owner));
                for node in 0..self.own.nodes().len() {
                    let part = self.own.of_node(node, &part);
                    self.own.buffer.send(link, part, owner, tag)?;
                }
            }
        }
        Ok(())
    }

    /// Waits until the sums of all ranks for this shard have come.
    pub fn wait(
        &mut self,
        group: &mut Group<'_>,
        layout: &Layout,
        checksum: u32,
    ) -> Result<(), Error> {
        let phase = Phase::Gradients;
        let begun = self.begin(layout, group.link());
        group.mpi(phase, begun)?;
        if let Some((tensor, micro_batch)) = self.own.missing() {
            let what = format!("the next gradient of tensor {tensor}");
            let allowed = format!("that of micro-batch {micro_batch}, before the step");
            return Err(Error::invalid(what, "missing", allowed));
        }
        let own = stamp_of(group.rank());
        self.stamps.slice_mut(own.clone()).copy_from_slice(&[group.steps, checksum.into()]);
        for other in group.link().others() {
            let begun = self.stamps.send(group.link(), own.clone(), other, STAMP);
            group.mpi(phase, begun)?;
        }
        group.wait(phase, &mut [&mut self.arrived, &mut self.stamps])?;
        group.complete();
        self.compare_stamps(group.ranks())
    }

    fn compare_stamps(&self, ranks: usize) -> Result<(), Error> {
        let stamp = |rank: usize| self.stamps.slice(stamp_of(rank));
        let other: Vec<_> = (1..ranks).filter(|&rank| stamp(rank) != stamp(0)).collect();
        if other.is_empty() {
            return Ok(());
        }
        let differ = error::Ranks(&other);
        let [taken, there] = [0, other[0]].map(|rank| stamp(rank)[0]);
        let problem = if taken == there {
            format!("the learning rates or the gradient scale of {differ} are not those of rank 0")
        } else {
            format!("rank 0 has taken {taken} steps, and rank {} {there}", other[0])
        };
        Err(Error::Disagreement { problem })
    }

    /// Where the sums of another rank's node are, for a range of this shard.
    fn of_arrived(&self, node: usize, range: &Range<usize>) -> Range<usize> {
        let start = node * self.shard.len();
        start + range.start - self.shard.start..start + range.end - self.shard.start
    }

    /// The order of the sum of all nodes.
    pub const fn order(&self) -> &SumOrder {
        &self.order
    }

    /// The sums of all nodes for a range of this shard, in the order of the tree.
    pub fn terms(&self, range: &Range<usize>) -> Vec<Term<'_, W::Compute>> {
        let mut terms = Vec::with_capacity(self.order.terms());
        let mut foreign = 0;
        for (rank, &nodes) in self.nodes_of.iter().enumerate() {
            for node in 0..nodes {
                let values = if rank == self.rank {
                    self.own.buffer.slice(self.own.of_node(node, range))
                } else {
                    foreign += 1;
                    self.arrived.slice(self.of_arrived(foreign - 1, range))
                };
                terms.push(Term::new(values));
            }
        }
        terms
    }

    /// What must be sent before the next step can begin.
    pub fn sending(&mut self) -> [&mut dyn crate::border::InFlight; 2] {
        [&mut self.own.buffer, &mut self.stamps]
    }

    /// Ends the step.
    pub const fn end(&mut self) {
        self.begun = false;
    }
}

const STAMP_WORDS: usize = 2;

const fn stamp_of(rank: usize) -> Range<usize> {
    STAMP_WORDS * rank..STAMP_WORDS * (rank + 1)
}
