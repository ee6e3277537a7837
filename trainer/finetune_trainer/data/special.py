"""Special tokens in the words of a conversation: read as plain text, removed, or kept as control tokens."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from .patterns import any_character

SpecialTokensOption = Literal["escape", "strip", "keep"]

PRIVATE, LAST_PRIVATE = 0xF0000, 0xFFFFD
"""A private character, which Unicode never assigns, stands for a protected string while the chat template renders."""
HIDDEN = re.compile(r"[\U000F0000-\U000FFFFD]")


class SpecialTokens:
    """The special tokens of a tokenizer: their strings, and how texts with and without them are encoded."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        added = {int(i): str(t.content) for i, t in tokenizer.added_tokens_decoder.items() if t.special}
        self.ids = frozenset(added)
        self.words = frozenset(added.values()) - {""}
        kinds = [t for t in tokenizer.added_tokens_decoder.values() if t.special]
        self._swallow_before = frozenset(str(t.content) for t in kinds if t.lstrip)
        self._swallow_after = frozenset(str(t.content) for t in kinds if t.rstrip)
        self._lengths = sorted({len(word) for word in self.words}, reverse=True)
        self._first = any_character((word[0] for word in self.words), chr(PRIVATE), chr(LAST_PRIVATE))

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Where special tokens, and private characters, are in a text."""
        end = 0
        for candidate in self._first.finditer(text):
            at = candidate.start()
            if at < end:
                continue
            if PRIVATE <= ord(text[at]) <= LAST_PRIVATE:
                end = at + 1
                yield at, end
                continue
            # Thousands of tokens may begin alike, so their strings are looked up by length.
            length = next((n for n in self._lengths if text[at : at + n] in self.words), 0)
            if length:
                end = at + length
                yield at, end

    def control(self, text: str) -> Iterator[tuple[int, int]]:
        """Where control tokens are in a rendering with private characters, with the white space that they swallow."""
        for begin, end in self.find(text):
            word = text[begin:end]
            if word not in self.words:
                continue
            if word in self._swallow_before:
                begin = len(text[:begin].rstrip())
            if word in self._swallow_after:
                end = len(text) - len(text[end:].lstrip())
            yield begin, end

    @functools.cached_property
    def marks_beginning(self) -> bool:
        """Whether the tokenizer encodes the beginning of a text in a way of its own, as SentencePiece's do."""
        word = next(iter(sorted(self.words)), None)
        if word is None:
            return False
        after = self.tokenizer(f"{word}a", add_special_tokens=False)["input_ids"][1:]
        return after != self.tokenizer("a", add_special_tokens=False)["input_ids"]

    @functools.cached_property
    def _plain(self) -> Any:
        """A copy of the tokenizer to which special tokens are text. A switch of a shared one is not thread-safe."""
        backend = copy.deepcopy(self.tokenizer.backend_tokenizer)
        backend.encode_special_tokens = True
        return backend

    def encode(
        self, text: str, *, plain: bool = False, inside: bool = False, whole: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and offsets of a text. `plain`: special tokens in it are text. `inside`: it continues another
        text. `whole`: with the tokens that the tokenizer adds to a text.
        """
        lead = "\n" if inside and self.marks_beginning else ""
        if plain:
            encoding = self._plain.encode(lead + text, add_special_tokens=whole)
            ids, places = self._unmerged(encoding.ids, encoding.offsets, keep=whole)
        else:
            encoded = self.tokenizer(lead + text, add_special_tokens=whole, return_offsets_mapping=True)
            ids, places = encoded["input_ids"], encoded["offset_mapping"]
        offsets = np.asarray(places, np.int64).reshape(-1, 2) - len(lead)
        own = offsets[:, 1] > 0 if lead else slice(None)
        return np.asarray(ids, np.int32)[own], offsets[own]

    def _unmerged(
        self, ids: list[int], places: list[tuple[int, int]], *, keep: bool
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Plain text whose characters the tokenizer merges to a special token, character by character. `keep`: those
        that stand for no text are the tokenizer's own.
        """
        if self.ids.isdisjoint(ids):
            return ids, places
        out: list[tuple[int, tuple[int, int]]] = []
        for one, (begin, end) in zip(ids, places, strict=True):
            if one not in self.ids or (keep and begin == end):
                out.append((one, (begin, end)))
                continue
            characters = [self._plain.token_to_id(character) for character in self._plain.id_to_token(one)]
            known = [character for character in characters if character is not None]
            out += [(character, (begin + at, begin + at + 1)) for at, character in enumerate(known)]
        return [one for one, _ in out], [place for _, place in out]


@functools.lru_cache(maxsize=4)
def special_tokens_of(tokenizer: Any) -> SpecialTokens:
    """The special tokens of a tokenizer, read once."""
    return SpecialTokens(tokenizer)


@dataclass
class Protected:
    """The strings that private characters stand for in the renderings of one conversation."""

    special: SpecialTokens
    words: list[str] = field(default_factory=list)

    def hide(self, value: Any) -> Any:
        """The value with a private character for every special token in its strings."""
        if isinstance(value, str):
            return self._hidden(value)
        if isinstance(value, list):
            return [self.hide(one) for one in value]
        if isinstance(value, dict):
            return {self.hide(key): self.hide(one) for key, one in value.items()}
        return value

    def _hidden(self, text: str) -> str:
        out, end = [], 0
        for begin, after in self.special.find(text):
            word = text[begin:after]
            if word not in self.words:
                self.words.append(word)
            out += [text[end:begin], chr(PRIVATE + self.words.index(word))]
            end = after
        return "".join([*out, text[end:]]) if out else text

    def shown(self, text: str) -> str:
        """A rendering with the strings themselves."""
        return HIDDEN.sub(lambda found: self.words[ord(found[0]) - PRIVATE], text) if self.words else text

    def holds(self, text: str) -> bool:
        """Whether a rendering has a protected string."""
        return bool(self.words) and HIDDEN.search(text) is not None

    def encode(self, text: str, *, inside: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Token ids of a rendering, and their offsets in `shown(text)`. Only the template's special tokens are control
        tokens: the text between two of them is encoded as plain text when it has a protected string. `inside`: the
        rendering continues another.
        """
        if not self.holds(text):
            return self.special.encode(text, inside=inside)
        ids, offsets, at = [], [], 0
        for piece, plain in self._pieces(text):
            shown = self.shown(piece)
            found = self.special.encode(shown, plain=plain, inside=inside or at > 0)
            ids.append(found[0])
            offsets.append(found[1] + at)
            at += len(shown)
        return np.concatenate(ids), np.concatenate(offsets)

    def _pieces(self, text: str) -> Iterator[tuple[str, bool]]:
        """The text in pieces, and whether a piece is plain text."""
        begin = done = 0
        for after, end in [*self.special.control(text), (len(text), len(text))]:
            if self.holds(text[begin:after]):
                if begin > done:
                    yield text[done:begin], False
                yield text[begin:after], True
                done = after
            begin = end
        if done < len(text):
            yield text[done:], False


def stripped(special: SpecialTokens, value: Any) -> Any:
    """The value without the special tokens in its strings."""
    if isinstance(value, str):
        while found := [(a, b) for a, b in special.find(value) if value[a:b] in special.words]:
            # What is left around a removed token may be one too.
            for begin, end in reversed(found):
                value = value[:begin] + value[end:]
        return value
    if isinstance(value, list):
        return [stripped(special, one) for one in value]
    if isinstance(value, dict):
        return {key: stripped(special, one) for key, one in value.items()}
    return value
