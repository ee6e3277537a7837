"""Llama 3.1 to 3.3: the answer is `{"name": …, "parameters": {…}}`, several are separated by `;`."""

from __future__ import annotations

from typing import Any

from .family import Family, Form
from .reading import BLANK, Reader, read_calls

PYTHON_TAG = "<|python_tag|>"
FORM = Form('{"name": "NAME", "parameters": ', "}", "; ")


def _read(opener: str, tools: list[Any]) -> Reader:
    return read_calls(first="" if opener == PYTHON_TAG else opener)


def _recognizes(template: str) -> bool:
    return "<|start_header_id|>" in template and (PYTHON_TAG in template or '"parameters": ' in template)


LLAMA = Family(
    "llama3_json", _read, (PYTHON_TAG,), _recognizes, (PYTHON_TAG,), first=("{",), filler=BLANK + ";", form=FORM
)
