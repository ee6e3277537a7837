"""Canonical conversations to tokens: the model's own chat template, and which tokens are in the loss."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..protocol.failures import BadData
from .tool_calls.answers import Answer, expected_of

IGNORED = -100
CHUNK_ROWS = 512


@dataclass
class Tokens:
    """Rows as flat arrays: row i is `ids[starts[i]:starts[i+1]]`; `labels` is -100 where no loss counts."""

    ids: np.ndarray
    labels: np.ndarray
    starts: np.ndarray
    row_ids: list[int]
    cut: int = 0
    dropped: int = 0
    warnings: list[str] = field(default_factory=list)
    split: int = 0  # texts longer than a row, which became several rows

    def __len__(self) -> int:
        return len(self.row_ids)

    def lengths(self) -> np.ndarray:
        """Length of each row in tokens."""
        return np.diff(self.starts)

    def total(self) -> int:
        """Tokens of all rows."""
        return int(self.lengths().sum())

    def save(self, directory: Path) -> None:
        """Writes the rows for other processes of this machine."""
        directory.mkdir(parents=True, exist_ok=True)
        rest = {}
        for part in fields(self):
            value = getattr(self, part.name)
            if isinstance(value, np.ndarray):
                np.save(directory / f"{part.name}.npy", value)
            else:
                rest[part.name] = value
        (directory / "rest.json").write_text(json.dumps(rest), "utf-8")

    @classmethod
    def load(cls, directory: Path) -> Tokens:
        """Rows that another process has saved; the arrays are mapped from its files."""
        arrays = {path.stem: np.load(path, mmap_mode="r") for path in directory.glob("*.npy")}
        return cls(**arrays, **json.loads((directory / "rest.json").read_text("utf-8")))

    def row(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and labels of one row."""
        a, b = self.starts[index], self.starts[index + 1]
        return self.ids[a:b], self.labels[a:b]


