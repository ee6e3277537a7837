"""Phi-4 mini: `functools[{"name": …, "arguments": {…}}]`, or the same between `<|tool_call|>` and its end."""

from __future__ import annotations

from typing import Any

from .family import Family, Form
from .reading import Reader, read_calls

TAG, TAG_END = "<|tool_call|>", "<|/tool_call|>"
FORM = Form('{"name": "NAME", "arguments": ', "}", ", ", "functools[", "]")


def _read(opener: str, tools: list[Any]) -> Reader:
    return read_calls(TAG_END) if opener == TAG else read_calls(first="[")


def _recognizes(template: str) -> bool:
    return TAG in template or "functools[" in template


PHI = Family("phi4_mini_json", _read, ("functools[", TAG), _recognizes, (TAG, TAG_END), form=FORM)
