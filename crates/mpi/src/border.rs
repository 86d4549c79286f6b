//! The border to MPI: requests that are at work from one call to the next, on memory that they keep.
//!
//! rsmpi's requests borrow their memory, and end the process if they are dropped before they are done. Here it must be
//! possible to give up waiting, so the memory belongs to its requests: a [`Buffer`] lends what no request is at work on,
//! and is never freed while one is.

use bytemuck::Pod;
use mpi::ffi::{self, MPI_Comm, MPI_Request, MPI_Status};
use mpi::raw::AsRaw as _;
use mpi::topology::Communicator;
use mpi::traits::Equivalence as _;
use std::cell::Cell;
use std::ffi::{c_char, c_int};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr::NonNull;

/// What MPI says when it fails.
pub type Failure = String;

/// The most bytes of a message: MPI counts them in a C `int`.
const MOST_BYTES: usize = 1 << 30;

/// A communicator of ranks. Not to be sent to another thread: MPI may have been initialised for this one alone.
pub struct Link<'a> {
    communicator: MPI_Comm,
    rank: usize,
    ranks: usize,
    /// The bytes sent to other ranks.
    sent: Cell<u64>,
    of: PhantomData<(&'a (), *const ())>,
}

impl<'a> Link<'a> {
    /// That of the caller.
    pub fn lent(communicator: &'a impl Communicator) -> Result<Self, Failure> {
        let not_negative = |n: i32| usize::try_from(n).map_err(|_| format!("there are {n} ranks"));
        Ok(Self {
            communicator: communicator.as_raw(),
            rank: not_negative(communicator.rank())?,
            ranks: not_negative(communicator.size())?,
            sent: Cell::new(0),
            of: PhantomData,
        })
    }

    pub const fn rank(&self) -> usize {
        self.rank
    }

    pub const fn ranks(&self) -> usize {
        self.ranks
    }

    /// All ranks but this one, the next one first: not all of them begin with the same.
    pub fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let (rank, ranks) = (self.rank, self.ranks);
        (1..ranks).map(move |distance| (rank + distance) % ranks)
    }

    pub const fn sent_bytes(&self) -> u64 {
        self.sent.get()
    }

    /// The rank whose message with this tag is there to be received, if one is.
    pub fn probe(&self, tag: u16) -> Result<Option<usize>, Failure> {
        check_alive()?;
        let (mut found, mut status) = (0, MaybeUninit::<MPI_Status>::uninit());
        // SAFETY: a constant that the MPI library defines.
        let any_source = unsafe { ffi::RSMPI_ANY_SOURCE };
        // SAFETY: the communicator lives as long as this, and MPI is not finalised (checked above); the pointers are to
        // locals.
        check(unsafe {
            ffi::MPI_Iprobe(
                any_source,
                tag.into(),
                self.communicator,
                &raw mut found,
                status.as_mut_ptr(),
            )
        })?;
        if found == 0 {
            return Ok(None);
        }
        // SAFETY: MPI writes the status of a message that it has found.
        let status = unsafe { status.assume_init() };
        Ok(usize::try_from(status.MPI_SOURCE).ok())
    }
}

impl Link<'static> {
    /// Gives the communicator back. Every rank must do so, and must have received all that was sent to it.
    pub fn free(self) -> Result<(), Failure> {
        check_alive()?;
        let mut communicator = self.communicator;
        // SAFETY: a link that is not lent was made by `Duplication`, and no one else has its handle; MPI is not finalised.
        check(unsafe { ffi::MPI_Comm_free(&raw mut communicator) })
    }
}

/// A communicator of the same ranks in the making: messages on it are not taken for those of the caller.
pub struct Duplication {
    /// Where MPI writes it: in memory that stays, until the request is done.
    handle: NonNull<MPI_Comm>,
    request: Option<MPI_Request>,
    rank: usize,
    ranks: usize,
}

