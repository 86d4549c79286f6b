//! The ranks as a group: waiting with a limit, words of those that have ended, and a consent of all.

use crate::border::{Buffer, Duplication, Failure, InFlight, Link};
use crate::error::{Error, Phase};
use std::thread;
use std::time::{Duration, Instant};

/// What a message is about: MPI allows numbers up to 32,767 at least. Those below [`MOST_BUCKETS`] are buckets of gradients.
pub const MOST_BUCKETS: usize = 16_384;
pub const LAST_WORDS: u16 = 32_001;
pub const CONSENT: u16 = 32_002;
pub const STAMP: u16 = 32_003;
pub const HEALTH: u16 = 32_004;
pub const PARAMETERS: u16 = 32_005;

/// The ranks that train together.
pub struct Group<'a> {
    link: Link<'a>,
    limit: Duration,
    /// The steps taken, for messages.
    pub steps: u64,
    /// What the ranks have done together: as many things on each of them.
    completed: u64,
    /// Last words of ranks that had completed more than this one.
    heard: Vec<LastWords>,
    /// Whether the others know that this rank goes.
    gone: bool,
}

struct LastWords {
    rank: usize,
    completed: u64,
    reason: String,
}

impl LastWords {
    /// Short enough to be sent without asking, on any network.
    const BYTES: usize = 512;

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.completed.to_le_bytes().to_vec();
        bytes.extend(self.reason.bytes().take(Self::BYTES - bytes.len()));
        bytes.resize(Self::BYTES, 0);
        bytes
    }

    fn from_bytes(rank: usize, bytes: &[u8]) -> Self {
        let (completed, reason) = bytes.split_first_chunk().unwrap_or((&[0; 8], &[]));
        let reason = String::from_utf8_lossy(reason);
        let reason = reason.trim_end_matches(['\0', char::REPLACEMENT_CHARACTER]).to_owned();
        Self { rank, completed: u64::from_le_bytes(*completed), reason }
    }
}

/// How long a rank tells the others why it goes.
const FAREWELL: Duration = Duration::from_millis(200);

impl<'a> Group<'a> {
    pub const fn new(link: Link<'a>, limit: Duration, steps: u64) -> Self {
        Self { link, limit, steps, completed: 0, heard: Vec::new(), gone: false }
    }

