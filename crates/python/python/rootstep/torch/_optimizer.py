"""What the optimizers have in common."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any, ClassVar, NamedTuple, TypedDict

import torch
from torch.optim import optimizer as _base
from torch.optim.optimizer import Optimizer, ParamsT

from rootstep._arrays import Inspection
from rootstep._rootstep import Stepper
from rootstep.torch._parts import Shards, has_shards, numbers

_BLOCK = 128
"""The elements that share a scale in int8 momentum."""


class StepReport(NamedTuple):
    """What a step did."""

    taken: bool
    """False if the gradients were not finite and `non_finite="skip"`."""
    clip_factor: float
    """What `clip_norm` multiplied the gradients by."""
    inspection: Inspection | None
    """What was found in the gradients before clipping; they are numbered among those that are not None, their elements
    in the order of memory. None if neither `clip_norm` nor `non_finite` needs one."""


_PLAIN = StepReport(taken=True, clip_factor=1.0, inspection=None)


class Kept:
    """A tensor that `load_state_dict` of torch does not cast to the type of its parameter."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


class Options(TypedDict, total=False):
    """The arguments that the optimizers have by keyword alone."""

    maximize: bool
    decoupled_weight_decay: float
    clip_norm: float | None
    clip_value: float | None
    non_finite: str
    momentum_dtype: torch.dtype | None
    storage: str
    seed: int
    foreach: bool | None
    fused: bool | None
    differentiable: bool
    capturable: bool


class RootstepOptimizer(Optimizer):
    """The base of the optimizers: what `SGD`, `SignSGD`, `PbSGD`, `PowerStep` and `Stacey` have in common.

    Attributes:
        clip_norm: if the L2 norm of all gradients together is above this, they are multiplied by `clip_norm / norm`.
            Unlike `clip_grad_norm_` of torch, nothing is added to the norm, and no gradient is written.
        clip_value: the largest magnitude that an element of a gradient keeps, after `clip_norm`.
        non_finite: what happens if a gradient is NaN or infinite. "propagate": the step is taken; "skip": it is not
            taken, and `last_report.taken` is False; "error": `FloatingPointError`, which names the element.
        last_report: what the last step did.

    These settings are of the whole optimizer; all others are of `param_groups`, and are read at each step.

    Tensors are changed in place, and nothing is copied: while a step runs, no other thread may change, resize or free
    the parameters, the gradients and the state.

    Threads: models of more than a quarter of a million elements are stepped by torch's own threads, as many as
    `torch.get_num_threads()` says. The bits do not depend on it. In a process that is forked after this package was
    imported the calling thread works alone.
    """

    _power_of: ClassVar[str] = "gradient"
    _power: ClassVar[float | None] = None
    """None where each group has its own."""
    _own_setting: ClassVar[str | None] = None
    _terms: ClassVar[tuple[str, str]] = ("g", "u")
    """For the documentation."""

    clip_norm: float | None
    clip_value: float | None
    non_finite: str
    last_report: StepReport | None

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor,
        momentum: float,
        dampening: float,
        weight_decay: float,
        nesterov: bool,
        *,
        own: dict[str, Any] | None = None,
        maximize: bool = False,
        decoupled_weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        non_finite: str = "propagate",
        momentum_dtype: torch.dtype | None = None,
        storage: str = "nearest",
        seed: int = 0,
        foreach: bool | None = None,
        fused: bool | None = None,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        settings = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            **(own or {}),
            "maximize": maximize,
            "decoupled_weight_decay": decoupled_weight_decay,
            "momentum_dtype": momentum_dtype,
            "storage": storage,
            "seed": seed,
            "foreach": foreach,
            "fused": fused,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.non_finite = non_finite
        self.last_report = None
        self._make_stepper()
        # Checks the limits.
        self._stepper.step([], {}, clip_norm, clip_value, non_finite)
        super().__init__(params, settings)

    def _make_stepper(self) -> None:
        self._has_shards = False
        self._stepper = Stepper(torch, begin, self._power_of, self._power)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes a step on all parameters that have a gradient.

        Args:
            closure: evaluates the model again and returns the loss; it is called with gradients enabled.

        Returns:
            What the closure returned, or None.

        Raises:
            ValueError: a setting is out of its range, or a tensor is on another device, has other strides than its
                parameter, or has memory in common with another one.
            TypeError: a tensor or a setting is of another type.
            FloatingPointError: a gradient is not finite, and `non_finite="error"`.
            RuntimeError: another thread is taking a step of this optimizer.

        The message names the parameter and what is allowed. Nothing has been written then.
        """
        if (
            _base._global_optimizer_pre_hooks
            or _base._global_optimizer_post_hooks
            or self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or torch._C._autograd._profiler_enabled()
        ):
            return self._step_with_hooks(closure)
        return self._take(closure)

    # So torch leaves the method as it is: its wrapper would open a record of the profiler at each step.
    step.hooked = True  # type: ignore[attr-defined]

    def _step_with_hooks(self, closure: Callable[[], Any] | None) -> Any:
        args: tuple[Any, ...] = (self,) if closure is None else (self, closure)
        kwargs: dict[str, Any] = {}
        name = f"Optimizer.step#{type(self).__name__}.step"
        with torch.autograd.profiler.record_function(name):
            for before in chain(
                _base._global_optimizer_pre_hooks.values(), self._optimizer_step_pre_hooks.values()
            ):
                changed = before(self, args, kwargs)
                if changed is None:
                    continue
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(
                        f"a hook before the step returned {changed!r}; allowed: None, or a tuple of "
                        "(new_args, new_kwargs)"
                    )
                args, kwargs = changed
            loss = self._take(*args[1:], **kwargs)
            self._optimizer_step_code()
            for after in chain(
                self._optimizer_step_post_hooks.values(),
                _base._global_optimizer_post_hooks.values(),
            ):
                after(self, args, kwargs)
        return loss

    def _take(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        found = self._step_all()
        self.last_report = (
            _PLAIN if found is None else StepReport(found[0], found[1], Inspection(*found[2]))
        )
        return loss

    def _step_all(self) -> Any:
        limits = (self.clip_norm, self.clip_value, self.non_finite)
        groups, state = self.param_groups, self.state
        # That there are shards is found out by the error: it takes no time of others.
        if not self._has_shards:
            try:
                return self._stepper.step(groups, state, *limits, numbers(groups))
            except (TypeError, ValueError):
                self._has_shards = has_shards(groups)
                if not self._has_shards:
                    raise
        # They concern all gradients, and each rank has a part: it would do what others do not.
        if self.clip_norm is not None or self.non_finite != "propagate":
            raise ValueError(
                f"`clip_norm` is {self.clip_norm} and `non_finite` is {self.non_finite!r}; allowed with parameters "
                'that are a DTensor: None and "propagate", and `torch.nn.utils.clip_grad_norm_` before the step'
            )
        shards = Shards(groups, state)
        found = self._stepper.step(shards.groups, shards.state, *limits, shards.places)
        shards.keep()
        return found

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in torch. A group with a setting that is not allowed is not added.

        Raises:
            ValueError, TypeError: as in torch; or a setting is not allowed, and the message names it.
        """
        super().add_param_group(param_group)
        try:
            self._stepper.check(self.param_groups[-1], len(self.param_groups) - 1)
        except BaseException:
            self.param_groups.pop()
            raise

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As in torch, but each tensor keeps its own type, and is copied.

        A momentum in bfloat16 or float16 becomes the float32 that this optimizer has, which is exact, unless the
        group's `momentum_dtype` is what it has. Settings that the state does not have, such as those of a state of
        `torch.optim.SGD`, are the defaults of this optimizer.
        """
        last = self.register_load_state_dict_pre_hook(_keep_types)
        try:
            super().load_state_dict(state_dict)
        finally:
            last.remove()

    def __getstate__(self) -> dict[str, Any]:
        own = ("clip_norm", "clip_value", "non_finite", "last_report")
        state: dict[str, Any] = super().__getstate__()
        return {**state, **{name: getattr(self, name) for name in own}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_stepper" not in self.__dict__:
            self._make_stepper()
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)
            for parameter in group["params"]:
                if parameter in self.state:
                    self._load(parameter, group)

    def _load(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        """Makes the state of a parameter this optimizer's own: as it comes, it belongs to who gave it."""
        self.state[parameter] = _unpack(parameter, self.state[parameter], group)


