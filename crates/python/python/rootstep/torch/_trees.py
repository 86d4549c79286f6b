"""The sums of a rank's micro-batches, in the order of the tree over all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rootstep._rootstep import Sums
from rootstep.torch._layout import Piece, compute_dtype, flat

Node = tuple[int, int]
"""Micro-batches: from the first to before the second."""
Gradients = list[torch.Tensor | None]
"""That of each parameter, flat; None where it has none."""


class NodeSum:
    """The sum of a node of the tree, as its micro-batches come.

    Those that wait to be added up are as many as the tree is deep, at most.
    """

    def __init__(self, sums: Sums, node: Node, in_bf16: bool) -> None:
        self._sums = sums
        self._count = node[1] - node[0]
        self._in_bf16 = in_bf16
        self._next = 0
        self._waiting: list[tuple[Node, Gradients]] = []

    @property
    def is_complete(self) -> bool:
        return self._next == self._count

    def add(self, gradients: Gradients) -> None:
        """Takes the gradients of the next micro-batch."""
        number = self._next
        self._next += 1
        self._waiting.append(((number, number + 1), gradients))
        # The last one ends all; others complete the sums that a binary counter would carry into.
        if not self.is_complete:
            carried = (~number & (number + 1)).bit_length() - 1
            if carried > 0:
                self._add_up(carried + 1)

    def _add_up(self, count: int) -> None:
        """Adds up the last of those that wait."""
        last = self._waiting[-count:]
        del self._waiting[-count:]
        terms: list[list[torch.Tensor]] = []
        outs: list[torch.Tensor] = []
        found: Gradients = []
        for column in zip(*(gradients for _, gradients in last), strict=True):
            like = next((term for term in column if term is not None), None)
            if like is None:
                found.append(None)
                continue
            dtype = torch.bfloat16 if self._in_bf16 else compute_dtype(like.dtype)
            out = torch.empty(like.numel(), dtype=dtype)
            terms.append([_or_zeros(term, out) for term in column])
            outs.append(out)
            found.append(out)
        start, stop = last[0][0][0], last[-1][0][1]
        nodes = [(first - start, end - start) for (first, end), _ in last]
        self._sums.add(stop - start, nodes, self._in_bf16, terms, outs)
        self._waiting.append(((start, stop), found))

    def write(self, pieces: Sequence[Piece], outs: Sequence[torch.Tensor]) -> None:
        """Writes the sum: of each piece to its output. A micro-batch without a gradient counts as zeros."""
        nodes = [node for node, _ in self._waiting]
        terms: list[list[torch.Tensor]] = []
        written: list[torch.Tensor] = []
        for piece, out in zip(pieces, outs, strict=True):
            column = [_part(gradients[piece.parameter], piece) for _, gradients in self._waiting]
            if all(term is None for term in column):
                out.zero_()
            elif len(column) == 1 and column[0] is not None and column[0].dtype == out.dtype:
                out.copy_(column[0])
            else:
                terms.append([_or_zeros(term, out) for term in column])
                written.append(out)
        self._sums.add(self._count, nodes, self._in_bf16, terms, written)
        self._waiting.clear()


def _part(gradient: torch.Tensor | None, piece: Piece) -> torch.Tensor | None:
    return None if gradient is None else gradient[piece.start : piece.stop]


def _or_zeros(term: torch.Tensor | None, out: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(out) if term is None else term


def taken(parameters: Sequence[torch.Tensor]) -> Gradients:
    """Takes the gradients away."""
    found: Gradients = []
    for parameter in parameters:
        found.append(None if parameter.grad is None else flat(parameter.grad))
        parameter.grad = None
    return found
