"""The memory dry run: the longest rows go forward and backward once before training, so that too little memory shows at
once.
"""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ..distributed import peak, zero
from ..model import checkpoint
from ..protocol.failures import TrainingFailed, out_of_memory_message
from .optimizers import state_like

# A run may exceed the plan by this factor: allocators round up, and the machine usually has that much to spare.
TOLERANCE = 1.25
ADVICE = (
    "Lower the maximum length, quantize the base to 4 bits (nf4), or turn on gradient checkpointing; then run it again."
)
# What a method counts while it computes a loss, besides the meter.
COUNTED = (
    "_metrics",
    "_stored_metrics",
    "_total_train_tokens",
    "_step",
    "_current_train_step_time",
    "_buffered_inputs",
)


def longest_rows(lengths: np.ndarray, per_device: int, rank: int, ranks: int) -> list[int]:
    """This rank's share of the longest rows: as many as one of its batches can hold."""
    order = np.argsort(-lengths, kind="stable")[: per_device * ranks]
    return [int(row) for row in order[rank::ranks]] or [int(order[0])]


def run(home: Any, spec: Any, trainer: Any) -> dict[str, Any]:
    """Runs the longest rows through a trainer that is about to start, reports their memory, and leaves the trainer
    unchanged.

    All ranks call it together. Returns the figures of the event. Raises TrainingFailed (`out_of_memory`) when the rows
    do not fit, or take far more memory than planned.
    """
    group, per_device = trainer.group, spec.hyperparameters.per_device_batch_size
    rows = longest_rows(trainer.tokens.lengths(), max(per_device, trainer.min_rows), group.rank, group.size)
    length = int(trainer.tokens.lengths()[rows].max()) + trainer.generated_tokens
    home.phase("canary", f"{len(rows)} x {length} tokens, the longest rows, before the first step")
    began = time.monotonic()
    planned = (spec.need.gpu_memory_mb if torch.cuda.is_available() else spec.need.memory_mb) or None
    try:
        with unchanged(trainer), _steps(trainer):
            trainer.dry_run(rows)
    except Exception as error:
        if out_of_memory_message(error) is None:
            raise
        raise TrainingFailed("out_of_memory", outcome(len(rows), length, None, planned), ADVICE) from error
    figures = {"rows": len(rows), "length": length, **peak.peak_memory(group)}
    home.emit("canary", seconds=round(time.monotonic() - began, 2), **figures)
    taken = figures.get("peak_gpu_reserved_mb", figures["peak_memory_mb"])
    if planned and not torch.cuda.is_available() and taken > TOLERANCE * planned:
        raise TrainingFailed("out_of_memory", outcome(len(rows), length, taken, planned), ADVICE)
    return figures


def outcome(rows: int, length: int, taken: float | None, planned: float | None) -> str:
    """The outcome of the dry run as a sentence."""
    plan = f"; {planned:,.0f} MB were planned" if planned else ""
    what = f"the longest rows ({rows} x {length} tokens)"
    if taken is None:
        return f"{what} do not fit into memory{plan}"
    return f"{what} took {taken:,.0f} MB{plan}"


@contextlib.contextmanager
def unchanged(trainer: Any) -> Iterator[None]:
    """Restores what a forward and a backward pass change: random states, counters, gradients and the mode."""
    rng = checkpoint.rng_state()
    training = trainer.model.training
    counted = {name: getattr(trainer, name) for name in ("_step_tokens", "first_batch_reported")}
    seen = trainer.state.num_input_tokens_seen
    trainer.first_batch_reported = True  # the first batch is that of the first step
    kept = {name: copy.deepcopy(getattr(trainer, name)) for name in COUNTED if hasattr(trainer, name)}
    meter = copy.copy(trainer.meter.__dict__) | {"_means": copy.deepcopy(trainer.meter._means)}
    try:
        yield
    finally:
        trainer.model.zero_grad(set_to_none=True)
        trainer.model.train(training)
        for name, value in {**counted, **kept}.items():
            setattr(trainer, name, value)
        trainer.meter.__dict__.update(meter)
        trainer.state.num_input_tokens_seen = seen
        checkpoint.set_rng(rng)


def _steps(trainer: Any) -> contextlib.AbstractContextManager[None]:
    """Stands in for the optimizer's step; DeepSpeed's engine takes it with the backward pass."""
    if trainer.is_deepspeed_enabled:
        return zero.unchanged_engine(trainer.deepspeed, trainer.parts())
    return optimizer_memory(trainer)


@contextlib.contextmanager
def optimizer_memory(trainer: Any) -> Iterator[None]:
    """Holds as much memory as the optimizer's state will take; nothing when the state exists."""
    groups = getattr(trainer.optimizer, "param_groups", [])
    states = getattr(trainer.optimizer, "state", {})
    held = [state_like(trainer.optimizer, p) for g in groups for p in g["params"] if not states.get(p)]
    yield
    held.clear()