def _keep_types(optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    def keep(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return Kept(value)
        if isinstance(value, dict):
            return {name: keep(inner) for name, inner in value.items()}
        return value

    return {**state_dict, "state": {key: keep(value) for key, value in state_dict["state"].items()}}


def _unpack(parameter: torch.Tensor, value: Any, group: dict[str, Any], name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _unpack(parameter, inner, group, key) for key, inner in value.items()}
    if not isinstance(value, Kept):
        return value
    tensor = value.tensor.detach()
    dtype = loaded_dtype(tensor, group, name)
    return tensor.to(device=parameter.device, dtype=dtype, copy=True)


def loaded_dtype(tensor: torch.Tensor, group: dict[str, Any], name: str) -> torch.dtype:
    """What a tensor of a loaded state becomes."""
    dtype = tensor.dtype
    narrow = dtype in (torch.bfloat16, torch.float16)
    if name == "momentum_buffer" and narrow and group["momentum_dtype"] is None:
        dtype = torch.float32
    return dtype


def begin(parameter: torch.Tensor, what: str) -> torch.Tensor:
    """What a tensor of the state begins with."""
    parameter = parameter.detach()
    if what == "full":
        double = parameter.dtype == torch.float64
        return torch.empty_like(parameter, dtype=torch.float64 if double else torch.float32)
    if what == "bfloat16":
        return torch.empty_like(parameter, dtype=torch.bfloat16)
    if what == "int8":
        return torch.empty_like(parameter, dtype=torch.int8)
    if what == "scale":
        blocks = -(-parameter.numel() // _BLOCK)
        return torch.empty(blocks, dtype=torch.float32, device="cpu")
    if what == "split16":
        return torch.zeros_like(parameter, dtype=torch.int16)
    if what == "split8":
        return torch.zeros_like(parameter, dtype=torch.int8)
    if what == "master":
        return parameter.to(torch.float32, copy=True)
    return torch.zeros((), dtype=torch.int64, device="cpu")
