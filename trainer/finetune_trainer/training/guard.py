"""The guard against NaN and divergence: it checks every logged loss."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from ..protocol.failures import TrainingFailed

DIVERGED_FACTOR = 3.0
DIVERGED_LOGS = 5
SMOOTHING = 0.8


@dataclass
class Guard:
    """Checks logged losses; keeps the first, the best smoothed one, and for how many logs the loss was far above it."""

    first: float | None = None
    smoothed: float | None = None
    best: float | None = None
    bad_logs: int = 0
    compares: bool = True  # a loss around zero, as GRPO's, says nothing by its size
    last: float | None = None
    logs: int = 0  # losses seen so far; 0 when they are not compared
    moved: bool = False  # whether any of them differed from the one before

    def check(self, step: int, loss: float) -> None:
        """Raises TrainingFailed for a loss that is not finite, or above 3x the best smoothed one for five logs."""
        if not math.isfinite(loss):
            raise TrainingFailed(
                "nan_loss",
                f"the loss became {loss} at step {step}",
                "Lower the learning rate (a tenth is a good next try), train in float32, or look for broken rows.",
            )
        if not self.compares:
            return
        self.moved = self.moved or self.last not in (None, loss)
        self.last, self.logs = loss, self.logs + 1
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
                f"the loss is {loss:.3g} at step {step}; its best was {self.best:.3g}, its first {self.first:.3g}",
                "Lower the learning rate to a third or less, or lengthen the warm-up.",
            )

    def state(self) -> dict[str, Any]:
        """The guard as JSON, for the checkpoint."""
        return asdict(self)
