"""Hermes, Qwen 2.5, Qwen 3 and SmolLM: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`."""

from __future__ import annotations

from typing import Any

from .family import Family
from .reading import Reader, read_calls


def _read(opener: str, tools: list[Any]) -> Reader:
    return read_calls("</tool_call>")


HERMES = Family("hermes", _read, ("<tool_call>",), lambda template: "<tool_call>" in template)
