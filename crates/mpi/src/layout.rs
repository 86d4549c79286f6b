//! What lies where: tensors one after the other, in blocks; shards and buckets of whole blocks.

use rootstep::sums::SHARD_ELEMENTS;
use std::ops::Range;

/// The elements of a model, counted through all tensors. It is the same on all ranks; only the shards depend on how many
/// ranks there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Where each tensor begins, and where the last one ends.
    tensors: Vec<usize>,
    /// Where each block begins, and where the last one ends. A tensor's last block may be shorter than the others.
    blocks: Vec<usize>,
    /// One for each rank, some of them perhaps empty.
    shards: Vec<Range<usize>>,
    buckets: Vec<Range<usize>>,
}

/// Some elements of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub tensor: usize,
    /// The first of them in the tensor.
    pub start: usize,
    /// In the model.
    pub range: Range<usize>,
}

impl Layout {
    /// Buckets have `bucket` elements or little more, and are not more than `most_buckets`.
    pub fn new(lengths: &[usize], ranks: usize, bucket: usize, most_buckets: usize) -> Self {
        let (mut tensors, mut blocks, mut end) = (vec![0], Vec::new(), 0);
        for &length in lengths {
            blocks.extend((0..length).step_by(SHARD_ELEMENTS).map(|start| end + start));
            end += length;
            tensors.push(end);
        }
        blocks.push(end);
        let bucket = bucket.max(end.div_ceil(most_buckets)).max(1);
        let shards = shards(&blocks, ranks);
        let buckets = buckets(&blocks, bucket);
        Self { tensors, blocks, shards, buckets }
    }

    pub fn elements(&self) -> usize {
        *self.blocks.last().expect("it ends somewhere")
    }

    pub const fn tensors(&self) -> usize {
        self.tensors.len() - 1
    }

    pub fn tensor(&self, tensor: usize) -> Range<usize> {
        self.tensors[tensor]..self.tensors[tensor + 1]
    }

    pub fn shard(&self, rank: usize) -> Range<usize> {
        self.shards[rank].clone()
    }

    pub fn buckets(&self) -> &[Range<usize>] {
        &self.buckets
    }

    /// The blocks that begin in a range of elements.
    pub fn blocks_of(&self, range: &Range<usize>) -> Range<usize> {
        let from =
            |place: usize| self.blocks[..self.blocks.len() - 1].partition_point(|&b| b < place);
        from(range.start)..from(range.end)
    }

    /// The elements of a block.
    pub fn block(&self, block: usize) -> Range<usize> {
        self.blocks[block]..self.blocks[block + 1]
    }

    pub const fn blocks(&self) -> usize {
        self.blocks.len() - 1
    }

    /// The tensor that an element is in.
    pub fn tensor_of(&self, element: usize) -> usize {
        self.tensors.partition_point(|&start| start <= element) - 1
    }

    /// The tensors that have elements in a range, or end where it begins and are empty.
    pub fn tensors_of(&self, range: &Range<usize>) -> Range<usize> {
        if range.is_empty() {
            return 0..0;
        }
        self.tensor_of(range.start)..self.tensor_of(range.end - 1) + 1
    }

    /// What a range has of each tensor.
    pub fn pieces(&self, range: &Range<usize>) -> Vec<Piece> {
        let piece = |tensor| {
            let whole = self.tensor(tensor);
            let range = overlap(&whole, range);
            Piece { tensor, start: range.start - whole.start, range }
        };
        let pieces = self.tensors_of(range).map(piece);
        pieces.filter(|piece| !piece.range.is_empty()).collect()
    }
}

/// What two ranges have in common; empty if they have nothing.
pub fn overlap(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    let start = a.start.max(b.start);
    start..a.end.min(b.end).max(start)
}

