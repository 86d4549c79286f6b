//! Numbers of a state as bytes, in the order of files: little-endian.

use super::Momentum;
use super::storage::Extra;
use crate::float::Float;

/// Numbers as they lie in memory.
pub(super) struct Words<'a> {
    pub(super) bytes: &'a [u8],
    /// The bytes of a number.
    pub(super) size: usize,
}

impl<'a> Words<'a> {
    fn of<W: bytemuck::Pod>(words: &'a [W]) -> Self {
        Self { bytes: bytemuck::cast_slice(words), size: size_of::<W>() }
    }
}

impl<C: Float> Momentum<C> {
    /// Its numbers, and with int8 the scales behind them.
    pub(super) fn words(&self) -> impl Iterator<Item = Words<'_>> {
        let (numbers, scales) = match self {
            Self::None => (None, None),
            Self::Full(momentum) => (Some(Words::of(momentum)), None),
            Self::Bf16(momentum) => (Some(Words::of(momentum)), None),
            Self::Int8 { codes, scales } => (Some(Words::of(codes)), Some(Words::of(scales))),
        };
        numbers.into_iter().chain(scales)
    }
}

impl Extra {
    /// Its numbers.
    pub(super) fn words(&self) -> Option<Words<'_>> {
        match self {
            Self::None => None,
            Self::Split16(low) => Some(Words::of(low)),
            Self::Split8(low) => Some(Words::of(low)),
            Self::Master(master) => Some(Words::of(master)),
        }
    }
}

/// Gives `sink` the bytes of numbers of `size` bytes each in little-endian order, in pieces.
pub(super) fn little_endian<E>(
    bytes: &[u8],
    size: usize,
    mut sink: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    /// Pieces are turned around in a buffer of so many bytes, which stay in the nearest cache.
    const PIECE: usize = 1 << 14;
    if cfg!(target_endian = "little") || size == 1 {
        return sink(bytes);
    }
    for piece in bytes.chunks(PIECE) {
        let mut turned = piece.to_vec();
        turned.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        sink(&turned)?;
    }
    Ok(())
}

/// Reads `count` numbers.
#[cfg(feature = "safetensors")]
pub(super) fn read<W: bytemuck::Pod>(
    mut source: impl std::io::Read,
    count: usize,
) -> std::io::Result<Vec<W>> {
    /// A file may say that there are more numbers than it has: memory is asked for as they come.
    const PIECE: usize = 1 << 20;
    let mut words: Vec<W> = Vec::new();
    while words.len() < count {
        let start = words.len();
        let more = (count - start).min(PIECE.max(start));
        words.try_reserve_exact(more)?;
        words.resize(start + more, W::zeroed());
        source.read_exact(bytemuck::cast_slice_mut(&mut words[start..]))?;
    }
    if cfg!(target_endian = "big") {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        bytes.chunks_exact_mut(size_of::<W>()).for_each(<[u8]>::reverse);
    }
    Ok(words)
}
