"""What is in the loss for the chat template of every model family: the golden file holds each sequence, with double
brackets around what is in the loss. `UPDATE_GOLDEN=1` writes it.
"""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from families import CASES, FAMILIES, GOLDEN, family_tokenizer

from finetune_trainer.data.encoder import Encoder
from finetune_trainer.data.template import TemplateRefused, encode_conversation
from finetune_trainer.data.tokens import IGNORED

FILE = GOLDEN / "trained.json"


def marked(one) -> str:
    """A sequence's text, with what is in the loss in brackets."""
    out, loss, end = "", False, 0
    for (begin, after), label in zip(one.offsets.tolist(), one.labels.tolist(), strict=True):
        if (label != IGNORED) != loss:
            loss = not loss
            out += "⟦" if loss else "⟧"
        out += one.text[max(begin, end) : after]
        end = max(end, after)
    return out + ("⟧" if loss else "")


def trained(text: str) -> list[str]:
    """The parts of a marked text that are in the loss."""
    return [part.split("⟧")[0] for part in text.split("⟦")[1:]]


def encoded(tokenizer, ends, row) -> dict:
    """The marked sequences and the warnings of a row, or why the template refuses it."""
    encoder = Encoder(tokenizer, "completion", ends)
    try:
        ((_, found),) = encoder.encode([{"id": 1, **row}])
    except TemplateRefused as error:
        return {"refused": str(error)}
    return {"sequences": [marked(one) for one in found], "warnings": encoder.warnings()}


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_trains_the_words_of_the_assistant_and_its_end_token(tiny, name):
    tokenizer, ends = family_tokenizer(tiny, name)
    found = {case: encoded(tokenizer, ends, row) for case, row in CASES.items()}
    golden = json.loads(FILE.read_text("utf-8")) if FILE.is_file() else {}
    if os.environ.get("UPDATE_GOLDEN"):
        FILE.write_text(json.dumps({**golden, name: found}, ensure_ascii=False, indent=1) + "\n", "utf-8")
    else:
        assert found == golden[name]
    parts = [part for one in found.values() for text in one.get("sequences", []) for part in trained(text)]
    assert parts and not [part for part in parts for own in FAMILIES[name].own if own in part]
    assert all(part.endswith(FAMILIES[name].ends) for part in parts)


@pytest.mark.parametrize("name", FAMILIES)
def test_before_each_trained_turn_are_the_very_tokens_of_the_prompt_that_asks_for_it(tiny, name):
    tokenizer, ends = family_tokenizer(tiny, name)
    asked = 0
    for row in CASES.values():
        try:
            ((_, found),) = Encoder(tokenizer, "completion", ends).encode([{"id": 1, **row}])
        except TemplateRefused:
            continue
        for one in found:
            begins = np.flatnonzero((one.labels[1:] != IGNORED) & (one.labels[:-1] == IGNORED)) + 1
            assert len(begins) == len(one.turns)
            for begin, index in zip(begins.tolist(), one.turns, strict=True):
                if index:
                    prompt = encode_conversation(tokenizer, row["messages"][:index], row.get("tools")).ids
                    assert one.ids[:begin].tolist() == prompt
                    asked += 1
    assert asked > 8
