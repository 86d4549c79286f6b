"""What the examples share: optimizers over learning rates and seeds, as a table and a plot.

An optimizer that looks better at one learning rate may only like that rate. So each contender
trains at every rate of one grid, from several seeds; its best rate is chosen on validation data,
and its result is what that rate gives on test data. The table also says how wide the range of good
rates is: the wider, the less there is to search for.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import torch

Train = Callable[..., "Scores"]
"""Trains once: `train(contender, rate, seed, **settings)`."""


@dataclass(frozen=True)
class Scores:
    """What one training reached, in the units of the measure."""

    validation: float
    test: float


@dataclass(frozen=True)
class Measure:
    """How trainings are judged."""

    name: str
    higher_is_better: bool
    margin: float
    """How far from the best score of all contenders that of a good rate may be."""
    digits: int

    def best(self, values: Iterable[float]) -> float:
        """The best of the values."""
        return max(values) if self.higher_is_better else min(values)

    def is_good(self, value: float, best: float) -> bool:
        """Whether a value is within the margin of the best."""
        return abs(value - best) <= self.margin


@dataclass(frozen=True)
class Row:
    """What became of one contender."""

    contender: str
    best_rate: float
    test: Sequence[float]
    """The test scores at the best rate, one per seed."""
    good: Sequence[float]
    """The good rates around the best one, without a gap; none if the best is not good."""


@dataclass(frozen=True)
class Comparison:
    """The scores of each contender at each rate, one per seed."""

    measure: Measure
    rates: Sequence[float]
    scores: Mapping[str, Sequence[Sequence[Scores]]]

    def curve(self, contender: str) -> list[float]:
        """The validation score at each rate, the mean over the seeds."""
        return [fmean(s.validation for s in seeds) for seeds in self.scores[contender]]

    def rows(self) -> list[Row]:
        """A row for each contender, in their order."""
        best_of_all = self.measure.best(v for name in self.scores for v in self.curve(name))
        return [self._row(name, best_of_all) for name in self.scores]

    def _row(self, name: str, best_of_all: float) -> Row:
        curve = self.curve(name)
        at = curve.index(self.measure.best(curve))
        first, last = at, at
        while first > 0 and self.measure.is_good(curve[first - 1], best_of_all):
            first -= 1
        while last + 1 < len(curve) and self.measure.is_good(curve[last + 1], best_of_all):
            last += 1
        good = self.rates[first : last + 1] if self.measure.is_good(curve[at], best_of_all) else []
        return Row(name, self.rates[at], [s.test for s in self.scores[name][at]], good)

    def table(self) -> str:
        """The rows in Markdown."""
        digits = self.measure.digits
        lines = [
            f"| optimizer | best rate | test {self.measure.name} | good rates | factor |",
            "|---|---|---|---|---|",
        ]
        for row in self.rows():
            spread = f" ± {stdev(row.test):.{digits}f}" if len(row.test) > 1 else ""
            good, factor = "none", ""
            if row.good:
                good = f"{row.good[0]:.2g} to {row.good[-1]:.2g}"
                factor = f"× {row.good[-1] / row.good[0]:.2g}"
            score = f"{fmean(row.test):.{digits}f}{spread}"
            lines.append(f"| {row.contender} | {row.best_rate:.2g} | {score} | {good} | {factor} |")
        return "\n".join(lines)

    def plot(self, path: str, title: str, limits: tuple[float, float]) -> None:
        """Draws the validation scores over the rates, with the range of the seeds, into a file."""
        import matplotlib

        matplotlib.use("svg")
        from matplotlib import pyplot

        # Text stays text; without dates and random names, the same scores give the same file.
        pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "rootstep"})
        figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
        for name, at_rates in self.scores.items():
            values = [[clamp(s.validation, limits) for s in seeds] for seeds in at_rates]
            (line,) = axes.plot(
                self.rates, [fmean(v) for v in values], marker="o", ms=3, label=name
            )
            low, high = [min(v) for v in values], [max(v) for v in values]
            axes.fill_between(self.rates, low, high, color=line.get_color(), alpha=0.15, lw=0)
        axes.set(xscale="log", ylim=limits, title=title)
        axes.set(xlabel="learning rate", ylabel=f"validation {self.measure.name}")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)


def clamp(value: float, limits: tuple[float, float]) -> float:
    """The value, or the nearer limit: infinite losses have a place in the plot."""
    return min(max(value, limits[0]), limits[1])


def grid(lowest: int, highest: int, per_decade: int = 2) -> list[float]:
    """The rates 10^lowest to 10^highest in equal factors."""
    return [10 ** (k / per_decade) for k in range(lowest * per_decade, highest * per_decade + 1)]


def compare(
    train: Train,
    measure: Measure,
    contenders: Sequence[str],
    rates: Sequence[float],
    seeds: int,
    processes: int,
    **settings: Any,
) -> Comparison:
    """Trains each contender at each rate from each seed, in so many processes of one thread.

    Networks this small gain nothing from several threads, and much from several at a time.
    """
    tasks = [
        (train, (name, r, s), settings) for name in contenders for r in rates for s in range(seeds)
    ]
    if processes == 1:
        one_thread()
        results = [run(task) for task in tasks]
    else:
        context = multiprocessing.get_context("spawn")
        with context.Pool(processes, initializer=one_thread) as pool:
            results = pool.map(run, tasks, chunksize=1)
    left = iter(results)
    scores = {name: [[next(left) for _ in range(seeds)] for _ in rates] for name in contenders}
    return Comparison(measure, rates, scores)


def one_thread() -> None:
    """Makes this process compute on one thread, and always the same."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def run(task: tuple[Train, tuple[str, float, int], dict[str, Any]]) -> Scores:
    """One training. A loss that is no number is the worst loss."""
    train, arguments, settings = task
    scores = train(*arguments, **settings)
    return scores if math.isfinite(scores.validation) else Scores(math.inf, math.inf)


def command_line(description: str | None, plot: str) -> argparse.ArgumentParser:
    """The options that the examples have in common."""
    first_line = (description or "").partition("\n")[0]
    parser = argparse.ArgumentParser(description=first_line)
    parser.add_argument(
        "--quick", action="store_true", help="a test of some seconds: few rates and steps"
    )
    parser.add_argument("--seeds", type=int, help="trainings at each rate")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time (default: 2)")
    parser.add_argument("--plot", default=plot, help="the plot to write (default: %(default)s)")
    return parser
