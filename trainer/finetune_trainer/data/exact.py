"""JSON numbers as datasets write them. Python reads 1.50 and 1e5 as 1.5 and 100000.0, and would teach these."""

from __future__ import annotations

import json
import re
from typing import Any

FENCE = "\x7f"
"""Stands around the digits of a number in what a template renders. JSON writes it as it is."""
FENCED = re.compile(r'("|<escape>|<\|"\|>|)\x7f([-+.\deE]+)\x7f\1')
"""A number in its fence, within what templates write around strings (JSON, FunctionGemma, Gemma 4) or nothing."""


class Digits(float):
    """A number whose digits `json.dumps` would change."""

    text: str


def number(text: str) -> float:
    """A number of a JSON text with a fraction or an exponent."""
    value = float(text)
    if repr(value) == text:
        return value
    exact = Digits(value)
    exact.text = text
    return exact


def loads(text: str | bytes) -> Any:
    """`json.loads`, with the digits of numbers. Raises ValueError."""
    return json.loads(text, parse_float=number)


def fenced(value: Any) -> Any:
    """A copy for a template, in which numbers that it would write with other digits are strings; see `unfenced`."""
    if isinstance(value, Digits):
        return f"{FENCE}{value.text}{FENCE}"
    if isinstance(value, dict):
        return {key: fenced(one) for key, one in value.items()}
    return [fenced(one) for one in value] if isinstance(value, list) else value


def unfenced(text: str) -> str:
    """What a template rendered of `fenced` values, with the digits as they were."""
    return FENCED.sub(lambda found: found[2], text) if FENCE in text else text


def dumps(value: Any) -> bytes:
    """JSON in UTF-8, with the digits of numbers that `loads` has read."""
    return unfenced(json.dumps(fenced(value), ensure_ascii=False, separators=(",", ":"))).encode()
