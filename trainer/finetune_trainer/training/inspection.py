"""What a model sees of rows: each token with its text, and whether it is in the loss, context or truncated. Training
uses this code.

`python -m finetune_trainer.training.inspection` answers one JSON object per line:
`{"base", "row_type", "loss_on", "max_length", "special_tokens"?, "reasoning"?, "rows"}` ->
`{"rows": [{"row_id", "sequences": [{"name", "pieces", "states", "trains", "context", "cut", "hashes", "warnings"?}],
"error"?}]}`, or `{"error"}`.
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

from ..data import exact
from ..data.encoder import Encoder
from ..data.rows import SIDES, Row, answered, encode_text, last_answer_only, split_text
from ..data.special import SpecialTokensOption
from ..data.template import encode_conversation
from ..data.tokens import IGNORED, counts
from ..protocol.failures import BadData
from ..spec.models import ReasoningOption

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


def inspect(
    kind: str,
    tokenizer: Any,
    row: Row,
    *,
    max_length: int,
    loss_on: str,
    end_ids: set[int],
    special_tokens: SpecialTokensOption | None = None,
    reasoning: ReasoningOption | None = None,
) -> dict[str, Any]:
    """One canonical row as the model sees it. Raises TemplateRefused."""
    if kind == "text":
        text, ids, offsets = encode_text(tokenizer, row["text"], special_tokens or "keep")
        pieces = token_texts(text, offsets)
        if offsets[-1, 0] == offsets[-1, 1]:
            pieces[-1] = tokenizer.eos_token
        # Long texts are split into pieces, so nothing of them is truncated.
        hashes = [row_hash(piece, piece) for piece in split_text(ids, max_length)]
        found = {**describe_sequence("text", ids, ids, pieces, len(ids)), "hashes": hashes}
        return {"row_id": row["id"], "sequences": [found]}
    option = special_tokens or "escape"
    if kind == "prompt":
        seen = encode_conversation(tokenizer, row["messages"], row.get("tools"), special_tokens=option)
        ids, pieces = np.asarray(seen.ids, np.int32), token_texts(seen.text, seen.offsets)
        # A prompt that is too long is left out: truncated, it would be another question.
        fits, labels = len(ids) if len(ids) <= max_length else 0, np.full_like(ids, IGNORED)
        hashes = [row_hash(ids, labels)] if fits else []
        found = {**describe_sequence("prompt", ids, labels, pieces, fits), "hashes": hashes}
        return {"row_id": row["id"], "sequences": [found]}
    sequences = []
    for name, conversation in conversations(kind, row):
        chat = kind == "chat"
        mask = reasoning == "mask"
        loss = loss_on if chat else "completion"
        encoder = Encoder(tokenizer, loss, end_ids, option, single=not chat, mask_reasoning=mask)
        ((_, found),) = encoder.encode([conversation])
        for index, one in enumerate(found):
            pieces = token_texts(one.text, one.offsets)
            described = describe_sequence(name, one.ids, one.labels, pieces, max_length)
            sequences.append({**described, "warnings": [] if index else encoder.remarks()})
    return {"row_id": row["id"], "sequences": sequences}


def inspect_safely(kind: str, tokenizer: Any, row: Row, **options: Any) -> dict[str, Any]:
    """One row as the model sees it, or with the error that it raises: it must not hide the others."""
    try:
        return inspect(kind, tokenizer, row, **options)
    except Exception as error:
        text = str(error) if isinstance(error, BadData) else f"{type(error).__name__}: {error}"
        return {"row_id": row["id"], "sequences": [], "error": text.removeprefix(f"row {row['id']}: ")[:2000]}


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
    # Tokenizers work without torch. When it can be imported, transformers does so, which takes three seconds.
    sys.modules["torch"] = None
    from ..data.tool_template import use_tool_template
    from ..model.tokenizer import load_tokenizer

    loaded: dict[tuple[str, str | None], Any] = {}
    for line in sys.stdin:
        try:
            asked = exact.loads(line)
            base, template = asked["base"], asked.get("chat_template")
            if (base, template) not in loaded:
                loaded.clear()
                loaded[base, template] = load_tokenizer(Path(base))
                if template == "tools":
                    use_tool_template(loaded[base, template])
            tokenizer = loaded[base, template]
            options = {key: asked.get(key) for key in ("max_length", "loss_on", "special_tokens", "reasoning")}
            options["end_ids"] = end_ids_of(Path(base), tokenizer)
            reply = {"rows": [inspect_safely(asked["row_type"], tokenizer, row, **options) for row in asked["rows"]]}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"[:2000]}
        print(json.dumps(reply, ensure_ascii=False), file=answers, flush=True)


if __name__ == "__main__":
    main()
