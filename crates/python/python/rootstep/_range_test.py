"""The range test of the learning rate."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, SupportsFloat

from rootstep import _rootstep


class RangePoint(NamedTuple):
    """A step of a range test."""

    rate: float
    """The learning rate."""
    loss: float
    """The loss before the step."""
    smoothed: float
    """The exponential average of the losses up to here, without bias."""


class RangeTest(NamedTuple):
    """The history of a `range_test`, and the rates that it suggests.

    The first points, a tenth of the steps asked for, and the last five suggest nothing. Nor does a
    loss that never falls: a suggestion is None then.
    """

    points: tuple[RangePoint, ...]
    """All steps, in their order."""
    diverged: bool
    """Whether the test ended because the loss had exploded."""
    steepest: float | None
    """The rate at which the smoothed loss falls fastest over the logarithm of the rate."""
    minimum_tenth: float | None
    """A tenth of the rate at which the smoothed loss is lowest."""
    valley: float | None
    """The rate in the middle of the longest valley of the smoothed loss."""

    def plot(self, ax: Any = None) -> Any:
        """Draws the losses over the rates, and the suggestions as lines.

        Args:
            ax: the ``Axes`` of matplotlib that is drawn into; by default those of a new figure.

        Returns:
            The ``Axes``. (``ax.figure.savefig("range-test.svg")`` writes a file.)

        Raises:
            ImportError: matplotlib is not installed.
        """
        if ax is None:
            _, ax = _pyplot().subplots()
        rates = [point.rate for point in self.points]
        ax.plot(rates, [point.loss for point in self.points], color="0.8", label="loss")
        ax.plot(rates, [point.smoothed for point in self.points], color="C0", label="smoothed")
        suggestions = ("steepest", "minimum_tenth", "valley")
        for color, name in zip(("C1", "C2", "C3"), suggestions, strict=True):
            rate = getattr(self, name)
            if rate is not None:
                label = f"{name.replace('_', ' ')}: {rate:.2g}"
                ax.axvline(rate, color=color, linestyle="--", label=label)
        ax.set_xscale("log")
        ax.set_xlabel("learning rate")
        ax.set_ylabel("loss")
        ax.legend()
        return ax


def range_test(
    train: Callable[[float], SupportsFloat],
    low: float = 1e-7,
    high: float = 10.0,
    steps: int = 100,
    *,
    smoothing: float = 0.98,
    divergence: float = 4.0,
    restore: Iterable[Any] = (),
) -> RangeTest:
    """Trains with a learning rate that grows from step to step, and watches the loss.

    Below the useful rates the loss stands still, then it falls, then it explodes. The test ends when
    the smoothed loss is more than ``divergence`` times its lowest, or not finite.

    Args:
        train: takes one step with the learning rate that it is given, and returns the loss before
            the step: a number, or a tensor of one element. What it raises goes through unchanged.
        low: the first rate, above 0.
        high: the last rate, above ``low``. The ratio of a rate to the one before is always the same.
        steps: how many rates, from 2 to 1,000,000.
        smoothing: the share of the old average in the smoothed loss, within [0, 1).
        divergence: a finite number above 1.
        restore: what has ``state_dict`` and ``load_state_dict``, such as a model and an optimizer of
            torch. Each is in the state of before when the test has ended, be it by an exception.
            (Gradients and generators of random numbers are in no such state.)

    Raises:
        ValueError: a setting is not allowed.
        TypeError: ``train`` returned something that is no number.

    Source: L. N. Smith, *Cyclical Learning Rates for Training Neural Networks* (WACV 2017); the
    smoothing, the stop and the suggestions are those of fastai's ``lr_find``.

    >>> import rootstep
    >>> x = 1.0
    >>> def train(lr):
    ...     global x
    ...     loss = x * x
    ...     x -= lr * 2.0 * x
    ...     return loss
    >>> found = rootstep.range_test(train, 1e-4, 10.0, 100)
    >>> found.diverged, 1e-3 < found.steepest < 1.0
    (True, True)
    """
    with _restored(list(restore)):
        found = _rootstep.range_test(train, low, high, steps, smoothing, divergence)
    points, diverged, steepest, minimum_tenth, valley = found
    history = tuple(RangePoint(*point) for point in points)
    return RangeTest(history, diverged, steepest, minimum_tenth, valley)


@contextmanager
def _restored(objects: list[Any]) -> Iterator[None]:
    # The tensors in a `state_dict` are those of the object itself.
    states = [copy.deepcopy(each.state_dict()) for each in objects]
    try:
        yield
    finally:
        for each, state in zip(objects, states, strict=True):
            each.load_state_dict(state)


def _pyplot() -> Any:
    try:
        return importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        message = "plot needs matplotlib: install `matplotlib`, or `rootstep[plot]`"
        raise ImportError(message) from error
