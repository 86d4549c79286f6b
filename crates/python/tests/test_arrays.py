"""The operations on NumPy arrays: every bit is that of the specification, and what cannot be is refused."""

from __future__ import annotations

import functools
import threading
import time

import ml_dtypes
import numpy as np
import pytest

import rootstep
from rootstep import _rootstep

FORMATS = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
BITS = {2: np.uint16, 4: np.uint32, 8: np.uint64}
OPERATIONS = ("signed_sqrt", "descend", "axpy")
SCALAR = 0.1
LONGEST = 300

each_format = pytest.mark.parametrize("name", FORMATS)
each_level = pytest.mark.parametrize("level", rootstep.levels())
each_operation = pytest.mark.parametrize("operation", OPERATIONS)


def numbers(name: str, count: int, seed: int) -> np.ndarray:
    """Any pattern of bits and values in [-1, 1) in turn, by SplitMix64."""
    with np.errstate(over="ignore"):
        steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        b = steps + np.uint64(seed)
        b = (b ^ (b >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        b = (b ^ (b >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        b = b ^ (b >> np.uint64(31))
    dtype = FORMATS[name]
    patterns = (b >> np.uint64(64 - 8 * dtype.itemsize)).astype(BITS[dtype.itemsize])
    mixed = patterns.view(dtype).copy()
    near = (b >> np.uint64(11)).astype(np.float64) / 2.0**53 * 2.0 - 1.0
    computed = near if name == "float64" else near.astype(np.float32)
    mixed[1::2] = computed.astype(dtype)[1::2]
    return mixed


def bits(array: np.ndarray) -> np.ndarray:
    """The bits of numbers; those of one NaN for all."""
    array = np.array(array)
    array[np.isnan(array)] = np.nan
    return array.view(BITS[array.dtype.itemsize])


def assert_same(given: np.ndarray, expected: np.ndarray, *what: object) -> None:
    assert given.dtype == expected.dtype and given.shape == expected.shape, what
    wrong = np.flatnonzero(bits(given) != bits(expected))
    assert wrong.size == 0, (what, f"element {wrong[0]}", given.flat[wrong[0]])


def call(operation, a, b, out=None):
    if operation == "signed_sqrt":
        return rootstep.signed_sqrt(a, out=out)
    if operation == "descend":
        return rootstep.descend(a, b, SCALAR, out=out)
    return rootstep.axpy(SCALAR, a, b, out=out)


@functools.cache
def specified(operation: str, name: str, count: int) -> np.ndarray:
    """By the scalar functions of the specification, one element after the other."""
    words = [numbers(name, count, seed).view(BITS[FORMATS[name].itemsize]) for seed in (1, 2)]
    results = [
        _rootstep._reference(operation, name, int(a), int(b), SCALAR)
        for a, b in zip(*words, strict=True)
    ]
    return np.array(results, dtype=words[0].dtype).view(FORMATS[name])


def by_numpy(operation: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """By NumPy, whose operations round as IEEE 754 says, too."""
    dtype = a.dtype
    computed = dtype if dtype == np.float64 else np.dtype(np.float32)
    a, b, s = a.astype(computed), b.astype(computed), computed.type(SCALAR)
    with np.errstate(all="ignore"):
        if operation == "signed_sqrt":
            result = np.copysign(np.sqrt(np.abs(a)), a)
        elif operation == "descend":
            result = a - s * np.copysign(np.sqrt(np.abs(b)), b)
        else:
            result = b + s * a
        return result.astype(dtype)


@each_level
@each_format
@each_operation
def test_bits_at_every_length_and_offset(level, name, operation):
    expected = specified(operation, name, LONGEST)
    # As a check of the check.
    assert_same(expected, by_numpy(operation, *(numbers(name, LONGEST, s) for s in (1, 2))))
    assert np.count_nonzero(bits(expected)) > 0.99 * LONGEST
    sources = [numbers(name, LONGEST, seed) for seed in (1, 2)]
    with rootstep.level(level):
        for length in range(LONGEST + 1):
            # In bigger arrays, each at an offset of its own, with something to see on both sides.
            offsets = (length % 17, length % 5, length % 29)
            arrays = []
            for source, offset in zip([*sources, np.ones_like(sources[0])], offsets, strict=True):
                whole = np.full(LONGEST + 64, 7, dtype=FORMATS[name])
                whole[offset : offset + length] = source[:length]
                arrays.append((whole, whole[offset : offset + length]))
            (_, a), (_, b), (whole, out) = arrays
            what = (level, length)
            assert_same(call(operation, a, b), expected[:length], "new", *what)
            assert call(operation, a, b, out) is out
            assert_same(out, expected[:length], "out", *what)
            outside = np.delete(whole, np.s_[offsets[2] : offsets[2] + length])
            assert np.all(outside == 7), what
            assert_same(a, sources[0][:length], "x was changed", *what)
            assert_same(b, sources[1][:length], "g was changed", *what)
            for i, place in enumerate((a, b)[: 1 if operation == "signed_sqrt" else 2]):
                before = place.copy()
                assert call(operation, a, b, place) is place
                assert_same(place, expected[:length], "in place", i, *what)
                outside = np.delete(arrays[i][0], np.s_[offsets[i] : offsets[i] + length])
                assert np.all(outside == 7), what
                place[...] = before


@each_level
@each_format
@each_operation
def test_bits_of_long_arrays(level, name, operation):
    # Long enough to be split over threads.
    a, b = (numbers(name, 2_100_003, seed) for seed in (3, 4))
    expected = by_numpy(operation, a, b)
    with rootstep.level(level):
        assert_same(call(operation, a, b), expected)
        for place in (a, b)[: 1 if operation == "signed_sqrt" else 2]:
            before = place.copy()
            call(operation, a, b, place)
            assert_same(place, expected)
            place[...] = before


@each_format
def test_one_array_for_everything(name):
    x = numbers(name, 333, 5)
    expected = by_numpy("descend", x, x)
    assert_same(rootstep.descend(x, x, SCALAR), expected)
    place = x.copy()
    assert_same(rootstep.descend(place, place, SCALAR, out=place), expected)
    # The same memory in another object.
    place = x.copy()
    assert_same(rootstep.descend(place[:], place, SCALAR, out=place[:]), expected)
    assert_same(place, expected)
    expected = by_numpy("axpy", x, x)
    place = x.copy()
    assert_same(rootstep.axpy(SCALAR, place, place, out=place), expected)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0, 2), (7, 11), (2, 3, 4, 5)])
@each_format
def test_shapes(name, shape):
    count = int(np.prod(shape, dtype=int))
    a, b = (numbers(name, count, seed).reshape(shape) for seed in (1, 2))
    for operation in OPERATIONS:
        expected = specified(operation, name, LONGEST)[:count].reshape(shape)
        assert_same(call(operation, a, b), expected)
        out = np.zeros(shape, FORMATS[name])
        assert call(operation, a, b, out) is out
        assert_same(out, expected)


def test_the_scalar_is_rounded_to_what_is_computed_in():
    x, g = np.ones(3, np.float64), np.full(3, 9.0)
    rate = 0.1 + 2.0**-50
    assert np.all(rootstep.descend(x, g, rate) == 1.0 - rate * 3.0)
    single = rootstep.descend(x.astype(np.float32), g.astype(np.float32), rate)
    assert np.all(single == np.float32(1) - np.float32(rate) * np.float32(3))
    assert np.all(rootstep.descend(x, g, np.float32(0.5)) == -0.5)
    with pytest.raises(TypeError, match="str"):
        rootstep.descend(x, g, "0.1")


def test_arrays_of_others_are_read():
    class Device:
        """As those of JAX: read by `numpy.asarray`, never written."""

        def __array__(self, dtype=None, copy=None):
            values = np.array([4.0, -9.0], dtype=np.float32)
            values.flags.writeable = False
            return values

    assert rootstep.signed_sqrt(Device()).tolist() == [2.0, -3.0]
    assert rootstep.descend(np.ones(2, np.float32), Device(), 0.5).tolist() == [0.0, 2.5]
    with pytest.raises(TypeError, match="`out` is a Device; allowed: a numpy.ndarray"):
        rootstep.signed_sqrt(Device(), out=Device())
    torch = pytest.importorskip("torch")
    tensor = torch.tensor([4.0, -9.0])
    assert rootstep.signed_sqrt(tensor).tolist() == [2.0, -3.0]
    assert rootstep.signed_sqrt(np.float64(-9.0)) == -3.0


def test_a_subclass_cannot_name_its_memory():
    class Forged(np.ndarray):
        @property
        def __array_interface__(self):
            return {"data": (8, False), "typestr": "<f4", "shape": (9,), "strides": None}

    x = np.full(3, 4.0, np.float32).view(Forged)
    assert rootstep.signed_sqrt(x).tolist() == [2.0, 2.0, 2.0]
    assert rootstep.signed_sqrt(x, out=x) is x and x.tolist() == [2.0, 2.0, 2.0]
    with pytest.raises(TypeError, match="`x` is a Forged; allowed: a numpy.ndarray"):
        _rootstep.signed_sqrt(x, np.asarray(x))


def test_a_mapped_file_is_stepped_in_place(tmp_path):
    x = np.memmap(tmp_path / "x", dtype=np.float32, mode="w+", shape=(70_000,))
    x[:] = 1.0
    assert rootstep.descend(x, np.full(70_000, 4.0, np.float32), 0.25, out=x) is x
    x.flush()
    assert np.all(np.fromfile(tmp_path / "x", np.float32) == 0.5)
    read = np.memmap(tmp_path / "x", dtype=np.float32, mode="r")
    assert np.all(rootstep.signed_sqrt(read) == np.sqrt(np.float32(0.5)))
    with pytest.raises(ValueError, match="`out` is read-only"):
        rootstep.signed_sqrt(read, out=read)


def read_only() -> np.ndarray:
    array = np.ones(6, np.float32)
    array.flags.writeable = False
    return array


def unaligned() -> np.ndarray:
    return np.frombuffer(bytearray(25), np.uint8)[1:].view(np.float32)


SWAPPED = np.dtype(np.float32).newbyteorder("S")
ONES = np.ones(6, np.float32)
TWELVE = np.ones(12, np.float32)
WRONG = {
    "read-only": (ONES, ONES, read_only(), ValueError, "`out` is read-only; allowed: an array"),
    "strided x": (TWELVE[::2], ONES, None, ValueError, r"`x` is not contiguous, .*\(8,\); allowed"),
    "strided g": (ONES, TWELVE[::2], None, ValueError, "`g` is not contiguous"),
    "strided out": (ONES, ONES, TWELVE[::2], ValueError, "`out` is not contiguous"),
    "reversed": (ONES[::-1], ONES, None, ValueError, "`x` is not contiguous"),
    "transposed": (np.ones((2, 3), np.float32).T, ONES, None, ValueError, "ascontiguousarray"),
    "broadcast": (np.broadcast_to(np.float32(1), 6), ONES, None, ValueError, "not contiguous"),
    "int": (
        np.ones(6, np.int32),
        ONES,
        None,
        TypeError,
        "`x` has the type int32; allowed: float32",
    ),
    "bool": (ONES, np.ones(6, bool), None, TypeError, "`g` has the type bool; allowed"),
    "complex": (np.ones(6, np.complex64), ONES, None, TypeError, "complex64; allowed: .*bfloat16"),
    "object": (np.ones(6, object), ONES, None, TypeError, "object; allowed"),
    "void": (np.zeros(6, "V2"), ONES, None, TypeError, r"\|V2; allowed"),
    "fields": (np.zeros(6, [("a", np.float32)]), ONES, None, TypeError, "; allowed"),
    "float8": (np.ones(6, ml_dtypes.float8_e5m2), ONES, None, TypeError, "float8_e5m2; allowed"),
    "longdouble": (np.ones(6, np.longdouble), ONES, None, TypeError, "; allowed"),
    "types": (ONES, np.ones(6), None, TypeError, "`g` has the type float64 and `x` float32"),
    "halves": (
        np.ones(6, np.float16),
        np.ones(6, ml_dtypes.bfloat16),
        None,
        TypeError,
        "`g` has the type bfloat16 and `x` float16; allowed: the same type",
    ),
    "type of out": (
        ONES,
        ONES,
        np.ones(6),
        TypeError,
        "`x` has the type float32 and `out` float64",
    ),
    "length": (
        ONES,
        TWELVE,
        None,
        ValueError,
        r"`g` has the shape \(12,\) and `x` \(6,\); allowed",
    ),
    "shape": (
        ONES.reshape(2, 3),
        ONES.reshape(3, 2),
        None,
        ValueError,
        r"\(3, 2\) and `x` \(2, 3\)",
    ),
    "no broadcasting": (ONES, ONES[:1], None, ValueError, "nothing is broadcast"),
    "shape of out": (ONES, ONES, TWELVE, ValueError, r"`x` has the shape \(6,\) and `out` \(12,\)"),
    "byte order of x": (ONES.astype(SWAPPED), ONES, None, TypeError, "byte order"),
    "byte order of out": (ONES, ONES, np.ones(6, SWAPPED), TypeError, "`out` .* byte order"),
    "unaligned": (ONES, ONES, unaligned(), ValueError, "`out` is not aligned"),
    "unaligned x": (unaligned(), ONES, None, ValueError, "`x` is not aligned"),
    "a list": ([1.0] * 6, ONES, None, TypeError, "`x` is a list; allowed: an array"),
    "a number": (ONES, 1.0, None, TypeError, "`g` is a float; allowed: an array"),
    "out as a list": (
        ONES,
        ONES,
        [0.0] * 6,
        TypeError,
        "`out` is a list; allowed: a numpy.ndarray",
    ),
    "out as a tuple": (ONES, ONES, (ONES,), TypeError, "`out` is a tuple"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors(case):
    x, g, out, error, message = WRONG[case]
    before = None if out is None else np.array(out)
    with pytest.raises(error, match=message):
        rootstep.descend(x, g, 0.1, out=out)
    if out is not None:
        assert np.array_equal(before, out)


def test_errors_of_the_other_operations():
    with pytest.raises(TypeError, match="`x` has the type int64; allowed"):
        rootstep.signed_sqrt(np.arange(3))
    with pytest.raises(ValueError, match=r"`x` has the shape \(6,\) and `y` \(12,\)"):
        rootstep.axpy(1.0, ONES, TWELVE)
    with pytest.raises(TypeError, match="`x` has the type float32 and `y` float64"):
        rootstep.axpy(1.0, ONES, np.ones(6))
    with pytest.raises(TypeError, match="`gradient` has the type float64 and `gradient` float32"):
        rootstep.inspect(ONES, np.ones(6))
    with pytest.raises(TypeError, match="`gradient` is a list"):
        rootstep.inspect([ONES])
    with pytest.raises(ValueError, match="`gradient` is not contiguous"):
        rootstep.inspect(TWELVE[::2])


@each_format
@pytest.mark.parametrize("shift", [-5, -1, 1, 5])
def test_partial_overlap(name, shift):
    whole = numbers(name, 40, 9)
    before = whole.copy()
    place, other = whole[10:30], whole[10 + shift : 30 + shift]
    apart = numbers(name, 20, 10)
    calls = {
        "x": lambda: rootstep.descend(other, apart, 0.1, out=place),
        "g": lambda: rootstep.descend(apart, other, 0.1, out=place),
        "in place": lambda: rootstep.descend(place, other, 0.1, out=place),
        "root": lambda: rootstep.signed_sqrt(other, out=place),
        "axpy": lambda: rootstep.axpy(0.1, other, place, out=place),
        "y": lambda: rootstep.axpy(0.1, apart, other, out=place),
    }
    for what, overlapping in calls.items():
        with pytest.raises(ValueError, match="`out` overlaps with a part of"):
            overlapping()
        assert_same(whole, before, what)


@each_format
def test_neighbours_do_not_overlap(name):
    whole = numbers(name, 40, 9)
    expected = by_numpy("signed_sqrt", whole, whole)
    assert_same(rootstep.signed_sqrt(whole[:20], out=whole[20:]), expected[:20])
    # Inputs may overlap with each other.
    whole = numbers(name, 40, 9)
    expected = by_numpy("descend", whole[:30], whole[10:])
    assert_same(rootstep.descend(whole[:30], whole[10:], SCALAR), expected)


@each_level
@each_format
def test_inspection(level, name):
    def of(*gradients):
        words = [g.ravel().view(BITS[g.dtype.itemsize]).tolist() for g in gradients]
        found = rootstep.inspect(*gradients)
        expected = _rootstep._reference_inspect(name, words)
        # By repr, NaN is equal to itself.
        assert [repr(value) for value in found] == [repr(value) for value in expected]
        return found

    with rootstep.level(level):
        mixed = [numbers(name, length, 20 + length) for length in (1, 0, 40_001, 33)]
        found = of(*mixed)
        assert found.elements == 40_035 and not found.is_finite
        assert (found.nan > 0 and found.subnormal > 0) or name in ("float32", "float64")
        near = [array[1::2].copy() for array in mixed]
        assert of(*near).is_finite
        assert of(near[2].reshape(2, -1)).norm > 10.0
        found = of(np.array([0.0, 1.0, np.inf, -0.0], dtype=FORMATS[name]))
        assert (found.zero, found.infinite, found.first_non_finite) == (2, 1, (0, 2))
        assert found.norm == np.inf and found.max_magnitude == np.inf
        assert not found.is_finite
        assert not of(np.array([np.nan], dtype=FORMATS[name])).is_finite


def test_levels_nest_and_are_restored():
    names = rootstep.levels()
    assert names[0] == "portable" and set(names) <= {"portable", "avx2", "avx512"}
    outside = _rootstep.level()
    for name in names:
        with rootstep.level(name):
            assert _rootstep.level() == name
            with rootstep.level(names[0]):
                assert _rootstep.level() == names[0]
            assert _rootstep.level() == name
            with pytest.raises(KeyError), rootstep.level(names[0]):
                raise KeyError
            assert _rootstep.level() == name
    assert _rootstep.level() == outside


def test_an_unknown_level_changes_nothing():
    with rootstep.level("portable"):
        with (
            pytest.raises(
                ValueError, match="unknown instruction set `sse9`; this machine has: por"
            ),
            rootstep.level("sse9"),
        ):
            pass
        assert _rootstep.level() == "portable"


def test_a_level_is_that_of_its_thread():
    seen = []
    outside = _rootstep.level()
    with rootstep.level("portable"):
        thread = threading.Thread(target=lambda: seen.append(_rootstep.level()))
        thread.start()
        thread.join()
    assert seen == [outside]


def longest_pause(call) -> tuple[float, float]:
    """How long this thread had to wait at most while another made a call, and how long that took."""
    took = []

    def run():
        start = time.perf_counter()
        call()
        took.append(time.perf_counter() - start)

    thread = threading.Thread(target=run)
    pauses, last = [0.0], time.perf_counter()
    thread.start()
    while not took:
        now = time.perf_counter()
        pauses.append(now - last)
        last = now
    thread.join()
    return max(pauses), took[0]


@pytest.mark.parametrize("operation", [*OPERATIONS, "inspect"])
def test_the_lock_is_released(operation):
    x = np.ones(1 << 22, np.float16)
    many = np.ones(1 << 25, np.float16)

    def run():
        with rootstep.level("portable"):
            if operation == "inspect":
                rootstep.inspect(*[x] * 32)
            else:
                call(operation, many, many, many)

    # Another program may take this thread's core for a while, but not each time.
    results = [longest_pause(run) for _ in range(5)]
    assert any(pause < took / 3 for pause, took in results), results
