"""A step by all ranks of a process group."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch

from rootstep import _rootstep
from rootstep.torch._agreement import agree, described, settings
from rootstep.torch._layout import Piece, flat, parts
from rootstep.torch._parts import number_of
from rootstep.torch._plan import Plan
from rootstep.torch._trees import Node

if TYPE_CHECKING:
    from rootstep.torch.distributed import ShardedOptimizer

_STATUS = 64
"""Bytes before the parameters that a rank sends: whether its step was taken."""


class SharedStep:
    """A step by all ranks."""

    def __init__(self, optimizer: ShardedOptimizer, plan: Plan) -> None:
        self._optimizer = optimizer
        self._plan = plan
        self._ranks = plan.ranks

    def take(self) -> Any:
        plan = self._plan
        problem = self._problem()
        if not plan.agreed:
            agree(self._ranks, self._description(), problem, [])
            plan.agreed = True
        self._present = agree(self._ranks, self._settings(), problem, plan.present)
        gradients = self._summed()
        report = self._look(gradients)
        if report is not None and not report[0]:
            return report
        plan.consolidated = None
        plan.broken = self._ranks.size > 1
        self._spread(self._take_own(gradients, 1.0 if report is None else report[1]))
        plan.broken = False
        return report

    def _description(self) -> dict[str, Any]:
        optimizer, plan = self._optimizer, self._plan
        return {
            "the version of rootstep": _rootstep.__version__,
            "`micro_batches`": optimizer.all_micro_batches,
            "`sum_dtype`": optimizer._in_bf16,
            "the class": optimizer._class.__name__,
            "groups": plan.groups,
            "parameters": plan.names,
            **{
                f"{name} (shape, strides, type, digest of its values)": described(parameter)
                for name, parameter in zip(plan.names, plan.parameters, strict=True)
            },
            "parameters that require a gradient": plan.needed,
            "the number for draws": [
                number_of(parameter, n) for n, parameter in enumerate(plan.parameters)
            ],
            "the loaded state": plan.loaded,
        }

    def _settings(self) -> dict[str, Any]:
        optimizer = self._optimizer
        return {
            "`clip_norm`": optimizer.clip_norm,
            "`clip_value`": optimizer.clip_value,
            "`non_finite`": optimizer.non_finite,
            **{f"group {n}": settings(group) for n, group in enumerate(optimizer.param_groups)},
        }

    def _problem(self) -> str | None:
        """What forbids a step, before anything is sent."""
        optimizer, plan = self._optimizer, self._plan
        if plan.broken:
            return (
                "a step was broken off after some parameters were written; allowed: `load_state_dict`, of a state that "
                "was saved with its parameters"
            )
        if plan.count != plan.micro_batches:
            return (
                f"it has accumulated {plan.count} micro-batches; allowed: {plan.micro_batches}, of "
                f"{optimizer.all_micro_batches} on {self._ranks.size} ranks"
            )
        try:
            for number, group in enumerate(optimizer.param_groups):
                optimizer._stepper.check(group, number)
        except (TypeError, ValueError) as error:
            return str(error)
        return None

    def _summed(self) -> list[torch.Tensor | None]:
        """The gradient of each own piece; None where there is none."""
        plan, rank = self._plan, self._ranks.rank
        columns: dict[Node, list[torch.Tensor]] = {}
        for slot in range(max(len(nodes) for nodes in plan.nodes)):
            columns.update(self._exchange(slot))
        nodes = list(chain.from_iterable(plan.nodes))
        memory = plan.memory("sum", plan.sum_wire.sizes[rank])
        outs = plan.sum_wire.views(memory, rank)
        found: list[torch.Tensor | None] = []
        terms: list[list[torch.Tensor]] = []
        written: list[torch.Tensor] = []
        for i, (piece, out) in enumerate(zip(plan.own, outs, strict=True)):
            if not self._present[piece.parameter]:
                found.append(None)
                continue
            column = [columns[node][i] for node in nodes]
            if len(column) == 1 and column[0].dtype == out.dtype:
                found.append(column[0])
                continue
            found.append(out)
            terms.append(column)
            written.append(out)
        in_bf16, count = self._optimizer._in_bf16, self._optimizer.all_micro_batches
        self._optimizer._sums.add(count, nodes, in_bf16, terms, written)
        return found

    def _exchange(self, slot: int) -> dict[Node, list[torch.Tensor]]:
        """What there is of the own pieces in the node of this number of each rank."""
        plan, rank = self._plan, self._ranks.rank
        nodes = [nodes[slot] if slot < len(nodes) else None for nodes in plan.nodes]
        sizes = [0 if node is None else plan.wire(node).sizes[rank] for node in nodes]
        sizes[rank] = 0
        received = parts(plan.memory(("received", slot), sum(sizes)), sizes)
        own = nodes[rank]
        if own is None:
            sent = [torch.empty(0, dtype=torch.uint8)] * len(nodes)
        else:
            sent = parts(plan.sent[slot], plan.wire(own).sizes)
            received[rank] = sent[rank]
        self._ranks.exchange(sent, received, "sums of gradients")
        return {
            node: plan.wire(node).views(part, rank)
            for node, part in zip(nodes, received, strict=True)
            if node is not None
        }

    def _look(self, gradients: list[torch.Tensor | None]) -> Any:
        """What is found in the whole gradient, and what follows; None if nobody asks."""
        optimizer = self._optimizer
        if optimizer.clip_norm is None and optimizer.non_finite == "propagate":
            return None
        scales = (1.0, 1.0)
        while True:
            ranks, shown = self._gather_parts(self._parts(gradients, scales))
            found, needed = _rootstep.whole(ranks, scales)
            if needed == scales:
                break
            scales = needed
        present = [n for n, here in enumerate(self._present) if here]
        number = 0 if found[7] is None else present[found[7][0]]
        dtypes = (self._plan.parameters[n].dtype for n in present)
        return _rootstep.decide(
            optimizer.clip_norm,
            optimizer.clip_value,
            optimizer.non_finite,
            found,
            any(dtype != torch.float64 for dtype in dtypes),
            shown,
            self._plan.names[number],
        )

    def _parts(
        self, gradients: list[torch.Tensor | None], scales: tuple[float, float]
    ) -> list[list[float]]:
        """What is found in the own pieces: numbers that are sent."""
        plan = self._plan
        own = [(p, g) for p, g in zip(plan.own, gradients, strict=True) if g is not None]
        number = {n: i for i, n in enumerate(n for n, here in enumerate(self._present) if here)}
        sent = []
        found = self._optimizer._sums.inspect([gradient for _, gradient in own], scales)
        for (elements, _, largest, *counts, first), squares in found:
            place = [-1.0, 0.0, 0.0]
            if first is not None:
                piece, gradient = own[first[0]]
                index = float(piece.start + first[1])
                place = [float(number[piece.parameter]), index, gradient[first[1]].item()]
            sent.append([float(elements), largest, *map(float, counts), *place, *squares])
        return sent

    def _gather_parts(self, own: list[list[float]]) -> tuple[list[list[Any]], str]:
        """The same of all ranks; and how the first element that is not finite is shown."""
        lengths = [self._part_lengths(rank) for rank in range(self._ranks.size)]
        row = torch.zeros(max(map(sum, lengths)), dtype=torch.float64)
        values = list(chain.from_iterable(own))
        row[: len(values)] = torch.tensor(values, dtype=torch.float64)
        rows = self._ranks.gather(row, "the norms of gradients").tolist()
        ranks, first = [], []
        for row_of_rank, (single, double) in zip(rows, lengths, strict=True):
            found: list[Any] = []
            for part in (row_of_rank[:single], row_of_rank[single : single + double]):
                elements, largest, nan, infinite, zero, subnormal, tensor, index, value = part[:9]
                place = None if tensor < 0 else (int(tensor), int(index))
                if place is not None:
                    first.append((place, value))
                counts = (int(nan), int(infinite), int(zero), int(subnormal))
                found.append(((int(elements), 0.0, largest, *counts, place), part[9:]))
            ranks.append(found)
        value = min(first)[1] if first else 0.0
        return ranks, "NaN" if math.isnan(value) else str(value)

    def _part_lengths(self, rank: int) -> tuple[int, int]:
        """How many numbers a rank sends: of what is in float32, and in float64."""
        block, lengths = _rootstep.shard_elements(), [9, 9]
        for piece in self._plan.pieces[rank]:
            if self._present[piece.parameter]:
                double = self._plan.parameters[piece.parameter].dtype == torch.float64
                lengths[double] += -(-piece.elements // block)
        return lengths[0], lengths[1]

    def _take_own(self, gradients: list[torch.Tensor | None], factor: float) -> Exception | None:
        """Takes the step on the own pieces. An error is given back: the others wait for this rank."""
        optimizer, plan = self._optimizer, self._plan
        groups: list[dict[str, Any]] = [
            {**group, "params": [], "param_names": []} for group in optimizer.param_groups
        ]
        state: defaultdict[torch.Tensor, dict[str, Any]] = defaultdict(dict)
        places = []
        views = []
        for piece, kept in zip(plan.own, plan.state, strict=True):
            parameter = plan.parameters[piece.parameter]
            view = flat(parameter)[piece.start : piece.stop]
            views.append(view)
            state[view] = kept
            group = groups[plan.groups[piece.parameter]]
            group["params"].append(view)
            group["param_names"].append(
                f"elements {piece.start} to {piece.stop} of {plan.names[piece.parameter]}"
            )
            places.append((number_of(parameter, piece.parameter), piece.start))
        limits = (optimizer.clip_norm, optimizer.clip_value, optimizer.non_finite)
        try:
            optimizer._stepper.step(groups, state, *limits, places, gradients, factor)
        except Exception as error:
            if self._ranks.size == 1:
                raise
            return error
        return None

    def _spread(self, problem: Exception | None) -> None:
        """Sends the new parameters of the own pieces to all."""
        ranks, plan = self._ranks, self._plan
        if ranks.size == 1:
            return
        wire = plan.parameter_wire
        sizes = [_STATUS + size for size in wire.sizes]
        received = parts(plan.memory("parameters", sum(sizes)), sizes)
        sent = received[ranks.rank]
        sent[0] = int(problem is not None)
        with torch.no_grad():
            flats = [flat(parameter) for parameter in plan.parameters]
            _copy(wire.views(sent[_STATUS:], ranks.rank), _views(flats, plan.own))
            ranks.exchange([sent] * ranks.size, received, "parameters after a step")
            if problem is not None:
                raise problem
            failed = [rank for rank, part in enumerate(received) if part[0].item() != 0]
            if failed:
                raise RuntimeError(
                    f"rank {failed[0]} has not taken its part of a step: its own error says why; allowed: "
                    "`load_state_dict`, of a state that was saved with its parameters"
                )
            for rank, part in enumerate(received):
                if rank != ranks.rank:
                    _copy(_views(flats, plan.pieces[rank]), wire.views(part[_STATUS:], rank))


def _views(flats: list[torch.Tensor], pieces: list[Piece]) -> list[torch.Tensor]:
    return [flats[piece.parameter][piece.start : piece.stop] for piece in pieces]


def _copy(outs: list[torch.Tensor], values: list[torch.Tensor]) -> None:
    if outs:
        torch._foreach_copy_(outs, values)
