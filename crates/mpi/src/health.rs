//! What there is in the gradient of the whole model, of which each rank has a shard: the same on all ranks, with the bits
//! of [`rootstep::inspect`] on one machine.

use crate::border::Buffer;
use crate::error::{Error, Phase};
use crate::group::{Group, HEALTH};
use crate::layout::Layout;
use rootstep::{Element, Executor, Float, Inspection};
use std::ops::Range;

/// What all ranks have found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Health {
    pub inspection: Inspection,
    /// The first element that is not finite, as f64.
    pub value: f64,
}

/// The findings of all ranks, one after the other: numbers, and the sum of squares of each block of the rank's shard.
pub struct Findings {
    memory: Buffer<u64>,
    /// Where those of each rank are.
    of_rank: Vec<Range<usize>>,
}

/// The words of a rank before its sums of squares.
const WORDS: usize = 10;

impl Findings {
    pub fn new(layout: &Layout, ranks: usize) -> Self {
        let mut end = 0;
        let of_rank: Vec<_> = (0..ranks)
            .map(|rank| {
                let start = end;
                end += WORDS + layout.blocks_of(&layout.shard(rank)).len();
                start..end
            })
            .collect();
        Self { memory: Buffer::zeroed(end), of_rank }
    }

    /// Inspects the gradient of this rank's shard, and asks the others for what they found in theirs.
    pub fn inspect<C: Element<Compute = C> + Float>(
        &mut self,
        group: &mut Group<'_>,
        executor: Executor,
        layout: &Layout,
        gradient: &[C],
    ) -> Result<Health, Error> {
        let mut health = self.inspect_at(group, executor, layout, gradient, 1.0)?;
        let scale = health.inspection.scale();
        if scale != 1.0 {
            // Squares would overflow, or underflow.
            health = self.inspect_at(group, executor, layout, gradient, scale)?;
        }
        let squares = self.of_rank.iter().flat_map(|of_rank| {
            let words = self.memory.slice(of_rank.start + WORDS..of_rank.end);
            words.iter().map(|&bits| f64::from_bits(bits))
        });
        health.inspection = health.inspection.with_norm_of(scale, squares);
        Ok(health)
    }

    fn inspect_at<C: Element<Compute = C> + Float>(
        &mut self,
        group: &mut Group<'_>,
        executor: Executor,
        layout: &Layout,
        gradient: &[C],
        scale: f64,
    ) -> Result<Health, Error> {
        let shard = layout.shard(group.rank());
        let pieces = layout.pieces(&shard);
        let own =
            |range: &Range<usize>| &gradient[range.start - shard.start..range.end - shard.start];
        let slices: Vec<&[C]> = pieces.iter().map(|piece| own(&piece.range)).collect();
        let found = executor.inspect_blocks(&slices, scale);
        let mut inspection = found.inspection;
        let mut value = 0.0;
        if let Some((piece, index)) = inspection.first_non_finite {
            value = slices[piece][index].to_f64();
            inspection.first_non_finite = Some((pieces[piece].tensor, pieces[piece].start + index));
        }
        let words = to_words(&Health { inspection, value });
        let words = words.into_iter().chain(found.squares.into_iter().map(f64::to_bits));
        let of_own = self.of_rank[group.rank()].clone();
        self.memory.slice_mut(of_own.clone()).copy_from_slice(&words.collect::<Vec<_>>());
        for other in group.link().others() {
            let sent = self.memory.send(group.link(), of_own.clone(), other, HEALTH);
            let of_other = self.of_rank[other].clone();
            let begun =
                sent.and_then(|()| self.memory.receive(group.link(), of_other, other, HEALTH));
            group.mpi(Phase::Health, begun)?;
        }
        group.wait(Phase::Health, &mut [&mut self.memory])?;
        group.complete();
        Ok(self.of_all())
    }

    /// What all have found, but the norm.
    fn of_all(&self) -> Health {
        let found =
            self.of_rank.iter().map(|of_rank| from_words(self.memory.slice(of_rank.clone())));
        let found: Vec<_> = found.collect();
        let inspection = Inspection::of_parts(found.iter().map(|found| found.inspection));
        let first =
            |found: &&Health| found.inspection.first_non_finite == inspection.first_non_finite;
        let value = found.iter().find(first).map_or(0.0, |found| found.value);
        Health { inspection, value }
    }
}

fn to_words(Health { inspection, value }: &Health) -> [u64; WORDS] {
    let (tensor, index) = inspection.first_non_finite.unwrap_or_default();
    [
        inspection.elements,
        inspection.max_magnitude.to_bits(),
        inspection.nan,
        inspection.infinite,
        inspection.zero,
        inspection.subnormal,
        inspection.first_non_finite.is_some().into(),
        tensor as u64,
        index as u64,
        value.to_bits(),
    ]
}

fn from_words(words: &[u64]) -> Health {
    let place = |word: u64| usize::try_from(word).unwrap_or(usize::MAX);
    let mut inspection = Inspection::default();
    inspection.elements = words[0];
    inspection.max_magnitude = f64::from_bits(words[1]);
    inspection.nan = words[2];
    inspection.infinite = words[3];
    inspection.zero = words[4];
    inspection.subnormal = words[5];
    inspection.first_non_finite = (words[6] != 0).then(|| (place(words[7]), place(words[8])));
    Health { inspection, value: f64::from_bits(words[9]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_come_back() {
        let mut inspection = rootstep::inspect(&[[1.0_f32, -0.0, 1e-40, f32::NEG_INFINITY]]);
        inspection.norm = 0.0;
        for first_non_finite in [None, Some((7, 12))] {
            inspection.first_non_finite = first_non_finite;
            let health = Health { inspection, value: f64::NEG_INFINITY };
            assert_eq!(from_words(&to_words(&health)), health);
        }
    }
}
