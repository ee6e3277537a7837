"""The guard against divergence, and how failures are named for people."""

from __future__ import annotations

import errno

import pytest
import torch

from finetune_trainer.protocol.failures import BadData, BadSpec, ModelLoad, TrainingFailed, describe
from finetune_trainer.spec.parse import parse_spec
from finetune_trainer.training.guard import Guard


def run_guard(losses: list[float]) -> int | None:
    """Step at which the guard stopped, or None."""
    guard = Guard()
    for step, loss in enumerate(losses):
        try:
            guard.check(step, loss)
        except TrainingFailed as failed:
            assert failed.advice
            return step
    return None


@pytest.mark.parametrize(
    ("losses", "stops_at"),
    [
        ([2.0, 1.0, 0.5, 0.4] + [0.3] * 20, None),
        ([2.0] + [1.0] * 10 + [9.0] * 5, 15),  # far above the best and above the start, five times
        ([2.0] + [1.0] * 10 + [9.0] * 4 + [1.0] * 5, None),  # four times, then well again
        ([2.0] + [0.1] * 30 + [1.5] * 20, None),  # above 3x the best, but below the start: noise on a small task
        ([2.0, float("nan")], 1),
        ([2.0, float("inf")], 1),
    ],
)
def test_the_guard_stops_what_will_not_recover(losses, stops_at):
    assert run_guard(losses) == stops_at


def test_the_guard_resumes_from_a_checkpoint():
    guard = Guard()
    for step, loss in enumerate([2.0] + [1.0] * 10 + [9.0] * 4):
        guard.check(step, loss)
    again = Guard(**guard.state())
    with pytest.raises(TrainingFailed):
        again.check(15, 9.0)


@pytest.mark.parametrize(
    ("error", "reason", "retry"),
    [
        (MemoryError(), "out_of_memory", False),
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory", False),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
            "out_of_memory",
            False,
        ),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out_of_memory", False),
        (ModelLoad("the base model cannot be loaded: CUDA error: out of memory"), "out_of_memory", False),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            "out_of_memory",
            False,
        ),
        (RuntimeError("could not create a primitive"), "out_of_memory", False),
        (RuntimeError("could not create a primitive descriptor for a matmul primitive"), "internal", True),
        (ImportError("parser.so: failed to map segment from shared object"), "out_of_memory", False),
        (ImportError("parser.so: failed to map segment from shared object: Operation not permitted"), "internal", True),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full", True),
        (BadSpec("x"), "bad_spec", False),
        (BadData("x"), "bad_data", False),
        (ModelLoad("x"), "model_load", False),
        (ZeroDivisionError("x"), "internal", True),
    ],
)
def test_failures_are_named_with_advice(error, reason, retry):
    got = describe(error)
    assert (got["reason"], got["retry"]) == (reason, retry) and got["message"] and got["advice"]


def change(spec: dict, path: str, value) -> dict:
    *way, last = path.split(".")
    inner = spec
    for name in way:
        inner = inner[name]
    if value is KeyError:
        del inner[last]
    else:
        inner[last] = value
    return spec


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("hyperparameters.learning_rate", "1e-3"),
        ("hyperparameters.learning_rate", float("nan")),
        ("hyperparameters.seed", True),
        ("hyperparameters.seed", 1.0),
        ("hyperparameters.precision", "float16"),
        ("hyperparameters.batch_size", 5),
        ("hyperparameters.warmup_steps", 5),
        ("hyperparameters.max_length", KeyError),
        ("method.type", "ppo"),
        ("method.adapter.target_modules", [1]),
        ("method.adapter.dropout", 1.0),
        ("schedule.log_every", 0),
        ("version", 2),
        ("version", True),
    ],
)
def test_a_spec_that_does_not_fit_names_the_field(tiny, path, value):
    from jobs import train_reply

    spec = train_reply(tiny)["spec"]
    assert parse_spec("train", spec)
    with pytest.raises(BadSpec, match=path.replace(".", r"\.")):
        parse_spec("train", change(spec, path, value))


def test_an_unknown_kind_is_refused(tiny):
    with pytest.raises(BadSpec, match="'reproduce'"):
        parse_spec("reproduce", {})
