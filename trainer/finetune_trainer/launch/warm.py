"""Imports everything before there is work: slow imports happen once, and each attempt starts as a
fork of this process.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module

from ..spec.parse import KINDS
from .attempt import main
from .imports import import_modules

# The layers of most models; others are imported when such a model is loaded.
ARCHITECTURES = ("llama", "qwen2", "qwen3", "mistral")


def prepare() -> Callable[[], int]:
    """Imports what trainings and evaluations need, and returns the function that runs one attempt.

    No thread is started and no random number drawn, so a fork behaves like a new process.
    """
    # Libraries read these when they are imported; nothing is ever fetched.
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    import_modules(["training.train", "evaluation.evaluate", "training.methods.sft", "training.methods.dpo"])
    for model in KINDS.values():
        model.model_rebuild()
    for name in ARCHITECTURES:
        import_module(f"transformers.models.{name}.modeling_{name}")
    return main
