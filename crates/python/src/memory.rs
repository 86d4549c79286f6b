//! The memory of others as slices: the one file with `unsafe`.

// ---- Arrays of NumPy ----

use crate::number::{ALLOWED, Format, Number};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

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
        let interface = array.getattr(intern!(array.py(), "__array_interface__"))?;
        let interface = interface.cast::<PyDict>()?;
        let item = |key| interface.as_any().get_item(key);
        let type_text: String = item(intern!(array.py(), "typestr"))?.extract()?;
        let format = format_of(name, array, &type_text)?;
        let strides = item(intern!(array.py(), "strides"))?;
        if !strides.is_none() {
            return Err(PyValueError::new_err(format!(
                "`{name}` is not contiguous, its strides are {strides}; allowed: all elements in one piece, in C \
                 order, as a copy by numpy.ascontiguousarray has them"
            )));
        }
        let (address, read_only): (usize, bool) = item(intern!(array.py(), "data"))?.extract()?;
        let shape: Vec<usize> = item(intern!(array.py(), "shape"))?.extract()?;
        let length = shape.iter().product();
        if length > 0 && !address.is_multiple_of(format.bytes()) {
            return Err(PyValueError::new_err(format!(
                "`{name}` is not aligned, its address is {address:#x}; allowed: a multiple of {} bytes, as a copy \
                 has",
                format.bytes()
            )));
        }
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

/// The format of an array's elements, by their type as text, such as `<f4`.
fn format_of(name: &str, array: &Bound<'_, PyAny>, type_text: &str) -> PyResult<Format> {
    let (order, kind) = type_text.split_at(type_text.len().min(1));
    let format = match kind {
        "f2" => Some(Format::Float16),
        "f4" => Some(Format::Float32),
        "f8" => Some(Format::Float64),
        // What NumPy does not know itself, such as the types of ml_dtypes, and structures.
        "V2" => Format::named(&type_name(array)?).filter(|&format| format == Format::Bfloat16),
        _ => None,
    };
    let Some(format) = format else {
        let given = type_name(array)?;
        let message = format!("`{name}` has the type {given}; allowed: {ALLOWED}");
        return Err(PyTypeError::new_err(message));
    };
    let native = if cfg!(target_endian = "little") { "<" } else { ">" };
    if order != native {
        return Err(PyTypeError::new_err(format!(
            "`{name}` has the type {} in the byte order `{order}`; allowed: that of this machine, `{native}`",
            format.name()
        )));
    }
    Ok(format)
}

fn type_name(array: &Bound<'_, PyAny>) -> PyResult<String> {
    array.getattr(intern!(array.py(), "dtype"))?.getattr(intern!(array.py(), "name"))?.extract()
}
