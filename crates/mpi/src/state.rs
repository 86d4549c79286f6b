//! What a rank keeps of its shard beside the parameters: momentum, and the bits that the parameters have no place for.

use crate::Parameter;
use crate::layout::{Layout, Piece};
use rootstep::Float as _;
use rootstep::optimizer::{Draws, Momentum, MomentumMut, Rule, Storage, StorageMut};
use std::ops::Range;

/// A piece of a tensor in the shard of this rank.
pub struct PieceState<C> {
    pub piece: Piece,
    pub momentum: Momentum<C>,
    pub kept: Kept,
}

/// What belongs to parameters in 16 bits.
pub enum Kept {
    Nothing,
    Split16(Vec<i16>),
    Split8(Vec<i8>),
    Master(Vec<f32>),
}

impl Kept {
    /// What a tensor begins with: these parameters, and nothing that they have no place for.
    fn begin<T: Parameter>(storage: Storage, parameters: &[T]) -> Self {
        match storage {
            Storage::Split16 => Self::Split16(vec![0; parameters.len()]),
            Storage::Split8 => Self::Split8(vec![0; parameters.len()]),
            Storage::Master => {
                Self::Master(parameters.iter().map(|x| x.widen().to_f32()).collect())
            }
            _ => Self::Nothing,
        }
    }
}

impl<C: rootstep::Float + bytemuck::Pod> PieceState<C> {
    /// Of all pieces of a shard, before the first step.
    pub fn of_shard<T: Parameter<Compute = C>>(
        layout: &Layout,
        shard: &Range<usize>,
        rule_of: impl Fn(usize) -> Rule,
        parameters: &[T],
    ) -> Vec<Self> {
        let begin = |piece: Piece| {
            let rule = rule_of(piece.tensor);
            let own = &parameters[piece.range.start - shard.start..piece.range.end - shard.start];
            let kept = Kept::begin(rule.storage, own);
            Self { momentum: Momentum::new(&rule, own.len()), kept, piece }
        };
        layout.pieces(shard).into_iter().map(begin).collect()
    }

    /// Lends both to a step.
    pub fn lend(&mut self, storage: Storage, steps: u64) -> (MomentumMut<'_, C>, StorageMut<'_>) {
        let storage = match (&mut self.kept, storage) {
            (Kept::Split16(low), _) => StorageMut::Split16(low),
            (Kept::Split8(low), _) => StorageMut::Split8(low),
            (Kept::Master(master), _) => StorageMut::Master(master),
            (Kept::Nothing, Storage::Stochastic { seed }) => {
                let tensor = u32::try_from(self.piece.tensor).unwrap_or(u32::MAX);
                let draws = Draws::new(seed, steps, tensor);
                StorageMut::Stochastic(draws.starting_at(self.piece.start as u64))
            }
            (Kept::Nothing, _) => StorageMut::Nearest,
        };
        (self.momentum.as_mut(), storage)
    }

    /// The memory, to be saved or loaded, of some elements: they are whole blocks of the piece.
    pub fn memory(&mut self, elements: Range<usize>) -> Vec<&mut [u8]> {
        let mut memory = Vec::new();
        match &mut self.momentum {
            Momentum::Full(momentum) => memory.push(bytes_of(momentum, elements.clone())),
            Momentum::Bf16(momentum) => memory.push(bytes_of(momentum, elements.clone())),
            Momentum::Int8 { codes, scales } => {
                memory.push(bytes_of(codes, elements.clone()));
                let block = rootstep::optimizer::INT8_BLOCK;
                let scales_of = elements.start / block..elements.end.div_ceil(block);
                memory.push(bytes_of(scales, scales_of));
            }
            _ => {}
        }
        match &mut self.kept {
            Kept::Nothing => {}
            Kept::Split16(low) => memory.push(bytes_of(low, elements)),
            Kept::Split8(low) => memory.push(bytes_of(low, elements)),
            Kept::Master(master) => memory.push(bytes_of(master, elements)),
        }
        memory
    }
}

fn bytes_of<N: bytemuck::Pod>(numbers: &mut [N], range: Range<usize>) -> &mut [u8] {
    bytemuck::cast_slice_mut(&mut numbers[range])
}

/// The bytes of a block in [`PieceState::memory`], by its rule.
pub fn bytes_per_block<C: rootstep::Float + bytemuck::Pod>(rule: &Rule, elements: usize) -> usize {
    let momentum = match Momentum::<C>::new(rule, 0) {
        Momentum::None => 0,
        Momentum::Full(_) => elements * size_of::<C>(),
        Momentum::Bf16(_) => elements * 2,
        _ => elements + elements.div_ceil(rootstep::optimizer::INT8_BLOCK) * size_of::<f32>(),
    };
    let kept = match rule.storage {
        Storage::Split16 => 2,
        Storage::Split8 => 1,
        Storage::Master => 4,
        _ => 0,
    };
    momentum + elements * kept
}
