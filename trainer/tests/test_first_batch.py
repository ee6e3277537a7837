"""The first batch a trainer reports: for every method, packed or not, the rows as the inspector shows them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import make_rows
from jobs import METHODS, rows_of, train_reply

from finetune_trainer.model.tokenizer import load_tokenizer
from finetune_trainer.training.inspection import end_ids_of, inspect


def reported(run) -> list[tuple[int, str]]:
    """Row id and hash of every sequence of the first batch."""
    (event,) = run.server.of("first_batch")
    assert event["step"] == 1 and event["seq"] < run.server.of("metrics")[0]["seq"]
    return [(row["row_id"], row["hash"]) for row in event["rows"]]


def shown(model, kind: str, rows: list[dict], max_length: int = 256, loss_on: str = "completion") -> dict[int, list]:
    """The hashes the inspector gives, by row id."""
    tokenizer = load_tokenizer(model)
    options = {"max_length": max_length, "loss_on": loss_on, "end_ids": end_ids_of(model, tokenizer)}
    found = (inspect(kind, tokenizer, row, **options) for row in rows)
    return {one["row_id"]: [h for sequence in one["sequences"] for h in sequence["hashes"]] for one in found}


# Rows of prompts are answered while training: their batches hold generated rows.
STORED = [method for method, (kind, _) in METHODS.items() if kind != "prompt"]


@pytest.mark.parametrize("method", STORED)
def test_the_first_batch_of_each_method_is_its_rows_as_they_are_shown(here, tiny, method):
    kind = METHODS[method][0]
    rows = rows_of(kind, 12)
    run = here(train_reply(tiny, method=method, total=1, batch=3, accumulation=2), rows=rows)
    assert run.run() == 0
    hashes, found = shown(tiny, kind, rows), reported(run)
    ids = {row_id for row_id, _ in found}
    assert len(ids) == 3
    assert sorted(found) == sorted((row_id, one) for row_id in ids for one in hashes[row_id])


def test_packs_are_reported_row_by_row(here, tiny):
    rows = make_rows(40)
    reply = train_reply(tiny, total=1, batch=2, max_length=128, settings={"loss_on": "all"})
    reply["spec"]["hyperparameters"]["packing"] = True
    run = here(reply, rows=rows)
    assert run.run() == 0
    hashes, found = shown(tiny, "chat", rows, 128, "all"), reported(run)
    assert len(found) > 4
    assert all([one] == hashes[row_id] for row_id, one in found)


def test_pieces_of_a_long_text_are_reported_as_such(here, tiny):
    rows = [{"id": 7, "text": "one two three " * 60}]
    run = here(train_reply(tiny, method="pretrain", total=1, batch=4, max_length=40), rows=rows)
    assert run.run() == 0
    found, hashes = reported(run), shown(tiny, "text", rows, 40)[7]
    assert len(hashes) > 4 and {one for _, one in found} < set(hashes)


def rewriting(tiny: Path, tmp_path: Path) -> Path:
    """The tiny model with a template that renders an answer otherwise once another follows."""
    base = shutil.copytree(tiny, tmp_path / "base")
    template = base / "chat_template.jinja"
    text = template.read_text("utf-8")
    earlier = "{{ m['content'] if loop.last or m.role == 'user' else '...' }}"
    assert "{{ m['content'] }}" in text
    template.write_text(text.replace("{{ m['content'] }}", earlier), "utf-8")
    return base


@pytest.mark.parametrize("packing", [False, True])
def test_a_chat_in_several_sequences_is_reported_sequence_by_sequence(here, tiny, tmp_path, packing):
    base = rewriting(tiny, tmp_path)
    rows = make_rows(6)
    for row in rows:
        row["messages"] += [{"role": "user", "content": "again"}, {"role": "assistant", "content": "blue"}]
    reply = train_reply(base, total=1, batch=12, max_length=256)
    reply["spec"]["hyperparameters"] |= {"packing": packing, "max_steps": None, "n_epochs": 1}
    run = here(reply, rows=rows)
    assert run.run() == 0
    (plan,) = run.server.of("plan")
    assert (plan["train_rows"], plan["sequences"], plan["rows_split"]) == (6, 12, 6)
    assert (plan["total_steps"], plan["rows_dropped"]) == (1, 0)
    hashes = shown(base, "chat", rows)
    assert sorted(reported(run)) == sorted((row_id, one) for row_id, both in hashes.items() for one in both)
    assert {len(both) for both in hashes.values()} == {2}
    assert any("6 rows became 12 sequences" in e["message"] for e in run.server.of("log"))
