"""The warm-up of the learning rate: short runs have no step to spare for it."""

from __future__ import annotations

import math
from typing import Any

from torch.optim.lr_scheduler import LambdaLR

# Runs below this number of steps have no warm-up. The server's src/training/plan/learning-rate.ts has the same number.
NO_WARMUP_BELOW = 10
# Runs from this number of steps on begin as transformers' schedules do, with a first step at rate 0.
FIRST_STEP_AT_ZERO_FROM = 100


def warmup_steps(ratio: float, total_steps: int) -> int:
    """Steps in which the learning rate rises to its full value."""
    return 0 if total_steps < NO_WARMUP_BELOW else math.ceil(ratio * total_steps)


def learn_from_first_step(schedule: LambdaLR, warmup: int, total_steps: int) -> LambdaLR:
    """The schedule with a warm-up that starts above 0 when the run is short; otherwise unchanged."""
    if warmup == 0 or total_steps >= FIRST_STEP_AT_ZERO_FROM:
        return schedule

    def risen(factor: Any) -> Any:
        return lambda step: (step + 1) / (warmup + 1) if step < warmup else factor(step)

    return LambdaLR(schedule.optimizer, [risen(factor) for factor in schedule.lr_lambdas])
