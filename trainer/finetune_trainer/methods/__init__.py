"""Training methods by the name a spec uses. A new one is a module with `build(...)` and one line here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

METHODS = ("sft", "pretrain", "dpo", "orpo", "kto", "reward")


def load_method(name: str) -> Any:
    """The module of a method; imported only when asked for, because trainers are slow to import."""
    if name not in METHODS:
        raise KeyError(name)
    return import_module(f".{name}", __package__)
