//! A table in every kind of memory, the gradient of some of its rows, and what becomes of it row by row.

use crate::tensor::{Momentum, Numbers, Place, Storage, Tensor};
use rootstep::optimizer::{Draws, INT8_BLOCK, MomentumMut, RowsStep, Step, StorageMut};
use rootstep::{Element, reference};
use std::ops::Range;

/// A table, and the gradient of some of its rows.
#[derive(Debug, Clone)]
pub struct Table {
    pub width: usize,
    pub indices: Vec<usize>,
    /// Its gradient is that of the rows.
    pub tensor: Tensor,
}

impl Table {
    pub fn step(&mut self) -> RowsStep<'_, f32> {
        let Tensor { step, parameters, storage, gradient, momentum, .. } = &mut self.tensor;
        let momentum = match momentum {
            Momentum::None => MomentumMut::None,
            Momentum::Full(m) => MomentumMut::Full(m),
            Momentum::Bf16(m) => MomentumMut::Bf16(m),
            Momentum::Int8(codes, scales) => MomentumMut::Int8 { codes, scales },
        };
        let place = (*step, self.width, &self.indices[..]);
        let rows = match gradient {
            Numbers::F32(rows) => on(place, parameters, rows, momentum),
            Numbers::Bf16(rows) => on(place, parameters, rows, momentum),
            Numbers::F16(rows) => on(place, parameters, rows, momentum),
        };
        rows.with_storage(match storage {
            Storage::Nearest => StorageMut::Nearest,
            Storage::Stochastic(Place { seed, step, tensor, start }) => {
                StorageMut::Stochastic(Draws::new(*seed, *step, *tensor).starting_at(*start))
            }
            Storage::Split16(low) => StorageMut::Split16(low),
            Storage::Split8(low) => StorageMut::Split8(low),
            Storage::Master(master) => StorageMut::Master(master),
        })
    }

    /// A row as a tensor by itself, by the sum of its gradients.
    fn row(&self, row: usize) -> Tensor {
        let (width, table) = (self.width, &self.tensor);
        let within = row * width..(row + 1) * width;
        let places: Vec<usize> =
            (0..self.indices.len()).filter(|&i| self.indices[i] == row).collect();
        let sum = |k: usize| {
            let of_element: Vec<f32> =
                places.iter().map(|i| table.gradient.read(i * width + k)).collect();
            reference::sum_left_to_right(&of_element)
        };
        let storage = match &table.storage {
            Storage::Nearest => Storage::Nearest,
            Storage::Stochastic(place) => {
                Storage::Stochastic(Place { start: place.start + within.start as u64, ..*place })
            }
            Storage::Split16(low) => Storage::Split16(low[within.clone()].to_vec()),
            Storage::Split8(low) => Storage::Split8(low[within.clone()].to_vec()),
            Storage::Master(master) => Storage::Master(master[within.clone()].to_vec()),
        };
        let momentum = match &table.momentum {
            // It is not asked for, and need not be that of whole rows.
            _ if !table.step.has_momentum() => Momentum::None,
            Momentum::None => Momentum::None,
            Momentum::Full(m) => Momentum::Full(m[within.clone()].to_vec()),
            Momentum::Bf16(m) => Momentum::Bf16(m[within.clone()].to_vec()),
            Momentum::Int8(codes, scales) => {
                Momentum::Int8(codes[within.clone()].to_vec(), scales[blocks(&within)].to_vec())
            }
        };
        let parameters = match &table.parameters {
            Numbers::F32(x) => Numbers::F32(x[within].to_vec()),
            Numbers::Bf16(x) => Numbers::Bf16(x[within].to_vec()),
            Numbers::F16(x) => Numbers::F16(x[within].to_vec()),
        };
        let gradient = Numbers::F32((0..width).map(sum).collect());
        Tensor { step: table.step, margin: 0, parameters, storage, gradient, momentum }
    }

    fn put_back(&mut self, row: usize, stepped: Tensor) {
        let within = row * self.width..(row + 1) * self.width;
        let table = &mut self.tensor;
        match (&mut table.parameters, stepped.parameters) {
            (Numbers::F32(x), Numbers::F32(row)) => x[within.clone()].copy_from_slice(&row),
            (Numbers::Bf16(x), Numbers::Bf16(row)) => x[within.clone()].copy_from_slice(&row),
            (Numbers::F16(x), Numbers::F16(row)) => x[within.clone()].copy_from_slice(&row),
            _ => unreachable!("a row is as the table"),
        }
        match (&mut table.storage, stepped.storage) {
            (Storage::Split16(low), Storage::Split16(row)) => {
                low[within.clone()].copy_from_slice(&row);
            }
            (Storage::Split8(low), Storage::Split8(row)) => {
                low[within.clone()].copy_from_slice(&row);
            }
            (Storage::Master(x), Storage::Master(row)) => x[within.clone()].copy_from_slice(&row),
            _ => {}
        }
        match (&mut table.momentum, stepped.momentum) {
            (Momentum::Full(m), Momentum::Full(row)) => m[within].copy_from_slice(&row),
            (Momentum::Bf16(m), Momentum::Bf16(row)) => m[within].copy_from_slice(&row),
            (Momentum::Int8(codes, scales), Momentum::Int8(row, of_row)) => {
                scales[blocks(&within)].copy_from_slice(&of_row);
                codes[within].copy_from_slice(&row);
            }
            _ => {}
        }
    }

    /// What becomes of it by `step` on each of its rows.
    pub fn by_rows(&self, mut step: impl FnMut(&mut Tensor)) -> Self {
        let mut stepped = self.clone();
        let mut named = self.indices.clone();
        named.sort_unstable();
        named.dedup();
        // In any order: those that are met last come first here.
        for &row in named.iter().rev() {
            let mut tensor = self.row(row);
            step(&mut tensor);
            stepped.put_back(row, tensor);
        }
        stepped
    }
}

pub fn blocks(within: &Range<usize>) -> Range<usize> {
    within.start / INT8_BLOCK..within.end / INT8_BLOCK
}

fn on<'a, G: Element<Compute = f32>>(
    (step, width, indices): (Step<f32>, usize, &'a [usize]),
    table: &'a mut Numbers,
    rows: &'a [G],
    momentum: MomentumMut<'a, f32>,
) -> RowsStep<'a, f32> {
    match table {
        Numbers::F32(x) => RowsStep::new(step, x, width, indices, rows, momentum),
        Numbers::Bf16(x) => RowsStep::new(step, x, width, indices, rows, momentum),
        Numbers::F16(x) => RowsStep::new(step, x, width, indices, rows, momentum),
    }
}
