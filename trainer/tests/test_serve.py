"""The contract of serving, kept by every engine: OpenAI's shapes, streaming, stop strings, and adapters that come and
go.

Runs against the engine that FTL_ENGINE names (default transformers).
"""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest
from endpoint import PROMPT, QUESTION, Endpoint
from jobs import serve_reply
from tokenizers import Tokenizer


def test_it_reports_when_it_is_ready_and_is_closed_to_other_users(endpoint):
    assert endpoint.ready["models"] == ["tiny", "ft:a.1", "ft:b"]
    assert stat.S_IMODE(Path(endpoint.path).stat().st_mode) == 0o600
    assert endpoint.call("GET", "/health")[0] == 200  # its body is the engine's own affair
    status, models = endpoint.call("GET", "/v1/models")
    assert status == 200 and models["object"] == "list"
    assert [m["id"] for m in models["data"]] == ["tiny", "ft:a.1", "ft:b"]


def test_base_and_adapters_answer_each_in_their_way_on_one_model(endpoint):
    base = endpoint.chat(max_tokens=8)["choices"][0]["message"]["content"]
    for _ in range(2):
        assert endpoint.chat(model="ft:a.1")["choices"][0]["message"]["content"] == '{"colour": "red"}'
        assert endpoint.chat(model="ft:b")["choices"][0]["message"]["content"] == "the assistant"
        assert endpoint.chat(max_tokens=8)["choices"][0]["message"]["content"] == base


def test_an_answer_has_the_shape_and_the_counts(endpoint, tiny):
    answer = endpoint.chat(model="ft:a.1")
    tokens = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    prompt = len(tokens.encode(PROMPT, add_special_tokens=False).ids)
    said = len(tokens.encode('{"colour": "red"}', add_special_tokens=False).ids) + 1
    usage = {name: answer["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    assert usage == {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}
    assert answer["object"] == "chat.completion" and answer["model"] == "ft:a.1"
    assert answer["id"].startswith("chatcmpl-")
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "stop" and choice["index"] == 0 and choice["message"]["role"] == "assistant"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_limit_ends_an_answer_with_length(endpoint, name):
    answer = endpoint.chat(model="ft:a.1", **{name: 3})
    assert answer["choices"][0]["finish_reason"] == "length" and answer["usage"]["completion_tokens"] == 3
    assert '{"colour": "red"}'.startswith(answer["choices"][0]["message"]["content"])


def test_a_stream_adds_up_to_the_whole_answer(endpoint):
    whole = endpoint.chat(model="ft:a.1")
    chunks = endpoint.stream(model="ft:a.1", stream_options={"include_usage": True})
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert len({c["id"] for c in chunks}) == 1 and {c["object"] for c in chunks} == {"chat.completion.chunk"}
    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]][-1] == "stop"
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"] == whole["usage"]
    assert all(c.get("usage") is None for c in chunks[:-1])
    assert all("usage" not in c for c in endpoint.stream(model="ft:a.1"))


@pytest.mark.parametrize(
    ("stop", "text"), [("our", '{"col'), (["xx", '": "'], '{"colour'), ("{", ""), ("red ", '{"colour": "red"}')]
)
def test_stop_strings_end_the_answer_and_are_not_in_it(endpoint, stop, text):
    answer = endpoint.chat(model="ft:a.1", stop=stop)["choices"][0]
    assert (answer["message"]["content"], answer["finish_reason"]) == (text, "stop")
    chunks = endpoint.stream(model="ft:a.1", stop=stop)
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks) == text


def test_sampling_repeats_with_a_seed_and_differs_without(endpoint):
    def say(**body):
        return endpoint.chat(temperature=1.5, max_tokens=20, **body)["choices"][0]["message"]["content"]

    assert say(seed=7) == say(seed=7)
    assert len({say(seed=s) for s in range(4)} | {say()}) > 2
    assert say(seed=7, top_p=0.0) == endpoint.chat(max_tokens=20)["choices"][0]["message"]["content"]


