"""What a run learned: warnings for a result that is no different from what the run started from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open

from ..model.checkpoint import MODEL_FILE, weights_file
from .guard import Guard

# The factor of an adapter that starts at zero: while all of these are zero, the adapter adds nothing to the base.
ADDED = (".lora_B.", ".lora_embedding_B")


RAISE = "Raise the learning rate, or train for more steps."
# GRPO learns from differences alone.
ALIKE = (
    "Completions of a prompt must differ in reward: see train/groups_alike, use a grader with intermediate values, "
    "or train for more steps."
)


def warnings_of(result: Path, started_from: Path, continued: bool, guard: Guard) -> list[str]:
    """Messages for users about a finished run, none when it learned.

    `result` is the directory of its adapter or model. `started_from` is the directory of the model that it continues
    from (`continued`), otherwise of the base model.
    """
    warnings = []
    advice = RAISE if guard.compares else ALIKE
    full = (result / MODEL_FILE).is_file()
    if not continued and not full:
        if adds_nothing(result):
            warnings.append(
                "Nothing was learned: the adapter is all zero, so the fine-tuned model answers exactly like its base. "
                + advice
            )
    elif has_same_weights(result, started_from):
        warnings.append(f"Nothing was learned: every weight is the one that the run started with. {advice}")
    if guard.logs > 1 and not guard.moved:
        warnings.append(
            f"The loss was {guard.last:.4g} at every step, so the rows gave the model nothing to learn. "
            "Check the tokens in the loss under What the model sees, on the page of the dataset."
        )
    return warnings


def adds_nothing(adapter: Path) -> bool:
    """Whether an adapter changes nothing in its base."""
    with safe_open(weights_file(adapter), framework="pt") as file:
        added = [name for name in set(file.keys()) if any(part in name for part in ADDED)]
        return bool(added) and not any(file.get_tensor(name).any() for name in added)


def has_same_weights(result: Path, before: Path) -> bool:
    """Whether the weights of two models or adapters are the same; False when they have no name in common."""
    pairs = same = 0
    for found, known in _pairs(result, before):
        pairs += 1
        if found.shape != known.shape or not torch.equal(found.float(), known.to(found.dtype).float()):
            return False
        same += 1
    return pairs > 0 and pairs == same


def _pairs(result: Path, before: Path) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    with safe_open(weights_file(result), framework="pt") as file:
        names = set(file.keys())
        for path in sorted(before.glob("*.safetensors")):
            with safe_open(path, framework="pt") as known:
                for name in sorted(names.intersection(known.keys())):
                    yield file.get_tensor(name), known.get_tensor(name)
