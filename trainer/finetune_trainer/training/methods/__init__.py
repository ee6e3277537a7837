"""Training methods by the name a spec uses. A new one is a module with `build(...)` and its entry in spec.py."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load_method(name: str) -> Any:
    """The module of a method the spec knows; imported only when asked for, because trainers are slow to import."""
    return import_module(f".{name}", __package__)
