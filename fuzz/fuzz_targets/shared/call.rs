//! Bytes to a call of one operation, checked against `reference`.

use crate::executor;
pub use crate::support::Operation;
use crate::support::{TestElement, check};

/// The first bytes choose the element type, the executor and the offsets; the rest are the scalar
/// and the elements of `x` and `g`, taken in turn.
pub fn fuzz(
    data: &[u8],
    f32_operation: fn(f32) -> Operation<f32>,
    f64_operation: fn(f64) -> Operation<f64>,
) {
    let Some((head, body)) = data.split_first_chunk::<5>() else {
        return;
    };
    if head[0] % 2 == 0 {
        fuzz_type(head, body, f32_operation);
    } else {
        fuzz_type(head, body, f64_operation);
    }
}

fn fuzz_type<T: TestElement>(head: &[u8; 5], body: &[u8], operation: fn(T) -> Operation<T>) {
    let executor = executor(head[1]);
    let offsets = [head[2], head[3], head[4]].map(|byte| usize::from(byte) % T::LANES);
    let values: Vec<T> =
        body.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect();
    let Some((&scalar, elements)) = values.split_first() else {
        return;
    };
    let (x, g): (Vec<T>, Vec<T>) = elements.chunks_exact(2).map(|pair| (pair[0], pair[1])).unzip();
    check(operation(scalar), executor, &x, &g, offsets);
}
