"""What a model sees of rows: each token with its text, and whether it is in the loss, context or truncated. Training
uses this code.

`python -m finetune_trainer.training.inspection` answers one JSON object per line:
`{"base", "row_type", "loss_on", "max_length", "rows"}` ->
`{"rows": [{"row_id", "sequences": [{"name", "pieces", "states", "trains", "context", "cut", "hashes"}]}]}`, or
`{"error"}`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..data.rows import SIDES, Row, answered, last_answer_only, split_text
from ..data.tokens import IGNORED, Encoder, counts, render

TRAINS, CONTEXT, CUT = "t", "c", "x"
"""One letter per token in `states`: in the loss; context only (masked); truncated."""
MAX_PIECES = 20_000
"""Tokens shown of a sequence; the counts are of all."""


def row_hash(ids: np.ndarray, labels: np.ndarray) -> str:
    """Hex sha256 of a row as it is trained on: token ids and labels, 32 bits each. The first label is ignored: no token
    predicts it.
    """
    labels = np.array(labels, "<i4")
    labels[:1] = IGNORED
    return hashlib.sha256(np.asarray(ids, "<i4").tobytes() + labels.tobytes()).hexdigest()


def conversations(kind: str, row: Row) -> Iterator[tuple[str, Row]]:
    """The conversations of a row, by name: both sides of a pair, else one."""
    if kind == "preference":
        yield from ((side, answered(row, side)) for side in SIDES)
    elif kind == "unpaired":
        yield "good" if row["label"] else "bad", {**row, "messages": last_answer_only(row["messages"])}
    else:
        yield "row", row


def token_texts(text: str, offsets: np.ndarray) -> list[str]:
    """The text of each token. Of several tokens within one character, the first has its text and the others none."""
    out, describe_sequence = [], 0
    for begin, end in offsets.tolist():
        out.append(text[max(begin, describe_sequence) : end])
        describe_sequence = max(describe_sequence, end)
    return out


def describe_sequence(
    name: str, ids: np.ndarray, labels: np.ndarray, pieces: list[str], max_length: int
) -> dict[str, Any]:
    """A sequence for display: texts and states of its tokens, counts, and the hashes of what is trained on, if anything
    is.
    """
    states = np.where(labels == IGNORED, CONTEXT, TRAINS)
    if len(states):
        states[0] = CONTEXT  # no token predicts the first
    states[max_length:] = CUT
    return {
        "name": name,
        "pieces": pieces[:MAX_PIECES],
        "states": "".join(states[:MAX_PIECES].tolist()),
        "trains": int((states == TRAINS).sum()),
        "context": int((states == CONTEXT).sum()),
        "cut": int((states == CUT).sum()),
        "hashes": [row_hash(ids[:max_length], labels[:max_length])] if counts(labels[:max_length]) else [],
    }


def inspect(kind: str, tokenizer: Any, row: Row, *, max_length: int, loss_on: str, end_ids: set[int]) -> dict[str, Any]:
    """One canonical row as the model sees it."""
    if kind == "text":
        encoded = tokenizer(row["text"], return_offsets_mapping=True)
        ids, offsets = np.asarray(encoded["input_ids"], np.int32), np.asarray(encoded["offset_mapping"]).reshape(-1, 2)
        pieces = token_texts(row["text"], offsets)
        if not len(ids) or ids[-1] != tokenizer.eos_token_id:
            ids, pieces = np.append(ids, np.int32(tokenizer.eos_token_id)), [*pieces, tokenizer.eos_token]
        # Long texts are split into pieces, so nothing of them is truncated.
        hashes = [row_hash(piece, piece) for piece in split_text(ids, max_length)]
        return {
            "row_id": row["id"],
            "sequences": [{**describe_sequence("text", ids, ids, pieces, len(ids)), "hashes": hashes}],
        }
    if kind == "prompt":
        text = render(tokenizer, row["messages"], row.get("tools"), prompt=True)
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = np.asarray(encoded["input_ids"], np.int32)
        pieces = token_texts(text, np.asarray(encoded["offset_mapping"]).reshape(-1, 2))
        # A prompt that is too long is left out: truncated, it would be another question.
        fits, labels = len(ids) if len(ids) <= max_length else 0, np.full_like(ids, IGNORED)
        hashes = [row_hash(ids, labels)] if fits else []
        return {
            "row_id": row["id"],
            "sequences": [{**describe_sequence("prompt", ids, labels, pieces, fits), "hashes": hashes}],
        }
    sequences = []
    for name, conversation in conversations(kind, row):
        encoder = Encoder(tokenizer, loss_on if kind == "chat" else "completion", end_ids)
        ((_, ids, labels),) = encoder.encode([conversation])
        text = render(tokenizer, conversation["messages"], conversation.get("tools"), prompt=False)
        offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        pieces = token_texts(text, np.asarray(offsets).reshape(-1, 2))
        sequences.append({**describe_sequence(name, ids, labels, pieces, max_length), "warnings": encoder.warnings()})
    return {"row_id": row["id"], "sequences": sequences}


def end_ids_of(base: Path, tokenizer: Any) -> set[int]:
    """Every token that ends an answer, as `load.end_token_ids` finds it, without loading the weights."""
    ids = {tokenizer.eos_token_id}
    for name in ("generation_config.json", "config.json"):
        path = base / name
        value = json.loads(path.read_text("utf-8")).get("eos_token_id") if path.is_file() else None
        ids |= set(value) if isinstance(value, list) else {value}
    return {int(i) for i in ids if i is not None}


def main() -> None:
    """Answers requests until standard input ends; a base's tokenizer is loaded once."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print to standard output
    from ..model.load import load_tokenizer

    loaded: dict[str, Any] = {}
    for line in sys.stdin:
        try:
            asked = json.loads(line)
            base = asked["base"]
            if base not in loaded:
                loaded.clear()
                loaded[base] = load_tokenizer(Path(base))
            tokenizer = loaded[base]
            options = {"max_length": asked["max_length"], "loss_on": asked["loss_on"]}
            ends = end_ids_of(Path(base), tokenizer)
            rows = [inspect(asked["row_type"], tokenizer, row, **options, end_ids=ends) for row in asked["rows"]]
            reply = {"rows": rows}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"[:2000]}
        print(json.dumps(reply, ensure_ascii=False), file=answers, flush=True)


if __name__ == "__main__":
    main()
