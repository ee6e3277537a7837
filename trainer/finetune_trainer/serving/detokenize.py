"""Streamed tokens to text: whole characters only, and nothing that may still become a stop string."""

from __future__ import annotations

from typing import Any


class TextStream:
    """Takes tokens and gives the text that is final. `stopped` is True once a stop string was found; it is not in the
    text.
    """

    def __init__(self, tokenizer: Any, stops: list[str], hidden: frozenset[int] | None = None) -> None:
        """`hidden` are the tokens that are not text; by default, the special ones."""
        self._tokenizer, self._stops, self._hidden = tokenizer, stops, hidden
        self._ids: list[int] = []
        self._from, self._upto = 0, 0  # decoding starts at `_from`; text up to token `_upto` was taken
        self._held = ""
        self.stopped = False

    def feed(self, token: int) -> str:
        """The new final text after one more token; may be empty."""
        self._ids.append(token)
        # Decoding from a few tokens back keeps the spaces that a tokenizer puts between tokens.
        before = self._decode(self._from, self._upto)
        now = self._decode(self._from, len(self._ids))
        if now.endswith("\ufffd") or len(now) <= len(before):
            return ""  # part of a character
        self._from, self._upto = self._upto, len(self._ids)
        return self._release(now[len(before) :])

    def finish(self) -> str:
        """The text held back, once no more tokens come; the bytes of a character that was not finished are left out."""
        if self.stopped:
            return ""
        rest = self._decode(self._from, len(self._ids))[len(self._decode(self._from, self._upto)) :]
        self._upto = len(self._ids)
        text = self._release(rest.rstrip("\ufffd"))
        if not self.stopped:
            text, self._held = text + self._held, ""
        return text

    def _decode(self, start: int, end: int) -> str:
        ids = self._ids[start:end]
        if self._hidden is None:
            return self._tokenizer.decode(ids, skip_special_tokens=True)
        return self._tokenizer.decode([i for i in ids if i not in self._hidden], skip_special_tokens=False)

    def _release(self, text: str) -> str:
        text = self._held + text
        found = [i for i in (text.find(s) for s in self._stops) if i >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((_overlap(text, s) for s in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0
