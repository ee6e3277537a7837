"""Imports what a job needs. Torch and TRL make two million objects that stay: garbage is not collected meanwhile, which
would take a second, and those objects are left out of later collections.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from types import ModuleType

from ..spec.models import EvaluateSpec, ExportSpec, ServeSpec, TrainSpec

# The module that runs a kind of job. Imported late: it takes seconds.
RUNNERS = {
    "train": "training.train",
    "evaluate": "evaluation.evaluate",
    "export": "export.export",
    "serve": "serving.serve",
}


def import_modules(names: list[str]) -> list[ModuleType]:
    """Modules of this package by their names in it."""
    full = [f"finetune_trainer.{name}" for name in names]
    new = any(name not in sys.modules for name in full)
    gc.disable()
    try:
        return [import_module(name) for name in full]
    finally:
        if new:
            gc.freeze()
        gc.enable()


def runner_of(spec: TrainSpec | EvaluateSpec | ExportSpec | ServeSpec) -> ModuleType:
    """The module whose `run` does the job of a spec."""
    method = [f"training.methods.{spec.method.type}"] if isinstance(spec, TrainSpec) else []
    return import_modules([RUNNERS[spec.kind], *method])[0]
