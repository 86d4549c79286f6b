# The compiled part: private. What it is given has been prepared by the modules beside it.

from collections.abc import Callable
from types import ModuleType
from typing import Any, SupportsIndex, TypeAlias

import torch
from numpy.typing import NDArray

__version__: str

_Findings: TypeAlias = tuple[int, float, float, int, int, int, int, tuple[int, int] | None]
_Report: TypeAlias = tuple[bool, float, _Findings]

def signed_sqrt(x: NDArray[Any], out: NDArray[Any]) -> None: ...
def descend(x: NDArray[Any], g: NDArray[Any], lr: float, out: NDArray[Any]) -> None: ...
def axpy(alpha: float, x: NDArray[Any], y: NDArray[Any], out: NDArray[Any]) -> None: ...
def inspect(gradients: list[NDArray[Any]]) -> _Findings: ...
def levels() -> list[str]: ...
def set_level(name: str | None) -> str | None: ...
def level() -> str: ...
def threads() -> int: ...
def results(operation: str, format_name: str) -> bytes: ...
def range_test(
    train: Callable[[float], Any],
    low: float,
    high: float,
    steps: int,
    smoothing: float,
    divergence: float,
) -> tuple[list[tuple[float, float, float]], bool, float | None, float | None, float | None]: ...
def _reference(operation: str, format_name: str, a: int, b: int, scalar: float) -> int: ...
def _reference_inspect(format_name: str, gradients: list[list[int]]) -> _Findings: ...

class Schedule:
    @staticmethod
    def constant(rate: float) -> Schedule: ...
    @staticmethod
    def linear(start: float, end: float, steps: int) -> Schedule: ...
    @staticmethod
    def polynomial(start: float, end: float, steps: int, power: float) -> Schedule: ...
    @staticmethod
    def step(start: float, factor: float, every: int) -> Schedule: ...
    @staticmethod
    def multi_step(start: float, factor: float, milestones: list[int]) -> Schedule: ...
    @staticmethod
    def piecewise(first: float, later: list[tuple[int, float]]) -> Schedule: ...
    @staticmethod
    def exponential(start: float, factor: float) -> Schedule: ...
    @staticmethod
    def cosine(start: float, end: float, steps: int) -> Schedule: ...
    @staticmethod
    def cosine_restarts(start: float, end: float, period: int, growth: int) -> Schedule: ...
    @staticmethod
    def one_cycle(
        initial: float, peak: float, last: float, steps: int, warm_up_share: float
    ) -> Schedule: ...
    @staticmethod
    def inverse_sqrt(start: float, shift: float) -> Schedule: ...
    @staticmethod
    def sequence(parts: list[tuple[Schedule, int]], last: Schedule) -> Schedule: ...
    def warm_up(self, start: float, steps: int) -> Schedule: ...
    def at(self, step: SupportsIndex) -> float: ...

class Stepper:
    def __init__(
        self,
        torch: ModuleType,
        begin: Callable[[torch.Tensor, str], torch.Tensor],
        power_of: str,
        power: float | None,
        exchange: bool = True,
    ) -> None: ...
    def check(self, group: dict[str, Any], index: int) -> None: ...
    def step(
        self,
        groups: list[dict[str, Any]],
        state: dict[torch.Tensor, Any],
        clip_norm: float | None,
        clip_value: float | None,
        non_finite: str,
        places: list[tuple[int, int]] | None = None,
        gradients: list[torch.Tensor | None] | None = None,
        factor: float | None = None,
    ) -> _Report | None: ...

_Part: TypeAlias = tuple[_Findings, list[float]]

def nodes(micro_batches: int, start: int, end: int) -> list[tuple[int, int]]: ...
def shard_elements() -> int: ...
def whole(
    ranks: list[list[_Part]], scales: tuple[float, float]
) -> tuple[_Findings, tuple[float, float]]: ...
def decide(
    clip_norm: float | None,
    clip_value: float | None,
    non_finite: str,
    found: _Findings,
    single: bool,
    shown: str,
    label: str,
) -> _Report: ...

class Sums:
    def __init__(self, torch: ModuleType, exchange: bool = True) -> None: ...
    def add(
        self,
        micro_batches: int,
        nodes: list[tuple[int, int]],
        in_bf16: bool,
        terms: list[list[torch.Tensor]],
        outs: list[torch.Tensor],
    ) -> None: ...
    def inspect(self, parts: list[torch.Tensor], scales: tuple[float, float]) -> list[_Part]: ...

def reference_step(
    torch: ModuleType,
    settings: dict[str, Any],
    tensors: list[torch.Tensor | None],
    power_of: str,
    power: float | None,
    first: bool,
    draws: tuple[int, int],
    limits: tuple[float, float | None],
) -> None: ...
