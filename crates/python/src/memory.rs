//! The memory of tensors as slices: the only unsafe code of this package, with that of [`arrays`].
//!
//! What makes it sound is checked here, but for one thing that nobody can check: that no other thread changes or
//! frees the memory of a tensor while it is worked on. That is what every operation of PyTorch asks for, too.

pub mod arrays;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyCapsuleMethods, PyType};
use std::borrow::Cow;
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::slice::{from_raw_parts, from_raw_parts_mut};

/// What elements are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    F32,
    F64,
    Bf16,
    F16,
    I8,
    I16,
    I64,
}

impl Kind {
    /// In bytes, which is the alignment, too.
    const fn size(self) -> usize {
        match self {
            Self::I8 => 1,
            Self::Bf16 | Self::F16 | Self::I16 => 2,
            Self::F32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }
}

mod sealed {
    /// A type of which all bits are values.
    pub trait Plain: Copy + Send + Sync + 'static {
        const KINDS: &'static [super::Kind];
    }
    macro_rules! plain {
        ($($plain:ty: $($kind:ident),*;)*) => {$(
            impl Plain for $plain {
                const KINDS: &'static [super::Kind] = &[$(super::Kind::$kind),*];
            }
        )*};
    }
    plain! {
        f32: F32;
        f64: F64;
        half::bf16: Bf16;
        half::f16: F16;
        u16: Bf16, F16;
        i8: I8;
        i16: I16;
        i64: I64;
    }
}
pub use sealed::Plain;

/// The memory of a tensor: this many elements, side by side, for as long as the tensor is borrowed.
#[derive(Debug)]
pub struct Memory<'t> {
    address: usize,
    elements: usize,
    kind: Kind,
    tensor: PhantomData<&'t ()>,
}

impl<'t> Memory<'t> {
    /// That of a tensor whose `data_ptr()` and `numel()` these are.
    ///
    /// # Safety
    ///
    /// They must be those of `tensor`, which must be in the memory of the CPU, dense, and of this kind.
    unsafe fn of(
        _tensor: &'t Bound<'_, PyAny>,
        address: usize,
        elements: usize,
        kind: Kind,
    ) -> Self {
        Self { address, elements, kind, tensor: PhantomData }
    }

    pub const fn kind(&self) -> Kind {
        self.kind
    }

    pub const fn len(&self) -> usize {
        self.elements
    }

    /// Where it begins and ends.
    const fn range(&self) -> (usize, usize) {
        (self.address, self.address + self.elements * self.kind.size())
    }
}

/// A tensor, as PyTorch describes it. The shape and the strides are PyTorch's own, and may be read as long as no
/// Python code runs.
#[derive(Debug)]
pub struct Description<'t> {
    shape: Cow<'t, [i64]>,
    strides: Cow<'t, [i64]>,
    address: usize,
    kind: Kind,
}

impl<'t> Description<'t> {
    /// The memory, if it is dense: each element is at a place of its own, and there are no others between.
    pub fn memory(&self, tensor: &'t Bound<'_, PyAny>) -> Option<Memory<'t>> {
        let elements = elements(&self.shape);
        if !is_dense(&self.shape, &self.strides) || !self.address.is_multiple_of(self.kind.size()) {
            return None;
        }
        if self.address == 0 && elements > 0 {
            return None;
        }
        // SAFETY: PyTorch says so of the tensor; that it is dense has been seen.
        Some(unsafe { Memory::of(tensor, self.address, elements, self.kind) })
    }

    pub fn shape(&self) -> &[i64] {
        &self.shape
    }

    pub fn strides(&self) -> &[i64] {
        &self.strides
    }

    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether each element has the same place as in another one, if both are dense.
    pub fn is_laid_out_as(&self, other: &Self) -> bool {
        let places = self.shape.iter().zip(self.strides.iter().zip(other.strides.iter()));
        self.shape == other.shape
            && places.into_iter().all(|(&length, (a, b))| length <= 1 || a == b)
    }
}

fn elements(shape: &[i64]) -> usize {
    shape.iter().map(|&length| usize::try_from(length).unwrap_or(0)).product()
}

fn is_dense(shape: &[i64], strides: &[i64]) -> bool {
    shape.len() == strides.len() && (is_contiguous(shape, strides) || is_permuted(shape, strides))
}

fn is_contiguous(shape: &[i64], strides: &[i64]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&length, &stride)| {
        let fits = length == 1 || stride == expected;
        expected *= length;
        fits
    }) || shape.contains(&0)
}

/// Whether it is contiguous in another order of its dimensions.
fn is_permuted(shape: &[i64], strides: &[i64]) -> bool {
    let mut dimensions: Vec<(i64, i64)> =
        strides.iter().copied().zip(shape.iter().copied()).collect();
    dimensions.sort_unstable();
    let (strides, shape): (Vec<i64>, Vec<i64>) = dimensions.into_iter().rev().unzip();
    is_contiguous(&shape, &strides)
}

