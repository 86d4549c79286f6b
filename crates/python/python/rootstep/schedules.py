"""Learning rates that change from step to step.

Each function makes a `Schedule`: called with the number of steps already taken it returns the rate.
Where PyTorch or optax has a schedule of the same name, the values are the same but for rounding; they
have the same bits on every machine. Behind its last step a schedule stays at its last value.

With torch, the rate of the optimizer is multiplied by the schedule's::

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedules.cosine(1.0, 0.0, 1000))

or, without a scheduler, ``group["lr"] = schedule(step)`` before each step.

Of all functions: rates are numbers, finite and not below 0, in the unit of the learning rate (or
factors of it); numbers of steps are ints, 1 or more. Anything else is a ValueError that names the
setting, or a TypeError.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, SupportsIndex

from rootstep._rootstep import Schedule as _Compiled

__all__ = [
    "Schedule",
    "constant",
    "cosine",
    "cosine_restarts",
    "exponential",
    "inverse_sqrt",
    "linear",
    "multi_step",
    "one_cycle",
    "piecewise",
    "polynomial",
    "sequence",
    "step",
]


class Schedule:
    """A learning rate for each step: what the functions of this module make.

    Schedules are equal if they are made of the same parts with the same settings. They can be copied
    and pickled.
    """

    # torch's LambdaLR saves and restores the `__dict__` of its functions: that of a schedule is empty. What
    # it is, is no state of a training.
    __slots__ = ("__dict__", "_arguments", "_compiled", "_name")

    _name: str
    _arguments: tuple[Any, ...]
    _compiled: _Compiled

    def __init__(self) -> None:
        raise TypeError("schedules are made by the functions of rootstep.schedules")

    def __call__(self, step: SupportsIndex, /) -> float:
        """The rate after ``step`` steps, the first being number 0.

        Raises:
            TypeError: ``step`` is no int.
            ValueError: ``step`` is below 0.
        """
        return self._compiled.at(step)

    def warm_up(self, start: float, steps: int) -> Schedule:
        """``steps`` steps from ``start`` to where this schedule begins, and then this one.

        The rate rises by the same amount in each.
        """
        return _made("warm_up", (self, start, steps))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Schedule):
            return NotImplemented
        return self._compiled == other._compiled

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        if self._name == "warm_up":
            before, start, steps = self._arguments
            return f"{before!r}.warm_up({start!r}, {steps!r})"
        return f"{self._name}({', '.join(map(repr, self._arguments))})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self._name, self._arguments)


def _made(name: str, arguments: tuple[Any, ...]) -> Schedule:
    schedule = object.__new__(Schedule)
    schedule._compiled = getattr(_Compiled, name)(*map(_compiled, arguments))
    schedule._name = name
    schedule._arguments = arguments
    return schedule


def _compiled(argument: Any) -> Any:
    """An argument as the compiled part takes it."""
    if isinstance(argument, Schedule):
        return argument._compiled
    if isinstance(argument, tuple):
        return type(argument)(map(_compiled, argument))
    return argument


def constant(rate: float) -> Schedule:
    """``rate`` at every step."""
    return _made("constant", (rate,))


def linear(start: float, end: float, steps: int) -> Schedule:
    """``start + (end - start) * step / steps``: optax's ``linear_schedule``."""
    return _made("linear", (start, end, steps))


def polynomial(start: float, end: float, steps: int, power: float) -> Schedule:
    """``end + (start - end) * (1 - step / steps)**power``: torch's ``PolynomialLR`` with ``end`` = 0.

    The power is finite and above 0. (optax: ``polynomial_schedule``.)
    """
    return _made("polynomial", (start, end, steps, power))


def step(start: float, factor: float, every: int) -> Schedule:
    """``start * factor**(step // every)``: torch's ``StepLR``. The factor is finite and above 0."""
    return _made("step", (start, factor, every))


def multi_step(start: float, factor: float, milestones: Iterable[int]) -> Schedule:
    """``start``, multiplied by ``factor`` at each of the milestones: torch's ``MultiStepLR``.

    The factor is finite and above 0, and the milestones, numbers of steps, rise.
    """
    return _made("multi_step", (start, factor, tuple(milestones)))


def piecewise(first: float, later: Iterable[tuple[int, float]]) -> Schedule:
    """``first``, and from each of the later steps on the rate beside it: ``[(step, rate), ..]``.

    The steps rise, from 1 on.
    """
    pairs = tuple((step, rate) for step, rate in later)
    return _made("piecewise", (first, pairs))


def exponential(start: float, factor: float) -> Schedule:
    """``start * factor**step``: torch's ``ExponentialLR``. The factor is finite and above 0."""
    return _made("exponential", (start, factor))


def cosine(start: float, end: float, steps: int) -> Schedule:
    """``end + (start - end) * (1 + cos(pi * step / steps)) / 2``, and then ``end``.

    Up to its last step torch's ``CosineAnnealingLR``; optax's ``cosine_decay_schedule``.

    Source: Loshchilov and Hutter, *SGDR: Stochastic Gradient Descent with Warm Restarts* (ICLR 2017).
    """
    return _made("cosine", (start, end, steps))


def cosine_restarts(start: float, end: float, period: int, growth: int = 1) -> Schedule:
    """`cosine` over ``period`` steps, begun anew for ever: torch's ``CosineAnnealingWarmRestarts``.

    Each period is ``growth`` times as long as the one before, 1 or more.

    Source: as `cosine`.
    """
    return _made("cosine_restarts", (start, end, period, growth))


def one_cycle(
    initial: float, peak: float, last: float, steps: int, warm_up_share: float = 0.3
) -> Schedule:
    """From ``initial`` to ``peak`` in a share of the steps and then to ``last``: torch's ``OneCycleLR``.

    Both by half a cosine. torch's defaults are ``peak / 25``, ``peak``, ``peak / 250_000`` and a share of
    0.3. The share leaves both ways two steps or more.

    Source: Smith and Topin, *Super-Convergence: Very Fast Training of Neural Networks Using Large
    Learning Rates* (2019).
    """
    return _made("one_cycle", (initial, peak, last, steps, warm_up_share))


def inverse_sqrt(start: float, shift: float) -> Schedule:
    """``start * sqrt(shift / (shift + step))``. The shift, in steps, is finite and above 0.

    With ``.warm_up(0.0, shift)`` it is the schedule of the transformer.

    Source: Vaswani et al., *Attention Is All You Need* (NeurIPS 2017).
    """
    return _made("inverse_sqrt", (start, shift))


def sequence(parts: Iterable[tuple[Schedule, int]], last: Schedule) -> Schedule:
    """Each part for its number of steps, begun at its own step 0, and then the last one.

    torch's ``SequentialLR``, optax's ``join_schedules``. There may be 4096 parts, those of sequences
    among them counted one by one.

    >>> from rootstep import schedules
    >>> schedule = schedules.sequence([(schedules.constant(0.1), 10)], schedules.constant(0.01))
    >>> schedule(9), schedule(10)
    (0.1, 0.01)
    """
    pairs = tuple((part, steps) for part, steps in parts)
    return _made("sequence", (pairs, last))
