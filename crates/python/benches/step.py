"""This package's step against torch's own, in one run: contenders take turns on the same tensors.

    python step.py                              # all, some minutes
    python step.py --sizes 1Ki 1000 --turns 51  # one tensor of 1,024 elements, and 1,000 tensors

A turn is as many steps as take two milliseconds, at least one. The first contender is the
opponent, torch's fused SGD in f32; each other's time is divided by the opponent's in the same turn,
so that a machine whose speed drifts slows them alike, and the order changes. Below 1, the contender
is faster. "again" is the opponent once more: how far its ratio is from 1 is the noise.

The parameters and gradients are the same tensors for all contenders; the momentum is each one's.
torch's SGD has no root, so SGD is compared with SGD; pbSGD and PowerStep, with their root, are
further rows.

torch's parallel loops leave idle threads that spin for some time on the cores that others want.
`--beside` has one such loop before each step, outside what is timed: as in a training, where the
step follows the backward pass.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from statistics import median

import torch
from torch import Tensor

import rootstep
from rootstep.torch import SGD, PbSGD, PowerStep

SIZES = ["1Ki", "16Ki", "256Ki", "1Mi", "4Mi", "32Mi", "1000"]
MANY = "1000"
UNITS = {"Ki": 2**10, "Mi": 2**20}
TURN = 2e-3
"""Seconds that a turn takes at least."""
BUDGET = 6.0
"""Seconds that a table may take, beyond which there are fewer turns; but at least FEWEST."""
FEWEST = 11

Contender = tuple[str, Callable[[], None]]


@dataclass(frozen=True)
class Timing:
    """Seconds per step, one for each turn."""

    name: str
    seconds: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--sizes", nargs="+", default=SIZES, help=f"elements (default: {' '.join(SIZES)})"
    )
    parser.add_argument(
        "--turns", type=int, default=201, help="turns (default: %(default)s, fewer if long)"
    )
    parser.add_argument("--threads", type=int, help="threads of torch (default: torch's)")
    parser.add_argument(
        "--beside", action="store_true", help="one parallel loop of torch before each step"
    )
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(
        f"{cpu()}; torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY', 'not set')}; "
        f"rootstep {rootstep.__version__}"
    )
    for size in arguments.sizes:
        for title, contenders in tables(size):
            timings = take_turns(contenders, arguments.turns, arguments.beside)
            print_table(title, timings)


def cpu() -> str:
    """The processor's name, family and model, as the system gives them."""
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return platform.processor() or platform.machine()
    lines = (line.split(":", 1) for line in information.read_text().splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in lines}
    numbers = (f"{name} {fields[name]}" for name in ("cpu family", "model") if name in fields)
    return ", ".join([fields.get("model name", platform.machine()), *numbers])


def tables(size: str) -> Iterator[tuple[str, list[Contender]]]:
    """The comparisons at a size: f32 without and with momentum, and bf16 beyond the caches."""
    for momentum in (0.0, 0.9):
        yield f"{size}, f32, momentum {momentum}", contenders_f32(size, momentum)
    if size == "32Mi":
        for momentum in (0.0, 0.9):
            yield f"{size}, bf16, momentum {momentum}", contenders_bf16(size, momentum)


def shapes(size: str) -> list[tuple[int, ...]]:
    """One tensor of a size, or the 1,000 of a transformer of width 32: a million elements."""
    if size != MANY:
        return [(int(size[:-2]) * UNITS[size[-2:]] if size[-2:] in UNITS else int(size),)]
    width = 32
    vector, wide = (width,), (4 * width,)
    attention = [vector, vector, (3 * width, width), (3 * width,), (width, width), vector]
    mlp = [vector, vector, (4 * width, width), wide, (width, 4 * width), vector]
    return [(256, width), *(attention + mlp) * 83, vector, vector, (256, width)]


def tensors(size: str, dtype: torch.dtype) -> list[Tensor]:
    """Parameters with gradients, the same at each call."""
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.randn(s, generator=generator).to(dtype) for s in shapes(size)]
    for parameter in parameters:
        parameter.requires_grad_()
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(dtype)
    return parameters


