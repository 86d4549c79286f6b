//! Memory of the caller's as slices. What can be checked is checked here; that the memory is there, and that no other
//! thread writes to it in the meantime, is what every function of the interface asks of its caller.

#![allow(unsafe_code, reason = "the memory of the caller")]

use crate::status::{Problem, Status};
use half::{bf16, f16};
use std::fmt;
use std::slice::{from_raw_parts, from_raw_parts_mut};

mod sealed {
    /// A type of which all bits are values.
    pub trait Plain: Copy + 'static {}
    impl Plain for f32 {}
    impl Plain for f64 {}
    impl Plain for super::bf16 {}
    impl Plain for super::f16 {}
    impl Plain for i8 {}
    impl Plain for i16 {}
    impl Plain for u16 {}
    impl Plain for usize {}
    impl<T: 'static> Plain for *const T {}
}
pub use sealed::Plain;

/// What a message calls memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    pub field: &'static str,
    pub tensor: Option<usize>,
}

impl From<&'static str> for Name {
    #[inline]
    fn from(field: &'static str) -> Self {
        Self { field, tensor: None }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.field)?;
        self.tensor.map_or(Ok(()), |tensor| write!(f, " of tensor {tensor}"))
    }
}

/// A pointer to a number of elements that could be there: not NULL, aligned, and within the address space.
#[derive(Debug, Clone, Copy)]
pub struct Span<T> {
    pointer: *mut T,
    elements: usize,
}

impl<T> Span<T> {
    /// # Errors
    ///
    /// What is wrong with it, by its name.
    #[inline]
    pub fn new(name: impl Into<Name>, pointer: *const T, elements: usize) -> Result<Self, Problem> {
        let span = Self { pointer: pointer.cast_mut(), elements };
        if span.is_possible() { Ok(span) } else { Err(span.problem(name.into())) }
    }

    #[inline]
    fn is_possible(&self) -> bool {
        let most = isize::MAX.unsigned_abs() / size_of::<T>();
        let is_there = !self.pointer.is_null()
            && self.pointer.is_aligned()
            && self.elements <= most
            && self.pointer.addr().checked_add(self.elements * size_of::<T>()).is_some();
        is_there || self.elements == 0
    }

    #[cold]
    fn problem(&self, name: Name) -> Problem {
        let (address, elements) = (self.pointer.addr(), self.elements);
        if address == 0 {
            let message = format!("{name} is NULL; allowed: memory of {elements} elements");
            return Problem::new(Status::NullPointer, message);
        }
        if !self.pointer.is_aligned() {
            let align = align_of::<T>();
            let message = format!("{name} is at {address:#x}; allowed: a multiple of {align}");
            return Problem::new(Status::Misaligned, message);
        }
        let size = size_of::<T>();
        let message = format!(
            "{name} has {elements} elements of {size} bytes; allowed: as many as there can be at {address:#x}"
        );
        Problem::new(Status::Length, message)
    }

    /// What is claimed, to be written or to be read only; `number` says which it is of those of the call.
    #[inline]
    pub fn claim(&self, number: usize, written: bool) -> Claim {
        let start = self.pointer.addr();
        Claim { start, end: start.wrapping_add(self.elements * size_of::<T>()), number, written }
    }
}

impl<T: Plain> Span<T> {
    /// # Safety
    ///
    /// The memory must be there, with values in it, for all of `'a`, in which nobody may write to it.
    #[inline]
    pub const unsafe fn read<'a>(self) -> &'a [T] {
        if self.elements == 0 {
            return &[];
        }
        // SAFETY: not NULL, aligned and no longer than memory can be, as `new` has seen; the rest is the caller's.
        unsafe { from_raw_parts(self.pointer, self.elements) }
    }

    /// # Safety
    ///
    /// The memory must be there, with values in it, for all of `'a`, in which nobody else may read or write it.
    #[inline]
    pub const unsafe fn write<'a>(self) -> &'a mut [T] {
        if self.elements == 0 {
            return &mut [];
        }
        // SAFETY: not NULL, aligned and no longer than memory can be, as `new` has seen; the rest is the caller's.
        unsafe { from_raw_parts_mut(self.pointer, self.elements) }
    }
}