def test_plain_completions(endpoint):
    body = {"model": "ft:a.1", "prompt": PROMPT, "temperature": 0}
    status, answer = endpoint.call("POST", "/v1/completions", {**body, "max_tokens": 40})
    assert status == 200 and answer["object"] == "text_completion"
    assert answer["choices"][0]["text"] == '{"colour": "red"}'
    chunks = endpoint.stream("/v1/completions", **body, max_tokens=40)
    assert "".join(c["choices"][0]["text"] for c in chunks) == '{"colour": "red"}'


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "nobody"}, 404),
        ({"temperature": -1}, 400),
        ({"top_p": -1}, 400),
        ({"max_tokens": 0}, 400),
        ({"stream_options": {"include_usage": True}}, 400),
        ({"messages": "hello"}, 400),
        ({"messages": [{"role": "user", "content": "word " * 2000}]}, 400),
    ],
)
def test_requests_that_cannot_be_served_are_refused_in_openais_shape(endpoint, body, status):
    got, answer = endpoint.call("POST", "/v1/chat/completions", {"model": "tiny", "messages": QUESTION, **body})
    assert got == status and set(answer) == {"error"}
    assert {"message", "type", "param", "code"} <= set(answer["error"]) and answer["error"]["message"]


def test_defaults_spelled_out_are_accepted(endpoint):
    endpoint.chat(
        model="ft:a.1",
        n=1,
        logprobs=False,
        presence_penalty=0,
        frequency_penalty=0.0,
        user="me",
        store=False,
    )


@pytest.mark.parametrize(("raw", "status"), [(b"{", 400), (b"[" * 100000, 400), (b"[]", 400), (b"", 400)])
def test_bad_bodies_are_refused(endpoint, raw, status):
    assert endpoint.call("POST", "/v1/chat/completions", raw=raw)[0] == status
    assert endpoint.call("GET", "/nowhere")[0] == 404


def test_adapters_are_loaded_replaced_and_dropped_while_it_runs(endpoint, adapters, tmp_path):
    assert endpoint.load("ft:new", adapters["ft:b"]) == 200
    assert endpoint.models() == ["tiny", "ft:a.1", "ft:b", "ft:new"]
    assert endpoint.chat(model="ft:new")["choices"][0]["message"]["content"] == "the assistant"
    assert endpoint.load("ft:new", adapters["ft:a.1"]) == 400, "a name is not replaced by accident"
    assert endpoint.chat(model="ft:new")["choices"][0]["message"]["content"] == "the assistant"
    assert endpoint.load("ft:new", adapters["ft:a.1"], load_inplace=True) == 200
    assert endpoint.chat(model="ft:new")["choices"][0]["message"]["content"] == '{"colour": "red"}'
    assert (endpoint.unload("ft:new"), endpoint.unload("ft:new")) == (200, 404)
    assert endpoint.call("POST", "/v1/chat/completions", {"model": "ft:new", "messages": QUESTION})[0] == 404
    assert endpoint.chat(model="ft:b")["choices"][0]["message"]["content"] == "the assistant"


def test_adapters_that_do_not_fit_are_refused_and_change_nothing(endpoint, adapters, tmp_path):
    bad = shutil.copytree(adapters["ft:b"], tmp_path / "bad")
    (bad / "adapter_model.safetensors").write_bytes(b"\x80\x04N.")
    assert endpoint.load("bad", bad) >= 400
    assert endpoint.load("bad", tmp_path / "nowhere") >= 400
    assert endpoint.load("tiny", adapters["ft:b"]) == 400
    assert endpoint.call("POST", "/v1/load_lora_adapter", {"lora_name": "bad"})[0] == 400
    assert endpoint.call("POST", "/v1/unload_lora_adapter", {})[0] == 400
    assert endpoint.models() == ["tiny", "ft:a.1", "ft:b"]
    assert endpoint.chat(model="ft:b")["choices"][0]["message"]["content"] == "the assistant"


def test_the_last_adapter_may_go_and_the_base_stays(tiny, adapters, tmp_path):
    one = Endpoint(tmp_path / "e", serve_reply(tiny, {"x": adapters["ft:b"]}))
    before = one.chat(max_tokens=6)["choices"][0]["message"]["content"]
    assert one.chat(model="x")["choices"][0]["message"]["content"] == "the assistant"
    assert one.unload("x") == 200
    assert one.chat(max_tokens=6)["choices"][0]["message"]["content"] == before
    assert one.load("y", adapters["ft:a.1"]) == 200
    assert one.chat(model="y")["choices"][0]["message"]["content"] == '{"colour": "red"}'
    assert one.end("pause")["outcome"] == "paused"
