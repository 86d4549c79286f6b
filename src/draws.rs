//! The random bits of stochastic rounding: a function of the place of an element, by a counter.

#![allow(clippy::cast_possible_truncation, reason = "a counter is cut into words")]

/// Which draws the elements of a tensor get when they are rounded stochastically: those of a seed, a step and a
/// tensor, from an index on.
///
/// [`reference::draw`](crate::reference::draw) specifies them.
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
    /// has. Multiples of 128 are fast.
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
/// The counters of a group.
const COUNTERS: usize = 16;
/// The words that a counter gives.
const WORDS: usize = 4;

/// The draws of a group: word `w` of counter `c` at `16 * w + c`, two draws in each.
pub(crate) type Group = [u32; COUNTERS * WORDS];

/// Where the draws of the element `index` are: the place of a word in its group, and how far to shift it right.
#[inline(always)]
pub(crate) const fn place(index: u64) -> (usize, u32) {
    let within = (index % GROUP as u64) as usize;
    (within / 32 * COUNTERS + within % COUNTERS, (within / COUNTERS % 2 * 16) as u32)
}

/// The draws of group number `group`: Philox4x32 with 7 rounds, on 16 counters at once.
#[inline(always)]
pub(crate) fn group(draws: Draws, group: u64) -> Group {
    let Draws { seed, step, tensor, .. } = draws;
    let first = group.wrapping_mul(COUNTERS as u64);
    let upper = (first >> 32) as u32 & 0xffff | (step >> 16) as u32 & 0xffff_0000;
    let mut words = [[0; COUNTERS]; WORDS];
    for (i, word) in words[0].iter_mut().enumerate() {
        *word = first as u32 + i as u32; // No carry: the first is a multiple of 16.
    }
    words[1] = [upper; COUNTERS];
    words[2] = [tensor; COUNTERS];
    words[3] = [step as u32; COUNTERS];
    let mut key = [seed as u32, (seed >> 32) as u32];
    for _ in 0..ROUNDS {
        words = round(words, key);
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    let mut all = [0; COUNTERS * WORDS];
    for (all, word) in all.as_chunks_mut::<COUNTERS>().0.iter_mut().zip(words) {
        *all = word;
    }
    all
}

/// As many as pass all tests of `BigCrush` (Salmon et al., table 2).
const ROUNDS: usize = 7;
const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
/// What the key grows by in each round.
const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];

#[inline(always)]
fn round(words: [[u32; COUNTERS]; WORDS], key: [u32; 2]) -> [[u32; COUNTERS]; WORDS] {
    let mut new = words;
    for i in 0..COUNTERS {
        let [a, b] = [
            u64::from(MULTIPLIERS[0]) * u64::from(words[0][i]),
            u64::from(MULTIPLIERS[1]) * u64::from(words[2][i]),
        ];
        new[0][i] = (b >> 32) as u32 ^ words[1][i] ^ key[0];
        new[1][i] = b as u32;
        new[2][i] = (a >> 32) as u32 ^ words[3][i] ^ key[1];
        new[3][i] = a as u32;
    }
    new
}
