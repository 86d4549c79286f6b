"""Which rank has which parts of a model, and what this rank has of a step and of the state."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch

from rootstep._rootstep import Sums
from rootstep.torch._layout import Wire, compute_dtype, shards
from rootstep.torch._parts import is_dtensor
from rootstep.torch._ranks import Ranks
from rootstep.torch._trees import Node, NodeSum, taken
from rootstep.torch._whole import cut


class Plan:
    """Who has which parts of the parameters, and what this rank has of a step and of the state.

    Attributes:
        parameters: all of them, in order.
        groups: the number of each one's group.
        needed: whether each requires a gradient.
        micro_batches: how many this rank has.
        count: how many of them have been accumulated.
        present: whether any of those had a gradient of each parameter.
        sent: the sum of each node of this rank that is complete.
        own: the pieces of this rank.
        state: as of an optimizer, of each of these pieces.
        agreed: whether the ranks have compared what they have.
        broken: whether a step was not taken by all ranks.
        consolidated: the state of all, if this rank has it.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        ranks: Ranks,
        nodes: list[list[Node]],
        in_bf16: bool,
    ) -> None:
        """`nodes` has those of each rank, of the tree over the batch's micro-batches.

        Raises:
            ValueError, TypeError: a parameter cannot be sharded.
        """
        self.names = list(_names(groups))
        self.groups = [n for n, group in enumerate(groups) for _ in group["params"]]
        self.parameters: list[torch.Tensor] = [p for group in groups for p in group["params"]]
        self._numbers = {parameter: n for n, parameter in enumerate(self.parameters)}
        for name, parameter in zip(self.names, self.parameters, strict=True):
            _check_parameter(name, parameter, in_bf16)
        self._kinds = [_kind(parameter) for parameter in self.parameters]
        self.ranks = ranks
        self.nodes = nodes
        self.micro_batches = sum(stop - start for start, stop in nodes[ranks.rank])
        self._in_bf16 = in_bf16
        # One that needs no gradient is not sent.
        self.needed = [parameter.requires_grad for parameter in self.parameters]
        lengths = [
            parameter.numel() if needed else 0
            for parameter, needed in zip(self.parameters, self.needed, strict=True)
        ]
        self.pieces = shards(lengths, self.ranks.size)
        self.own = self.pieces[self.ranks.rank]
        dtypes = [parameter.dtype for parameter in self.parameters]
        self.parameter_wire = Wire(self.pieces, dtypes)
        computed = [compute_dtype(dtype) for dtype in dtypes]
        self.sum_wire = Wire(self.pieces, computed)
        sent = [torch.bfloat16] * len(dtypes)
        self._bf16_wire = Wire(self.pieces, sent)
        self.state: list[dict[str, torch.Tensor]] = [{} for _ in self.own]
        self.loaded: list[Any] = []
        self.agreed = False
        self.broken = False
        self.consolidated: dict[torch.Tensor, dict[str, torch.Tensor]] | None = None
        self._memory: dict[Any, torch.Tensor] = {}
        self.forget()

    def forget(self) -> None:
        """What was accumulated."""
        self.count = 0
        self.present = [False] * len(self.parameters)
        self.sent: list[torch.Tensor] = []
        self._node: NodeSum | None = None

    def memory(self, what: Any, size: int) -> torch.Tensor:
        """Bytes that are kept from step to step."""
        found = self._memory.get(what)
        if found is None or found.numel() != size:
            found = self._memory[what] = torch.empty(size, dtype=torch.uint8)
        return found

    def wire(self, node: Node) -> Wire:
        """How the sum of a node is sent: a gradient alone as it is."""
        if self._in_bf16:
            return self._bf16_wire
        return self.parameter_wire if node[1] - node[0] == 1 else self.sum_wire

    def accumulate(self, sums: Sums) -> None:
        """Takes the gradients of the next micro-batch; with the last one of a node, its sum is complete."""
        if self.count == self.micro_batches:
            raise ValueError(
                f"rank {self.ranks.rank} has accumulated its {self.count} micro-batches; allowed: `step()`"
            )
        for name, parameter, kind, needed in zip(
            self.names, self.parameters, self._kinds, self.needed, strict=True
        ):
            if _kind(parameter) != kind:
                raise ValueError(
                    f"{name} has another type, shape or strides than when the first gradients were accumulated; "
                    "allowed: an optimizer that is made after such a change"
                )
            _check_gradient(name, parameter, needed)
        gradients = taken(self.parameters)
        if all(gradient is None for gradient in gradients):
            raise ValueError("no parameter has a gradient; allowed: one or more, of `backward()`")
        node = self.nodes[self.ranks.rank][len(self.sent)]
        if self._node is None:
            self._node = NodeSum(sums, node, self._in_bf16)
        self.count += 1
        self.present = [
            here or gradient is not None
            for here, gradient in zip(self.present, gradients, strict=True)
        ]
        self._node.add(gradients)
        if self._node.is_complete:
            wire = self.wire(node)
            memory = self.memory(("sent", len(self.sent)), sum(wire.sizes))
            pieces = list(chain.from_iterable(self.pieces))
            self._node.write(pieces, list(chain.from_iterable(wire.all_views(memory))))
            self.sent.append(memory)
            self._node = None

    def load(self, parameter: torch.Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Takes what is here of a parameter out of its state."""
        number = self._numbers[parameter]
        name = self.names[number]
        self.loaded.append([number, sorted(state)])
        for piece, own in zip(self.own, self.state, strict=True):
            if piece.parameter == number:
                own.update(cut(name, parameter, state, group, piece))


def _names(groups: list[dict[str, Any]]) -> Iterator[str]:
    """What messages call the parameters."""
    for number, group in enumerate(groups):
        given = group.get("param_names")
        for index in range(len(group["params"])):
            name = "" if given is None else f" (`{given[index]}`)"
            yield f"parameter {index} of group {number}{name}"


def _kind(parameter: torch.Tensor) -> tuple[Any, ...]:
    return parameter.dtype, parameter.shape, parameter.stride()


def _check_parameter(name: str, parameter: torch.Tensor, in_bf16: bool) -> None:
    if is_dtensor(parameter):
        raise ValueError(f"{name} is a DTensor; allowed: a tensor that each rank has all of")
    if not parameter.is_cpu or parameter.layout != torch.strided:
        raise ValueError(
            f"{name} is on `{parameter.device}` with the layout {parameter.layout}; allowed: `cpu`, torch.strided"
        )
    if torch.empty_like(parameter, device="meta").stride() != parameter.stride():
        raise ValueError(f"{name} has the strides {parameter.stride()}; allowed: a dense tensor")
    allowed = [torch.float32, torch.bfloat16, torch.float16]
    allowed += [] if in_bf16 else [torch.float64]
    if parameter.dtype not in allowed:
        raise TypeError(f"{name} is of {parameter.dtype}; allowed: {allowed}")


def _check_gradient(name: str, parameter: torch.Tensor, needed: bool) -> None:
    gradient = parameter.grad
    if gradient is None:
        return
    if not needed:
        raise ValueError(
            f"{name} has a gradient, and did not require one when the first were accumulated; allowed: to load the "
            "`state_dict` again after such a change"
        )
    if gradient.layout != torch.strided or not gradient.is_cpu:
        raise ValueError(
            f"the gradient of {name} has the layout {gradient.layout} on `{gradient.device}`; allowed: torch.strided, "
            "`cpu`"
        )
    if gradient.dtype != parameter.dtype:
        raise TypeError(
            f"the gradient of {name} is of {gradient.dtype}; allowed: {parameter.dtype}, as its parameter"
        )
    places = zip(gradient.shape, gradient.stride(), parameter.stride(), strict=False)
    if gradient.shape != parameter.shape or any(n > 1 and a != b for n, a, b in places):
        raise ValueError(
            f"the gradient of {name} has the shape {tuple(gradient.shape)} and the strides {gradient.stride()}; "
            f"allowed: {tuple(parameter.shape)} and {parameter.stride()}, as its parameter"
        )