/// The elements that an operation writes, and those of its inputs, all of one length.
///
/// # Errors
///
/// If a pointer is not one to so many elements, or the output overlaps with an input.
///
/// # Safety
///
/// The memory must be there, with values in it, for all of `'a`, in which nobody else may write to it, or read what is
/// written.
#[inline(always)] // With the names, that are needed in a refusal alone, left out of the way.
pub unsafe fn lend<'a, T: Plain, const INPUTS: usize>(
    length: usize,
    (name, output): (&'static str, *mut T),
    inputs: [(&'static str, *const T); INPUTS],
) -> Result<(&'a mut [T], [&'a [T]; INPUTS]), Problem> {
    let output = Span::new(name, output, length)?;
    let mut slices: [&[T]; INPUTS] = [&[]; INPUTS];
    for (slice, (input_name, input)) in slices.iter_mut().zip(inputs) {
        let input = Span::new(input_name, input, length)?;
        if output.claim(0, true).overlaps(&input.claim(1, false)) {
            return Err(overlapping(name.into(), input_name.into()));
        }
        // SAFETY: the caller says that it is there; what is written lies elsewhere, as has been seen.
        *slice = unsafe { input.read() };
    }
    // SAFETY: the caller says that it is there; no input is a part of it, as has been seen.
    let output = unsafe { output.write() };
    Ok((output, slices))
}

/// That two overlap of which one is written.
#[cold]
pub fn overlapping(a: Name, b: Name) -> Problem {
    let message = format!("{a} overlaps with {b}; allowed: memory of its own");
    Problem::new(Status::Overlap, message)
}

/// Memory of a call, by its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    start: usize,
    end: usize,
    number: usize,
    written: bool,
}

impl Claim {
    /// That of no memory. (A constant of C would become of a public one.)
    #[inline]
    pub const fn nothing() -> Self {
        Self { start: 0, end: 0, number: 0, written: false }
    }

    #[inline]
    const fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// Whether they share a byte.
    #[inline]
    const fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end && !self.is_empty() && !other.is_empty()
    }
}

/// Whether two of a few claims may overlap: it does not look whether they are empty, or read only, and does not branch.
#[inline(always)]
#[allow(clippy::needless_bitwise_bool, reason = "a branch for each pair takes longer")]
pub fn may_overlap<const N: usize>(claims: &[Claim; N]) -> bool {
    let mut found = false;
    for i in 1..N {
        for j in 0..i {
            let (a, b) = (&claims[i], &claims[j]);
            found |= (a.start < b.end) & (b.start < a.end);
        }
    }
    found
}

/// The numbers of two claims that overlap, at least one of which is written. For a few.
#[cold]
pub fn overlap_of_few(claims: &[Claim]) -> Option<(usize, usize)> {
    for (i, a) in claims.iter().enumerate() {
        for b in &claims[..i] {
            if (a.written || b.written) && a.overlaps(b) {
                return Some((b.number, a.number));
            }
        }
    }
    None
}

/// The claims of a call, and those of the last one that were seen to be disjoint: a training has the same ones at
/// every step, and they need not be sorted again.
#[derive(Debug, Default)]
pub struct Claims {
    now: Vec<Claim>,
    seen: Vec<Claim>,
    order: Vec<u32>,
}

impl Claims {
    pub fn clear(&mut self) {
        self.now.clear();
    }

    /// # Errors
    ///
    /// If there is no memory for them.
    #[inline]
    pub fn extend(&mut self, claims: &[Claim]) -> Result<(), Problem> {
        self.now.try_reserve(claims.len()).map_err(|_| no_memory())?;
        self.now.extend(claims.iter().filter(|claim| !claim.is_empty()));
        Ok(())
    }

