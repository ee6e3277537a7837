"""Conversations to training sequences: token ids as the model sees them when it is asked, and what is in the loss."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..protocol.failures import BadData
from .special import Protected, SpecialTokensOption, special_tokens_of
from .template import REASONING, TemplateRefused, text_of
from .tokens import IGNORED, Tokens, counts, flat
from .views import EndOfTurn, Turn, View, Views, views_of

CHUNK_ROWS = 512
TAILS = 4096
"""Ends of prompts whose tokens are remembered; most prompts end alike."""


@dataclass(frozen=True)
class Sequence:
    """One training sequence of a row: `offsets` of its tokens in `text`, and the number of assistant turns in the
    loss.
    """

    ids: np.ndarray
    labels: np.ndarray
    text: str
    offsets: np.ndarray
    turns: list[int]


@dataclass
class Encoder:
    """Renders and tokenizes conversations, without truncation, and notes what needs a warning.

    `single`: one sequence per row, with as many turns as one rendering can hold. `leave_out`: rows that the template
    refuses have no sequence, instead of raising TemplateRefused. `mask_reasoning`: the loss begins after the
    reasoning of a turn.
    """

    tokenizer: Any
    loss_on: str
    end_ids: set[int]
    special_tokens: SpecialTokensOption = "escape"
    leave_out: bool = False
    single: bool = False
    mask_reasoning: bool = False
    noted: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    """Row ids by what is to be said about them, each with a detail."""

    def __post_init__(self) -> None:
        self._special = special_tokens_of(self.tokenizer)
        self._end = EndOfTurn(self._special, self.end_ids)
        self._tails: dict[str, list[int]] = {}

    def encode(self, rows: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], list[Sequence]]]:
        """Each row with its sequences, in order."""
        rows = iter(rows)
        while chunk := list(itertools.islice(rows, CHUNK_ROWS)):
            planned = [self._views(row) for row in chunk]
            texts = [view.text for seen in planned if seen and not seen.hidden.words for view in seen.views]
            encoded = iter(())
            if texts:
                found = self.tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
                encoded = zip(found["input_ids"], found["offset_mapping"], strict=True)
            for row, seen in zip(chunk, planned, strict=True):
                yield row, [] if seen is None else self._sequences(row, seen, encoded)

    def _views(self, row: dict[str, Any]) -> Views | None:
        try:
            seen = views_of(self.tokenizer, row, self._end, self.special_tokens, masked=self.loss_on == "completion")
        except TemplateRefused as error:
            if not self.leave_out:
                raise TemplateRefused(f"row {row.get('id')}: {error}") from error
            self._note(row, "refused", str(error))
            return None
        if seen.lost:
            self._note(row, "lost")
        for what in seen.silent.values():
            self._note(row, "silent", what)
        if seen.hidden.words:
            self._note(row, "special")
        for what in unseen(row, seen.hidden.shown("\n".join([seen.whole, *(view.text for view in seen.views)]))):
            if what != "calls" or not seen.silent:
                self._note(row, what)
        return seen

    def _note(self, row: dict[str, Any], what: str, detail: str = "") -> None:
        self.noted[what].setdefault(int(row.get("id") or 0), detail)

    def _sequences(self, row: dict[str, Any], seen: Views, encoded: Iterator[tuple[Any, Any]]) -> list[Sequence]:
        out: list[Sequence] = []
        for view in seen.views:
            if seen.hidden.words:
                ids, offsets = seen.hidden.encode(view.text)
            else:
                found = next(encoded)
                ids, offsets = np.asarray(found[0], np.int32), np.asarray(found[1], np.int64).reshape(-1, 2)
            out += self._of_view(seen.hidden, view, ids, offsets)
        if self.single and len(out) > 1:
            best = max(out, key=lambda one: (len(one.turns), one.turns))
            self._note(row, "lost")
            return [best]
        return out

    def _of_view(self, hidden: Protected, view: View, ids: np.ndarray, offsets: np.ndarray) -> Iterator[Sequence]:
        """The view as a sequence, and each turn apart whose prompt has other tokens when it stands alone."""
        text = hidden.shown(view.text)
        if self.loss_on == "all":
            yield Sequence(ids, ids.copy(), text, offsets, [])
            return
        held: list[Turn] = []
        apart: list[Turn] = []
        for turn in view.turns:
            follows = self._follows(ids, offsets, text, len(hidden.shown(view.text[: turn.begin])))
            (held if follows else apart).append(turn)
        if held or not apart:
            yield masked(hidden, view.text, ids, offsets, held, mask_reasoning=self.mask_reasoning)
        for turn in apart:
            begin, whole = turn.begin, turn.text[: turn.end]
            prompt, answer = hidden.encode(whole[:begin]), hidden.encode(whole[begin:], inside=True)
            shift = len(hidden.shown(whole[:begin]))
            yield masked(
                hidden,
                whole,
                np.concatenate([prompt[0], answer[0]]),
                np.concatenate([prompt[1], answer[1] + shift]),
                [turn],
                mask_reasoning=self.mask_reasoning,
            )

    def _follows(self, ids: np.ndarray, offsets: np.ndarray, text: str, begin: int) -> bool:
        """Whether the tokens before `begin` are those of the prompt alone. Control tokens separate texts, so that only
        those after the last one can differ.
        """
        first = int(np.searchsorted(offsets[:, 0], begin))
        if first and offsets[first - 1, 1] > begin:
            return False
        last = first - 1
        while last > 0 and int(ids[last]) not in self._special.ids:
            last -= 1
        last = max(last, 0)
        tail = text[int(offsets[last, 0]) if last else 0 : begin]
        if tail not in self._tails:
            if len(self._tails) >= TAILS:
                self._tails.clear()
            self._tails[tail] = self._special.encode(tail)[0].tolist()
        return ids[last:first].tolist() == self._tails[tail]

    def has_words(self, labels: np.ndarray) -> bool:
        """Whether a token in the loss is more than the end of an answer."""
        return bool(np.isin(labels[1:], [IGNORED, *self.end_ids], invert=True).any())

    def warnings(self) -> list[str]:
        """The warnings, one line each, once all rows are encoded."""
        return [f"{rows_in_words(len(self.noted[name]))}: {words}" for name, words in self._remarks()]

    def remarks(self) -> list[str]:
        """What is to be said of the rows, without their number."""
        return [words for _, words in self._remarks()]

    def _remarks(self) -> Iterator[tuple[str, str]]:
        for name, words in WARNINGS.items():
            if found := self.noted.get(name):
                row, what = next(iter(found.items()))
                yield name, words.format(row=row, what=what)

    def nothing_left(self, otherwise: str) -> BadData:
        """The error when no row is left: what the template does not render, or `otherwise`."""
        silent, refused = self.noted.get("silent", {}), self.noted.get("refused", {})
        if silent:
            what = next(iter(silent.values()))
            return BadData(
                f"no row is left to train on: this model's chat template renders nothing of the answers of "
                f"{rows_in_words(len(silent))} ({what})",
                f"Choose a base model whose chat template renders {what}, or add such a template to the base model.",
            )
        if refused:
            row, why = next(iter(refused.items()))
            left_out = rows_in_words(len(refused))
            return TemplateRefused(f"no row is left to train on: {left_out} left out; row {row}: {why}")
        return BadData(f"no row is left to train on: {otherwise}")


WARNINGS = {
    "refused": "left out, because this model's chat template refuses them (row {row}: {what})",
    "silent": "assistant turns not in the loss, because this model's chat template renders nothing of them ({what})",
    "lost": "assistant turns not in the loss, because no sequence can hold them as this chat template asks for them",
    "calls": "tool calls that this model's chat template does not render",
    "tools": "tool definitions that this model's chat template does not render",
    "results": "tool results that this model's chat template does not render",
    "reasoning": "reasoning that this model's chat template does not render",
    "special": "special tokens of this model within the text, encoded as plain text",
}
"""What is said of rows, after their number."""


def rows_in_words(count: int) -> str:
    """A number of rows."""
    return f"{count} row" if count == 1 else f"{count} rows"


def masked(
    hidden: Protected,
    text: str,
    ids: np.ndarray,
    offsets: np.ndarray,
    turns: list[Turn],
    *,
    mask_reasoning: bool = False,
) -> Sequence:
    """A sequence with only the words and end tokens of these turns in the loss, or what follows their reasoning."""
    labels = np.full(len(ids), IGNORED, np.int32)
    for turn in turns:
        first = turn.said if mask_reasoning else turn.begin
        begin, end = (len(hidden.shown(text[:at])) for at in (first, turn.end))
        # By place, not by the width of their offsets: some tokenizers give spaces none.
        own = slice(*np.searchsorted(offsets[:, 0], [begin, end]))
        labels[own] = ids[own]
    return Sequence(ids, labels, hidden.shown(text), offsets, [turn.index for turn in turns])


def unseen(row: dict[str, Any], text: str) -> Iterator[str]:
    """What of a row a rendering lacks: tool `calls`, `tools` (definitions), `results` of tools, or `reasoning`."""
    calls = [call for message in row["messages"] for call in message.get("tool_calls") or []]
    for what, found in (("calls", calls), ("tools", row.get("tools") or [])):
        functions = [one.get("function") for one in found if isinstance(one, dict)]
        names = [one["name"] for one in functions if isinstance(one, dict) and one.get("name")]
        if any(name not in text for name in names):
            yield what
    results = [text_of(one.get("content")).strip() for one in row["messages"] if one.get("role") == "tool"]
    if any(one not in text and json.dumps(one, ensure_ascii=False)[1:-1] not in text for one in results):
        yield "results"
    turns = [one for one in row["messages"] if one.get("role") == "assistant"]
    reasoning = [str(one[name]).strip() for one in turns for name in REASONING if one.get(name)]
    if any(one not in text for one in reasoning):
        yield "reasoning"


def tokenize_rows(
    tokenizer: Any,
    rows: Iterable[dict[str, Any]],
    *,
    max_length: int,
    loss_on: str,
    end_ids: set[int],
    special_tokens: SpecialTokensOption = "escape",
    leave_out: bool = False,
    mask_reasoning: bool = False,
) -> Tokens:
    """Tokenizes rows and masks their labels. Longer sequences are truncated at `max_length`; rows without a token in
    the loss are dropped.
    """
    encoder = Encoder(tokenizer, loss_on, end_ids, special_tokens, leave_out, mask_reasoning=mask_reasoning)
    parts: list[tuple[int, np.ndarray, np.ndarray]] = []
    cut = dropped = split = 0
    words = False
    for row, sequences in encoder.encode(rows):
        kept = [(one.ids[:max_length], one.labels[:max_length]) for one in sequences]
        kept = [one for one in kept if counts(one[1])]
        cut += any(len(one.ids) > max_length for one in sequences)
        split += len(kept) > 1
        dropped += not kept
        words = words or any(encoder.has_words(labels) for _, labels in kept)
        parts += [(int(row["id"]), *one) for one in kept]
    if not parts:
        raise encoder.nothing_left(
            f"{dropped} have no assistant turn with weight 1 within {max_length} tokens; "
            "raise max_length, or set weights"
        )
    if not words:
        raise encoder.nothing_left(f"the answers of {len(parts)} rows are empty, so that only end tokens are learned")
    return Tokens(**flat(parts), cut=cut, dropped=dropped, split=split, warnings=encoder.warnings())
