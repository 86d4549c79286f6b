"""The instruction sets of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rootstep import _rootstep


def levels() -> list[str]:
    """The names of the instruction sets that this machine has, the narrowest registers first.

    Some of ``"portable"``, ``"avx2"`` and ``"avx512"``. Calls take the last, unless the environment
    variable ``ROOTSTEP_LEVEL`` names another one of them, or `level` has pinned one.
    """
    return _rootstep.levels()


@contextmanager
def level(name: str) -> Iterator[None]:
    """Pins the instruction set of this thread's calls, within a ``with`` block.

    The bits of every result are the same: it is for tests and for measuring. Blocks can be nested,
    and at the end of each, be it by an exception, the level is the one before.

    Args:
        name: one of `levels`.

    Raises:
        ValueError: this machine has no instruction set of this name.

    >>> import rootstep
    >>> with rootstep.level("portable"):
    ...     pass
    """
    before = _rootstep.set_level(name)
    try:
        yield
    finally:
        _rootstep.set_level(before)
