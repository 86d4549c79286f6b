"""The state of a whole model from the parts that ranks have, and parts of it."""

from __future__ import annotations

from itertools import chain
from typing import Any, NamedTuple

import torch

from rootstep.torch._layout import Piece, flat, parts
from rootstep.torch._optimizer import Kept, loaded_dtype
from rootstep.torch._ranks import Ranks

_BLOCK = 128
"""The elements that share a scale in int8 momentum."""


class Share(NamedTuple):
    """The state of a piece, as of an optimizer."""

    piece: Piece
    state: dict[str, torch.Tensor]


def gathered(ranks: Ranks, own: list[Share], to: int) -> list[Share] | None:
    """The shares of all ranks, on one of them; None on the others."""
    if not 0 <= to < ranks.size:
        raise ValueError(f"`to` is {to}; allowed: a rank of the group, 0 to {ranks.size - 1}")
    tensors = list(chain.from_iterable(share.state.values() for share in own))
    described = [
        (share.piece, [(key, value.dtype, value.shape) for key, value in share.state.items()])
        for share in own
    ]
    all_described = ranks.objects(described, "what there is of the state")
    if ranks.size == 1:
        return own
    # As bytes: process groups do not send all types.
    rows = [tensor.reshape(-1).view(torch.uint8) for tensor in tensors]
    sent = torch.cat(rows) if rows else torch.empty(0, dtype=torch.uint8)
    sizes = [_bytes(rank_described) for rank_described in all_described]
    if ranks.rank != to:
        nothing = [torch.empty(0, dtype=torch.uint8)] * ranks.size
        ranks.exchange([*nothing[:to], sent, *nothing[to + 1 :]], nothing, "the state")
        return None
    received = torch.empty(sum(sizes), dtype=torch.uint8)
    into = parts(received, sizes)
    into[to].copy_(sent)
    ranks.exchange([sent[:0]] * ranks.size, into, "the state")
    found = []
    for piece, items in chain.from_iterable(all_described):
        state = {}
        for key, dtype, shape in items:
            size = dtype.itemsize * shape.numel()
            # A copy, since it may begin anywhere.
            state[key] = received[:size].clone().view(dtype).view(shape)
            received = received[size:]
        found.append(Share(Piece(*piece), state))
    return found


def _bytes(described: list[Any]) -> int:
    items = chain.from_iterable(items for _, items in described)
    return sum(dtype.itemsize * shape.numel() for _, dtype, shape in items)


def joined(
    shares: list[Share], parameters: list[torch.Tensor]
) -> dict[torch.Tensor, dict[str, torch.Tensor]]:
    """The state of each parameter that has one, of its pieces."""
    found: dict[torch.Tensor, dict[str, torch.Tensor]] = {}
    for piece, state in shares:
        parameter = parameters[piece.parameter]
        whole = found.setdefault(parameter, {})
        for key, value in state.items():
            if key == "step":
                whole[key] = value.clone()
                continue
            if key not in whole:
                whole[key] = _empty(parameter, key, value.dtype)
            _place(whole[key], key, piece).copy_(value)
    return found


def _empty(parameter: torch.Tensor, key: str, dtype: torch.dtype) -> torch.Tensor:
    if key == "momentum_scale":
        return torch.empty(-(-parameter.numel() // _BLOCK), dtype=dtype)
    return torch.empty_like(parameter.detach(), dtype=dtype)


def _place(whole: torch.Tensor, key: str, piece: Piece) -> torch.Tensor:
    """Where a piece lies in the state of its parameter."""
    if key == "momentum_scale":
        return whole[piece.start // _BLOCK : -(-piece.stop // _BLOCK)]
    return flat(whole)[piece.start : piece.stop]


def cut(
    name: str,
    parameter: torch.Tensor,
    state: dict[str, Any],
    group: dict[str, Any],
    piece: Piece,
) -> dict[str, torch.Tensor]:
    """A copy of what a loaded state of a parameter has of a piece.

    Raises:
        ValueError: a tensor is not of the parameter's shape.
    """
    found = {}
    for key, kept in state.items():
        if not isinstance(kept, Kept):
            continue
        tensor = kept.tensor.detach().cpu()
        dtype = loaded_dtype(tensor, group, key)
        if key == "step":
            found[key] = tensor.to(dtype, copy=True)
            continue
        like = _empty(parameter.to("meta"), key, dtype)
        if tensor.shape != like.shape:
            raise ValueError(
                f"`{key}` of the state of {name} has the shape {tuple(tensor.shape)}; allowed: {tuple(like.shape)}"
            )
        if key != "momentum_scale" and tensor.stride() != like.stride():
            tensor = _empty(parameter, key, tensor.dtype).copy_(tensor)
        found[key] = _place(tensor, key, piece).to(dtype, copy=True)
    return found
