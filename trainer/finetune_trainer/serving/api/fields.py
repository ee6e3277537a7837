"""Reads single fields of a request body. A field that is null is the same as one that is absent."""

from __future__ import annotations

from typing import Any

from .errors import invalid

MAX_NAME = 80


def number(body: dict[str, Any], name: str, default: float, low: float, high: float) -> float:
    """A finite number from `low` to `high`."""
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise invalid(name, f"{name} must be a number from {low:g} to {high:g}.")
    return float(value)


def integer(body: dict[str, Any], name: str, default: int, low: int, high: int) -> int:
    """An integer from `low` to `high`."""
    value = body.get(name)
    if value is None:
        return default
    if type(value) is not int or not low <= value <= high:
        raise invalid(name, f"{name} must be an integer from {low} to {high}.")
    return value


def flag(body: dict[str, Any], name: str, default: bool = False) -> bool:
    """True or false."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise invalid(name, f"{name} must be true or false.")
    return value


def token_numbers(body: dict[str, Any], name: str, vocabulary: int) -> dict[int, float]:
    """A map from token id to a number from -100 to 100, as `logit_bias` is."""
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(name, f"{name} must be an object from token ids to numbers from -100 to 100.")
    found = {}
    for key, bias in value.items():
        if not (key.isascii() and key.isdigit() and len(key) < 10 and int(key) < vocabulary):
            raise invalid(name, f"The keys of {name} must be token ids below {vocabulary}.")
        if isinstance(bias, bool) or not isinstance(bias, (int, float)) or not -100 <= bias <= 100:
            raise invalid(f"{name}.{key}", f"The values of {name} must be numbers from -100 to 100.")
        found[int(key)] = float(bias)
    return found


def token_ids(value: Any, name: str, vocabulary: int) -> list[int]:
    """A list of token ids, none outside the vocabulary."""
    if not isinstance(value, list) or not all(type(one) is int and 0 <= one < vocabulary for one in value):
        raise invalid(name, f"{name} must be a list of token ids from 0 to {vocabulary - 1}.")
    return value


def shortened(name: str) -> str:
    """The name of a field as errors show it."""
    text = name.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= MAX_NAME else f"{text[:MAX_NAME]}…"


def lone_surrogate(body: Any) -> str | None:
    """Path of the first text (or key) with half of a surrogate pair, which no tokenizer takes; None when all is well.

    Works without recursion, since a body may be nested deeply.
    """
    open_values: list[tuple[str, Any]] = [("", body)]
    while open_values:
        path, value = open_values.pop()
        if isinstance(value, str):
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                return path
        elif isinstance(value, list):
            open_values += [(f"{path}.{i}".lstrip("."), one) for i, one in enumerate(value)]
        elif isinstance(value, dict):
            for key, one in value.items():
                deeper = f"{path}.{shortened(key)}".lstrip(".")
                open_values += [(deeper, key), (deeper, one)]
    return None
