"""The most memory this process and its GPU have held, in MiB: what a plan's estimate is judged by."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

from .group import Group

STATUS = Path("/proc/self/status")


def peak_resident_mb() -> float:
    """The most memory this process has had resident since it began, loading included; where no kernel says so, what it has now."""
    try:
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    except (OSError, StopIteration, ValueError):
        return psutil.Process().memory_info().rss / 2**20


def peak_gpu_mb() -> tuple[float, float] | None:
    """The most this process' GPU has held for tensors, and with what the allocator keeps besides; None without a GPU."""
    if not torch.cuda.is_available():
        return None
    return torch.cuda.max_memory_allocated() / 2**20, torch.cuda.max_memory_reserved() / 2**20


def peak_memory(group: Group) -> dict[str, float]:
    """The peaks of all ranks: main memory summed, GPU memory that of the fullest GPU. All ranks call it together."""
    (memory,) = group.reduce([peak_resident_mb()])
    values = {"peak_memory_mb": round(memory)}
    if (gpu := peak_gpu_mb()) is not None:
        allocated, reserved = group.reduce(list(gpu), "max")
        values |= {"peak_gpu_memory_mb": round(allocated), "peak_gpu_reserved_mb": round(reserved)}
    return values
