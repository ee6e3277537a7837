"""Training methods by the name a spec uses. A new one is a module with `build(...)` like sft.py and one line here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Next: dpo (preference pairs), kto (single marks), grpo (rewards), full (all weights).
METHODS = {"sft": "sft"}


def load_method(name: str) -> Any:
    """The module of a method; imported only when asked for, because trainers are slow to import."""
    return import_module(f".{METHODS[name]}", __package__)
