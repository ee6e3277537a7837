"""Answers as content and tool calls: read from tokens, shown as text, and compared by what is called with what."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ..template import text_of
from .families import family_of_tokenizer
from .family import Family
from .reading import Written
from .stream import parse

# A string, blanks outside strings, or what separates values.
TOKENS = re.compile(r'("(?:[^"\\]|\\.)*")|\s+|([:,])')


@dataclass(frozen=True)
class Answer:
    """What an assistant turn says and calls; the arguments of a call are JSON text."""

    content: str
    calls: tuple[Written, ...] = ()

    @property
    def text(self) -> str:
        """For people: the content, and each call as `name({…})` on a line of its own."""
        lines = [f"{name}({_spaced(arguments)})" for name, arguments in self.calls]
        return "\n".join([*([self.content] if self.content or not lines else []), *lines])

    def matches(self, other: Answer) -> bool:
        """Whether another answer is what this one expects.

        Calls are compared by name and arguments as JSON values: neither the order of keys nor of calls matters, and
        numbers are equal by value. Beside expected calls the content is free; without calls it must be the same.
        """
        if self.calls or other.calls:
            return _called(self) == _called(other)
        return self.content.strip() == other.content.strip()


def _called(answer: Answer) -> Counter[tuple[str, Any]]:
    return Counter((name, _value(arguments)) for name, arguments in answer.calls)


def _spaced(arguments: str) -> str:
    """JSON on one line with one blank after each colon and comma; all else as it was written."""
    return TOKENS.sub(lambda found: found[1] or (f"{found[2]} " if found[2] else ""), arguments)


def _value(arguments: str) -> Any:
    try:
        return _comparable(json.loads(arguments, parse_float=Decimal, parse_int=Decimal))
    except (ValueError, RecursionError):
        return ("text", arguments)


def _comparable(value: Any) -> tuple[Any, ...]:
    """Keeps apart what Python finds equal: true and 1."""
    if isinstance(value, dict):
        return ("object", frozenset((key, _comparable(one)) for key, one in value.items()))
    if isinstance(value, list):
        return ("array", *map(_comparable, value))
    return (type(value).__name__, value)


def expected_of(turn: dict[str, Any]) -> Answer:
    """The answer that an assistant turn of a dataset holds."""
    content = text_of(turn.get("content")) or turn.get("refusal") or ""
    functions = [call.get("function") or {} for call in turn.get("tool_calls") or []]
    return Answer(content, tuple((f.get("name") or "", _source(f.get("arguments"))) for f in functions))


def _source(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)


def uses_tools(row: dict[str, Any]) -> bool:
    """Whether a row defines tools or calls any; only then does markup in an answer mean a call."""
    turns = [turn for part in ("messages", "chosen", "rejected") for turn in row.get(part) or []]
    return bool(row.get("tools")) or any(turn.get("tool_calls") for turn in turns)


def hidden_tokens(tokenizer: Any, family: Family | None) -> frozenset[int]:
    """Ids of the special tokens that are not text; those that mark calls are."""
    kept = () if family is None else family.markers
    return frozenset(i for i in tokenizer.all_special_ids if tokenizer.convert_ids_to_tokens(i) not in kept)


class AnswerReader:
    """Reads generated tokens as answers, by the family of the tokenizer's chat template."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.family = family_of_tokenizer(tokenizer)
        self._hidden = hidden_tokens(tokenizer, self.family)

    def read(self, ids: list[int], row: dict[str, Any]) -> Answer:
        """The answer to a row. Without tools in the row, or with a template of no known family, it is only content."""
        if self.family is None or not uses_tools(row):
            return Answer(self._tokenizer.decode(ids, skip_special_tokens=True))
        text = self._tokenizer.decode([i for i in ids if i not in self._hidden], skip_special_tokens=False)
        content, calls = parse(self.family, text, row.get("tools") or [])
        return Answer(content, tuple((call.name, call.arguments) for call in calls))
