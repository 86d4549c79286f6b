//! Arrays with the same elements and other places in memory.

use ndarray::{
    ArrayBase, ArrayD, ArrayViewD, ArrayViewMutD, Axis, IxDyn, RawData, ShapeBuilder as _, Slice,
};
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;
use rootstep::{Element, Float as _};

/// Lengths around those of blocks and registers, axes of one element and of none.
pub const SHAPES: [&[usize]; 16] = [
    &[],
    &[0],
    &[1],
    &[7],
    &[129],
    &[300],
    &[3, 0],
    &[3, 5],
    &[2, 129],
    &[129, 2],
    &[1, 260],
    &[3, 300],
    &[3, 4, 50],
    &[2, 3, 200],
    &[5, 1, 131],
    &[2, 1, 3, 2, 40],
];

/// How the elements of an array lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    RowMajor,
    ColumnMajor,
    /// The first axis is that of neighbours, the others are in row-major order.
    Rotated,
    /// The last element comes first.
    Reversed,
    /// A gap behind each row: the lanes of the last axis have none.
    GapBehindRows,
    /// Every second row is another's.
    EverySecondRow,
    /// Every third element of a lane.
    EveryThird,
}

impl Layout {
    pub const ALL: [Self; 7] = [
        Self::RowMajor,
        Self::ColumnMajor,
        Self::Rotated,
        Self::Reversed,
        Self::GapBehindRows,
        Self::EverySecondRow,
        Self::EveryThird,
    ];

    /// Those elements of a memory that are the array's.
    fn elements<S: RawData>(self, mut view: ArrayBase<S, IxDyn>) -> ArrayBase<S, IxDyn> {
        let Some(last) = view.ndim().checked_sub(1).map(Axis) else { return view };
        match self {
            Self::RowMajor | Self::ColumnMajor => {}
            Self::Rotated => return view.permuted_axes(rotated(last.0)),
            Self::Reversed => (0..=last.0).for_each(|axis| view.invert_axis(Axis(axis))),
            Self::GapBehindRows => view.slice_axis_inplace(last, Slice::new(0, Some(-3), 1)),
            Self::EverySecondRow => view.slice_axis_inplace(Axis(0), Slice::new(0, None, 2)),
            Self::EveryThird => view.slice_axis_inplace(last, Slice::new(0, None, 3)),
        }
        view
    }
}

/// An array in a layout, with elements of nobody's in its gaps.
pub struct Laid<T> {
    memory: ArrayD<T>,
    layout: Layout,
    length: usize,
    gap: T,
}

impl<T: Copy + Default + PartialEq> Laid<T> {
    /// With these elements, in row-major order.
    pub fn new(shape: &[usize], layout: Layout, values: &[T]) -> Self {
        let gap = values.get(1).copied().unwrap_or_default();
        let mut outer = shape.to_vec();
        if let (Some(first), Layout::EverySecondRow) = (outer.first_mut(), layout) {
            *first *= 2;
        }
        if let Some(last) = outer.last_mut() {
            match layout {
                Layout::GapBehindRows => *last += 3,
                Layout::EveryThird => *last *= 3,
                _ => {}
            }
        }
        if layout == Layout::Rotated && !outer.is_empty() {
            outer.rotate_left(1);
        }
        let order = IxDyn(&outer).set_f(layout == Layout::ColumnMajor);
        let memory = ArrayD::from_elem(order, gap);
        let mut laid = Self { memory, layout, length: values.len(), gap };
        assert_eq!(laid.view().shape(), shape);
        for (element, value) in laid.view_mut().iter_mut().zip(values) {
            *element = *value;
        }
        laid
    }

    pub fn view(&self) -> ArrayViewD<'_, T> {
        self.layout.elements(self.memory.view())
    }

    pub fn view_mut(&mut self) -> ArrayViewMutD<'_, T> {
        self.layout.elements(self.memory.view_mut())
    }

    /// The elements in row-major order, if nothing was written to the gaps.
    pub fn into_values(mut self) -> Vec<T> {
        let values: Vec<T> = self.view().iter().copied().collect();
        assert_eq!(values.len(), self.length);
        let gap = self.gap;
        self.view_mut().fill(gap);
        assert!(self.memory.iter().all(|&element| element == gap), "a gap was written to");
        values
    }
}

/// The last axis first.
fn rotated(last: usize) -> Vec<usize> {
    (0..=last).map(|axis| if axis == 0 { last } else { axis - 1 }).collect()
}

/// Numbers of both signs, none of which is 0.
pub fn values<T: Element>(length: usize, seed: u64) -> Vec<T> {
    let mut random = Pcg64::seed_from_u64(seed);
    let value = |random: &mut Pcg64| {
        let magnitude = random.random_range(0.25..4.0);
        if random.random() { magnitude } else { -magnitude }
    };
    (0..length).map(|_| T::nearest(T::Compute::from_f64(value(&mut random)))).collect()
}
