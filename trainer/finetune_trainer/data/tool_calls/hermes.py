"""Hermes, Qwen 2.5, Qwen 3 and SmolLM: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`."""

from __future__ import annotations

from typing import Any

from .family import Family, Form
from .reading import Reader, read_calls

OPENER, CLOSER = "<tool_call>", "</tool_call>"
OTHERS = ("<arg_key>", "<tool_sep>")  # GLM and Hunyuan write something else than JSON between the same marks
FORM = Form(f'{OPENER}\n{{"name": "NAME", "arguments": ', f"}}\n{CLOSER}", "\n")


def _read(opener: str, tools: list[Any]) -> Reader:
    return read_calls(CLOSER)


def _recognizes(template: str) -> bool:
    return OPENER in template and not any(mark in template for mark in OTHERS)


HERMES = Family("hermes", _read, (OPENER,), _recognizes, (OPENER, CLOSER), form=FORM)
