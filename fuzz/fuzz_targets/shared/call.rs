//! Bytes to a call of one operation, checked against `reference`.

use crate::executor;
pub use crate::support::Operation;
use crate::support::{TestFormat, check};
use half::{bf16, f16};
use rootstep::Float as _;

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
    match head[0] % 4 {
        0 => fuzz_type::<f32>(head, body, f32_operation),
        1 => fuzz_type::<f64>(head, body, f64_operation),
        2 => fuzz_type::<bf16>(head, body, f32_operation),
        _ => fuzz_type::<f16>(head, body, f32_operation),
    }
}

fn fuzz_type<T: TestFormat>(
    head: &[u8; 5],
    body: &[u8],
    operation: fn(T::Compute) -> Operation<T::Compute>,
) {
    let executor = executor(head[1]);
    let offsets = [head[2], head[3], head[4]].map(|byte| usize::from(byte) % T::LANES);
    let Some((scalar, elements)) = body.split_at_checked(size_of::<T::Compute>()) else {
        return;
    };
    let elements: Vec<T> =
        elements.chunks_exact(size_of::<T>()).map(bits).map(T::of_bits).collect();
    let (x, g): (Vec<T>, Vec<T>) = elements.chunks_exact(2).map(|pair| (pair[0], pair[1])).unzip();
    check(operation(T::Compute::from_bits(bits(scalar))), executor, &x, &g, offsets);
}

/// The lowest byte first.
fn bits(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |bits, &byte| bits << 8 | u64::from(byte))
}
