"""What a trainer calls in the code around it: the four calls that `Loop` implements."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ..distributed.group import SilentHome
from ..protocol.home import Home


class TrainingHooks(Protocol):
    """The code around a trainer. Every rank makes these calls, at the same point of the same step."""

    home: Home | SilentHome
    """The control-plane client; ranks other than the first have a silent one."""

    def first_batch(self, sequences: list[tuple[int, np.ndarray, np.ndarray]]) -> None:
        """Row id, token ids and labels of every sequence of the first batch, before anything is learned from it."""

    def report(self, step: int, logs: dict[str, Any]) -> None:
        """The log line of a step. Raises TrainingFailed when its loss is NaN or diverges."""

    def evaluate(self) -> dict[str, float]:
        """Scores the validation rows; returns the metrics."""

    def save(self, state: dict[str, Any]) -> None:
        """Saves a checkpoint with the trainer's state, as `resume_state` gives it."""
