//! The f64 whose square roots lie nearest to the midpoint of two neighbouring f64.

/// All a in [1, 4) whose root has a midpoint n/2^53 with n² - a·2^106 = `c`, for `c` ≡ 1 (mod 8):
/// the root lies |c|/2^54·√a units in the last place from the midpoint, or a little more or less.
///
/// With a = A/2^52 it is n² ≡ c modulo 2^54, and modulo 2^55 where a >= 2 and A is even.
pub fn hard_roots(c: i64) -> impl Iterator<Item = f64> {
    [54, 55].into_iter().flat_map(move |k| {
        let root = root_modulo_power_of_two(c, k);
        let modulus = 1_u64 << k;
        // An odd square has four roots modulo a power of two from 8 on.
        let (negative, half) = (modulus - root, modulus / 2);
        [root, negative, (root + half) % modulus, (negative + half) % modulus]
            .into_iter()
            .filter_map(move |n| {
                let scaled = i128::from(n) * i128::from(n) - i128::from(c);
                assert_eq!(scaled % i128::from(modulus), 0);
                let a = scaled as f64 / 2_f64.powi(106);
                let range = if k == 54 { 1.0..2.0 } else { 2.0..4.0 };
                range.contains(&a).then_some(a)
            })
    })
}

/// A root of `c` ≡ 1 (mod 8) modulo 2^k, lifted one bit at a time.
fn root_modulo_power_of_two(c: i64, k: u32) -> u64 {
    let c = c.cast_unsigned(); // Modulo 2^64, which 2^k divides.
    let mut root = 1_u64;
    for bit in 3..k {
        if (root.wrapping_mul(root) ^ c) >> bit & 1 == 1 {
            root += 1 << (bit - 1);
        }
    }
    root
}
