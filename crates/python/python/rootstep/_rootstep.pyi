from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

__version__: str

def levels() -> list[str]: ...
def level() -> str: ...
def set_level(name: str | None) -> str | None: ...

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
    ) -> (
        tuple[
            bool,
            float,
            tuple[int, float, float, int, int, int, int, tuple[int, int] | None],
        ]
        | None
    ): ...

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
