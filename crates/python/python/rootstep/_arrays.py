"""The operations on NumPy arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rootstep import _rootstep

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray


def signed_sqrt(x: Any, /, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """The sign-preserving square root, ``copysign(sqrt(abs(x)), x)``, of each element.

    It is rounded once; that of ±0 is ±0, of ±inf ±inf, of NaN NaN. float16 and bfloat16 are computed
    in float32, and rounded to the nearest once more.

    The lock of the interpreter is released during the call: no other thread may write to ``x``, or
    use ``out``, until it has returned.

    Args:
        x: an array of any shape, of float32, float64, float16 or ``ml_dtypes.bfloat16``, contiguous
            in C order. Other arrays (of JAX, tensors of torch on the CPU) are read by
            ``numpy.asarray``, without a copy where they can be.
        out: where the result is written, of ``x``'s shape and type; ``x`` itself for a call in
            place. By default a new array.

    Returns:
        ``out``, or the new array.

    Raises:
        TypeError: an array has another type, or another order of bytes; the types differ.
        ValueError: the shapes differ; an array is not contiguous or not aligned; ``out`` is
            read-only, or overlaps with a part of ``x``. Nothing is written then.
        ImportError: NumPy is not installed.

    Source: the Powerball function of Yuan, Li, Li and Smola, *On the Powerball Method* (arXiv
    1603.07421), at the power 1/2.

    >>> import numpy, rootstep
    >>> rootstep.signed_sqrt(numpy.array([4.0, -9.0, 0.0]))
    array([ 2., -3.,  0.])
    """
    numpy = _numpy("signed_sqrt")
    x = _input(numpy, "x", x)
    result, out = _output(numpy, x, out)
    _rootstep.signed_sqrt(x, out)
    return result


def descend(x: Any, g: Any, lr: float, /, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """One step of descent, ``x - lr * signed_sqrt(g)``, for each element.

    It is rounded three times: the root, the product and the difference, never fused. float16 and
    bfloat16 are computed in float32, and the result rounded to the nearest once more.

    Args:
        x: the parameters: an array as of `signed_sqrt`.
        g: the gradient: one of the same shape and type. (Nothing is broadcast.)
        lr: the learning rate, a number; rounded to the type that is computed in.
        out: where the result is written: ``x`` for a step in place, which is the fastest way;
            ``g``, at the price of a copy of it; or an array apart from both. By default a new array.

    Returns:
        ``out``, or the new array.

    Raises:
        TypeError, ValueError, ImportError: as `signed_sqrt`.

    Source: the Powerball gradient method at the power 1/2 (arXiv 1603.07421); pbSGD of Zhou, Liu,
    Yuan et al., *pbSGD: Powered Stochastic Gradient Descent Methods for Accelerated Non-Convex
    Optimization* (IJCAI 2020).

    >>> import numpy, rootstep
    >>> x = numpy.array([1.0, 2.0], dtype=numpy.float32)
    >>> g = numpy.array([4.0, -4.0], dtype=numpy.float32)
    >>> rootstep.descend(x, g, 0.25, out=x)
    array([0.5, 2.5], dtype=float32)
    """
    numpy = _numpy("descend")
    x, g = _input(numpy, "x", x), _input(numpy, "g", g)
    result, out = _output(numpy, x, out)
    _rootstep.descend(x, g, lr, out)
    return result


def axpy(alpha: float, x: Any, y: Any, /, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """``y + alpha * x`` for each element: the plain gradient step with ``alpha = -lr``.

    It is rounded twice, never fused. float16 and bfloat16 are computed in float32, and the result
    rounded to the nearest once more.

    Args:
        alpha: a number; rounded to the type that is computed in.
        x: an array as of `signed_sqrt`.
        y: one of the same shape and type.
        out: where the result is written: ``y`` for a call in place, which is the fastest way; ``x``,
            at the price of a copy of it; or an array apart from both. By default a new array.

    Returns:
        ``out``, or the new array.

    Raises:
        TypeError, ValueError, ImportError: as `signed_sqrt`.

    Source: ``?axpy`` of Lawson, Hanson, Kincaid and Krogh, *Basic Linear Algebra Subprograms for
    Fortran Usage* (1979), with the rounding that it leaves open fixed.

    >>> import numpy, rootstep
    >>> rootstep.axpy(-0.5, numpy.array([4.0, 8.0]), numpy.array([1.0, 2.0]))
    array([-1., -2.])
    """
    numpy = _numpy("axpy")
    x, y = _input(numpy, "x", x), _input(numpy, "y", y)
    result, out = _output(numpy, y, out)
    _rootstep.axpy(alpha, x, y, out)
    return result


class Inspection(NamedTuple):
    """What `inspect` has found."""

    elements: int
    """How many elements there are."""
    norm: float
    """The global L2 norm: NaN if an element is NaN, infinite if one is infinite and none NaN."""
    max_magnitude: float
    """The largest magnitude of the elements that are not NaN; 0 if there are none."""
    nan: int
    """How many are NaN."""
    infinite: int
    """How many are ±inf."""
    zero: int
    """How many are ±0."""
    subnormal: int
    """How many are subnormal."""
    first_non_finite: tuple[int, int] | None
    """The array, and the index in its flat order, of the first element that is not finite."""

    @property
    def is_finite(self) -> bool:
        """Whether no element is NaN or infinite."""
        return self.nan == 0 and self.infinite == 0


def inspect(gradient: Any, /, *more: Any) -> Inspection:
    """The health of a model's gradients, in one pass: norm, largest magnitude, what is not finite.

    The norm is summed in float64, in an order that depends on the lengths alone: it has the same
    bits on every CPU and for any number of threads, and does not overflow where it is itself finite.

    Args:
        gradient: an array as of `signed_sqrt`.
        more: further ones, of any shapes and the same type: all are one model.

    Raises:
        TypeError, ValueError, ImportError: as `signed_sqrt`.

    >>> import numpy, rootstep
    >>> health = rootstep.inspect(numpy.array([3.0, 0.0]), numpy.array([-4.0]))
    >>> health.norm, health.zero, health.is_finite
    (5.0, 1, True)
    """
    numpy = _numpy("inspect")
    gradients = [_input(numpy, "gradient", array) for array in (gradient, *more)]
    return Inspection(*_rootstep.inspect(gradients))


def _numpy(function: str) -> ModuleType:
    try:
        import numpy
    except ImportError as error:
        message = f"rootstep.{function} needs NumPy: install `numpy`, or `rootstep[numpy]`"
        raise ImportError(message) from error
    return numpy


def _input(numpy: ModuleType, name: str, given: Any) -> Any:
    """What is given as an array of NumPy's own class, without a copy where there need be none."""
    if type(given) is numpy.ndarray:
        return given
    # A list has a type of its own choice, and so would the result.
    if not hasattr(given, "__array__") and not hasattr(given, "__array_interface__"):
        kind = type(given).__name__
        raise TypeError(f"`{name}` is a {kind}; allowed: an array, as numpy.asarray makes of it")
    return numpy.asarray(given)


def _output(numpy: ModuleType, like: Any, out: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """What is returned, and the array of NumPy's own class that has its memory."""
    if out is None:
        out = numpy.empty(like.shape, like.dtype)
        return out, out
    if not isinstance(out, numpy.ndarray):
        kind = type(out).__name__
        raise TypeError(f"`out` is a {kind}; allowed: a numpy.ndarray, which is written to")
    return out, numpy.asarray(out)
