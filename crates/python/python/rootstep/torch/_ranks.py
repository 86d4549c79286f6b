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
        """A few numbers of all ranks, as many of each: a row for each rank."""
        if self.size == 1:
            return own[None]
        sent = own.view(torch.uint8)
        found = torch.empty(self.size * sent.numel(), dtype=torch.uint8)
        self._call(what, lambda: dist.all_gather_into_tensor(found, sent, self._group))
        return found.view(own.dtype).view(self.size, -1)

    def exchange(
        self, sent: Sequence[torch.Tensor], received: Sequence[torch.Tensor], what: str
    ) -> None:
        """Sends bytes to each other rank, and receives some from each. None are sent where there are none to receive.

        By messages from one to another: gloo's own `all_to_all` and `all_gather` take several times as long.
        """

        def call() -> None:
            operations = []
            for distance in range(1, self.size):
                to, source = (self.rank + distance) % self.size, (self.rank - distance) % self.size
                if sent[to].numel() > 0:
                    operations.append(
                        dist.P2POp(dist.isend, sent[to], self._global(to), self._group)
                    )
                if received[source].numel() > 0:
                    operations.append(
                        dist.P2POp(dist.irecv, received[source], self._global(source), self._group)
                    )
            for work in dist.batch_isend_irecv(operations) if operations else []:
                work.wait()

        self._call(what, call)

    def _global(self, rank: int) -> int:
        """The number of a rank among all processes."""
        return rank if self._group is None else dist.get_global_rank(self._group, rank)

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
