"""Rows of every type: their required fields, their tokens for training, and their question. tokens.py has conversations
only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..protocol.failures import BadData
from .tokens import CHUNK_ROWS, IGNORED, Encoder, Tokens, answer_of, counts, flat, render, tokenize_rows
from .tool_calls.answers import Answer

Row = dict[str, Any]
SIDES = ("chosen", "rejected")


def read_rows(path: Path, kind: str = "chat", limit: int | None = None) -> Iterator[Row]:
    """Canonical rows of a JSONL file, in order, at most `limit`. Raises BadData for a row that is not of this type."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream):
            if limit is not None and number >= limit:
                return
            if line.strip():
                row = json.loads(line)
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
    kind: str, tokenizer: Any, rows: Iterable[Row], *, max_length: int, loss_on: str, end_ids: set[int]
) -> Tokens:
    """Rows of a type as Tokens, PreferencePairs, UnpairedRows or PromptRows. Raises BadData when none is left."""
    if kind == "chat":
        return tokenize_rows(tokenizer, rows, max_length=max_length, loss_on=loss_on, end_ids=end_ids)
    if kind == "text":
        return tokenize_texts(tokenizer, rows, max_length)
    if kind == "prompt":
        return tokenize_prompts(tokenizer, rows, max_length)
    encoder = Encoder(tokenizer, "completion", end_ids)
    return (tokenize_pairs if kind == "preference" else tokenize_unpaired)(encoder, rows, max_length)


def load(kind: str, directory: Path) -> Tokens:
    """Rows that another process has saved."""
    return {"preference": PreferencePairs, "unpaired": UnpairedRows, "prompt": PromptRows}.get(kind, Tokens).load(
        directory
    )


def tokenize_pairs(encoder: Encoder, rows: Iterable[Row], max_length: int) -> PreferencePairs:
    """Both sides of each row, truncated at the end; a pair is dropped when no token of one answer is left."""
    parts, row_ids = [], []
    cut = dropped = 0
    encoded = encoder.encode(answered(row, side) for row in rows for side in SIDES)
    for chosen, rejected in zip(encoded, encoded, strict=True):  # the same iterator twice: two at a time
        pair = [(int(row["id"]), ids[:max_length], labels[:max_length]) for row, ids, labels in (chosen, rejected)]
        cut += max(len(chosen[1]), len(rejected[1])) > max_length
        if all(counts(labels) for _, _, labels in pair):
            parts += pair
            row_ids.append(pair[0][0])
        else:
            dropped += 1
    if not parts:
        raise BadData(
            f"no row is left to train on: of {dropped} rows an answer is empty or begins after {max_length} tokens; "
            "raise max_length"
        )
    return PreferencePairs(**{**flat(parts), "row_ids": row_ids}, cut=cut, dropped=dropped, warnings=encoder.warnings())


def tokenize_unpaired(encoder: Encoder, rows: Iterable[Row], max_length: int) -> UnpairedRows:
    """Rows with their labeled answer, truncated at the end; a row is dropped when no token of its answer is left."""
    parts, good = [], []
    cut = dropped = 0
    for row, ids, labels in encoder.encode({**row, "messages": last_answer_only(row["messages"])} for row in rows):
        cut += len(ids) > max_length
        if counts(labels[:max_length]):
            parts.append((int(row["id"]), ids[:max_length], labels[:max_length]))
            good.append(row["label"])
        else:
            dropped += 1
    if not parts:
        raise BadData(
            f"no row is left to train on: {dropped} have no answer within {max_length} tokens; raise max_length"
        )
    marks = np.asarray(good, np.int8)
    return UnpairedRows(**flat(parts), cut=cut, dropped=dropped, warnings=encoder.warnings(), good=marks)


def split_text(ids: np.ndarray, max_length: int) -> list[np.ndarray]:
    """The tokens of a text in pieces of at most `max_length`. Each piece begins with the last token of the previous
    one.
    """
    return [ids[at : at + max_length] for at in range(0, max(1, len(ids) - 1), max_length - 1)]


def tokenize_texts(tokenizer: Any, rows: Iterable[Row], max_length: int) -> Tokens:
    """Texts with the end token after each, in pieces of at most `max_length`; empty texts are dropped.

    A piece begins with the last token of the previous one, so every token except the first of a text is predicted
    exactly once.
    """
    parts: list[tuple[int, np.ndarray, np.ndarray]] = []
    dropped = split = 0
    rows = iter(rows)
    while chunk := list(islice(rows, CHUNK_ROWS)):
        encoded = tokenizer([row["text"] for row in chunk])["input_ids"]
        for row, found in zip(chunk, encoded, strict=True):
            if not row["text"].strip():
                dropped += 1
                continue
            ids = np.asarray(
                found if found[-1] == tokenizer.eos_token_id else [*found, tokenizer.eos_token_id], np.int32
            )
            pieces = split_text(ids, max_length)
            parts += [(int(row["id"]), piece, piece) for piece in pieces]
            split += len(pieces) > 1
    if not parts:
        raise BadData(f"no row is left to train on: {dropped} texts are empty")
    return Tokens(**flat(parts), dropped=dropped, split=split)


def tokenize_prompts(tokenizer: Any, rows: Iterable[Row], max_length: int) -> PromptRows:
    """Prompts that open the assistant's turn. One longer than `max_length` is dropped: truncated, it would be another
    question.
    """
    parts: list[tuple[int, np.ndarray, np.ndarray]] = []
    items: list[Row] = []
    tools: list[list[Row]] = []
    dropped = 0
    for row in rows:
        text = render(tokenizer, row["messages"], row.get("tools"), prompt=True)
        ids = np.asarray(tokenizer(text, add_special_tokens=False)["input_ids"], np.int32)
        if len(ids) > max_length:
            dropped += 1
            continue
        parts.append((int(row["id"]), ids, np.full(len(ids), IGNORED, np.int32)))
        items.append(row["item"])
        tools.append(row.get("tools") or [])
    if not parts:
        raise BadData(f"no row is left to train on: {dropped} prompts are longer than {max_length} tokens")
    return PromptRows(**flat(parts), dropped=dropped, items=items, tools=tools)
