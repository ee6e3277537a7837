"""Rows of every type: their required fields, their tokens for training, and their question. tokens.py has conversations
only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..protocol.failures import BadData
from . import exact
from .encoder import CHUNK_ROWS, Encoder, rows_in_words, tokenize_rows
from .special import SpecialTokensOption, special_tokens_of, stripped
from .template import TemplateRefused, encode_conversation
from .tokens import IGNORED, Tokens, counts, flat
from .tool_calls.answers import Answer, expected_of

Row = dict[str, Any]
SIDES = ("chosen", "rejected")


def read_rows(path: Path, kind: str = "chat", limit: int | None = None) -> Iterator[Row]:
    """Canonical rows of a JSONL file, in order, at most `limit`. Raises BadData for a row that is not of this type."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream):
            if limit is not None and number >= limit:
                return
            if line.strip():
                row = exact.loads(line)
                if not isinstance(row, dict) or not all(isinstance(row.get(k), t) for k, t in ROW_FIELDS[kind].items()):
                    raise BadData(f"line {number + 1}: not a canonical row of type {kind}")
                yield row


ROW_FIELDS: dict[str, dict[str, type]] = {
    "chat": {"messages": list},
    "preference": {"messages": list, "chosen": list, "rejected": list},
    "unpaired": {"messages": list, "label": bool},
    "text": {"text": str},
    "prompt": {"messages": list, "item": dict},
}


