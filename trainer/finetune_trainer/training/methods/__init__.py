"""Training methods by their name in the spec. A new one is a module with `build(...)` and a model in spec/models.py."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load_method(name: str) -> Any:
    """The module of a method, imported only when it is used, because TRL's trainers are slow to import."""
    return import_module(f".{name}", __package__)
