//! The memory of `NumPy`'s arrays as slices.

use crate::number::{ALLOWED, Format, Number};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCapsule, PyType};
use std::ffi::{c_char, c_int, c_void};

/// An array of `NumPy` whose elements are in one piece, aligned, and in this machine's byte order. Its fields are
/// what `NumPy` itself has said of it, so that slices can be made of them.
#[derive(Debug)]
pub struct Array<'py> {
    /// What the array is called in errors.
    name: &'static str,
    /// Keeps the memory: `NumPy` moves none that others refer to.
    _kept: Bound<'py, PyAny>,
    format: Format,
    shape: Vec<usize>,
    length: usize,
    address: usize,
    read_only: bool,
}

impl<'py> Array<'py> {
    /// Checks an array.
    ///
    /// # Errors
    ///
    /// `TypeError` unless it is a `numpy.ndarray` of an allowed type; `ValueError` if its elements are not in one
    /// piece, or not aligned.
    pub fn of(name: &'static str, array: &Bound<'py, PyAny>) -> PyResult<Self> {
        // Of no subclass: what follows is asked of NumPy, not of code that is built upon it.
        if !array.is_exact_instance(ndarray(array.py())?) {
            let given = array.get_type().name()?;
            let message = format!("`{name}` is a {given}; allowed: a numpy.ndarray");
            return Err(PyTypeError::new_err(message));
        }
        let (interface, shape) = Interface::of(array)?;
        let format = format_of(name, array, &interface)?;
        if interface.flags & CONTIGUOUS == 0 {
            let strides = array.getattr(intern!(array.py(), "strides"))?;
            return Err(PyValueError::new_err(format!(
                "`{name}` is not contiguous, its strides are {strides}; allowed: all elements in one piece, in C \
                 order, as a copy by numpy.ascontiguousarray has them"
            )));
        }
        let (address, length) = (interface.data.expose_provenance(), shape.iter().product());
        if length > 0 && !address.is_multiple_of(format.bytes()) {
            return Err(PyValueError::new_err(format!(
                "`{name}` is not aligned, its address is {address:#x}; allowed: a multiple of {} bytes, as a copy \
                 has",
                format.bytes()
            )));
        }
        let read_only = interface.flags & WRITEABLE == 0;
        Ok(Self { name, _kept: array.clone(), format, shape, length, address, read_only })
    }

    pub const fn format(&self) -> Format {
        self.format
    }

    /// That two arrays have the same type and shape.
    ///
    /// # Errors
    ///
    /// `TypeError` or `ValueError` if they do not.
    pub fn fits(&self, other: &Self) -> PyResult<()> {
        self.same_format(other)?;
        if self.shape == other.shape {
            return Ok(());
        }
        Err(PyValueError::new_err(format!(
            "`{}` has the shape {} and `{}` {}; allowed: the same shape (nothing is broadcast)",
            self.name,
            shape_text(&self.shape),
            other.name,
            shape_text(&other.shape)
        )))
    }

    fn same_format(&self, other: &Self) -> PyResult<()> {
        if self.format == other.format {
            return Ok(());
        }
        Err(PyTypeError::new_err(format!(
            "`{}` has the type {} and `{}` {}; allowed: the same type",
            self.name,
            self.format.name(),
            other.name,
            other.format.name()
        )))
    }

    /// The addresses of its first byte, and of that behind its last.
    const fn range(&self) -> (usize, usize) {
        (self.address, self.address + self.length * self.format.bytes())
    }

    /// Whether its memory is exactly that of `other`.
    ///
    /// # Errors
    ///
    /// `ValueError` if a part of it is.
    fn is_output(&self, out: &Self) -> PyResult<bool> {
        let ((start, end), (out_start, out_end)) = (self.range(), out.range());
        if (start, end) == (out_start, out_end) {
            return Ok(true);
        }
        if start < out_end && out_start < end {
            return Err(PyValueError::new_err(format!(
                "`{}` overlaps with a part of `{}`; allowed: exactly the same memory, or memory of its own",
                out.name, self.name
            )));
        }
        Ok(false)
    }

    fn slice<T: Number>(&self) -> &[T] {
        if self.length == 0 {
            return &[];
        }
        assert_eq!(T::FORMAT, self.format, "callers choose the type by the format");
        let address = std::ptr::with_exposed_provenance::<T>(self.address);
        // SAFETY: NumPy has said that `length` elements of this format lie there, in one piece, and `of` has seen that
        // they are aligned; all patterns of bits are numbers of these types. `_kept` keeps the memory. Whether
        // something writes to it meanwhile: no output of this call, by the callers in this file; another thread of
        // Python's may, as in any function of NumPy's that releases the lock, and must not by the documentation.
        #[allow(unsafe_code, reason = "an array's memory is known by its address alone")]
        unsafe {
            std::slice::from_raw_parts(address, self.length)
        }
    }

    fn slice_mut<T: Number>(&mut self) -> &mut [T] {
        if self.length == 0 {
            return &mut [];
        }
        assert_eq!(T::FORMAT, self.format, "callers choose the type by the format");
        assert!(!self.read_only, "callers have checked it");
        let address = std::ptr::with_exposed_provenance_mut::<T>(self.address);
        // SAFETY: as for `slice`. That it is the only slice of this memory in this call: `output_and_inputs`, the only
        // caller, has seen that no input overlaps with it.
        #[allow(unsafe_code, reason = "an array's memory is known by its address alone")]
        unsafe {
            std::slice::from_raw_parts_mut(address, self.length)
        }
    }
}