    /// The numbers of two that overlap, at least one of which is written.
    ///
    /// # Errors
    ///
    /// If there are more claims than can be counted, or no memory for them.
    pub fn overlap(&mut self) -> Result<Option<(usize, usize)>, Problem> {
        if self.now == self.seen {
            return Ok(None);
        }
        self.seen.clear();
        self.order.clear();
        let (claims, count) = (&self.now, self.now.len());
        self.order.try_reserve(count).map_err(|_| no_memory())?;
        self.order.extend(0..u32::try_from(count).map_err(|_| no_memory())?);
        self.order.sort_unstable_by_key(|&i| claims[i as usize].start);
        if let Some((a, b)) = overlap(claims, &self.order) {
            let (a, b) = (claims[a].number, claims[b].number);
            return Ok(Some((a.min(b), a.max(b))));
        }
        self.seen.try_reserve(count).map_err(|_| no_memory())?;
        self.seen.extend_from_slice(claims);
        Ok(None)
    }
}

#[cold]
pub fn no_memory() -> Problem {
    Problem::new(Status::OutOfMemory, "there is no memory for the list of the tensors")
}

/// Two that overlap, at least one of which is written; `order` is that of their starts. None is empty.
fn overlap(claims: &[Claim], order: &[u32]) -> Option<(usize, usize)> {
    // Those so far that reach farthest: of all, and of those that are written.
    let (mut farthest, mut written): (Option<usize>, Option<usize>) = (None, None);
    for &i in order {
        let i = i as usize;
        let claim = claims[i];
        let other = if claim.written { farthest } else { written };
        if let Some(other) = other.filter(|&other| claims[other].end > claim.start) {
            return Some((other, i));
        }
        let beyond = |far: Option<usize>| far.is_none_or(|far| claims[far].end < claim.end);
        if beyond(farthest) {
            farthest = Some(i);
        }
        if claim.written && beyond(written) {
            written = Some(i);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every set of three claims of up to two of six places, against the comparison of each pair.
    #[test]
    fn overlaps_are_those_of_pairs() {
        let one = |number: usize, code: usize| Claim {
            start: code % 5,
            end: code % 5 + code / 5 % 3,
            number,
            written: code / 15 % 2 == 1,
        };
        let mut overlapping = 0;
        for codes in 0..30_usize.pow(3) {
            let claims = [one(0, codes % 30), one(1, codes / 30 % 30), one(2, codes / 900)];
            let overlap = |a: &Claim, b: &Claim| {
                (a.written || b.written) && a.start.max(b.start) < a.end.min(b.end)
            };
            let expected = (0..3).any(|i| (0..i).any(|j| overlap(&claims[i], &claims[j])));
            let is_one = |found: Option<(usize, usize)>| {
                found.is_some_and(|(i, j)| i < j && overlap(&claims[i], &claims[j]))
            };
            let of_few = overlap_of_few(&claims);
            assert!(may_overlap(&claims) || of_few.is_none(), "{claims:?}");
            assert_eq!((of_few.is_some(), is_one(of_few)), (expected, expected), "{claims:?}");
            let mut all = Claims::default();
            all.extend(&claims).unwrap();
            // What was refused once has not been seen.
            for _ in 0..2 {
                let found = all.overlap().unwrap();
                assert_eq!((found.is_some(), is_one(found)), (expected, expected), "{claims:?}");
            }
            overlapping += usize::from(expected);
        }
        assert!((2000..20_000).contains(&overlapping), "{overlapping}");
    }

    #[test]
    fn spans_end_within_the_address_space() {
        let near_the_end = std::ptr::without_provenance::<f32>(usize::MAX - 7);
        assert!(Span::new("x", near_the_end, 1).is_ok());
        for elements in [2, 3, usize::MAX / 4] {
            let problem = Span::new("x", near_the_end, elements).unwrap_err();
            assert_eq!(problem.status, Status::Length);
        }
        assert!(Span::new("x", near_the_end, 0).is_ok());
        assert!(Span::new("x", std::ptr::null::<f32>(), 0).is_ok());
        let problem = Span::new("x", std::ptr::null::<f32>(), 1).unwrap_err();
        assert_eq!(problem.message, "`x` is NULL; allowed: memory of 1 elements");
    }
}
