//! The random bits of stochastic rounding: a function of the place of an element, by a counter.

#![allow(clippy::cast_possible_truncation, reason = "a counter is cut into words")]

/// Which draws the elements of a tensor get when they are rounded stochastically: those of a seed, a step and a
/// tensor, from an index on.
///
/// [`reference::draw`](crate::reference::draw) specifies them.
///
/// ```
/// # #[cfg(feature = "half")] {
/// use half::bf16;
/// use rootstep::Executor;
/// use rootstep::optimizer::{Draws, MomentumMut, Rule, Step, StorageMut, TensorStep};
///
/// let step = Step::first(&Rule::sgd(1e-3)).unwrap();
/// let gradient = [1.0_f32; 300];
/// let take = |parameters: &mut [bf16], start: usize| {
///     let gradient = &gradient[start..][..parameters.len()];
///     let draws = Draws::new(7, 0, 0).starting_at(start as u64);
///     let tensor = TensorStep::new(step, parameters, gradient, MomentumMut::None);
///     let tensor = tensor.with_storage(StorageMut::Stochastic(draws));
///     Executor::default().step_all(&mut [tensor]).unwrap();
/// };
/// let (mut whole, mut parts) = ([bf16::ONE; 300], [bf16::ONE; 300]);
/// take(&mut whole, 0);
/// let (first, second) = parts.split_at_mut(128);
/// take(first, 0);
/// take(second, 128);
/// assert_eq!(whole, parts);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Draws {
    seed: u64,
    step: u64,
    tensor: u32,
    start: u64,
}

impl Draws {
    /// Those of a tensor at a step. The same seed, step and tensor give the same draws: count the steps.
    ///
    /// 48 bits of the step are taken: they begin again after 2.8·10^14 steps.
    #[must_use]
    pub const fn new(seed: u64, step: u64, tensor: u32) -> Self {
        Self { seed, step, tensor, start: 0 }
    }

    /// Those from the element `index` of the tensor on: for a part of a tensor, such as the shard that a machine
    /// has. They begin again after 2^51 elements. At other places than multiples of 128 rows of elements need draws of
    /// two groups, and take more time; momentum in int8 has its blocks there, too.
    #[must_use]
    pub const fn starting_at(self, index: u64) -> Self {
        Self { start: index, ..self }
    }

    /// Those behind the next `elements`.
    pub(crate) const fn skip(self, elements: usize) -> Self {
        Self { start: self.start.wrapping_add(elements as u64), ..self }
    }

    pub(crate) const fn start(self) -> u64 {
        self.start
    }
}

/// The elements that have their draws from the same counters.
pub(crate) const GROUP: usize = 128;
/// The counters of a group: as many even ones as odd ones.
const COUNTERS: usize = 16;

/// As many as pass all tests of `BigCrush` (Salmon et al., table 2).
const ROUNDS: usize = 7;
const MULTIPLIERS: [u64; 2] = [0xd251_1f53, 0xcd9e_8d57];
/// What the key grows by in each round.
const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];

/// A word of half of the counters of a group, in the lower halves: so that products need no rearrangement.
type Words = [u64; COUNTERS / 2];

/// The draws of group number `group`, one for each element: Philox4x32 on 16 counters at once.
#[inline(always)]
pub(crate) fn group(draws: Draws, group: u64) -> [u16; GROUP] {
    let first = group.wrapping_mul(COUNTERS as u64);
    let (even, odd) = (philox(draws, first), philox(draws, first + 1));
    let mut all = [[0; COUNTERS / 2]; 4];
    for ((all, even), odd) in all.iter_mut().zip(even).zip(odd) {
        for i in 0..COUNTERS / 2 {
            all[i] = even[i] & 0xffff_ffff | odd[i] << 32;
        }
    }
    if cfg!(target_endian = "little") {
        return bytemuck::cast(all);
    }
    let mut draws = [0; GROUP];
    for (draws, word) in draws.as_chunks_mut::<4>().0.iter_mut().zip(all.as_flattened()) {
        *draws = [0, 16, 32, 48].map(|shift| (word >> shift) as u16);
    }
    draws
}

/// The output for every second counter from `first` on.
///
/// At first, words 1 to 3 of the counters are the same for all: so are two words after the first round, and one after
/// the second.
#[inline(always)]
fn philox(Draws { seed, step, tensor, .. }: Draws, first: u64) -> [Words; 4] {
    let mut key = [seed as u32, (seed >> 32) as u32];
    let mut keys = [[0; 2]; ROUNDS];
    for keys in &mut keys {
        *keys = key.map(u64::from);
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    let upper = first >> 32 & 0xffff | step >> 16 & 0xffff_0000;

    let same = MULTIPLIERS[1] * u64::from(tensor);
    let mut word_3 = [0; COUNTERS / 2];
    for (i, word) in word_3.iter_mut().enumerate() {
        // The lower word has no carry: the first is a multiple of 16, or next to it.
        *word = MULTIPLIERS[0] * ((first + 2 * i as u64) & LOWER);
    }
    let word_2 = map(word_3, |product| product >> 32 ^ step & LOWER ^ keys[0][1]);

    let (word_0, word_1) = (same >> 32 ^ upper ^ keys[0][0], same & LOWER);
    let same = MULTIPLIERS[0] * word_0;
    let product = map(word_2, |word| MULTIPLIERS[1] * (word & LOWER));
    let word_0 = map(product, |product| product >> 32 ^ word_1 ^ keys[1][0]);
    let word_2 = map(word_3, |word| same >> 32 ^ word ^ keys[1][1]);

    let mut words = [word_0, product, word_2, [same & LOWER; _]];
    for key in &keys[2..] {
        words = round(words, *key);
    }
    words
}

const LOWER: u64 = 0xffff_ffff;

/// (A closure of `array::map` would not be inlined.)
#[inline(always)]
fn map(mut words: Words, f: impl Fn(u64) -> u64) -> Words {
    for word in &mut words {
        *word = f(*word);
    }
    words
}

/// What is in the upper halves does not matter.
#[inline(always)]
fn round(words: [Words; 4], key: [u64; 2]) -> [Words; 4] {
    let mut new = words;
    for i in 0..COUNTERS / 2 {
        let a = MULTIPLIERS[0] * (words[0][i] & LOWER);
        let b = MULTIPLIERS[1] * (words[2][i] & LOWER);
        new[0][i] = b >> 32 ^ words[1][i] ^ key[0];
        new[1][i] = b;
        new[2][i] = a >> 32 ^ words[3][i] ^ key[1];
        new[3][i] = a;
    }
    new
}