def template_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages as chat templates expect them: text content, no weights, tool arguments as objects."""
    out = []
    for message in messages:
        turn = {k: v for k, v in message.items() if k != "weight" and v is not None}
        content = message.get("content")
        if isinstance(content, list):  # OpenAI's content parts; only text parts exist here
            content = "".join(part.get("text", "") for part in content if isinstance(part, dict))
        turn["content"] = content or ""
        if turn.get("role") == "developer":
            turn["role"] = "system"
        if turn.get("tool_calls"):
            turn["tool_calls"] = [_tool_call(call) for call in turn["tool_calls"]]
        out.append(turn)
    return out


def _tool_call(call: dict[str, Any]) -> dict[str, Any]:
    function = dict(call.get("function") or {})
    if isinstance(function.get("arguments"), str):
        with contextlib.suppress(ValueError):  # not JSON: the template prints it as it is
            function["arguments"] = json.loads(function["arguments"])
    return {**call, "function": function}


def render(tokenizer: Any, messages: list[dict[str, Any]], tools: Any, *, prompt: bool) -> str:
    """The conversation as text by the model's chat template; `prompt` opens the assistant's turn at the end."""
    return tokenizer.apply_chat_template(
        template_messages(messages), tools=tools or None, tokenize=False, add_generation_prompt=prompt
    )


def answer_of(row: dict[str, Any]) -> tuple[list[dict[str, Any]], Answer]:
    """A validation row as question and expected answer: everything before the last assistant turn, and that turn."""
    messages = row["messages"]
    last = max((i for i, m in enumerate(messages) if m.get("role") == "assistant"), default=None)
    if last is None:
        raise BadData(f"row {row.get('id')}: no assistant turn")
    return messages[:last], expected_of(messages[last])


def trained_spans(tokenizer: Any, row: dict[str, Any], text: str) -> tuple[list[tuple[int, int]], bool]:
    """Character spans of `text` that assistant turns of weight 1 cover, and whether every such turn was found."""
    messages, tools = row["messages"], row.get("tools")
    spans: list[tuple[int, int]] = []
    whole = True
    for index, message in enumerate(messages):
        if message.get("role") != "assistant" or message.get("weight", 1) == 0:
            continue
        before = render(tokenizer, messages[:index], tools, prompt=True) if index else ""
        after = text if index == len(messages) - 1 else render(tokenizer, messages[: index + 1], tools, prompt=False)
        # Some templates rewrite earlier turns (they drop reasoning, for example). A turn that changed its place
        # cannot be located, so it is left out of the loss.
        if text.startswith(before) and text.startswith(after) and len(after) > len(before):
            spans.append((len(before), len(after)))
        else:
            whole = False
    return spans, whole


@dataclass
class Encoder:
    """Renders and tokenizes conversations, without truncation, and counts what needs a warning."""

    tokenizer: Any
    loss_on: str
    end_ids: set[int]
    lost_turns: int = 0
    unseen_tools: int = 0

    def encode(self, rows: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], np.ndarray, np.ndarray]]:
        """Each row with its token ids and labels, in order."""
        rows = iter(rows)
        while chunk := list(itertools.islice(rows, CHUNK_ROWS)):
            texts = [render(self.tokenizer, row["messages"], row.get("tools"), prompt=False) for row in chunk]
            encoded = self.tokenizer(
                texts, add_special_tokens=False, return_offsets_mapping=self.loss_on == "completion"
            )
            for position, row in enumerate(chunk):
                ids = np.asarray(encoded["input_ids"][position], np.int32)
                if self.loss_on == "all":
                    labels = ids.copy()
                else:
                    spans, whole = trained_spans(self.tokenizer, row, texts[position])
                    self.lost_turns += not whole
                    offsets = np.asarray(encoded["offset_mapping"][position], np.int64).reshape(-1, 2)
                    labels = _labels(ids, offsets, spans, self.end_ids)
                self.unseen_tools += _tools_unseen(row, texts[position])
                yield row, ids, labels

    def warnings(self) -> list[str]:
        """The warnings, once all rows are encoded."""
        found = []
        if self.lost_turns:
            found.append(
                f"{self.lost_turns} rows have assistant turns that this template rewrites; they are not in the loss"
            )
        if self.unseen_tools:
            found.append(f"{self.unseen_tools} rows have tool calls that this model's chat template does not render")
        return found


def counts(labels: np.ndarray) -> bool:
    """Whether a token of the row contributes to the loss; no token predicts the first."""
    return bool((labels[1:] != IGNORED).any())


def flat(parts: list[tuple[int, np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """Rows (id, token ids, labels) as the fields of Tokens."""
    lengths = [len(ids) for _, ids, _ in parts]
    return {
        "ids": np.concatenate([ids for _, ids, _ in parts]),
        "labels": np.concatenate([labels for _, _, labels in parts]),
        "starts": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        "row_ids": [row_id for row_id, _, _ in parts],
    }


def tokenize_rows(
    tokenizer: Any, rows: Iterable[dict[str, Any]], *, max_length: int, loss_on: str, end_ids: set[int]
) -> Tokens:
    """Tokenizes rows and masks their labels. Longer rows are truncated at `max_length`; rows without a token in the
    loss are dropped.
    """
    encoder = Encoder(tokenizer, loss_on, end_ids)
    parts: list[tuple[int, np.ndarray, np.ndarray]] = []
    cut = dropped = 0
    for row, ids, labels in encoder.encode(rows):
        cut += len(ids) > max_length
        if counts(labels[:max_length]):
            parts.append((int(row["id"]), ids[:max_length], labels[:max_length]))
        else:
            dropped += 1
    if not parts:
        raise BadData(
            f"no row is left to train on: {dropped} have no assistant turn with weight 1 within {max_length} tokens; "
            "raise max_length, or set weights"
        )
    return Tokens(**flat(parts), cut=cut, dropped=dropped, warnings=encoder.warnings())


def _labels(ids: np.ndarray, offsets: np.ndarray, spans: list[tuple[int, int]], end_ids: set[int]) -> np.ndarray:
    labels = np.full(len(ids), IGNORED, np.int32)
    for begin, end in spans:
        inside = np.flatnonzero((offsets[:, 0] >= begin) & (offsets[:, 1] <= end) & (offsets[:, 1] > offsets[:, 0]))
        # What a template renders after the end-of-turn token (a newline) is never generated: no loss on it.
        ends = [i for i in inside if int(ids[i]) in end_ids]
        if ends:
            inside = inside[inside <= ends[-1]]
        labels[inside] = ids[inside]
    return labels


def _tools_unseen(row: dict[str, Any], text: str) -> bool:
    names = [
        call["function"]["name"]
        for message in row["messages"]
        for call in message.get("tool_calls") or []
        if isinstance(call.get("function"), dict) and call["function"].get("name")
    ]
    return any(name not in text for name in names)