/// `DLTensor` of the header of `DLPack`.
#[repr(C)]
struct DlTensor {
    data: *mut c_void,
    device_type: i32,
    device_id: i32,
    ndim: i32,
    code: u8,
    bits: u8,
    lanes: u16,
    shape: *const i64,
    strides: *const i64,
    byte_offset: u64,
}

/// `DLPackExchangeAPI`, from version 1 of `DLPack` on.
#[repr(C)]
struct Api {
    major: u32,
    minor: u32,
    previous: *const Api,
    allocate: *const c_void,
    from_object: *const c_void,
    to_object: *const c_void,
    describe: Option<unsafe extern "C" fn(*mut c_void, *mut DlTensor) -> c_int>,
    stream: *const c_void,
}

/// How PyTorch describes its tensors to others: one call of a C function for each.
#[derive(Debug)]
pub struct Exchange {
    /// `torch.Tensor`.
    tensor: Py<PyType>,
    describe: unsafe extern "C" fn(*mut c_void, *mut DlTensor) -> c_int,
}

const CPU: i32 = 1;

impl Exchange {
    /// That of the class `torch.Tensor`; none if this PyTorch has no such functions, before 2.10.
    pub fn new(tensor: &Bound<'_, PyType>) -> PyResult<Option<Self>> {
        let Ok(capsule) = tensor.getattr("__dlpack_c_exchange_api__") else {
            return Ok(None);
        };
        let capsule = capsule.cast_into::<PyCapsule>()?;
        let mut api = capsule
            .pointer_checked(Some(c"dlpack_exchange_api"))?
            .cast::<Api>()
            .as_ptr()
            .cast_const();
        loop {
            // SAFETY: a capsule of this name has a pointer to such a structure, which stays as long as the
            // process. These first members are the same in every version.
            let major = unsafe { (*api).major };
            if major == 1 {
                break;
            }
            // SAFETY: as above.
            api = unsafe { (*api).previous };
            if api.is_null() {
                return Ok(None);
            }
        }
        // SAFETY: as above, in the version that `Api` is written for.
        let describe = unsafe { (*api).describe };
        Ok(describe.map(|describe| Self { tensor: tensor.clone().unbind(), describe }))
    }

    /// The description of a tensor in the memory of the CPU whose elements are of a [`Kind`]; none if it is
    /// another one, or no tensor.
    #[inline]
    pub fn describe<'t>(&self, tensor: &'t Bound<'_, PyAny>) -> Option<Description<'t>> {
        // SAFETY: both are objects, the second a type.
        let is_tensor = unsafe {
            ffi::PyObject_TypeCheck(
                tensor.as_ptr(),
                self.tensor.as_ptr().cast::<ffi::PyTypeObject>(),
            )
        };
        if is_tensor == 0 {
            return None;
        }
        let mut found = DlTensor {
            data: std::ptr::null_mut(),
            device_type: 0,
            device_id: 0,
            ndim: 0,
            code: 0,
            bits: 0,
            lanes: 0,
            shape: std::ptr::null(),
            strides: std::ptr::null(),
            byte_offset: 0,
        };
        // SAFETY: the function is that of `torch.Tensor`, the object is one, and the interpreter is held, since
        // there is a `Bound`. It fills in what is lent.
        let status = unsafe { (self.describe)(tensor.as_ptr().cast(), &raw mut found) };
        if status != 0 {
            drop(PyErr::take(tensor.py()));
            return None;
        }
        let kind = match (found.code, found.bits, found.lanes) {
            (2, 32, 1) => Kind::F32,
            (2, 64, 1) => Kind::F64,
            (4, 16, 1) => Kind::Bf16,
            (2, 16, 1) => Kind::F16,
            (0, 8, 1) => Kind::I8,
            (0, 16, 1) => Kind::I16,
            (0, 64, 1) => Kind::I64,
            _ => return None,
        };
        if found.device_type != CPU {
            return None;
        }
        let dimensions = usize::try_from(found.ndim).ok()?;
        let numbers = |first: *const i64| -> Option<Cow<'t, [i64]>> {
            if dimensions == 0 {
                return Some(Cow::Borrowed(&[]));
            }
            // SAFETY: there are as many as dimensions, in the tensor's own memory, which stay as they are until
            // Python code runs.
            (!first.is_null()).then(|| Cow::Borrowed(unsafe { from_raw_parts(first, dimensions) }))
        };
        let address = found.data.addr() + usize::try_from(found.byte_offset).ok()?;
        Some(Description {
            shape: numbers(found.shape)?,
            strides: numbers(found.strides)?,
            address,
            kind,
        })
    }
}