    /// The same ranks with messages of their own.
    pub fn duplicate(&mut self) -> Result<Group<'static>, Error> {
        let phase = Phase::Agreement;
        let mut duplication = self.mpi(phase, Duplication::begin(&self.link))?;
        self.wait(phase, &mut [&mut duplication])?;
        let link = self.mpi(phase, duplication.made())?;
        Ok(Group::new(link, self.limit, self.steps))
    }

    pub const fn link(&self) -> &Link<'a> {
        &self.link
    }

    pub const fn rank(&self) -> usize {
        self.link.rank()
    }

    pub const fn ranks(&self) -> usize {
        self.link.ranks()
    }

    /// What MPI says, as an error that the other ranks hear of.
    pub fn mpi<T>(&mut self, phase: Phase, result: Result<T, Failure>) -> Result<T, Error> {
        result.map_err(|problem| {
            let error = Error::Mpi { phase, problem };
            self.say_farewell(&error.to_string());
            error
        })
    }

    /// What all ranks do together is done.
    pub const fn complete(&mut self) {
        self.completed += 1;
    }

    /// Waits until all of this is done, for as long as there is progress within the limit.
    pub fn wait(&mut self, phase: Phase, all: &mut [&mut dyn InFlight]) -> Result<(), Error> {
        self.wait_for(phase, all, self.limit)
    }

    fn wait_for(
        &mut self,
        phase: Phase,
        all: &mut [&mut dyn InFlight],
        limit: Duration,
    ) -> Result<(), Error> {
        let mut patience = Patience::new();
        loop {
            let mut progress = false;
            for one in &mut *all {
                let tested = one.test();
                progress |= self.mpi(phase, tested)?;
            }
            if all.iter().all(|one| one.is_empty()) {
                return Ok(());
            }
            if progress {
                patience = Patience::new();
                continue;
            }
            self.listen(phase)?;
            if patience.since.elapsed() >= limit {
                let mut ranks: Vec<_> = all.iter().flat_map(|one| one.peers()).collect();
                ranks.sort_unstable();
                ranks.dedup();
                let (steps, limit) = (self.steps, self.limit);
                let error = Error::TimedOut { phase, steps, ranks, limit };
                self.say_farewell(&error.to_string());
                return Err(error);
            }
            patience.pause();
        }
    }

    /// Whether a rank has ended that has not done all that this one waits for.
    fn listen(&mut self, phase: Phase) -> Result<(), Error> {
        let there = self.link.probe(LAST_WORDS);
        if let Some(rank) = self.mpi(phase, there)? {
            let mut words = Buffer::<u8>::zeroed(LastWords::BYTES);
            let begun = words.receive(&self.link, 0..LastWords::BYTES, rank, LAST_WORDS);
            self.mpi(phase, begun)?;
            let since = Instant::now();
            while !words.is_empty() && since.elapsed() < self.limit {
                let tested = words.test();
                self.mpi(phase, tested)?;
            }
            if words.is_empty() {
                self.heard.push(LastWords::from_bytes(rank, words.slice(0..LastWords::BYTES)));
            }
        }
        match self.heard.iter().find(|words| words.completed <= self.completed) {
            None => Ok(()),
            Some(LastWords { rank, reason, .. }) => {
                self.gone = true;
                Err(Error::Left { rank: *rank, reason: reason.clone(), phase })
            }
        }
    }

    /// Tells the others that this rank goes, and why. Whoever gets it passes nothing on.
    pub fn say_farewell(&mut self, reason: &str) {
        if std::mem::replace(&mut self.gone, true) {
            return;
        }
        let (rank, completed) = (self.rank(), self.completed);
        let words = LastWords { rank, completed, reason: reason.to_owned() };
        let mut words = Buffer::new(words.to_bytes());
        for other in self.link.others() {
            if words.send(&self.link, 0..LastWords::BYTES, other, LAST_WORDS).is_err() {
                return;
            }
        }
        let since = Instant::now();
        while !words.is_empty() && since.elapsed() < FAREWELL && words.test().is_ok() {
            thread::yield_now();
        }
    }

    /// What each rank has to say, to all of them; or why one of them cannot go on, which is an error on each.
    ///
    /// By way of rank 0: this is for what is seldom.
    pub fn consent(
        &mut self,
        phase: Phase,
        own: Result<Vec<u8>, String>,
    ) -> Result<Result<Vec<Vec<u8>>, Refusal>, Error> {
        let agreed =
            if self.rank() == 0 { self.collect(phase, own)? } else { self.report(phase, own)? };
        self.complete();
        Ok(agreed)
    }

    /// As rank 0.
    fn collect(
        &mut self,
        phase: Phase,
        own: Result<Vec<u8>, String>,
    ) -> Result<Result<Vec<Vec<u8>>, Refusal>, Error> {
        let (ranks, head) = (self.ranks(), Head::BYTES);
        let mut heads = Buffer::<u8>::zeroed(ranks * head);
        for rank in 1..ranks {
            let begun = heads.receive(&self.link, rank * head..(rank + 1) * head, rank, CONSENT);
            self.mpi(phase, begun)?;
        }
        self.wait(phase, &mut [&mut heads])?;
        let heads: Vec<_> = (0..ranks)
            .map(|rank| match (rank, &own) {
                (0, Ok(own)) => Head { refused: false, bytes: own.len() },
                (0, Err(reason)) => Head { refused: true, bytes: reason.len() },
                _ => Head::from_bytes(heads.slice(rank * head..(rank + 1) * head)),
            })
            .collect();
        let ends: Vec<usize> = heads
            .iter()
            .scan(0, |end, head| {
                *end += head.bytes;
                Some(*end)
            })
            .collect();
        let body = |rank: usize| ends[rank] - heads[rank].bytes..ends[rank];
        let mut bodies = Buffer::<u8>::zeroed(ends[ranks - 1]);
        let own = own.unwrap_or_else(String::into_bytes);
        bodies.slice_mut(body(0)).copy_from_slice(&own);
        for rank in 1..ranks {
            let begun = bodies.receive(&self.link, body(rank), rank, CONSENT);
            self.mpi(phase, begun)?;
        }
        self.wait(phase, &mut [&mut bodies])?;

        let all = (0..ranks).map(|rank| bodies.slice(body(rank)).to_vec()).collect::<Vec<_>>();
        let refusal = heads.iter().position(|head| head.refused);
        let agreed = match refusal {
            Some(rank) => Err(Refusal::new(rank, &all[rank])),
            None => Ok(all),
        };
        let bytes = encode(&agreed);
        let verdict = Head { refused: refusal.is_some(), bytes: bytes.len() };
        let (length, mut bytes) = (bytes.len(), Buffer::new(bytes));
        let mut verdict = Buffer::new(verdict.to_bytes());
        for other in self.link.others() {
            let begun = verdict.send(&self.link, 0..head, other, CONSENT);
            self.mpi(phase, begun)?;
            let begun = bytes.send(&self.link, 0..length, other, CONSENT);
            self.mpi(phase, begun)?;
        }
        self.wait(phase, &mut [&mut verdict, &mut bytes])?;
        Ok(agreed)
    }

    /// As any other rank.
    fn report(
        &mut self,
        phase: Phase,
        own: Result<Vec<u8>, String>,
    ) -> Result<Result<Vec<Vec<u8>>, Refusal>, Error> {
        let refused = own.is_err();
        let own = own.unwrap_or_else(String::into_bytes);
        let (head, length) = (Head::BYTES, own.len());
        let mut header = Buffer::new(Head { refused, bytes: length }.to_bytes());
        let mut own = Buffer::new(own);
        let mut verdict = Buffer::<u8>::zeroed(head);
        let begun = header
            .send(&self.link, 0..head, 0, CONSENT)
            .and_then(|()| own.send(&self.link, 0..length, 0, CONSENT))
            .and_then(|()| verdict.receive(&self.link, 0..head, 0, CONSENT));
        self.mpi(phase, begun)?;
        // Rank 0 waits for all, and knows for whom: it is the first to lose patience.
        let limit = self.limit + self.limit / 4;
        self.wait_for(phase, &mut [&mut header, &mut own, &mut verdict], limit)?;
        let Head { refused, bytes } = Head::from_bytes(verdict.slice(0..head));
        let mut body = Buffer::<u8>::zeroed(bytes);
        let begun = body.receive(&self.link, 0..bytes, 0, CONSENT);
        self.mpi(phase, begun)?;
        self.wait(phase, &mut [&mut body])?;
        let decoded = decode(refused, body.slice(0..bytes), self.ranks());
        self.mpi(phase, decoded.ok_or_else(|| "a verdict of rank 0 is damaged".to_owned()))
    }
}