/// Each boundary is the beginning of the block that is nearest to where it would be if all shards were equal: so no shard
/// differs from that by more than a block.
fn shards(blocks: &[usize], ranks: usize) -> Vec<Range<usize>> {
    let elements = blocks[blocks.len() - 1];
    let boundary = |rank: usize| {
        let ideal = share(elements, ranks, rank);
        let after = blocks.partition_point(|&block| block < ideal).min(blocks.len() - 1);
        let before = after.saturating_sub(1);
        if ideal - blocks[before].min(ideal) < blocks[after] - ideal {
            blocks[before]
        } else {
            blocks[after]
        }
    };
    (0..ranks).map(|rank| boundary(rank)..boundary(rank + 1)).collect()
}

/// Where the part of a rank begins if `count` things are shared out as evenly as can be.
pub fn share(count: usize, ranks: usize, rank: usize) -> usize {
    let (count, ranks, rank) = (count as u128, ranks as u128, rank as u128);
    usize::try_from(count * rank / ranks).expect("it is at most the count")
}

fn buckets(blocks: &[usize], bucket: usize) -> Vec<Range<usize>> {
    let (mut buckets, mut start) = (Vec::new(), 0);
    for &end in &blocks[1..] {
        if end - start >= bucket {
            buckets.push(start..end);
            start = end;
        }
    }
    let elements = blocks[blocks.len() - 1];
    if start < elements {
        buckets.push(start..elements);
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = SHARD_ELEMENTS;

    #[test]
    fn shards_are_whole_blocks_as_even_as_these_allow() {
        let models: [&[usize]; 7] = [
            &[],
            &[0],
            &[1],
            &[10, 0, 7],
            &[3 * BLOCK],
            &[100, 2 * BLOCK + 1, 0, 5, BLOCK, 9 * BLOCK + 77],
            &[BLOCK + 1; 20],
        ];
        for lengths in models {
            for ranks in [1, 2, 3, 4, 7, 8, 64] {
                let layout = Layout::new(lengths, ranks, BLOCK, 1000);
                let elements = lengths.iter().sum::<usize>();
                assert_eq!(layout.elements(), elements);
                let mut end = 0;
                for rank in 0..ranks {
                    let shard = layout.shard(rank);
                    assert_eq!(shard.start, end);
                    end = shard.end;
                    assert!(layout.blocks.contains(&shard.end), "{lengths:?}");
                    assert!(
                        shard.len() <= elements / ranks + BLOCK + 1,
                        "{lengths:?} {ranks} {shard:?}"
                    );
                    let pieces = layout.pieces(&shard);
                    assert_eq!(
                        pieces.iter().map(|piece| piece.range.len()).sum::<usize>(),
                        shard.len()
                    );
                    for piece in pieces {
                        assert_eq!(piece.start % BLOCK, 0);
                        assert_eq!(
                            layout.tensor(piece.tensor).start + piece.start,
                            piece.range.start
                        );
                    }
                    let blocks = layout.blocks_of(&shard);
                    assert_eq!(
                        blocks.map(|block| layout.block(block).len()).sum::<usize>(),
                        shard.len()
                    );
                }
                assert_eq!(end, elements);
            }
        }
        assert_eq!(Layout::new(&[4 * BLOCK], 2, 1, 1000).shard(1), 2 * BLOCK..4 * BLOCK);
    }

    #[test]
    fn buckets_are_whole_blocks_and_not_too_many() {
        let layout = Layout::new(&[BLOCK / 2, 10 * BLOCK + 3, 5], 3, 3 * BLOCK, 1000);
        let ends: Vec<_> = layout.buckets().iter().map(|bucket| bucket.end).collect();
        let half = BLOCK / 2;
        assert_eq!(ends, [half + 3 * BLOCK, half + 6 * BLOCK, half + 9 * BLOCK, layout.elements()]);
        assert_eq!(layout.tensors_of(&layout.buckets()[3]), 1..3);
        assert!(Layout::new(&[100 * BLOCK], 3, 1, 7).buckets().len() <= 7);
        assert!(Layout::new(&[], 3, 1, 7).buckets().is_empty());
    }
}