/// An input of a call, beside its output.
#[derive(Debug)]
pub enum Input<'a, T> {
    /// In memory of its own.
    Apart(&'a [T]),
    /// In that of the output.
    Output,
}

/// The slices of all arrays of a call: of one type, one shape, and the output apart from each input, or exactly the
/// same.
///
/// # Errors
///
/// `TypeError` and `ValueError` if they are not so, or the output is read-only.
pub fn output_and_inputs<'a, T: Number, const N: usize>(
    out: &'a mut Array<'_>,
    inputs: [&'a Array<'_>; N],
) -> PyResult<(&'a mut [T], [Input<'a, T>; N])> {
    if out.read_only {
        let message = format!("`{}` is read-only; allowed: an array that can be written", out.name);
        return Err(PyValueError::new_err(message));
    }
    let mut slices = [const { Input::Output }; N];
    for (slice, array) in slices.iter_mut().zip(inputs) {
        array.fits(out)?;
        if !array.is_output(out)? {
            *slice = Input::Apart(array.slice());
        }
    }
    Ok((out.slice_mut(), slices))
}

/// The slices of arrays that are only read, all of one type.
///
/// # Errors
///
/// `TypeError` if they are not.
pub fn inputs<'a, T: Number>(arrays: &'a [Array<'_>]) -> PyResult<Vec<&'a [T]>> {
    for array in arrays {
        array.same_format(&arrays[0])?;
    }
    Ok(arrays.iter().map(Array::slice).collect())
}

fn ndarray(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static NDARRAY: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    NDARRAY.import(py, "numpy", "ndarray")
}

/// A shape as Python writes it.
fn shape_text(shape: &[usize]) -> String {
    let lengths: Vec<String> = shape.iter().map(ToString::to_string).collect();
    if let [length] = &lengths[..] {
        format!("({length},)")
    } else {
        format!("({})", lengths.join(", "))
    }
}

/// The flags of an [`Interface`] that are asked for: in C order and without gaps; in the byte order of this machine;
/// not read-only.
const CONTIGUOUS: c_int = 0x1;
const NATIVE: c_int = 0x200;
const WRITEABLE: c_int = 0x400;

/// What `NumPy` says of an array: `PyArrayInterface` of its documentation, "The array interface protocol".
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Interface {
    /// 2, to see that it is such a structure.
    two: c_int,
    dimensions: c_int,
    kind: c_char,
    bytes: c_int,
    flags: c_int,
    shape: *const isize,
    strides: *const isize,
    data: *mut c_void,
    description: *mut c_void,
}

impl Interface {
    /// That of an array of `NumPy`'s own class, and its shape.
    fn of(array: &Bound<'_, PyAny>) -> PyResult<(Self, Vec<usize>)> {
        let capsule = array.getattr(intern!(array.py(), "__array_struct__"))?;
        let pointer = capsule.cast::<PyCapsule>()?.pointer_checked(None)?.cast::<Self>();
        // SAFETY: the caller has seen that it is an array of NumPy's own class, so this is NumPy's own attribute, whose
        // capsule points to such a structure and owns it.
        #[allow(unsafe_code, reason = "a capsule has an address alone")]
        let interface = unsafe { pointer.read() };
        if interface.two != 2 {
            let message = "this version of NumPy has another interface than the one known here";
            return Err(PyTypeError::new_err(message));
        }
        let dimensions = usize::try_from(interface.dimensions).unwrap_or_default();
        if dimensions == 0 {
            return Ok((interface, Vec::new()));
        }
        // SAFETY: by the same documentation so many lengths are there. They belong to `array`, which no other thread
        // changes while this one has the interpreter.
        #[allow(unsafe_code, reason = "a capsule has an address alone")]
        let lengths = unsafe { std::slice::from_raw_parts(interface.shape, dimensions) };
        Ok((interface, lengths.iter().map(|length| length.unsigned_abs()).collect()))
    }
}

/// The format of an array's elements.
fn format_of(name: &str, array: &Bound<'_, PyAny>, interface: &Interface) -> PyResult<Format> {
    let format = match (u8::from_ne_bytes(interface.kind.to_ne_bytes()), interface.bytes) {
        (b'f', 2) => Some(Format::Float16),
        (b'f', 4) => Some(Format::Float32),
        (b'f', 8) => Some(Format::Float64),
        // What NumPy does not know itself, such as the types of ml_dtypes, and structures.
        (b'V', 2) if type_name(array)? == Format::Bfloat16.name() => Some(Format::Bfloat16),
        _ => None,
    };
    let Some(format) = format else {
        let given = array.getattr(intern!(array.py(), "dtype"))?;
        let message = format!("`{name}` has the type {given}; allowed: {ALLOWED}");
        return Err(PyTypeError::new_err(message));
    };
    if interface.flags & NATIVE == 0 {
        return Err(PyTypeError::new_err(format!(
            "`{name}` has the type {} in the other byte order; allowed: that of this machine",
            format.name()
        )));
    }
    Ok(format)
}

/// The name of the class of an array's elements.
fn type_name(array: &Bound<'_, PyAny>) -> PyResult<String> {
    let class =
        array.getattr(intern!(array.py(), "dtype"))?.getattr(intern!(array.py(), "type"))?;
    class.getattr(intern!(array.py(), "__name__"))?.extract()
}
