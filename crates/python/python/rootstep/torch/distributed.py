"""Training by several processes, with the bits of one: sums of gradients in a fixed order, and sharded state.

Needs a process group of `torch.distributed` for the memory of the CPU, such as gloo. Without one this process is the
only rank.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from torch.optim.optimizer import ParamsT

from rootstep import _rootstep
from rootstep._rootstep import Stepper, Sums
from rootstep.torch._agreement import agree, described, settings
from rootstep.torch._layout import Piece, Wire, compute_dtype, flat, parts, shards
from rootstep.torch._optimizer import RootstepOptimizer, begin
from rootstep.torch._parts import is_dtensor, number_of
from rootstep.torch._ranks import Ranks
from rootstep.torch._trees import NodeSum, taken
from rootstep.torch._whole import Share, cut, gathered, joined

__all__ = ["ShardedOptimizer"]

_STATUS = 64
"""Bytes before the parameters that a rank sends: whether its step was taken."""


class ShardedOptimizer(RootstepOptimizer):
    """An optimizer whose step has the same bits on any number of ranks.

    A batch is `micro_batches` micro-batches, whatever the number of ranks; each rank has some in a row, and calls
    `accumulate` after the backward pass of each. Their gradients are added up by a binary tree over the numbers of
    the micro-batches: the left half of n is the largest power of two below n, and so on in each half. Each addition is
    rounded to float32 (for parameters in float64, to float64). So it does not matter who adds up what.

    The state is sharded (ZeRO, stage 1): each rank has a part of the model, gets the sums of the others for it, takes the
    step on it, and sends the new parameters to all. Parts begin at multiples of 32,768 elements of a parameter.
    `clip_norm` and `non_finite` concern the gradient of the whole batch, and are decided by all ranks alike.

    The step is that of `optimizer_class` with the sum for a gradient: for a mean over the batch divide each loss by
    the number of micro-batches. A parameter that has a gradient in some micro-batches only counts as zeros in the
    others; one that has none in any is left as it is.

    Before the first step the ranks compare what they have: version, settings, shapes, types and values. If anything
    differs, all of them get the same error, which names it. So do settings that differ at a later step.

    Attributes:
        micro_batches: the numbers of those that this rank has: `accumulate` takes their gradients in this order.
        all_micro_batches: how many the batch has.

    Give it the bare model: `DistributedDataParallel` would average gradients over the ranks, in an order of its own.
    """

    micro_batches: range
    all_micro_batches: int

    def __init__(
        self,
        params: ParamsT,
        optimizer_class: type[RootstepOptimizer],
        *,
        micro_batches: int,
        process_group: Any = None,
        sum_dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        """Makes the optimizer. The ranks need not come here at the same time.

        Args:
            params: as of `optimizer_class`, all in the memory of the CPU, and all of the model.
            optimizer_class: one of `rootstep.torch`, such as `PowerStep`.
            micro_batches: how many a batch has: 1 to 32,768, on all ranks together.
            process_group: that of the ranks; None for the group of all processes, or without one for this process.
            sum_dtype: torch.bfloat16 to round what each node of the tree has to it, those with one micro-batch, too: so
                half as much is sent, and the bits do not depend on the ranks, either. None for float32 (float64).
            **options: the arguments of `optimizer_class`.

        Raises:
            ValueError, TypeError: a setting is not allowed; the message names it.
        """
        if not (
            isinstance(optimizer_class, type) and issubclass(optimizer_class, RootstepOptimizer)
        ):
            raise TypeError(
                f"`optimizer_class` is {optimizer_class!r}; allowed: a class of `rootstep.torch`, such as PowerStep"
            )
        if sum_dtype not in (None, torch.bfloat16):
            raise ValueError(f"`sum_dtype` is {sum_dtype}; allowed: None or torch.bfloat16")
        # Checks the number.
        _rootstep.nodes(micro_batches, 0, 0)
        self._class = optimizer_class
        self._ranks = Ranks(process_group)
        self._in_bf16 = sum_dtype is not None
        self._sums = Sums(torch)
        self._plan: _Plan | None = None
        self._nodes = [
            _rootstep.nodes(micro_batches, held.start, held.stop)
            for held in _held(micro_batches, self._ranks.size)
        ]
        self.all_micro_batches = micro_batches
        self.micro_batches = _held(micro_batches, self._ranks.size)[self._ranks.rank]

        own = optimizer_class(params, **options)
        defaults = dict(own.defaults)
        name = own._own_setting
        super().__init__(
            own.param_groups,
            own=None if name is None else {name: defaults.pop(name)},
            clip_norm=own.clip_norm,
            clip_value=own.clip_value,
            non_finite=own.non_finite,
            **defaults,
        )

    def _make_stepper(self) -> None:
        self._stepper = Stepper(torch, begin, self._class._power_of, self._class._power)

    def accumulate(self) -> None:
        """Takes the gradients of the next micro-batch away from the parameters: their `grad` is None then.

        Raises:
            ValueError: no parameter has a gradient; one has not the layout of its parameter; all micro-batches of this
                rank have been taken; or a parameter cannot be sharded.
            TypeError: a gradient is of another type than its parameter.
        """
        plan = self._planned()
        plan.accumulate(self._sums)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As in torch. What was accumulated is forgotten, too."""
        super().zero_grad(set_to_none)
        if self._plan is not None:
            self._plan.forget()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As of `RootstepOptimizer`, before the first gradients are accumulated.

        Raises:
            ValueError: gradients have been accumulated, or a state was loaded.
        """
        if getattr(self, "_plan", None) is not None:
            raise ValueError(
                "a group of parameters comes after gradients or a state; allowed: before, since all is sharded then"
            )
        super().add_param_group(param_group)

    def _planned(self) -> _Plan:
        """What follows from the parameters. Ranks have the same, or find out when they agree."""
        if self._plan is None:
            self._plan = _Plan(self)
        return self._plan

    def _step_all(self) -> Any:
        plan = self._planned()
        try:
            return _Step(self, plan).take()
        finally:
            plan.forget()

    def consolidate_state_dict(self, to: int = 0) -> None:
        """Sends the state of all ranks to one of them, whose `state_dict` has it then. All ranks call it.

        Args:
            to: the rank, of the process group.
        """
        plan = self._planned()
        own = [Share(*item) for item in zip(plan.own, plan.state, strict=True) if item[1]]
        found = gathered(self._ranks, own, to)
        plan.consolidated = None if found is None else joined(found, plan.parameters)

    def state_dict(self) -> dict[str, Any]:
        """The state of the whole model, as `optimizer_class` has it: that class can load it, too.

        With more than one rank `consolidate_state_dict` comes first, after the last step.

        Raises:
            RuntimeError: this rank has not the state of the others.
        """
        plan = self._planned()
        if self._ranks.size == 1:
            self.consolidate_state_dict()
        if plan.consolidated is None:
            raise RuntimeError(
                f"rank {self._ranks.rank} has a part of the state alone; allowed: `state_dict` on the rank that "
                "`consolidate_state_dict`, which all ranks call, has sent it to after the last step"
            )
        self.state = defaultdict(dict, plan.consolidated)
        try:
            return super().state_dict()
        finally:
            self.state = defaultdict(dict)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes this rank's part of the state of a whole model, such as another number of ranks had. All ranks call it.

        Its tensors are copied, each in its own type, as `RootstepOptimizer.load_state_dict` says.
        """
        before = self._plan
        self._plan = _Plan(self)
        try:
            super().load_state_dict(state_dict)
        except BaseException:
            self._plan = before
            raise
        finally:
            self.state = defaultdict(dict)

    def _load(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        self._planned().load(parameter, self.state[parameter], group)

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("a ShardedOptimizer is not copied or pickled; allowed: its `state_dict()`")


def _held(micro_batches: int, ranks: int) -> list[range]:
    """Those of each rank: in a row, as many on each as can be."""
    ends = [micro_batches * rank // ranks for rank in range(ranks + 1)]
    return [range(ends[rank], ends[rank + 1]) for rank in range(ranks)]


class _Plan:
    """Who has which parts of the parameters, and what this rank has of a step and of the state.

    Attributes:
        parameters: all of them, in order.
        groups: the number of each one's group.
        own: the pieces of this rank.
        state: as of an optimizer, of each of these pieces.
        agreed: whether the ranks have compared what they have.
        broken: whether a step was not taken by all ranks.
        consolidated: the state of all, if this rank has it.
    """

    def __init__(self, optimizer: ShardedOptimizer) -> None:
        groups = optimizer.param_groups
        self.names = list(_names(groups))
        self.groups = [n for n, group in enumerate(groups) for _ in group["params"]]
        self.parameters: list[torch.Tensor] = [p for group in groups for p in group["params"]]
        for name, parameter in zip(self.names, self.parameters, strict=True):
            _check_parameter(name, parameter, optimizer._in_bf16)
        self.ranks = optimizer._ranks
        self.micro_batches = optimizer.micro_batches
        self.nodes = optimizer._nodes
        self._in_bf16 = optimizer._in_bf16
        lengths = [parameter.numel() for parameter in self.parameters]
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

    def wire(self, node: tuple[int, int]) -> Wire:
        """How the sum of a node is sent: a gradient alone as it is."""
        if self._in_bf16:
            return self._bf16_wire
        return self.parameter_wire if node[1] - node[0] == 1 else self.sum_wire

    def accumulate(self, sums: Sums) -> None:
        if self.count == len(self.micro_batches):
            raise ValueError(
                f"rank {self.ranks.rank} has accumulated its {self.count} micro-batches; allowed: `step()`"
            )
        for name, parameter in zip(self.names, self.parameters, strict=True):
            _check_gradient(name, parameter)
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
        (number,) = (n for n, known in enumerate(self.parameters) if known is parameter)
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


def _check_gradient(name: str, parameter: torch.Tensor) -> None:
    gradient = parameter.grad
    if gradient is None:
        return
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


class _Step:
    """A step by all ranks."""

    def __init__(self, optimizer: ShardedOptimizer, plan: _Plan) -> None:
        self._optimizer = optimizer
        self._plan = plan
        self._ranks = plan.ranks

    def take(self) -> Any:
        plan = self._plan
        if not plan.agreed:
            agree(self._ranks, self._description(), self._broken_problem(), [])
            plan.agreed = True
        self._present = agree(
            self._ranks,
            self._settings(),
            self._broken_problem() or self._count_problem(),
            plan.present,
        )
        gradients = self._summed()
        report = self._look(gradients)
        if report is not None and not report[0]:
            return report
        plan.consolidated = None
        plan.broken = self._ranks.size > 1
        problem = self._take_own(gradients, 1.0 if report is None else report[1])
        self._spread(problem)
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

    def _broken_problem(self) -> str | None:
        if not self._plan.broken:
            return None
        return (
            "a step was broken off after some parameters were written; allowed: `load_state_dict`, of a state that "
            "was saved with its parameters"
        )

    def _count_problem(self) -> str | None:
        plan = self._plan
        if plan.count == len(plan.micro_batches):
            return None
        return (
            f"it has accumulated {plan.count} micro-batches; allowed: {len(plan.micro_batches)}, of "
            f"{self._optimizer.all_micro_batches} on {self._ranks.size} ranks"
        )

    def _summed(self) -> list[torch.Tensor | None]:
        """The gradient of each own piece; None where there is none."""
        plan, rank = self._plan, self._ranks.rank
        columns: dict[tuple[int, int], list[torch.Tensor]] = {}
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

    def _exchange(self, slot: int) -> dict[tuple[int, int], list[torch.Tensor]]:
        """What there is of the own pieces in the node of this number of each rank."""
        plan, rank = self._plan, self._ranks.rank
        nodes = [nodes[slot] if slot < len(nodes) else None for nodes in plan.nodes]
        sizes = [0 if node is None else plan.wire(node).sizes[rank] for node in nodes]
        own = nodes[rank]
        sent = torch.empty(0, dtype=torch.uint8) if own is None else plan.sent[slot]
        sent_sizes = [0] * len(nodes) if own is None else plan.wire(own).sizes
        received = self._ranks.exchange(sent, sent_sizes, sizes, "sums of gradients")
        return {
            node: plan.wire(node).views(part, rank)
            for node, part in zip(nodes, parts(received, sizes), strict=True)
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
        sent = plan.memory("parameters", _STATUS + max(wire.sizes))
        sent[0] = int(problem is not None)
        with torch.no_grad():
            flats = [flat(parameter) for parameter in plan.parameters]
            _copy(wire.views(sent[_STATUS:], ranks.rank), _views(flats, plan.own))
            rows = ranks.gather(sent, "parameters after a step")
            if problem is not None:
                raise problem
            failed = [rank for rank, status in enumerate(rows[:, 0].tolist()) if status]
            if failed:
                raise RuntimeError(
                    f"rank {failed[0]} has not taken its part of a step: its own error says why; allowed: "
                    "`load_state_dict`, of a state that was saved with its parameters"
                )
            for rank, row in enumerate(rows):
                if rank != ranks.rank:
                    _copy(_views(flats, plan.pieces[rank]), wire.views(row[_STATUS:], rank))


def _views(flats: list[torch.Tensor], pieces: list[Piece]) -> list[torch.Tensor]:
    return [flats[piece.parameter][piece.start : piece.stop] for piece in pieces]


def _copy(outs: list[torch.Tensor], values: list[torch.Tensor]) -> None:
    if outs:
        torch._foreach_copy_(outs, values)