/// The description of a tensor by its own methods, for a PyTorch without [`Exchange`]. The kind is that of its
/// `dtype`.
///
/// # Errors
///
/// Those of the methods; an exception if it is not in the memory of the CPU, or the kind is not its own.
pub fn describe_by_methods<'t>(
    tensor: &'t Bound<'_, PyAny>,
    kind: Kind,
) -> PyResult<Description<'t>> {
    let py = tensor.py();
    let size: usize = tensor.call_method0(intern!(py, "element_size"))?.extract()?;
    if size != kind.size() || !tensor.getattr(intern!(py, "is_cpu"))?.is_truthy()? {
        return Err(PyTypeError::new_err("it is not in the memory of the CPU, or of another type"));
    }
    let shape: Vec<i64> = tensor.getattr(intern!(py, "shape"))?.extract()?;
    let strides: Vec<i64> = tensor.call_method0(intern!(py, "stride"))?.extract()?;
    let address = tensor.call_method0(intern!(py, "data_ptr"))?.extract()?;
    Ok(Description { shape: shape.into(), strides: strides.into(), address, kind })
}

/// Memory of tensors that is to be lent at the same time, in an order.
#[derive(Debug, Default)]
pub struct Claims<'t>(Vec<(Memory<'t>, bool)>);

/// What [`Claims`] have been seen to be disjoint: they need not be looked at again.
#[derive(Debug, Default)]
pub struct Seen {
    claims: Vec<(usize, usize, bool)>,
    order: Vec<u32>,
}

impl<'t> Claims<'t> {
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Claims memory, to be written or to be read only; gives its place in the order.
    pub fn claim(&mut self, memory: Memory<'t>, written: bool) -> usize {
        self.0.push((memory, written));
        self.0.len() - 1
    }

    /// Lends all of them, in their order.
    ///
    /// # Errors
    ///
    /// The places of two that overlap, at least one of which is to be written.
    pub fn lend(self, seen: &mut Seen) -> Result<Lent<'t>, (usize, usize)> {
        let claims = self.0.iter().map(|(memory, written)| {
            let (start, end) = memory.range();
            (start, end, *written)
        });
        let same =
            self.0.len() == seen.claims.len() && claims.clone().eq(seen.claims.iter().copied());
        if !same {
            seen.claims.clear();
            let all: Vec<(usize, usize, bool)> = claims.collect();
            seen.order.clear();
            seen.order
                .extend((0..).zip(&all).filter(|(_, (start, end, _))| start < end).map(|(i, _)| i));
            seen.order.sort_unstable_by_key(|&i: &u32| all[i as usize].0);
            if let Some(overlap) = overlap(&all, &seen.order) {
                return Err(overlap);
            }
            seen.claims = all;
        }
        Ok(Lent(self.0.into_iter()))
    }
}

/// Two that overlap, at least one of which is written; `order` is that of their starts.
fn overlap(all: &[(usize, usize, bool)], order: &[u32]) -> Option<(usize, usize)> {
    // Those so far that reach farthest: of all, and of those that are written.
    let (mut farthest, mut written): (Option<usize>, Option<usize>) = (None, None);
    for &i in order {
        let i = i as usize;
        let (start, end, writes) = all[i];
        let other = if writes { farthest } else { written };
        if let Some(other) = other.filter(|&other| all[other].1 > start) {
            return Some((other.min(i), other.max(i)));
        }
        let beyond = |far: Option<usize>| far.is_none_or(|far| all[far].1 < end);
        if beyond(farthest) {
            farthest = Some(i);
        }
        if writes && beyond(written) {
            written = Some(i);
        }
    }
    None
}

/// [`Claims`] that do not overlap where one is written.
#[derive(Debug)]
pub struct Lent<'t>(std::vec::IntoIter<(Memory<'t>, bool)>);

impl<'t> Lent<'t> {
    /// The next one.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn take(&mut self) -> Slice<'t> {
        let (memory, written) = self.0.next().expect("each claim is taken once");
        Slice { memory, written }
    }
}

/// One of the [`Lent`].
#[derive(Debug)]
pub struct Slice<'t> {
    memory: Memory<'t>,
    written: bool,
}

impl<'t> Slice<'t> {
    pub const fn kind(&self) -> Kind {
        self.memory.kind
    }

    fn check<T: Plain>(&self) {
        assert!(
            T::KINDS.contains(&self.memory.kind),
            "a tensor of {:?} is of another type",
            self.memory.kind
        );
        assert_eq!(size_of::<T>(), self.memory.kind.size());
    }

    /// # Panics
    ///
    /// If its elements are of another type.
    pub fn read<T: Plain>(self) -> &'t [T] {
        self.check::<T>();
        if self.memory.elements == 0 {
            return &[];
        }
        // SAFETY: the address and the number of elements of a tensor that is borrowed for as long; aligned, as
        // `Description::memory` has seen; not null, and of elements of `T`, all of whose bits are values.
        // `Claims::lend` has seen that nobody is lent a part of it to write.
        unsafe { from_raw_parts(self.memory.address as *const T, self.memory.elements) }
    }

    /// # Panics
    ///
    /// If its elements are of another type, or it was claimed to be read only.
    pub fn write<T: Plain>(self) -> &'t mut [T] {
        self.check::<T>();
        assert!(self.written, "it was not claimed to be written");
        if self.memory.elements == 0 {
            return &mut [];
        }
        // SAFETY: as for `read`; and nobody else is lent a part of it, since each claim is taken once.
        unsafe { from_raw_parts_mut(self.memory.address as *mut T, self.memory.elements) }
    }
}