impl Group<'static> {
    /// The communicator is given back.
    pub fn end(self) -> Result<(), Error> {
        let phase = Phase::Finish;
        self.link.free().map_err(|problem| Error::Mpi { phase, problem })
    }
}

/// Why a rank cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub rank: usize,
    pub reason: String,
}

impl Refusal {
    fn new(rank: usize, reason: &[u8]) -> Self {
        Self { rank, reason: String::from_utf8_lossy(reason).into_owned() }
    }
}

/// What comes before a body.
struct Head {
    refused: bool,
    bytes: usize,
}

impl Head {
    const BYTES: usize = 16;

    fn to_bytes(&self) -> Vec<u8> {
        words([u64::from(self.refused), self.bytes as u64])
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let mut words = read_words(bytes);
        let mut next = || words.next().and_then(|word| usize::try_from(word).ok()).unwrap_or(0);
        Self { refused: next() != 0, bytes: next() }
    }
}

pub fn words(words: impl IntoIterator<Item = u64>) -> Vec<u8> {
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}

pub fn read_words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks().0.iter().map(|&word| u64::from_le_bytes(word))
}

/// The lengths of all bodies, and the bodies; or the rank and the reason.
fn encode(agreed: &Result<Vec<Vec<u8>>, Refusal>) -> Vec<u8> {
    match agreed {
        Err(Refusal { rank, reason }) => {
            let mut bytes = words([*rank as u64]);
            bytes.extend(reason.bytes());
            bytes
        }
        Ok(all) => {
            let mut bytes = words(all.iter().map(|body| body.len() as u64));
            for body in all {
                bytes.extend(body);
            }
            bytes
        }
    }
}

fn decode(refused: bool, bytes: &[u8], ranks: usize) -> Option<Result<Vec<Vec<u8>>, Refusal>> {
    if refused {
        let (rank, reason) = bytes.split_at_checked(8)?;
        return Some(Err(Refusal::new(usize::try_from(read_words(rank).next()?).ok()?, reason)));
    }
    let (lengths, mut rest) = bytes.split_at_checked(8 * ranks)?;
    let mut all = Vec::with_capacity(ranks);
    for length in read_words(lengths) {
        let (body, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        all.push(body.to_vec());
        rest = behind;
    }
    Some(Ok(all))
}

/// How to wait: at first for what comes at once, then without taking the processor from those who work.
struct Patience {
    since: Instant,
    pause: Duration,
}

impl Patience {
    /// So long a rank only yields.
    const YIELDING: Duration = Duration::from_millis(2);
    const LONGEST_PAUSE: Duration = Duration::from_millis(1);

    fn new() -> Self {
        Self { since: Instant::now(), pause: Duration::from_micros(20) }
    }

    fn pause(&mut self) {
        if self.since.elapsed() < Self::YIELDING {
            thread::yield_now();
        } else {
            thread::sleep(self.pause);
            self.pause = (self.pause * 2).min(Self::LONGEST_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_come_back() {
        for agreed in [
            Ok(vec![b"one".to_vec(), Vec::new(), b"three".to_vec()]),
            Err(Refusal { rank: 2, reason: "no".to_owned() }),
        ] {
            let bytes = encode(&agreed);
            assert_eq!(decode(agreed.is_err(), &bytes, 3), Some(agreed.clone()));
            for cut in 0..bytes.len() {
                assert_ne!(decode(agreed.is_err(), &bytes[..cut], 3), Some(agreed.clone()));
            }
        }
    }

    #[test]
    fn last_words_are_cut() {
        let words = LastWords { rank: 3, completed: 7, reason: "ä".repeat(1000) };
        let bytes = words.to_bytes();
        assert_eq!(bytes.len(), LastWords::BYTES);
        let found = LastWords::from_bytes(3, &bytes);
        assert_eq!((found.rank, found.completed, found.reason), (3, 7, "ä".repeat(252)));
    }
}
