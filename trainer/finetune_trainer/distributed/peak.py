"""The peak memory of this process and its GPU, in MiB: the estimate of a plan is compared with it."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

from .group import Group

STATUS = Path("/proc/self/status")


def peak_resident_mb() -> float:
    """The peak resident memory of this process, loading included; where the kernel does not report it, the current
    value.
    """
    try:
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    except (OSError, StopIteration, ValueError):
        return psutil.Process().memory_info().rss / 2**20


def peak_gpu_mb() -> tuple[float, float] | None:
    """The peak GPU memory of this process for tensors, and with what the allocator reserves; None without a GPU."""
    if not torch.cuda.is_available():
        return None
    return torch.cuda.max_memory_allocated() / 2**20, torch.cuda.max_memory_reserved() / 2**20


def peak_memory(group: Group) -> dict[str, float]:
    """The peaks of all ranks: main memory summed, GPU memory of the fullest GPU. All ranks call it together."""
    (memory,) = group.reduce([peak_resident_mb()])
    values = {"peak_memory_mb": round(memory)}
    if (gpu := peak_gpu_mb()) is not None:
        allocated, reserved = group.reduce(list(gpu), "max")
        values |= {"peak_gpu_memory_mb": round(allocated), "peak_gpu_reserved_mb": round(reserved)}
    return values
