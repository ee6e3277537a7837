"""What steers training from outside and inside: commands and signals, and the guard against NaN and divergence."""

from __future__ import annotations

import math
import signal
from dataclasses import asdict, dataclass
from typing import Any

from .home import Home

DIVERGED_FACTOR = 3.0
DIVERGED_LOGS = 5
SMOOTHING = 0.8
# How libraries say that memory is used up: PyTorch, CUDA and cuBLAS, the system, oneDNN, and the dynamic linker.
OF_MEMORY = ("out of memory", "not enough memory", "allocate memory", "cublas_status_alloc_failed")
NO_ROOM = (
    "could not create a primitive",
    "could not create a memory object",
    "failed to map segment from shared object",
)


class TrainingFailed(RuntimeError):
    """Training cannot go on usefully. `reason` is one of the protocol's; `advice` says what to change."""

    def __init__(self, reason: str, message: str, advice: str) -> None:
        super().__init__(message)
        self.reason, self.advice = reason, advice


def memory_used_up(error: BaseException) -> str | None:
    """What an exception says, for people, when it was raised for want of memory; None when it was for something else."""
    text = str(error) or type(error).__name__
    low = text.lower()
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(it in low for it in OF_MEMORY)
    ):
        return text
    return f"no memory is left: {text}" if low.endswith(NO_ROOM) else None


@dataclass
class Guard:
    """Watches logged losses; remembers the first, the best smoothed one and how long it has been far above it."""

    first: float | None = None
    smoothed: float | None = None
    best: float | None = None
    bad_logs: int = 0
    compares: bool = True  # a loss that lies around zero, as GRPO's, says nothing by its size

    def check(self, step: int, loss: float) -> None:
        """Raises TrainingFailed for a loss that is no number, or one over 3x the best smoothed for five logs."""
        if not math.isfinite(loss):
            raise TrainingFailed(
                "nan_loss",
                f"the loss became {loss} at step {step}",
                "Lower the learning rate (a tenth is a good next try), train in float32, or look for broken rows in the data.",
            )
        if not self.compares:
            return
        if self.first is None or self.smoothed is None or self.best is None:
            self.first = self.smoothed = self.best = loss
            return
        bad = loss > DIVERGED_FACTOR * self.best and loss > self.first
        self.bad_logs = self.bad_logs + 1 if bad else 0
        self.smoothed = SMOOTHING * self.smoothed + (1 - SMOOTHING) * loss
        self.best = min(self.best, self.smoothed)
        if self.bad_logs >= DIVERGED_LOGS:
            raise TrainingFailed(
                "diverged",
                f"the loss is {loss:.3g} at step {step}, it was {self.best:.3g} at its best and {self.first:.3g} at the start",
                "Lower the learning rate to a third or less, or lengthen the warm-up.",
            )

    def state(self) -> dict[str, Any]:
        """The guard as JSON, for the checkpoint."""
        return asdict(self)


class Commands:
    """Commands from the server and signals of the system, as flags the training loop reads between steps."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.pending: list[dict[str, str]] = []
        self.stop: str | None = None  # "paused" | "cancelled"; a signal may set it at any time

    def install_signals(self) -> None:
        """SIGTERM and SIGINT pause."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, *_: Any) -> None:
        self.stop = self.stop or "paused"

    def poll(self) -> bool:
        """Takes new commands; True when the work must stop."""
        while command := self._home.take_command():
            if command["type"] == "checkpoint":
                self.pending.append(command)
            elif command["type"] in ("pause", "cancel"):
                self.stop = "cancelled" if command["type"] == "cancel" else self.stop or "paused"
                self.pending.append(command)
            else:
                self._home.log("warn", f"unknown command {command['type']!r} is ignored")
        return self.stop is not None

    def take_pending(self) -> list[dict[str, str]]:
        """Commands that were taken and not yet reported as done."""
        taken, self.pending = self.pending, []
        return taken
