"""Training by several processes, with the bits of one: sums of gradients in a fixed order, and sharded state.

Needs a process group of `torch.distributed` for the memory of the CPU, such as gloo. Without one this process is the
only rank.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch.optim.optimizer import ParamsT

from rootstep import _rootstep
from rootstep._rootstep import Stepper, Sums
from rootstep.torch._optimizer import RootstepOptimizer, begin
from rootstep.torch._plan import Plan
from rootstep.torch._ranks import Ranks
from rootstep.torch._shared_step import SharedStep
from rootstep.torch._whole import Share, gathered, joined

__all__ = ["ShardedOptimizer"]


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
        self._plan: Plan | None = None
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

    def _planned(self) -> Plan:
        """What follows from the parameters. Ranks have the same, or find out when they agree."""
        if self._plan is None:
            self._plan = self._new_plan()
        return self._plan

    def _new_plan(self) -> Plan:
        return Plan(self.param_groups, self._ranks, self._nodes, self._in_bf16)

    def _step_all(self) -> Any:
        plan = self._planned()
        try:
            return SharedStep(self, plan).take()
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
        self._plan = self._new_plan()
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
