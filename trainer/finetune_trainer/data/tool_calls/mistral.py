"""Mistral: `[TOOL_CALLS][{"name": …, "arguments": {…}}]`, or since its eleventh tokenizer `[TOOL_CALLS]name{…}`."""

from __future__ import annotations

import secrets
import string
from typing import Any

from .family import Family, Form
from .reading import BLANK, END, Malformed, Reader, calls_of, read_json

CALLS, CALL_ID, ARGUMENTS = "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"
FORM = Form('{"name": "NAME", "arguments": ', "}", ", ", f"{CALLS} [", "]")


def _read(opener: str, tools: list[Any]) -> Reader:
    head = ""
    while True:
        char = yield
        if char == END or (head and char in BLANK):
            raise Malformed
        head += char.strip()
        if head == "[":
            return calls_of((yield from read_json("[")))
        if head.endswith("{"):
            # A call id between the name and its arguments is replaced, as every id is.
            name = head[:-1].removesuffix(ARGUMENTS).partition(CALL_ID)[0]
            if not name or set(name) & set("[]"):
                raise Malformed
            return [(name, _valid((yield from read_json("{"))))]


def _valid(arguments: str) -> str:
    calls_of(f'{{"name": "x", "arguments": {arguments}}}')
    return arguments


def _nine() -> str:
    """Its templates refuse ids of any other form."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(9))


MISTRAL = Family(
    "mistral", _read, (CALLS,), lambda template: CALLS in template, (CALLS, CALL_ID, ARGUMENTS), new_id=_nine, form=FORM
)
