"""Settings and data that can never work fail once, with a reason and the library's own words."""

from __future__ import annotations

import shutil

import pytest
from conftest import make_rows
from jobs import rows_of, train_reply


def broken_weights(tiny, root):
    """A copy of the base whose weights end too early."""
    base = shutil.copytree(tiny, root / "base")
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    return base


def unknown_kind(tiny, root):
    """A copy of the base of a kind that no library knows."""
    base = shutil.copytree(tiny, root / "base")
    config = base / "config.json"
    config.write_text(config.read_text().replace('"model_type": "llama"', '"model_type": "lama"'))
    return base


def adapter(**settings):
    return lambda reply: reply["spec"]["method"]["adapter"].update(settings)


def rows_with(**changes):
    rows = make_rows(4)
    rows[2].update(changes)
    return rows


CASES = {
    "a module that is not there": (adapter(target_modules=["nothing"]), None, "bad_spec", "no module named 'nothing'"),
    "one of several": (adapter(target_modules=["q_proj", "nothing"]), None, "bad_spec", "no module named 'nothing'"),
    "a norm": (adapter(target_modules=["input_layernorm"]), None, "bad_spec", "LlamaRMSNorm"),
    "a container": (adapter(target_modules=["mlp"]), None, "bad_spec", "LlamaMLP"),
    "the output head": (adapter(target_modules=["q_proj", "lm_head"]), None, "bad_spec", "lm_head"),
    "no module in the top layers": (
        adapter(target_modules=["embed_tokens"], layers=1),
        None,
        "bad_spec",
        "embed_tokens",
    ),
    "a turn that is a number": (None, rows_with(messages=[5]), "bad_data", ""),
    "a row without an id": (None, [{"messages": make_rows(1)[0]["messages"]}], "bad_data", "id"),
    "rows of another type": (None, rows_of("text", 4), "bad_data", "not a canonical row of type chat"),
    "weights that end too early": (broken_weights, None, "model_load", ""),
    "a base of an unknown kind": (unknown_kind, None, "model_load", "lama"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_can_never_work_fails_once_with_its_reason(here, tiny, tmp_path, name):
    change, rows, reason, says = CASES[name]
    makes_base = change in (broken_weights, unknown_kind)
    reply = train_reply(change(tiny, tmp_path) if makes_base else tiny, total=1)
    if change and not makes_base:
        change(reply)
    job = here(reply, rows)
    assert job.run() != 0
    (failed,) = job.server.of("failed")
    assert (failed["reason"], failed["retry"]) == (reason, False), failed
    assert says in failed["message"]
    assert failed["advice"]
