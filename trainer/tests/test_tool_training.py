"""A model trained with the template for tools keeps it: in its files, on its endpoint, in evaluations and exports."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Here, make_tiny_model
from endpoint import Endpoint
from jobs import evaluate_reply, export_reply, serve_reply, train_reply
from tool_rows import TEXTS, TOOLS, tool_rows

from finetune_trainer.data.tool_template import TEMPLATE_FILE, tool_template
from finetune_trainer.model.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    """A tiny model with the tokens for tool calls and a template that shows none."""
    return make_tiny_model(tmp_path_factory.mktemp("bare"), TEXTS)


@pytest.fixture(scope="module")
def adapter(bare, tmp_path_factory) -> Path:
    """Trained to call a tool, with the template for tools."""
    training = train_reply(bare, total=140, batch=8, rate=1e-2, rank=8, max_length=512)
    training["spec"]["data"] = {"chat_template": "tools"}
    job = Here(tmp_path_factory.mktemp("train"), training, {"train": tool_rows(24)})
    assert job.run() == 0
    job.server.stop()
    for kind in ("checkpoint", "adapter"):
        folder = job.server.complete(kind)[0]["folder"]
        assert (folder / TEMPLATE_FILE).read_text("utf-8") == tool_template()
    return job.server.complete("adapter")[0]["folder"]


def test_the_endpoint_answers_with_calls_by_the_template_of_the_adapter(bare, adapter, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("FTL_ENGINE", "transformers")
    endpoint = Endpoint(tmp_path, serve_reply(bare, {"ft": adapter}))
    try:
        asked = {"messages": [{"role": "user", "content": "number 1"}], "tools": TOOLS, "max_tokens": 60}
        (choice,) = endpoint.chat(model="ft", **asked)["choices"]
        assert choice["finish_reason"] == "tool_calls"
        (made,) = choice["message"]["tool_calls"]
        assert made["function"] == {"name": "pick", "arguments": '{"colour": "green"}'}
        # The base model keeps its own template, which has no tools.
        status, answer = endpoint.call("POST", "/v1/chat/completions", {"model": "tiny", **asked})
        assert (status, answer["error"]["param"]) == (400, "tools")
    finally:
        endpoint.end()


def test_an_evaluation_reads_prompts_by_the_template_of_the_adapter(here, bare, adapter) -> None:
    job = here(evaluate_reply(bare, adapter, tokens=60), holdout=tool_rows(8))
    assert job.run() == 0
    (result,) = [event["result"] for event in job.server.of("result")]
    assert result["tuned"]["exact_match"]["mean"] == 1
    assert result["base"]["exact_match"]["mean"] == 0


def test_an_export_has_the_template_of_the_adapter(here, bare, adapter) -> None:
    job = here(export_reply(bare, adapter, "safetensors"), holdout=tool_rows(4))
    assert job.run() == 0
    (merged,) = job.server.complete("merged")
    assert load_tokenizer(merged["folder"]).chat_template == tool_template()