impl Duplication {
    /// All ranks must begin.
    pub fn begin(link: &Link<'_>) -> Result<Self, Failure> {
        check_alive()?;
        let handle = NonNull::from(Box::leak(Box::new(link.communicator)));
        let mut request = MaybeUninit::uninit();
        // SAFETY: the communicator is alive, and the handle is written while it is this one's; `request` is a local.
        check(unsafe {
            ffi::MPI_Comm_idup(link.communicator, handle.as_ptr(), request.as_mut_ptr())
        })?;
        // SAFETY: MPI has written it, since there was no error.
        let request = Some(unsafe { request.assume_init() });
        Ok(Self { handle, request, rank: link.rank, ranks: link.ranks })
    }

    /// The communicator, once it is made. It returns errors instead of ending all processes.
    pub fn made(&mut self) -> Result<Link<'static>, Failure> {
        if self.request.is_some() {
            return Err("a communicator is not made yet".to_owned());
        }
        // SAFETY: the request is done, as was just checked, so MPI writes here no more.
        let communicator = unsafe { *self.handle.as_ptr() };
        // SAFETY: a constant that the MPI library defines.
        let errors_return = unsafe { ffi::RSMPI_ERRORS_RETURN };
        // SAFETY: the communicator was just made.
        check(unsafe { ffi::MPI_Comm_set_errhandler(communicator, errors_return) })?;
        let (rank, ranks) = (self.rank, self.ranks);
        Ok(Link { communicator, rank, ranks, sent: Cell::new(0), of: PhantomData })
    }
}

impl InFlight for Duplication {
    fn test(&mut self) -> Result<bool, Failure> {
        check_alive()?;
        let Some(request) = &mut self.request else { return Ok(false) };
        let (mut done, mut status) = (0, MaybeUninit::uninit());
        // SAFETY: the request is active: it is taken away once it is done. The other pointers are to locals.
        check(unsafe { ffi::MPI_Test(request, &raw mut done, status.as_mut_ptr()) })?;
        if done != 0 {
            self.request = None;
        }
        Ok(done != 0)
    }

    fn is_empty(&self) -> bool {
        self.request.is_none()
    }

    fn peers(&self) -> Vec<usize> {
        Vec::new()
    }
}

impl Drop for Duplication {
    fn drop(&mut self) {
        if self.request.is_none() {
            // SAFETY: it was a box, and MPI is done with it.
            drop(unsafe { Box::from_raw(self.handle.as_ptr()) });
        }
    }
}

/// What can be waited for.
pub trait InFlight {
    /// Looks what is done. Whether anything was.
    fn test(&mut self) -> Result<bool, Failure>;
    /// Whether all is done.
    fn is_empty(&self) -> bool;
    /// The ranks that it waits for, each once or more.
    fn peers(&self) -> Vec<usize>;
}

/// Memory, and the requests that are at work on it.
pub struct Buffer<T: Pod> {
    memory: NonNull<[T]>,
    requests: Vec<MPI_Request>,
    /// What each of them does.
    flights: Vec<Flight>,
    done: Vec<c_int>,
    statuses: Vec<MaybeUninit<MPI_Status>>,
}

#[derive(Debug, Clone)]
struct Flight {
    range: Range<usize>,
    direction: Direction,
    peer: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Send,
    Receive,
}

impl<T: Pod> Buffer<T> {
    pub fn new(values: Vec<T>) -> Self {
        let memory = NonNull::from(Box::leak(values.into_boxed_slice()));
        let (requests, flights) = (Vec::new(), Vec::new());
        Self { memory, requests, flights, done: Vec::new(), statuses: Vec::new() }
    }

    pub fn zeroed(length: usize) -> Self {
        Self::new(vec![T::zeroed(); length])
    }

    pub const fn len(&self) -> usize {
        self.memory.len()
    }

