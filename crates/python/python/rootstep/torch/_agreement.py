"""What all ranks must have the same of, and how it is said if they do not."""

from __future__ import annotations

import ctypes
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch

from rootstep.torch._layout import flat
from rootstep.torch._ranks import Ranks

_BITS = 62
"""Flags in a word."""


def fingerprint(tensor: torch.Tensor) -> str:
    """A digest of the bits of a dense tensor."""
    size = tensor.numel() * tensor.itemsize
    # NumPy may not be there, and torch has no other view of its memory for others.
    memory = (ctypes.c_ubyte * size).from_address(tensor.data_ptr()) if size else b""
    return hashlib.sha256(memory).hexdigest()[:16]


def described(parameter: torch.Tensor) -> list[Any]:
    """What all ranks must have the same of in a parameter."""
    shape, strides = list(parameter.shape), list(parameter.stride())
    return [shape, strides, str(parameter.dtype), fingerprint(flat(parameter))]


def settings(group: dict[str, Any]) -> dict[str, Any]:
    """The settings of a group, without its parameters."""
    return {
        name: value if value is None or isinstance(value, (bool, int, float, str)) else _text(value)
        for name, value in group.items()
        if name not in ("params", "param_names")
    }


def _text(value: Any) -> Any:
    return value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else repr(value)


def agree(
    ranks: Ranks, own: dict[str, Any], problem: str | None, flags: Sequence[bool]
) -> list[bool]:
    """Makes sure that all ranks have the same, and none a problem. All ranks call it with as many flags.

    Returns:
        The flags that any rank has.

    Raises:
        ValueError: on every rank, with the same message: what differs, or the problem.
    """
    digest = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).digest()
    words = [int.from_bytes(digest[:7], "little"), int(problem is not None)]
    words += [
        sum(flag << bit for bit, flag in enumerate(flags[first : first + _BITS]))
        for first in range(0, len(flags), _BITS)
    ]
    rows = ranks.gather(torch.tensor(words, dtype=torch.int64), "what the others have").tolist()
    if any(row[0] != rows[0][0] or row[1] for row in rows):
        raise ValueError(_difference(ranks.objects((own, problem), "what differs")))
    found = []
    for place in range(len(flags)):
        word, bit = divmod(place, _BITS)
        found.append(any(row[2 + word] >> bit & 1 for row in rows))
    return found


def _difference(found: list[tuple[dict[str, Any], str | None]]) -> str:
    for rank, (_, problem) in enumerate(found):
        if problem is not None:
            return f"rank {rank}: {problem}"
    first = found[0][0]
    for rank, (other, _) in enumerate(found):
        for name in [*first, *(name for name in other if name not in first)]:
            if first.get(name) != other.get(name):
                what, a, b = _narrow(name, first.get(name), other.get(name))
                return f"{what} of rank {rank} is {b!r}, and that of rank 0 {a!r}; allowed: the same on all ranks"
    return "the ranks have different settings; allowed: the same on all ranks"


def _narrow(name: str, a: Any, b: Any) -> tuple[str, Any, Any]:
    """The first part that differs of two values, by a name of its own."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = [key for key in {**a, **b} if a.get(key) != b.get(key)]
        return _narrow(f"`{keys[0]}` of {name}", a.get(keys[0]), b.get(keys[0]))
    if isinstance(a, list) and isinstance(b, list) and len(a) != len(b):
        return f"the number of {name}", len(a), len(b)
    return name, a, b
