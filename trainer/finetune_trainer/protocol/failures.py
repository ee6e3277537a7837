"""Why an attempt fails: exceptions with a reason of the protocol, and any exception as the fields
of a `failed` event.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Any

from .connection import HttpFailure

# How libraries report that memory is used up: PyTorch, CUDA and cuBLAS, the system, oneDNN, and the dynamic linker.
MEMORY_MESSAGES = ("out of memory", "not enough memory", "allocate memory", "cublas_status_alloc_failed")
MEMORY_ENDINGS = (
    "could not create a primitive",
    "could not create a memory object",
    "failed to map segment from shared object",
)
OUT_OF_MEMORY_ADVICE = (
    "Lower per_device_batch_size (gradient_accumulation keeps the batch), lower max_length, "
    "turn on gradient_checkpointing, or give the job more memory."
)


class TrainingFailed(RuntimeError):
    """The job cannot continue usefully. `reason` is one of the protocol's; `advice` says what to change."""

    def __init__(self, reason: str, message: str, advice: str) -> None:
        super().__init__(message)
        self.reason, self.advice = reason, advice


def out_of_memory_message(error: BaseException) -> str | None:
    """The message of an exception that was raised because memory is used up; None when it has another cause."""
    text = str(error) or type(error).__name__
    low = text.lower()
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(it in low for it in MEMORY_MESSAGES)
    ):
        return text
    return f"no memory is left: {text}" if low.endswith(MEMORY_ENDINGS) else None


class BadSpec(ValueError):
    """The spec is not valid; the message names the field."""


class BadData(ValueError):
    """The rows cannot be used; the message says which and why, and `advice` what to change."""

    advice = "Correct the dataset and start again."

    def __init__(self, message: str, advice: str | None = None) -> None:
        super().__init__(message)
        self.advice = advice or self.advice


class ModelLoad(RuntimeError):
    """A model, adapter or checkpoint is missing or does not fit; the message says which."""


class BadCheckpoint(RuntimeError):
    """The checkpoint does not belong to this model or this spec."""


# Exceptions with a reason of their own.
CLASSIFIED = (TrainingFailed, BadSpec, BadData, ModelLoad, BadCheckpoint, HttpFailure)
# Exceptions that do not depend on the machine or the moment: the same input raises them again.
DETERMINISTIC = (
    *(ValueError, TypeError, LookupError, AttributeError, NotImplementedError, AssertionError, ImportError),
    *(RecursionError, ArithmeticError),
)


@contextlib.contextmanager
def blaming(reason: str, what: str, advice: str) -> Iterator[None]:
    """Reports an error that the same input always causes as a failure with this reason, which is never retried.

    Used around calls of libraries that check settings or rows: their own messages say what is wrong.
    """
    try:
        yield
    except CLASSIFIED:
        raise
    except DETERMINISTIC as error:
        if out_of_memory_message(error):
            raise
        raise TrainingFailed(reason, f"{what}: {message_of(error)}", advice) from error


def message_of(error: BaseException) -> str:
    """The message of an exception, with its type where the message alone would say little."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if isinstance(error, LookupError) or not text else text


def describe(error: BaseException) -> dict[str, Any]:
    """An exception as the fields of a `failed` event: reason, message, advice, and whether a retry may help."""
    text = str(error) or type(error).__name__
    if isinstance(error, TrainingFailed):
        return {"reason": error.reason, "message": text, "advice": error.advice, "retry": False}
    if isinstance(error, BadSpec):
        return {
            "reason": "bad_spec",
            "message": text,
            "advice": "Use a trainer of the server's version.",
            "retry": False,
        }
    if isinstance(error, BadData):
        return {"reason": "bad_data", "message": text, "advice": error.advice, "retry": False}
    if short := out_of_memory_message(error):
        return {"reason": "out_of_memory", "message": short, "advice": OUT_OF_MEMORY_ADVICE, "retry": False}
    name, low = type(error).__name__, text.lower()
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT) or "no space left on device" in low:
        return {
            "reason": "disk_full",
            "message": text,
            "advice": "Free space on the disk of the scratch directory.",
            "retry": True,
        }
    if name in ("ModelLoad", "BadCheckpoint", "SafetensorError"):
        return {
            "reason": "model_load",
            "message": text,
            "advice": "Import the model again, or choose another.",
            "retry": False,
        }
    if isinstance(error, HttpFailure):
        return {"reason": "server_refused", "message": text, "advice": "Look at the server's log.", "retry": False}
    return {
        "reason": "internal",
        "message": f"{name}: {text}",
        "advice": "See the detail and the trainer's log.",
        "retry": True,
    }