@dataclass
class PreferencePairs(Tokens):
    """Preference rows: row i is two of the flat rows, 2i the prompt with the chosen answer, 2i + 1 with the rejected
    one.
    """

    def lengths(self) -> np.ndarray:
        """Length of the longer side of each row in tokens."""
        return np.diff(self.starts).reshape(-1, 2).max(1)

    def total(self) -> int:
        """Tokens of both sides of all rows."""
        return int(self.starts[-1])

    def sides(self, index: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Token ids and labels of a row's chosen and rejected side; the labels are those of the answer only."""
        return [self.row(2 * index), self.row(2 * index + 1)]

    def side(self, which: int) -> Tokens:
        """All chosen (0) or all rejected (1) sides as rows."""
        return Tokens(**flat([(row_id, *self.row(2 * i + which)) for i, row_id in enumerate(self.row_ids)]))


@dataclass
class UnpairedRows(Tokens):
    """Labeled preference data (unpaired): `good` is 1 for a row whose last answer is labeled as good."""

    good: np.ndarray = field(default_factory=lambda: np.empty(0, np.int8))


@dataclass
class PromptRows(Tokens):
    """Prompt rows: the flat rows are the prompts, `items` the fields that the grader reads, `tools` what the model may
    call.
    """

    items: list[Row] = field(default_factory=list)
    tools: list[list[Row]] = field(default_factory=list)


def last_answer_only(messages: list[Row]) -> list[Row]:
    """The messages up to the last assistant turn, which is the only one with weight 1."""
    last = max((i for i, m in enumerate(messages) if m.get("role") == "assistant"), default=-1)
    return [
        {**m, "weight": int(i == last)} if m.get("role") == "assistant" else m
        for i, m in enumerate(messages[: last + 1])
    ]


def answered(row: Row, side: str) -> Row:
    """One side of a preference row as a conversation in which only the turns of the answer have weight 1."""
    prompt = [{**m, "weight": 0} if m.get("role") == "assistant" else m for m in row["messages"]]
    return {**row, "messages": [*prompt, *({k: v for k, v in m.items() if k != "weight"} for m in row[side])]}


def answer_of(row: dict[str, Any]) -> tuple[list[dict[str, Any]], Answer]:
    """A validation row as question and expected answer: everything before the last assistant turn, and that turn."""
    messages = row["messages"]
    last = max((i for i, m in enumerate(messages) if m.get("role") == "assistant"), default=None)
    if last is None:
        raise BadData(f"row {row.get('id')}: no assistant turn")
    return messages[:last], expected_of(messages[last])


def question_of(row: Row, kind: str) -> tuple[list[Row], Answer]:
    """The question of a row and its expected answer: of pairs the first turn of the chosen answer, else the last
    assistant turn.

    For an answer labeled as bad the expected one is empty.
    """
    if kind == "prompt":
        return row["messages"], Answer("")
    if kind == "preference":
        turns = row["chosen"]
        first = next((i for i, m in enumerate(turns) if m.get("role") == "assistant"), len(turns) - 1)
        row = {**row, "messages": [*row["messages"], *turns[: first + 1]]}
    question, wanted = answer_of(row)
    return question, Answer("") if row.get("label") is False else wanted


def tokenize(
    kind: str,
    tokenizer: Any,
    rows: Iterable[Row],
    *,
    max_length: int,
    loss_on: str,
    end_ids: set[int],
    special_tokens: SpecialTokensOption | None = None,
    leave_out: bool = False,
    mask_reasoning: bool = False,
) -> Tokens:
    """Rows of a type as Tokens, PreferencePairs, UnpairedRows or PromptRows. Raises BadData when none is left.

    `special_tokens` are read as plain text in conversations and kept in texts unless it says otherwise. Rows that the
    chat template refuses raise TemplateRefused, unless they are left out.
    """
    if kind == "text":
        return tokenize_texts(tokenizer, rows, max_length, special_tokens or "keep")
    option = special_tokens or "escape"
    if kind == "chat":
        return tokenize_rows(
            tokenizer,
            rows,
            max_length=max_length,
            loss_on=loss_on,
            end_ids=end_ids,
            special_tokens=option,
            leave_out=leave_out,
            mask_reasoning=mask_reasoning,
        )
    if kind == "prompt":
        return tokenize_prompts(tokenizer, rows, max_length, option, leave_out)
    encoder = Encoder(tokenizer, "completion", end_ids, option, leave_out, single=True, mask_reasoning=mask_reasoning)
    return (tokenize_pairs if kind == "preference" else tokenize_unpaired)(encoder, rows, max_length)


def load(kind: str, directory: Path) -> Tokens:
    """Rows that another process has saved."""
    return {"preference": PreferencePairs, "unpaired": UnpairedRows, "prompt": PromptRows}.get(kind, Tokens).load(
        directory
    )


def tokenize_pairs(encoder: Encoder, rows: Iterable[Row], max_length: int) -> PreferencePairs:
    """Both sides of each row, truncated at the end; a pair is dropped when no token of one answer is left."""
    parts: list[tuple[int, np.ndarray, np.ndarray]] = []
    row_ids = []
    cut = dropped = 0
    words = False
    encoded = encoder.encode(answered(row, side) for row in rows for side in SIDES)
    for pair in zip(encoded, encoded, strict=True):  # the same iterator twice: two at a time
        sides = [side for _, found in pair for side in found]
        cut += any(len(side.ids) > max_length for side in sides)
        kept = [(side.ids[:max_length], side.labels[:max_length]) for side in sides]
        if len(kept) == 2 and all(counts(labels) for _, labels in kept):
            row_id = int(pair[0][0]["id"])
            parts += [(row_id, *side) for side in kept]
            row_ids.append(row_id)
            words = words or any(encoder.has_words(labels) for _, labels in kept)
        else:
            dropped += 1
    if not words:
        raise encoder.nothing_left(
            f"of {dropped + len(row_ids)} rows an answer is empty or begins after {max_length} tokens; raise max_length"
        )
    return PreferencePairs(**{**flat(parts), "row_ids": row_ids}, cut=cut, dropped=dropped, warnings=encoder.warnings())


def tokenize_unpaired(encoder: Encoder, rows: Iterable[Row], max_length: int) -> UnpairedRows:
    """Rows with their labeled answer, truncated at the end; a row is dropped when no token of its answer is left."""
    parts, good = [], []
    cut = dropped = 0
    words = False
    for row, found in encoder.encode({**row, "messages": last_answer_only(row["messages"])} for row in rows):
        cut += any(len(one.ids) > max_length for one in found)
        kept = [(one.ids[:max_length], one.labels[:max_length]) for one in found]
        if kept and counts(kept[0][1]):
            parts.append((int(row["id"]), *kept[0]))
            good.append(row["label"])
            words = words or encoder.has_words(kept[0][1])
        else:
            dropped += 1
    if not words:
        raise encoder.nothing_left(
            f"{dropped + len(good)} have no answer with words within {max_length} tokens; raise max_length"
        )
    marks = np.asarray(good, np.int8)
    return UnpairedRows(**flat(parts), cut=cut, dropped=dropped, warnings=encoder.warnings(), good=marks)


def split_text(ids: np.ndarray, max_length: int) -> list[np.ndarray]:
    """The tokens of a text in pieces of at most `max_length`. Each piece begins with the last token of the previous
    one.
    """
    return [ids[at : at + max_length] for at in range(0, max(1, len(ids) - 1), max_length - 1)]


def encode_text(tokenizer: Any, text: str, option: SpecialTokensOption) -> tuple[str, np.ndarray, np.ndarray]:
    """A text as it is trained on, its token ids with the end token after it, and their offsets."""
    special = special_tokens_of(tokenizer)
    text = stripped(special, text) if option == "strip" else text
    ids, offsets = special.encode(text, plain=option == "escape", whole=True)
    if not len(ids) or ids[-1] != tokenizer.eos_token_id:
        end = len(text)
        ids, offsets = np.append(ids, np.int32(tokenizer.eos_token_id)), np.append(offsets, [[end, end]], 0)
    return text, ids, offsets


def tokenize_texts(tokenizer: Any, rows: Iterable[Row], max_length: int, option: SpecialTokensOption) -> Tokens:
    """Texts with the end token after each, in pieces of at most `max_length`; empty texts are dropped.

    A piece begins with the last token of the previous one, so every token except the first of a text is predicted
    exactly once.
    """
    special = special_tokens_of(tokenizer)
    parts: list[tuple[int, np.ndarray, np.ndarray]] = []
    dropped = split = 0
    rows = iter(rows)
    while chunk := list(islice(rows, CHUNK_ROWS)):
        encoded = tokenizer([row["text"] for row in chunk])["input_ids"]
        for row, found in zip(chunk, encoded, strict=True):
            if option != "keep" and any(special.find(row["text"])):
                text, ids, _ = encode_text(tokenizer, row["text"], option)
            else:
                text, ids = row["text"], np.asarray(found, np.int32)
                ids = ids if ids[-1:] == tokenizer.eos_token_id else np.append(ids, np.int32(tokenizer.eos_token_id))
            if not text.strip():
                dropped += 1
                continue
            pieces = split_text(ids, max_length)
            parts += [(int(row["id"]), piece, piece) for piece in pieces]
            split += len(pieces) > 1
    if not parts:
        raise BadData(f"no row is left to train on: {dropped} texts are empty")
    return Tokens(**flat(parts), dropped=dropped, split=split)


def tokenize_prompts(
    tokenizer: Any, rows: Iterable[Row], max_length: int, option: SpecialTokensOption, leave_out: bool
) -> PromptRows:
    """Prompts that open the assistant's turn. One longer than `max_length` is dropped: truncated, it would be another
    question.
    """
    parts: list[tuple[int, np.ndarray, np.ndarray]] = []
    items: list[Row] = []
    tools: list[list[Row]] = []
    dropped = 0
    refused: list[str] = []
    for row in rows:
        try:
            found = encode_conversation(tokenizer, row["messages"], row.get("tools"), special_tokens=option)
        except TemplateRefused as error:
            refused.append(f"row {row['id']}: {error}")
            if not leave_out:
                raise TemplateRefused(refused[-1]) from error
            continue
        ids = np.asarray(found.ids, np.int32)
        if len(ids) > max_length:
            dropped += 1
            continue
        parts.append((int(row["id"]), ids, np.full(len(ids), IGNORED, np.int32)))
        items.append(row["item"])
        tools.append(row.get("tools") or [])
    if not parts and refused:
        left_out = rows_in_words(len(refused))
        raise TemplateRefused(f"no row is left to train on: {left_out} left out; {refused[0]}")
    if not parts:
        raise BadData(f"no row is left to train on: {dropped} prompts are longer than {max_length} tokens")
    left_out = f"{rows_in_words(len(refused))}: left out, because this model's chat template refuses them"
    warnings = [f"{left_out} ({refused[0]})"] if refused else []
    return PromptRows(**flat(parts), dropped=dropped, items=items, tools=tools, warnings=warnings)