    /// Panics if a request is at work on some of this memory; if it is only read, one that writes.
    fn assert_free(&self, range: &Range<usize>, only_read: bool) {
        assert!(
            range.start <= range.end && range.end <= self.len(),
            "{range:?} of {} elements",
            self.len()
        );
        let in_the_way = self.flights.iter().find(|flight| {
            let apart = flight.range.end <= range.start || range.end <= flight.range.start;
            !(apart || only_read && flight.direction == Direction::Send)
        });
        assert!(in_the_way.is_none(), "{range:?} is in use: {in_the_way:?}");
    }

    fn pointer(&self, start: usize) -> *mut T {
        self.memory.as_ptr().cast::<T>().wrapping_add(start)
    }

    pub fn slice(&self, range: Range<usize>) -> &[T] {
        self.assert_free(&range, true);
        // SAFETY: `assert_free` has checked that these elements are in the memory, and that no request writes them. None
        // can begin to while they are borrowed.
        unsafe { std::slice::from_raw_parts(self.pointer(range.start), range.len()) }
    }

    pub fn slice_mut(&mut self, range: Range<usize>) -> &mut [T] {
        self.assert_free(&range, false);
        // SAFETY: as in `slice`; and no request reads them.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(range.start), range.len()) }
    }

    /// Begins to send some elements. (None are no message.)
    pub fn send(
        &mut self,
        link: &Link<'_>,
        range: Range<usize>,
        to: usize,
        tag: u16,
    ) -> Result<(), Failure> {
        link.sent.set(link.sent.get() + (range.len() * size_of::<T>()) as u64);
        for part in messages::<T>(range) {
            self.begin(link, Flight { range: part, direction: Direction::Send, peer: to }, tag)?;
        }
        Ok(())
    }

    /// Begins to receive elements, as many as are sent.
    pub fn receive(
        &mut self,
        link: &Link<'_>,
        range: Range<usize>,
        from: usize,
        tag: u16,
    ) -> Result<(), Failure> {
        for part in messages::<T>(range) {
            let flight = Flight { range: part, direction: Direction::Receive, peer: from };
            self.begin(link, flight, tag)?;
        }
        Ok(())
    }

    fn begin(&mut self, link: &Link<'_>, flight: Flight, tag: u16) -> Result<(), Failure> {
        check_alive()?;
        let Flight { range, direction, peer } = flight.clone();
        assert!(peer < link.ranks, "rank {peer} of {}", link.ranks);
        self.assert_free(&range, direction == Direction::Send);
        let (pointer, bytes) = (self.pointer(range.start).cast(), range.len() * size_of::<T>());
        let bytes = c_int::try_from(bytes).map_err(|_| "a message is too long")?;
        let peer = c_int::try_from(peer).map_err(|_| "there are too many ranks")?;
        let (byte, communicator) = (u8::equivalent_datatype().as_raw(), link.communicator);
        let mut request = MaybeUninit::uninit();
        let out = request.as_mut_ptr();
        let code = match direction {
            // SAFETY: the elements are in the memory and no request writes them (`assert_free`); they stay until the request
            // is done, since `Drop` frees nothing before, and are not lent as mutable till then.
            Direction::Send => unsafe {
                ffi::MPI_Isend(pointer, bytes, byte, peer, tag.into(), communicator, out)
            },
            // SAFETY: as above, and no request reads them; they are not lent until the request is done. Any bytes are
            // elements, since `T: Pod`.
            Direction::Receive => unsafe {
                ffi::MPI_Irecv(pointer, bytes, byte, peer, tag.into(), communicator, out)
            },
        };
        check(code)?;
        // SAFETY: MPI has written it, since there was no error.
        self.requests.push(unsafe { request.assume_init() });
        self.flights.push(flight);
        Ok(())
    }

