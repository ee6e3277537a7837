"""Text as it comes to content and tool calls, one character at a time, so it does not matter how the text is split."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .family import Family
from .reading import END, Malformed, Reader, Written


@dataclass(frozen=True)
class ToolCall:
    """A complete call; `arguments` is JSON, character by character as the model wrote it."""

    index: int
    id: str
    name: str
    arguments: str

    def message(self) -> dict[str, Any]:
        """The call in a message, in OpenAI's form."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


Piece = str | ToolCall


class ToolCallStream:
    """Splits an answer into content and calls. A call comes once it is complete; what turns out not to be a call is
    content, as written. Blanks around calls belong to the calls.

    With `single`, everything after the first call is dropped; `done` is True then.
    """

    def __init__(self, family: Family, tools: Iterable[Any] = (), *, single: bool = False) -> None:
        self._family, self._tools, self._single = family, list(tools), single
        self._held = ""  # blanks, and what may become an opener
        self._reader: Reader | None = None
        self._raw = ""  # what the reader has read, its opener included
        self._opener = ""
        self._fresh = True  # nothing but calls so far, or since the last call
        self._out: list[Piece] = []
        self.calls = 0

    @property
    def done(self) -> bool:
        """Whether no more text is wanted."""
        return self._single and self.calls > 0

    def feed(self, text: str) -> list[Piece]:
        """The pieces that are final after more text."""
        for char in text:
            self._take(char)
        return self._flush()

    def finish(self) -> list[Piece]:
        """The last pieces, once no more text comes."""
        while self._reader is not None:
            self._take(END)
        self._say(self._held)
        self._held = ""
        return self._flush()

    def _take(self, char: str) -> None:
        waiting = [char]  # characters to read, the next one last
        while waiting and not self.done:
            char = waiting.pop()
            if self._reader is None:
                self._read_text(char)
            elif not self._read_call(char):
                # Not a call: what opened it is content, and the rest is read again as text.
                again = self._raw[len(self._opener) :]
                self._say(self._opener)
                waiting.extend(reversed(again))

    def _read_text(self, char: str) -> None:
        self._held += char
        openers = self._family.openers + (self._family.first if self._fresh else ())
        while self._held:
            rest = self._held.lstrip(self._family.filler if self.calls and self._fresh else None)
            if rest in openers:
                # The blanks before it are content after all if it turns out not to be a call.
                self._opener, self._held, self._raw = self._held, "", self._held
                self._reader = self._family.read(rest, self._tools)
                next(self._reader)
                return
            if any(opener.startswith(rest) for opener in openers):
                return
            self._say(self._held[0])
            self._held = self._held[1:]
            openers = self._family.openers + (self._family.first if self._fresh else ())

    def _read_call(self, char: str) -> bool:
        """One more character of a call; False when it is not a call."""
        self._raw += char
        try:
            self._reader.send(char)
        except StopIteration as end:
            self._reader = None
            self._call(end.value)
        except Malformed:
            self._reader = None
            return False
        return True

    def _call(self, written: list[Written]) -> None:
        for name, arguments in written[:1] if self._single else written:
            self._out.append(ToolCall(self.calls, self._family.new_id(), name, arguments))
            self.calls += 1
        self._fresh = True

    def _say(self, text: str) -> None:
        if self.calls and self._fresh:
            text = text.lstrip(self._family.filler)
        self._out.append(text)
        self._fresh = self._fresh and not text.strip()

    def _flush(self) -> list[Piece]:
        out: list[Piece] = []
        for piece in self._out:
            if isinstance(piece, str) and out and isinstance(out[-1], str):
                out[-1] += piece
            elif piece != "":
                out.append(piece)
        self._out = []
        return out


def parse(family: Family, text: str, tools: Iterable[Any] = ()) -> tuple[str, list[ToolCall]]:
    """The content and the calls of a whole answer."""
    stream = ToolCallStream(family, tools)
    pieces = stream.feed(text) + stream.finish()
    content = "".join(piece for piece in pieces if isinstance(piece, str))
    return content, [piece for piece in pieces if isinstance(piece, ToolCall)]
