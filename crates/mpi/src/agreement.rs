//! The agreement before the first step: all ranks compute the same, or each of them says what differs.

use crate::error::{Error, Phase, Ranks};
use crate::group::{Group, read_words, words};
use std::fmt::Display;
use std::ops::Range;

/// The version of what the ranks say to each other.
pub const PROTOCOL: u32 = 1;

/// What ranks must have in common: names and values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description(Vec<(String, String)>);

impl Description {
    pub fn add(&mut self, name: impl Into<String>, value: impl Display) {
        self.0.push((name.into(), value.to_string()));
    }

    /// A line for each.
    pub fn text(&self) -> String {
        self.0.iter().flat_map(|(name, value)| [name, "\t", value, "\n"]).collect()
    }
}

/// The first thing that differs in two texts: its name, and both values.
pub fn difference<'a>(a: &'a str, b: &'a str) -> Option<(&'a str, &'a str, &'a str)> {
    let (mut a, mut b) = (a.lines(), b.lines());
    loop {
        let (a, b) = (a.next(), b.next());
        if a.is_none() && b.is_none() {
            return None;
        }
        if a != b {
            let split = |line: Option<&'a str>| line.and_then(|line| line.split_once('\t'));
            let ((name, of_a), (_, of_b)) =
                (split(a).or(split(b))?, split(b).unwrap_or(("", "missing")));
            return Some((name, if a.is_none() { "missing" } else { of_a }, of_b));
        }
    }
}

/// Compares the descriptions of all ranks. What comes back are the micro-batches of each.
pub fn agree(
    group: &mut Group<'_>,
    own: Result<&Description, &Error>,
    micro_batches: usize,
    held: Range<usize>,
) -> Result<Vec<Range<usize>>, Error> {
    let text = own.map(Description::text);
    let said = match &text {
        Ok(text) => {
            let checksum = crc32fast::hash(text.as_bytes()).into();
            Ok(words([checksum, text.len() as u64, held.start as u64, held.end as u64]))
        }
        Err(error) => Err(error.to_string()),
    };
    let said = match group.consent(Phase::Agreement, said)? {
        Ok(said) => said,
        Err(refusal) => {
            let problem = format!("rank {} cannot begin: {}", refusal.rank, refusal.reason);
            return Err(Error::Disagreement { problem });
        }
    };
    let digest = |rank: usize| &said[rank][..16];
    if let Some(other) = (0..group.ranks()).find(|&rank| digest(rank) != digest(0)) {
        let alike: Vec<_> =
            (0..group.ranks()).filter(|&rank| digest(rank) == digest(other)).collect();
        let text = text.unwrap_or_default();
        let problem = compare(group, &text, other, &alike)?;
        return Err(Error::Disagreement { problem });
    }
    let held: Vec<Range<usize>> = said
        .iter()
        .map(|said| {
            let mut words = read_words(&said[16..]).map(|word| usize::try_from(word).unwrap_or(0));
            words.next().unwrap_or(0)..words.next().unwrap_or(0)
        })
        .collect();
    check_shares(micro_batches, &held)?;
    Ok(held)
}

/// Rank 0 and the first that differs from it tell what they have.
fn compare(
    group: &mut Group<'_>,
    text: &str,
    other: usize,
    alike: &[usize],
) -> Result<String, Error> {
    let tells = group.rank() == 0 || group.rank() == other;
    let own = if tells { text.as_bytes().to_vec() } else { Vec::new() };
    let texts = match group.consent(Phase::Agreement, Ok(own))? {
        Ok(texts) => texts,
        Err(refusal) => return Ok(refusal.reason),
    };
    let [first, second] = [0, other].map(|rank| String::from_utf8_lossy(&texts[rank]).into_owned());
    Ok(match difference(&first, &second) {
        Some((name, a, b)) => format!("{name} is {a} on rank 0, but {b} on {}", Ranks(alike)),
        None => format!("{} differ from rank 0", Ranks(alike)),
    })
}

/// Whether the ranks have all micro-batches once, in the order of the ranks.
fn check_shares(micro_batches: usize, held: &[Range<usize>]) -> Result<(), Error> {
    let mut end = 0;
    for (rank, held) in held.iter().enumerate() {
        if held.start != end {
            let problem = format!(
                "rank {rank} has the micro-batches {held:?}; allowed: from {end} on, where those of the ranks before end"
            );
            return Err(Error::Disagreement { problem });
        }
        end = held.end;
    }
    if end == micro_batches {
        return Ok(());
    }
    let problem = format!(
        "the last rank's micro-batches end with {end}; allowed: {micro_batches}, so that there are all"
    );
    Err(Error::Disagreement { problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs() {
        let mut a = Description::default();
        a.add("the number of tensors", 2);
        a.add("the length of tensor 0", 3);
        let mut b = a.clone();
        assert_eq!(difference(&a.text(), &b.text()), None);
        b.add("the length of tensor 1", 4);
        let of = |a: &Description, b: &Description| {
            let (a, b) = (a.text(), b.text());
            difference(&a, &b).map(|(name, a, b)| format!("{name}: {a}, {b}"))
        };
        assert_eq!(of(&a, &b).unwrap(), "the length of tensor 1: missing, 4");
        assert_eq!(of(&b, &a).unwrap(), "the length of tensor 1: 4, missing");
        b.0[1].1 = "5".to_owned();
        assert_eq!(of(&a, &b).unwrap(), "the length of tensor 0: 3, 5");
    }

    #[test]
    fn shares_that_do_not_fit() {
        let message =
            |held: &[Range<usize>]| check_shares(4, held).map_err(|error| error.to_string());
        assert_eq!(message(&[0..2, 2..2, 2..4]), Ok(()));
        let error = message(&[0..2, 3..4]).unwrap_err();
        assert!(error.contains("rank 1 has the micro-batches 3..4; allowed: from 2 on"), "{error}");
        let error = message(&[0..2, 2..3]).unwrap_err();
        assert!(error.contains("end with 3; allowed: 4"), "{error}");
    }
}
