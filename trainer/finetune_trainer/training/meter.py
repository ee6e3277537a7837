"""Counts tokens and time between logs, and reads memory and CPU use of the process."""

from __future__ import annotations

import time
from typing import Any

import psutil
import torch

from ..distributed.group import Group


class Meter:
    """Counts tokens and time between logs, and gives the metrics of one log line. `correct` and `scored` are of this
    rank only.
    """

    def __init__(self, group: Group) -> None:
        self._group = group
        self.tokens_seen = 0
        self.correct: Any = 0
        self.scored = 0
        self._means: dict[str, list[float]] = {}
        self._tokens = 0
        self._busy = 0.0
        self._steps = 0
        self._step_began = 0.0
        self._process = psutil.Process()
        self._process.cpu_percent()

    def step_begins(self) -> None:
        """Starts the clock of one step; time for saving and evaluating between steps does not count."""
        self._step_began = time.perf_counter()

    def step_ends(self, tokens: int) -> None:
        """Stops the clock; `tokens` are those of the step on all ranks, without padding."""
        self._busy += time.perf_counter() - self._step_began
        self._tokens += tokens
        self.tokens_seen += tokens
        self._steps += 1

    def add(self, values: dict[str, float]) -> None:
        """Adds the metrics of a micro-batch besides its loss; they are the same on all ranks."""
        for name, value in values.items():
            found = self._means.setdefault(name, [0.0, 0])
            found[0] += value
            found[1] += 1

    def take(self) -> dict[str, float]:
        """Metrics over all ranks since the last call: accuracy, speed, memory (MiB) and CPU use (100 = one core)."""
        own = [self._process.memory_info().rss / 2**20, self._process.cpu_percent()]
        correct, scored, memory, percent = self._group.reduce([float(self.correct), self.scored, *own])
        values = {
            **({"train/token_accuracy": correct / scored} if scored else {}),
            **{f"train/{name}": total / count for name, (total, count) in self._means.items()},
            "perf/tokens_per_second": self._tokens / max(self._busy, 1e-9),
            "perf/step_seconds": self._busy / max(1, self._steps),
            "system/memory_mb": memory,
            "system/cpu_percent": percent,
        }
        if torch.cuda.is_available():
            peak = torch.cuda.max_memory_allocated() / 2**20
            (values["system/gpu_memory_mb"],) = self._group.reduce([peak], "max")
        self._means = {}
        self.correct, self.scored, self._tokens, self._busy, self._steps = 0, 0, 0, 0.0, 0
        return values

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: totals and the open log window of all ranks."""
        correct, scored = self._group.reduce([float(self.correct), self.scored])
        totals = {"tokens_seen": self.tokens_seen, "correct": correct, "scored": int(scored)}
        return {**totals, "means": self._means} if self._means else totals

    def restore(self, state: dict[str, Any]) -> None:
        """Restores the totals of a checkpoint. The counts of the open window go to rank 0, or each
        rank would add them.
        """
        self.tokens_seen = state["tokens_seen"]
        self._means = state.get("means", {})
        if self._group.main:
            self.correct, self.scored = state["correct"], state["scored"]
