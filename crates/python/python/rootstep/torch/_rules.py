"""The optimizers, each by its rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeVar

import torch
from torch.optim.optimizer import ParamsT

from rootstep.torch._optimizer import Options, RootstepOptimizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

_Class = TypeVar("_Class", bound=type[RootstepOptimizer])

_STEP = """
    In order, each operation rounded once (in float32 for bfloat16 and float16)::

        g = -g                               if maximize
        g = clip_norm / norm * g             if the norm of all gradients is above clip_norm
        g = copysign(clip_value, g)          if abs(g) > clip_value
        d = {gradient} + weight_decay * x
        m = momentum * m + (1 - dampening) * d, at first m = d
        u = m, or d + momentum * m           if nesterov; d without momentum
        x = x - lr * ({momentum} + decoupled_weight_decay * x)
"""

_ARGUMENTS = """
    Args:
        params: parameters, named parameters, or dictionaries of groups, as in torch.
        lr: the learning rate: 0 or more; a number, or a tensor of one element, whose value is read at each step.
{power}        momentum: in [0, 1); with 0 there is none.
        dampening: in [0, 1): how much less than all of a new gradient the momentum takes.
        weight_decay: the L2 weight decay, 0 or more.
        nesterov: Nesterov's momentum; it needs a momentum without dampening.
        maximize: ascends.
        decoupled_weight_decay: the weight decay beside the step, times the learning rate, 0 or more.
        clip_norm: the largest L2 norm of all gradients together; they are scaled down to it.
        clip_value: the largest magnitude of an element of a gradient.
        non_finite: "propagate", "skip" or "error": what happens if a gradient is NaN or infinite.
        momentum_dtype: None for float32 (float64 for parameters in float64), torch.bfloat16, or torch.int8 with a
            float32 for each 128 elements.
        storage: how parameters in bfloat16 and float16 are stored. "nearest": rounded to the nearest. "stochastic":
            rounded at random, by draws from the seed, the number of the step, the place of the tensor in the model
            and of the element in the tensor. "split16" and "split8", bfloat16 alone: with 16 or 8 bits more in
            the state, "low". "master": copies of float32 parameters that are in the state, "master".
        seed: that of the draws, from 0 to 2^64 - 1.
        foreach, fused: accepted, and without a meaning: there is one way to step.
        differentiable, capturable: False alone.

    Shapes: "momentum_buffer", "low" and "master" in the state have that of the parameter, "momentum_scale" has one
    element for each 128, "step" has none.

    Raises:
        ValueError, TypeError: a setting is not allowed; the message names it.
"""


_POWER = """        power: 0, 0.25, 0.5, 0.75 or 1.
"""

_EPSILON = """        epsilon: positive: about the magnitude below which the power is linear.
"""


def _documented(cls: _Class) -> _Class:
    gradient, momentum = cls._terms
    step = _STEP.format(gradient=gradient, momentum=momentum)
    own = {"power": _POWER, "epsilon": _EPSILON}.get(cls._own_setting or "", "")
    cls.__doc__ = f"{cls.__doc__}\n{step}{_ARGUMENTS.format(power=own)}"
    return cls


@_documented
class SGD(RootstepOptimizer):
    """Stochastic gradient descent, as `torch.optim.SGD` orders it; a state of that one can be loaded."""

    _power: ClassVar[float | None] = 1.0

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, lr, momentum, dampening, weight_decay, nesterov, **options)


@_documented
class SignSGD(RootstepOptimizer):
    """The sign of the gradient: power(g) is -1, 0 or 1.

    Source: Bernstein, Wang, Azizzadenesheli and Anandkumar, *signSGD* (ICML 2018).
    """

    _power: ClassVar[float | None] = 0.0
    _terms: ClassVar[tuple[str, str]] = ("power(g)", "u")

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, lr, momentum, dampening, weight_decay, nesterov, **options)


@_documented
class PbSGD(RootstepOptimizer):
    """pbSGD, and pbSGDM with a momentum: power(g) = sign(g) * |g|^power.

    Source: Zhou, Liu, Yuan et al., *pbSGD: Powered Stochastic Gradient Descent Methods for Accelerated Non-Convex
    Optimization* (IJCAI 2020).
    """

    _own_setting: ClassVar[str | None] = "power"
    _terms: ClassVar[tuple[str, str]] = ("power(g)", "u")

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        power: float = 0.5,
        **options: Unpack[Options],
    ) -> None:
        own = {"power": power}
        super().__init__(
            params, lr, momentum, dampening, weight_decay, nesterov, own=own, **options
        )


@_documented
class PowerStep(RootstepOptimizer):
    """PowerStep: power(u) = sign(u) * |u|^power, of the momentum.

    Source: Lu, Fan, Zhang and Tian, *PowerStep: Memory-Efficient Adaptive Optimization via lp-Norm Steepest Descent*
    (arXiv 2605.10335).
    """

    _power_of: ClassVar[str] = "momentum"
    _own_setting: ClassVar[str | None] = "power"
    _terms: ClassVar[tuple[str, str]] = ("g", "power(u)")

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor,
        momentum: float = 0.9,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        power: float = 0.5,
        **options: Unpack[Options],
    ) -> None:
        own = {"power": power}
        super().__init__(
            params, lr, momentum, dampening, weight_decay, nesterov, own=own, **options
        )


@_documented
class Stacey(RootstepOptimizer):
    """The smoothed square root: power(g) = g / sqrt(|g| + epsilon).

    Source: Luo et al., *Stacey: Promoting Stochastic Steepest Descent via Accelerated lp-Smooth Nonconvex
    Optimization* (ICML 2025), the step at p = 3.
    """

    _own_setting: ClassVar[str | None] = "epsilon"
    _terms: ClassVar[tuple[str, str]] = ("power(g)", "u")

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        epsilon: float = 1e-8,
        **options: Unpack[Options],
    ) -> None:
        own = {"epsilon": epsilon}
        super().__init__(
            params, lr, momentum, dampening, weight_decay, nesterov, own=own, **options
        )
