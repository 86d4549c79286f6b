"""Which rank has which elements of a model, and where they lie in what ranks send to each other."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch

from rootstep import _rootstep

_ALIGNMENT = 64
"""Where a piece begins in memory that is sent: a multiple of so many bytes."""


class Piece(NamedTuple):
    """Elements of a parameter, in the order of memory: from `start` to before `stop`."""

    parameter: int
    start: int
    stop: int

    @property
    def elements(self) -> int:
        return self.stop - self.start


def flat(tensor: torch.Tensor) -> torch.Tensor:
    """All elements of a dense tensor, in the order of memory: the same memory."""
    tensor = tensor.detach()
    return tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())


def parts(memory: torch.Tensor, sizes: Sequence[int]) -> list[torch.Tensor]:
    """So many elements, one behind the other."""
    ends = accumulate(sizes)
    return [memory[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type that gradients of this one are added up in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def shards(lengths: Sequence[int], ranks: int) -> list[list[Piece]]:
    """The pieces of each rank, for parameters of these lengths.

    The model is one row of elements, cut where `ranks` equal parts would end: there, or at the nearest place that is a
    multiple of `shard_elements()` in its parameter, or that parameter's end.
    """
    starts = [0, *accumulate(lengths)]
    total = starts[-1]
    cuts = [_cut(starts, total * rank // ranks) for rank in range(ranks)] + [total]
    return [_between(starts, first, last) for first, last in pairwise(cuts)]


def _cut(starts: Sequence[int], element: int) -> int:
    """The place nearest to an element where a shard may begin."""
    if element >= starts[-1]:
        return starts[-1]
    parameter = bisect_right(starts, element) - 1
    start, stop, block = starts[parameter], starts[parameter + 1], _rootstep.shard_elements()
    before = element - (element - start) % block
    after = min(before + block, stop)
    return before if element - before <= after - element else after


def _between(starts: Sequence[int], first: int, last: int) -> list[Piece]:
    pieces = []
    for parameter, (start, stop) in enumerate(pairwise(starts)):
        begin, end = max(first, start), min(last, stop)
        if begin < end:
            pieces.append(Piece(parameter, begin - start, end - start))
    return pieces


class Wire:
    """Where the pieces of all ranks lie in memory that is sent: those of each rank side by side.

    Attributes:
        sizes: how many bytes the pieces of each rank take.
    """

    def __init__(self, pieces: Sequence[Sequence[Piece]], dtypes: Sequence[torch.dtype]) -> None:
        """`dtypes` has the type of each parameter's elements, as they are sent."""
        self._pieces = pieces
        self._dtypes = dtypes
        self._offsets: list[list[int]] = []
        self.sizes: list[int] = []
        for own in pieces:
            sizes = [piece.elements * dtypes[piece.parameter].itemsize for piece in own]
            ends = list(accumulate(-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes))
            self._offsets.append([0, *ends[:-1]] if ends else [])
            self.sizes.append(ends[-1] if ends else 0)

    def views(self, memory: torch.Tensor, rank: int) -> list[torch.Tensor]:
        """The pieces of a rank, in memory that has these alone."""
        views = []
        for piece, offset in zip(self._pieces[rank], self._offsets[rank], strict=True):
            dtype = self._dtypes[piece.parameter]
            size = piece.elements * dtype.itemsize
            views.append(memory[offset : offset + size].view(dtype))
        return views

    def all_views(self, memory: torch.Tensor) -> list[list[torch.Tensor]]:
        """The pieces of all ranks, in memory that has them all."""
        return [self.views(part, rank) for rank, part in enumerate(parts(memory, self.sizes))]