    /// What is done is taken off the list; what was received must be as long as it should.
    fn take_done(&mut self, count: usize, code: c_int) -> Result<(), Failure> {
        if code != 0 && code.cast_unsigned() != ffi::MPI_ERR_IN_STATUS {
            return check(code);
        }
        let mut wrong = check(code).err();
        let mut done: Vec<(usize, usize)> = Vec::with_capacity(count);
        done.extend((0..count).map(|i| (usize::try_from(self.done[i]).unwrap_or(usize::MAX), i)));
        // From the last on, so that the others stay where they are.
        done.sort_unstable_by(|a, b| b.cmp(a));
        for (index, i) in done {
            // SAFETY: `MPI_Testsome` has written the statuses of the first `count`.
            let status = unsafe { self.statuses[i].assume_init_ref() };
            self.requests.swap_remove(index);
            let Flight { range, direction, peer } = self.flights.swap_remove(index);
            // (MPI writes the errors of single requests only if there are some.)
            let own = if code == 0 { Ok(()) } else { check(status.MPI_ERROR) };
            let complete = match direction {
                Direction::Send => own,
                Direction::Receive => own.and_then(|()| {
                    let (sent, expected) = (received_bytes(status)?, range.len() * size_of::<T>());
                    let differ = || format!("rank {peer} has sent {sent} bytes, not {expected}");
                    if sent == expected { Ok(()) } else { Err(differ()) }
                }),
            };
            wrong = complete.err().or(wrong);
        }
        wrong.map_or(Ok(()), Err)
    }
}

/// The parts of a range that are a message each.
fn messages<T>(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let most = MOST_BYTES / size_of::<T>();
    range.clone().step_by(most).map(move |start| start..range.end.min(start + most))
}

fn received_bytes(status: &MPI_Status) -> Result<usize, Failure> {
    let mut bytes = 0;
    let byte = u8::equivalent_datatype().as_raw();
    // SAFETY: the status is that of a message that was received; `bytes` is a local.
    check(unsafe { ffi::MPI_Get_count(status, byte, &raw mut bytes) })?;
    usize::try_from(bytes).map_err(|_| "a message has no length".to_owned())
}

impl<T: Pod> InFlight for Buffer<T> {
    fn test(&mut self) -> Result<bool, Failure> {
        if self.requests.is_empty() {
            return Ok(false);
        }
        check_alive()?;
        let most = c_int::try_from(self.requests.len()).map_err(|_| "too many messages")?;
        self.done.resize(self.requests.len(), 0);
        self.statuses.resize(self.requests.len(), MaybeUninit::uninit());
        let mut count = 0;
        // SAFETY: all requests are active, since those that are done are taken off the list; the other arrays are as long.
        let code = unsafe {
            ffi::MPI_Testsome(
                most,
                self.requests.as_mut_ptr(),
                &raw mut count,
                self.done.as_mut_ptr(),
                self.statuses.as_mut_ptr().cast(),
            )
        };
        let count = usize::try_from(count).unwrap_or(0).min(self.requests.len());
        self.take_done(count, code)?;
        Ok(count > 0)
    }

    fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    fn peers(&self) -> Vec<usize> {
        self.flights.iter().map(|flight| flight.peer).collect()
    }
}

impl<T: Pod> Drop for Buffer<T> {
    /// What MPI is at work on is not given back.
    fn drop(&mut self) {
        if self.requests.is_empty() {
            // SAFETY: it was a box, and no request is at work on it.
            drop(unsafe { Box::from_raw(self.memory.as_ptr()) });
        }
    }
}

/// After its end MPI may not be called any more.
fn check_alive() -> Result<(), Failure> {
    if mpi::environment::is_finalized() {
        return Err("it was finalised: keep its `Universe` for as long as the trainer".to_owned());
    }
    Ok(())
}

fn check(code: c_int) -> Result<(), Failure> {
    if code == 0 {
        return Ok(());
    }
    let mut text = [0_u8; ffi::MPI_MAX_ERROR_STRING as usize];
    let mut length = 0;
    // SAFETY: the text is as long as MPI asks for.
    unsafe {
        ffi::MPI_Error_string(code, text.as_mut_ptr().cast::<c_char>(), &raw mut length);
    }
    let text = &text[..usize::try_from(length).unwrap_or(0).min(text.len())];
    Err(format!("{} (error {code})", String::from_utf8_lossy(text)))
}
