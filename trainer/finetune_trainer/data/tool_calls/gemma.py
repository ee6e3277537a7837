"""FunctionGemma and Gemma 4: `call:name{key:value}` between two marks, with marks in place of quotation marks."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from typing import Any

from .family import Family
from .reading import BLANK, END, Malformed, Reader, decode, read_close

NAME = re.compile(r"[\w.-]+")
DEEPEST = 32  # objects and arrays inside each other; a deeper one is not a call


class _Source:
    """Reads one call, with one character ahead. Values come back as JSON; numbers keep their digits."""

    def __init__(self, quote: str) -> None:
        self._quote = quote
        self.next = ""

    def step(self) -> Generator[None, str, None]:
        """Moves to the next character."""
        self.next = yield
        if self.next == END:
            raise Malformed

    def skip(self) -> Generator[None, str, None]:
        """Moves to the next character that is not blank, unless it is here already."""
        while self.next in BLANK:
            yield from self.step()

    def until(self, stops: str) -> Generator[None, str, str]:
        """The text before the first of some characters, which becomes `next`."""
        text = ""
        while self.next not in stops:
            text += self.next
            if text == self._quote:
                return json.dumps((yield from self._quoted()), ensure_ascii=False)
            yield from self.step()
        return text.strip()

    def _quoted(self) -> Generator[None, str, str]:
        text = ""
        while not text.endswith(self._quote):
            char = yield
            if char == END:
                raise Malformed
            text += char
        yield from self.step()
        yield from self.skip()
        return text[: -len(self._quote)]

    def value(self, depth: int) -> Generator[None, str, str]:
        """A value; `next` is its first character, and afterwards the first one behind it."""
        yield from self.skip()
        if self.next in "{[":
            return (yield from self.members(self.next, depth + 1))
        text = yield from self.until(",}]")
        return text if text[:1] == '"' else _bare(text)

    def members(self, bracket: str, depth: int) -> Generator[None, str, str]:
        """What is between two brackets, the first of which is `next`."""
        if depth > DEEPEST:
            raise Malformed
        end = {"{": "}", "[": "]"}[bracket]
        found: list[str] = []
        yield from self.step()
        yield from self.skip()
        while self.next != end:
            key = ""
            if bracket == "{":
                name = yield from self.until(":,{}[]")
                if self.next != ":" or not name:
                    raise Malformed
                key = (name if name[0] == '"' else json.dumps(name, ensure_ascii=False)) + ": "
                yield from self.step()
            found.append(key + (yield from self.value(depth)))
            yield from self.skip()
            if self.next == ",":
                yield from self.step()
                yield from self.skip()
            elif self.next != end:
                raise Malformed
        if depth:
            yield from self.step()
        return bracket + ", ".join(found) + end


def _bare(text: str) -> str:
    """A value without marks as JSON: a number, a truth value, nothing, or text that lacks its marks."""
    if text in ("None", "null"):
        return "null"
    try:
        decode(text)
    except ValueError:
        if not text or set(text) & set('"<>'):
            raise Malformed from None
        return json.dumps(text, ensure_ascii=False)
    return text


def _reader(quote: str, closer: str) -> Any:
    def read(opener: str, tools: list[Any]) -> Reader:
        source, head = _Source(quote), ""
        while not head.endswith("{"):
            char = yield
            if char == END or not "call:".startswith(head[:5]):
                raise Malformed
            head += char
        name = head[len("call:") : -1].strip()
        if not NAME.fullmatch(name):
            raise Malformed
        source.next = "{"
        arguments = yield from source.members("{", 0)
        try:
            decode(arguments)
        except ValueError as error:
            raise Malformed from error
        yield from read_close(closer)
        return [(name, arguments)]

    return read


def _family(parser: str, opener: str, closer: str, quote: str) -> Family:
    return Family(
        parser, _reader(quote, closer), (opener,), lambda template: opener in template, (opener, closer, quote)
    )


FUNCTION_GEMMA = _family("functiongemma", "<start_function_call>", "<end_function_call>", "<escape>")
GEMMA_4 = _family("gemma4", "<|tool_call>", "<tool_call|>", '<|"|>')
