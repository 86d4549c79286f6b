"""Optimizers that have a part of a model: some of its tensors, or of each tensor some rows."""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch

_INT8_BLOCK = 128
_NUMBER = "_rootstep_tensor"
_numbered = False


def number_tensors(parameters: Iterable[torch.Tensor]) -> None:
    """Numbers the tensors of a model, for the draws of stochastic rounding.

    A tensor has no number at first: then it is its place in the optimizer. Where an optimizer has some tensors of
    a model only, that is another place than in the model: with `ZeroRedundancyOptimizer`, the stages of a pipeline,
    or an optimizer for each tensor. Numbered, each tensor has the draws, and so the bits, of training by one
    optimizer that has all of them.

    Call it when the parameters are what the optimizer gets, after `fully_shard`, and again after they were replaced
    or copied: the number is not saved.

    Args:
        parameters: all parameters of the model, in the order in which one optimizer would get them, such as that of
            `model.parameters()`; at most 2^32.
    """
    global _numbered
    _numbered = True
    for number, parameter in enumerate(parameters):
        setattr(parameter, _NUMBER, number)


def numbers(groups: list[dict[str, Any]]) -> list[tuple[int, int]] | None:
    """The numbers of all tensors, each with that of its first element; None if they are their places."""
    if not _numbered:
        return None
    parameters = (parameter for group in groups for parameter in group["params"])
    return [(getattr(parameter, _NUMBER, place), 0) for place, parameter in enumerate(parameters)]


def number_of(parameter: torch.Tensor, place: int) -> int:
    """The number of a tensor; its place in the optimizer if it has none."""
    return int(getattr(parameter, _NUMBER, place))


def is_dtensor(tensor: torch.Tensor) -> bool:
    dtensor = _dtensor()
    return dtensor is not None and isinstance(tensor, dtensor)


def _dtensor() -> Any:
    """The class `DTensor`, if anything has imported it: else there is none of them."""
    return getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", None)


def has_shards(groups: list[dict[str, Any]]) -> bool:
    """Whether a parameter is a `DTensor`."""
    dtensor = _dtensor()
    return dtensor is not None and any(
        isinstance(parameter, dtensor) for group in groups for parameter in group["params"]
    )


class Shards:
    """What this rank has of an optimizer's parameters, gradients and state: the same memory.

    A step on it gives the bits of the step on the whole. State is sharded as its parameter is, so that
    `torch.distributed.checkpoint` saves and loads it.

    Attributes:
        groups: as an optimizer's, of tensors that are no `DTensor`.
        state: as an optimizer's. What a step adds to it becomes the optimizer's by `keep`.
        places: for each parameter the number of its tensor, and which of its elements the first one here is.
    """

    def __init__(self, groups: list[dict[str, Any]], state: Any) -> None:
        """Takes the parts.

        Raises:
            ValueError: a step on a part would not be that on the whole. It names the parameter.
            TypeError: the gradient of a `DTensor` is none.
        """
        self.groups: list[dict[str, Any]] = []
        self.state: defaultdict[torch.Tensor, dict[str, Any]] = defaultdict(dict)
        self.places: list[tuple[int, int]] = []
        self._state = state
        self._parts: list[tuple[Any, torch.Tensor]] = []
        for number, group in enumerate(groups):
            parts = [
                self._take(parameter, group, f"parameter {index} of group {number}")
                for index, parameter in enumerate(group["params"])
            ]
            self.groups.append({**group, "params": parts})

    def _take(self, parameter: torch.Tensor, group: dict[str, Any], name: str) -> torch.Tensor:
        part, start = parameter, 0
        if isinstance(parameter, _dtensor()):
            _check(parameter, group, name)
            part, start = _part(parameter).detach(), _start(parameter)
            if parameter.grad is not None:
                part.grad = _gradient(parameter, name)
            self._parts.append((parameter, part))
        self.places.append((getattr(parameter, _NUMBER, len(self.places)), start))
        if parameter in self._state:
            state = self._state[parameter].items()
            self.state[part] = {key: _part(value) for key, value in state}
        return part

    def keep(self) -> None:
        """Gives the optimizer what has begun, and tells autograd what has changed."""
        changed = []
        for parameter, part in self._parts:
            if part.grad is None:
                continue
            changed.append(parameter)
            state = self._state[parameter]
            for key, value in self.state[part].items():
                if key not in state:
                    state[key] = value if key == "step" else _as_shard(value, parameter, key)
        torch.autograd.graph.increment_version(changed)


def _part(value: Any) -> Any:
    """What this rank has of a `DTensor`; anything else as it is."""
    if not isinstance(value, _dtensor()):
        return value
    with torch.no_grad():
        part = value.to_local()
    # It may still be on its way.
    return part.wait() if hasattr(part, "wait") else part


def _gradient(parameter: Any, name: str) -> Any:
    """What this rank has of the gradient, placed as its parameter is."""
    gradient = parameter.grad
    if not isinstance(gradient, _dtensor()):
        raise TypeError(
            f"the gradient of {name} is a {type(gradient).__name__}; allowed: a DTensor, as the parameter is"
        )
    if gradient.placements != parameter.placements:
        with torch.no_grad():
            gradient = gradient.redistribute(placements=parameter.placements)
    return _part(gradient)


def _start(parameter: Any) -> int:
    """Which element of the whole the first one here is, where rows of it are here."""
    (chunk,) = parameter.__create_chunk_list__()
    return chunk.offsets[0] * math.prod(parameter.shape[1:]) if parameter.ndim > 0 else 0


def _check(parameter: Any, group: dict[str, Any], name: str) -> None:
    from torch.distributed.tensor import Replicate, Shard

    placements = parameter.placements
    rows = all(
        isinstance(placement, Replicate) or (type(placement) is Shard and placement.dim == 0)
        for placement in placements
    )
    if any(placement.is_partial() for placement in placements):
        raise ValueError(f"{name} is placed as {placements}; allowed: none that is partial")
    if group["storage"] == "stochastic" and not rows:
        raise ValueError(
            f"{name} is placed as {placements}; allowed with stochastic rounding, which draws for places in the "
            "whole: Replicate() and Shard(0)"
        )
    has_blocks = group["momentum"] != 0 and group["momentum_dtype"] is torch.int8
    if has_blocks and not (rows and _has_whole_blocks(parameter)):
        raise ValueError(
            f"{name} has the shape {tuple(parameter.shape)} and is placed as {placements}; allowed with int8 "
            f"momentum, which has blocks of {_INT8_BLOCK} elements: Replicate(), and Shard(0) into parts of one "
            "size that are whole blocks"
        )


def _has_whole_blocks(parameter: Any) -> bool:
    """Whether all ranks have as many whole blocks. All ranks have the same answer."""
    mesh, placements = parameter.device_mesh, parameter.placements
    parts = math.prod(
        mesh.size(i) for i, placement in enumerate(placements) if placement.is_shard()
    )
    if parts == 1:
        return True
    rows, elements = parameter.shape[0], parameter.numel()
    return bool(rows % parts == 0 and elements % (parts * _INT8_BLOCK) == 0)


def _as_shard(part: torch.Tensor, parameter: Any, key: str) -> Any:
    """A tensor of the state as a `DTensor`, placed as its parameter is."""
    shape, stride = parameter.shape, parameter.stride()
    if key == "momentum_scale":
        shape, stride = torch.Size([-(-parameter.numel() // _INT8_BLOCK)]), (1,)
    return _dtensor().from_local(
        part,
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=shape,
        stride=stride,
    )
