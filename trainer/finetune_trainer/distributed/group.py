"""The processes that train together: this one's rank, and the values they exchange. A single process exchanges with
itself.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, Literal

import torch
import torch.distributed as dist

# The server finds a rank that hangs (no progress), the launcher one that dies; until then a long timeout does no harm.
GROUP_TIMEOUT = timedelta(hours=25)


class Group:
    """The processes of one training. All of them must call every method except `main` at the same point, or they wait
    forever.
    """

    def __init__(self, rank: int = 0, size: int = 1, sharded: bool = False) -> None:
        self.rank, self.size, self.sharded = rank, size, sharded
        # Exchanges use the CPU, whatever carries the gradients: no GPU memory, and no GPU work in between.
        self._channel = dist.new_group(backend="gloo", timeout=GROUP_TIMEOUT) if size > 1 else None

    @property
    def main(self) -> bool:
        """Whether this process talks to the server: only rank 0 does."""
        return self.rank == 0

    def share(self, value: Any = None) -> Any:
        """Rank 0's value, on every rank. Plain Python values only."""
        if self._channel is None:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._channel)
        return box[0]

    def reduce(self, values: list[float], how: Literal["sum", "max"] = "sum") -> list[float]:
        """Sums or maxima of numbers over the ranks, in float64, the same on every rank."""
        if self._channel is None:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, dist.ReduceOp.SUM if how == "sum" else dist.ReduceOp.MAX, group=self._channel)
        return tensor.tolist()

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks by rank, on rank 0; an empty list on the others."""
        if self._channel is None:
            return [value]
        found: list[Any] | None = [None] * self.size if self.main else None
        dist.gather_object(value, found, dst=0, group=self._channel)
        return found or []

    def leave(self) -> None:
        """Ends the group; no exchange is possible after it."""
        if self._channel is not None:
            dist.barrier(group=self._channel)
            dist.destroy_process_group()
            self._channel = None


def join(strategy: str) -> Group:
    """Joins the processes that a launcher started with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    on_gpus = torch.cuda.is_available()
    if on_gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # accelerate finds the existing group. Both backends, because full states of shards pass through main memory.
    dist.init_process_group("cuda:nccl,cpu:gloo" if on_gpus else "gloo", timeout=GROUP_TIMEOUT)
    return Group(rank, size, sharded=strategy in ("fsdp", "zero3"))


class SilentHome:
    """The client of every rank except the first: a scratch directory, and nothing is sent."""

    def __init__(self, scratch: Any) -> None:
        self.scratch = scratch

    def emit(self, type: str, **data: Any) -> None:
        """Sends nothing: rank 0 does."""

    def log(self, level: str, message: str) -> None:
        """Sends nothing: rank 0 does."""

    def phase(self, phase: str, message: str = "") -> None:
        """Sends nothing: rank 0 does."""

    def metrics(self, step: int, total_steps: int, epoch: float, values: dict[str, float]) -> None:
        """Sends nothing: rank 0 does."""

    def take_command(self) -> None:
        """Returns none: commands reach rank 0, which shares them."""
