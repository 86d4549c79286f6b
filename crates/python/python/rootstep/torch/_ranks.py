"""What ranks tell each other. Each waits for the others no longer than the process group's time limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist

_Result = TypeVar("_Result")


class Ranks:
    """The ranks of a process group, or this process alone.

    Attributes:
        rank: the number of this process among them.
        size: how many there are.
    """

    def __init__(self, group: Any) -> None:
        """None is the group of all processes, or where there is none this process alone.

        Raises:
            ValueError: this process is not in the group.
        """
        self._group = group
        self.rank, self.size = 0, 1
        if group is None and not (dist.is_available() and dist.is_initialized()):
            return
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        if self.rank < 0:
            raise ValueError("`process_group` is one without this process; allowed: one with it")

    def gather(self, own: torch.Tensor, what: str) -> torch.Tensor:
        """The tensors of all ranks, which have one length: a row for each rank."""
        if self.size == 1:
            return own[None]
        sent = own.view(torch.uint8)
        found = torch.empty(self.size * sent.numel(), dtype=torch.uint8)
        self.gather_into(found, sent, what)
        return found.view(own.dtype).view(self.size, -1)

    def gather_into(self, found: torch.Tensor, sent: torch.Tensor, what: str) -> None:
        """Writes the bytes of all ranks, as many of each, one behind the other."""
        self._call(what, lambda: dist.all_gather_into_tensor(found, sent, self._group))

    def exchange(
        self,
        sent: torch.Tensor,
        sent_sizes: Sequence[int],
        received: torch.Tensor,
        received_sizes: Sequence[int],
        what: str,
    ) -> None:
        """Sends to each rank so many bytes, and receives so many from each."""
        self._call(
            what,
            lambda: dist.all_to_all_single(
                received, sent, list(received_sizes), list(sent_sizes), self._group
            ),
        )

    def objects(self, own: Any, what: str) -> list[Any]:
        """The objects of all ranks."""
        if self.size == 1:
            return [own]
        found: list[Any] = [None] * self.size
        self._call(what, lambda: dist.all_gather_object(found, own, self._group))
        return found

    def _call(self, what: str, call: Callable[[], _Result]) -> _Result:
        try:
            return call()
        except RuntimeError as error:
            raise RuntimeError(
                f"rank {self.rank} of {self.size} has not received {what}: another one has ended, or did not come within "
                f"the time limit of the process group. ({error})"
            ) from error
