//! Files that somebody has damaged.

use arbitrary::Arbitrary;

/// A change of a file, at a place that wraps around its end.
#[derive(Debug, Clone, Arbitrary)]
pub enum Edit {
    Set(u16, u8),
    Flip(u16, u8),
    Insert(u16, Vec<u8>),
    Remove(u16, u8),
    /// Bytes from one place, once more at another.
    Repeat(u16, u8, u16),
    Truncate(u16),
}

/// What is left of a file after these edits.
pub fn edited(file: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut file = file.to_vec();
    for edit in edits {
        let place = |at: u16| usize::from(at) % (file.len() + 1);
        let behind = |at: u16, length: u8| {
            let start = place(at);
            start..(start + usize::from(length)).min(file.len())
        };
        match edit {
            Edit::Set(at, value) => {
                let at = place(*at);
                file.get_mut(at).into_iter().for_each(|byte| *byte = *value);
            }
            Edit::Flip(at, bit) => {
                let at = place(*at);
                file.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << (bit % 8));
            }
            Edit::Insert(at, bytes) => {
                let at = place(*at);
                file.splice(at..at, bytes.iter().copied());
            }
            Edit::Remove(at, length) => {
                let range = behind(*at, *length);
                file.drain(range);
            }
            Edit::Repeat(from, length, to) => {
                let (bytes, to) = (file[behind(*from, *length)].to_vec(), place(*to));
                file.splice(to..to, bytes);
            }
            Edit::Truncate(at) => {
                let at = place(*at);
                file.truncate(at);
            }
        }
    }
    file
}