def contenders_f32(size: str, momentum: float) -> list[Contender]:
    """Ours against torch's, like with like, and the root."""
    parameters = tensors(size, torch.float32)
    options = {"lr": 1e-6, "momentum": momentum}
    root = PowerStep if momentum else PbSGD
    return [
        ("torch SGD fused", torch.optim.SGD(parameters, fused=True, **options).step),
        ("torch SGD fused, again", torch.optim.SGD(parameters, fused=True, **options).step),
        ("torch SGD foreach", torch.optim.SGD(parameters, foreach=True, **options).step),
        ("rootstep SGD", SGD(parameters, **options).step),
        (f"rootstep {root.__name__}", root(parameters, **options).step),
    ]


def contenders_bf16(size: str, momentum: float) -> list[Contender]:
    """Parameters and gradients in bf16, against torch's step in f32."""
    full, half = tensors(size, torch.float32), tensors(size, torch.bfloat16)
    options = {"lr": 1e-6, "momentum": momentum}
    root = PowerStep if momentum else PbSGD
    contenders: list[Contender] = [
        ("torch SGD fused f32", torch.optim.SGD(full, fused=True, **options).step),
        ("torch SGD fused f32, again", torch.optim.SGD(full, fused=True, **options).step),
        ("torch SGD fused bf16", torch.optim.SGD(half, fused=True, **options).step),
        ("rootstep SGD bf16", SGD(half, **options).step),
        (f"rootstep {root.__name__} bf16", root(half, **options).step),
    ]
    lean = {**options, "momentum_dtype": torch.bfloat16} if momentum else options
    if momentum:
        contenders.append(("rootstep SGD bf16, momentum in bf16", SGD(half, **lean).step))
    contenders.append(
        ("rootstep SGD bf16 stochastic", SGD(half, storage="stochastic", **lean).step)
    )
    return contenders


def take_turns(contenders: Sequence[Contender], turns: int, beside: bool) -> list[Timing]:
    """Times the contenders turn by turn, in another order each time."""
    order, shuffle = list(range(len(contenders))), Random(0).shuffle
    loop = partial(torch.add, torch.zeros(2**20), 1.0, out=torch.zeros(2**20)) if beside else None
    timings = [Timing(name, []) for name, _ in contenders]
    for _, step in contenders:  # State is made, memory is touched.
        turn(step, 3, loop)
    counts = [max(1, round(TURN / turn(step, 3, loop))) for _, step in contenders]
    lengths = [
        count * turn(step, count, loop) for count, (_, step) in zip(counts, contenders, strict=True)
    ]
    turns = min(turns, max(FEWEST, int(BUDGET / sum(lengths))))
    for _ in range(turns):
        shuffle(order)
        for i in order:
            if counts[i] > 1:
                turn(contenders[i][1], 1, loop)  # What fits into the caches is there.
            timings[i].seconds.append(turn(contenders[i][1], counts[i], loop))
    return timings


def turn(step: Callable[[], None], count: int, loop: Callable[[], object] | None) -> float:
    """Seconds per step, of so many."""
    if loop is None:
        start = time.perf_counter()
        for _ in range(count):
            step()
        return (time.perf_counter() - start) / count
    seconds = 0.0
    for _ in range(count):
        loop()
        start = time.perf_counter()
        step()
        seconds += time.perf_counter() - start
    return seconds / count


def print_table(title: str, timings: Sequence[Timing]) -> None:
    """Times in microseconds, and ratios to the first row."""
    opponent = timings[0].seconds
    print(f"\n{title}; {len(opponent)} turns")
    print(f"{'':<40} {'best µs':>10} {'median µs':>10} {'ratio':>6} {'of best':>7}")
    for timing in timings:
        ratio = median(a / b for a, b in zip(timing.seconds, opponent, strict=True))
        of_best = min(timing.seconds) / min(opponent)
        best, middle = min(timing.seconds) * 1e6, median(timing.seconds) * 1e6
        print(
            f"{timing.name:<40} {best:>10.1f} {middle:>10.1f} {ratio:>6.2f} {of_best:>7.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
