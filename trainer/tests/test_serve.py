"""Serving: OpenAI's shapes, streaming, stop strings, leaving clients, the queue, and adapters that come and go."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import stat
import threading
import time
from pathlib import Path

import pytest
import torch
from conftest import Here, losses, make_rows
from jobs import serve_reply, train_reply

from finetune_trainer import engine as engine_module
from finetune_trainer.detokenize import TextStream
from finetune_trainer.generate import pick
from finetune_trainer.model import load_tokenizer

QUESTION = [{"role": "user", "content": "number 1"}]


class Connection(http.client.HTTPConnection):
    def __init__(self, path: str):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


class Endpoint:
    """A serving attempt in a thread of this process, and calls to it."""

    def __init__(self, root: Path, reply: dict):
        self.here = Here(root, reply, {})
        self.thread = self.here.start()
        while not self.here.server.of("ready"):
            assert self.thread.is_alive()
            time.sleep(0.01)
        self.ready = self.here.server.of("ready")[0]
        self.path = self.ready["address"].removeprefix("unix:")

    def call(self, method: str, path: str, body=None, raw: bytes | None = None) -> tuple[int, dict]:
        connection = Connection(self.path)
        connection.request(method, path, raw if raw is not None else json.dumps(body) if body is not None else None)
        response = connection.getresponse()
        value = json.loads(response.read())
        connection.close()
        return response.status, value

    def chat(self, **body) -> dict:
        status, value = self.call(
            "POST", "/v1/chat/completions", {"model": "tiny", "messages": QUESTION, "temperature": 0, **body}
        )
        assert status == 200, value
        return value

    def stream(self, path: str = "/v1/chat/completions", **body) -> list:
        connection = Connection(self.path)
        connection.request(
            "POST", path, json.dumps({"model": "tiny", "messages": QUESTION, "temperature": 0, "stream": True, **body})
        )
        response = connection.getresponse()
        assert response.status == 200 and response.getheader("content-type").startswith("text/event-stream")
        lines = [x for x in response.read().decode().split("\n\n") if x]
        assert all(x.startswith("data: ") for x in lines) and lines[-1] == "data: [DONE]"
        return [json.loads(x[6:]) for x in lines[:-1]]


@pytest.fixture(scope="module")
def adapters(tiny, tmp_path_factory) -> dict[str, Path]:
    made = {}
    for name, seed in (("ft:a.1", 1), ("ft:b", 2)):
        rows = make_rows(24)
        for row in rows:
            row["messages"][1]["content"] = {"ft:a.1": '{"colour": "red"}', "ft:b": "the assistant"}[name]
        reply = train_reply(tiny, total=24, batch=6, rate=1e-2, rank=8, seed=seed)
        job = Here(tmp_path_factory.mktemp("train"), reply, {"train": rows})
        assert job.run() == 0 and losses(job.server)[24] < 0.1
        job.server.stop()
        made[name] = job.server.complete("adapter")[0]["folder"]
    return made


@pytest.fixture(scope="module")
def endpoint(tiny, adapters, tmp_path_factory):
    one = Endpoint(tmp_path_factory.mktemp("serve"), serve_reply(tiny, adapters))
    yield one
    one.here.server.command("cancel")
    one.thread.join(10)
    assert one.here.code == 4 and one.here.server.events[-1]["outcome"] == "cancelled"
    assert not Path(one.path).exists()


def test_it_says_when_it_is_ready_and_is_closed_to_others(endpoint):
    assert endpoint.ready["models"] == ["tiny", "ft:a.1", "ft:b"]
    assert stat.S_IMODE(Path(endpoint.path).stat().st_mode) == 0o600
    assert endpoint.call("GET", "/health") == (
        200,
        {"status": "ok", "models": ["tiny", "ft:a.1", "ft:b"], "active": 0, "waiting": 0},
    )
    status, models = endpoint.call("GET", "/v1/models")
    assert (
        status == 200 and models["object"] == "list" and [m["id"] for m in models["data"]] == ["tiny", "ft:a.1", "ft:b"]
    )


def test_base_and_adapters_answer_each_in_their_way_on_one_model(endpoint):
    base = endpoint.chat(max_tokens=8)["choices"][0]["message"]["content"]
    for _ in range(2):
        assert endpoint.chat(model="ft:a.1")["choices"][0]["message"]["content"] == '{"colour": "red"}'
        assert endpoint.chat(model="ft:b")["choices"][0]["message"]["content"] == "the assistant"
        assert endpoint.chat(max_tokens=8)["choices"][0]["message"]["content"] == base


def test_an_answer_has_the_shape_and_the_counts(endpoint, tiny):
    answer = endpoint.chat(model="ft:a.1")
    tokenizer = load_tokenizer(tiny)
    prompt = tokenizer("<|im_start|>user\nnumber 1<|im_end|>\n<|im_start|>assistant\n", add_special_tokens=False)[
        "input_ids"
    ]
    said = tokenizer('{"colour": "red"}', add_special_tokens=False)["input_ids"]
    assert answer["usage"] == {
        "prompt_tokens": len(prompt),
        "completion_tokens": len(said) + 1,
        "total_tokens": len(prompt) + len(said) + 1,
    }
    assert (
        answer["object"] == "chat.completion" and answer["model"] == "ft:a.1" and answer["id"].startswith("chatcmpl-")
    )
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
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert len({c["id"] for c in chunks}) == 1 and {c["object"] for c in chunks} == {"chat.completion.chunk"}
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop" and chunks[-2]["choices"][0]["delta"] == {}
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"] == whole["usage"]
    assert all(c["usage"] is None for c in chunks[:-1])
    assert all("usage" not in c for c in endpoint.stream(model="ft:a.1"))


@pytest.mark.parametrize(
    ("stop", "text"), [("our", '{"col'), (["xx", '": "'], '{"colour'), ("{", ""), ("red ", '{"colour": "red"}')]
)
def test_stop_strings_end_the_answer_and_are_not_in_it(endpoint, stop, text):
    answer = endpoint.chat(model="ft:a.1", stop=stop)["choices"][0]
    assert (answer["message"]["content"], answer["finish_reason"]) == (text, "stop")
    chunks = endpoint.stream(model="ft:a.1", stop=stop)
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks) == text


def test_sampling_repeats_with_a_seed_and_differs_without(endpoint):
    def say(**body):
        return endpoint.chat(temperature=1.5, max_tokens=20, **body)["choices"][0]["message"]["content"]

    assert say(seed=7) == say(seed=7)
    assert len({say(seed=s) for s in range(4)} | {say()}) > 2
    assert say(seed=7, top_p=0.0) == endpoint.chat(max_tokens=20)["choices"][0]["message"]["content"]


def test_the_nucleus_leaves_out_the_unlikely():
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
    generator = torch.Generator().manual_seed(0)
    assert {pick(logits, 1.0, 0.6, generator) for _ in range(200)} == {0, 1}
    assert {pick(logits, 1.0, 0.5, generator) for _ in range(50)} == {0}
    counts = torch.bincount(torch.tensor([pick(logits, 1.0, 1.0, generator) for _ in range(4000)]), minlength=4) / 4000
    assert counts.tolist() == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)


def test_plain_completions(endpoint):
    body = {
        "model": "ft:a.1",
        "prompt": "<|im_start|>user\nnumber 1<|im_end|>\n<|im_start|>assistant\n",
        "temperature": 0,
    }
    status, answer = endpoint.call("POST", "/v1/completions", body)
    assert (
        status == 200 and answer["object"] == "text_completion" and answer["choices"][0]["text"] == '{"colour": "red"}'
    )
    chunks = endpoint.stream("/v1/completions", **body)
    assert "".join(c["choices"][0]["text"] for c in chunks) == '{"colour": "red"}'


def test_tools_reach_the_chat_template(endpoint):
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    plain = endpoint.chat(max_tokens=1)["usage"]["prompt_tokens"]
    assert endpoint.chat(max_tokens=1, tools=tools)["usage"]["prompt_tokens"] > plain
    assert endpoint.chat(max_tokens=1, tools=tools, tool_choice="none")["usage"]["prompt_tokens"] == plain


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "nobody"}, 404, "model"),
        ({"n": 2}, 400, "n"),
        ({"logprobs": True}, 400, "logprobs"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"content": "x"}]}, 400, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages.0.content"),
        ({"temperature": 3}, 400, "temperature"),
        ({"temperature": True}, 400, "temperature"),
        ({"top_p": -1}, 400, "top_p"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"max_tokens": 1.5}, 400, "max_tokens"),
        ({"stop": ["a", "b", "c", "d", "e"]}, 400, "stop"),
        ({"seed": "x"}, 400, "seed"),
        ({"stream": "yes"}, 400, "stream"),
        ({"stream_options": {"include_usage": True}}, 400, "stream_options"),
        ({"messages": [{"role": "user", "content": "word " * 2000}]}, 400, "messages"),
    ],
)
def test_requests_it_cannot_serve_are_refused_in_openais_shape(endpoint, body, status, param):
    got, answer = endpoint.call("POST", "/v1/chat/completions", {"model": "tiny", "messages": QUESTION, **body})
    assert got == status and set(answer) == {"error"}
    assert set(answer["error"]) == {"message", "type", "param", "code"} and answer["error"]["param"] == param


def test_defaults_spelled_out_are_accepted(endpoint):
    endpoint.chat(
        model="ft:a.1",
        n=1,
        logprobs=False,
        presence_penalty=0,
        frequency_penalty=0.0,
        tool_choice="auto",
        user="me",
        store=False,
    )


@pytest.mark.parametrize(("raw", "status"), [(b"{", 400), (b"[" * 100000, 400), (b"[]", 400), (b"", 400)])
def test_bad_bodies_are_refused(endpoint, raw, status):
    assert endpoint.call("POST", "/v1/chat/completions", raw=raw)[0] == status
    assert endpoint.call("GET", "/nowhere")[0] == 404


def busy_request(endpoint, **body):
    """A request that runs for long, sent and left open."""
    connection = Connection(endpoint.path)
    connection.request(
        "POST", "/v1/chat/completions", json.dumps({"model": "tiny", "messages": QUESTION, "temperature": 2, **body})
    )
    return connection


@pytest.fixture
def slow(endpoint, monkeypatch):
    """Makes every token take 30 ms and never end, so that requests overlap."""
    real = engine_module.sample_tokens

    def dawdle(*args, **options):
        for token in real(*args, **{**options, "end_ids": set()}):
            time.sleep(0.03)
            yield max(token, 2)  # never an end token

    monkeypatch.setattr(engine_module, "sample_tokens", dawdle)
    yield
    deadline = time.monotonic() + 20
    while endpoint.call("GET", "/health")[1]["active"] and time.monotonic() < deadline:
        time.sleep(0.02)


def health(endpoint) -> dict:
    return endpoint.call("GET", "/health")[1]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_stops_the_generation_within_a_second(endpoint, slow, stream):
    connection = busy_request(endpoint, stream=stream)
    if stream:
        assert connection.getresponse().read(1)
    while not health(endpoint)["active"]:
        time.sleep(0.01)
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    began = time.monotonic()
    while health(endpoint)["active"]:
        time.sleep(0.01)
    assert time.monotonic() - began < 1


def test_requests_queue_in_order_and_too_many_are_turned_away(endpoint, slow, monkeypatch):
    monkeypatch.setattr(engine_module, "MAX_WAITING", 2)
    ends: list[int] = []

    def ask(number: int) -> None:
        endpoint.chat(max_tokens=12)
        ends.append(number)

    threads = []
    for number in range(3):
        threads.append(threading.Thread(target=ask, args=(number,)))
        threads[-1].start()
        while (state := health(endpoint))["active"] + state["waiting"] < number + 1:
            time.sleep(0.005)
    connection = busy_request(endpoint)
    response = connection.getresponse()
    assert response.status == 429 and response.getheader("retry-after") == "1"
    assert json.loads(response.read())["error"]["type"] == "rate_limit_error"
    for thread in threads:
        thread.join()
    assert ends == [0, 1, 2]


def test_a_waiting_client_that_leaves_gives_up_its_place(endpoint, slow):
    first, second = busy_request(endpoint, stream=True), busy_request(endpoint, stream=True)
    while health(endpoint)["waiting"] < 1:
        time.sleep(0.01)
    second.close()
    while health(endpoint)["waiting"]:
        time.sleep(0.01)
    first.close()


def test_adapters_are_loaded_replaced_and_dropped_while_it_runs(endpoint, adapters, tmp_path):
    body = {"name": "ft:new", "local_path": str(adapters["ft:b"])}
    status, answer = endpoint.call("POST", "/adapters", body)
    assert status == 200 and answer["models"] == ["tiny", "ft:a.1", "ft:b", "ft:new"]
    assert endpoint.chat(model="ft:new")["choices"][0]["message"]["content"] == "the assistant"
    assert endpoint.call("POST", "/adapters", {**body, "local_path": str(adapters["ft:a.1"])})[0] == 200
    assert endpoint.chat(model="ft:new")["choices"][0]["message"]["content"] == '{"colour": "red"}'
    assert endpoint.call("DELETE", "/adapters/ft%3Anew")[0] == 200
    assert endpoint.call("DELETE", "/adapters/ft%3Anew")[0] == 404
    assert endpoint.call("POST", "/v1/chat/completions", {"model": "ft:new", "messages": QUESTION})[0] == 404
    assert endpoint.chat(model="ft:b")["choices"][0]["message"]["content"] == "the assistant"
    bad = shutil.copytree(adapters["ft:b"], tmp_path / "bad")
    (bad / "adapter_model.safetensors").write_bytes(b"\x80\x04N.")
    assert endpoint.call("POST", "/adapters", {"name": "bad", "local_path": str(bad)})[0] == 400
    assert endpoint.call("POST", "/adapters", {"name": "bad"})[0] == 400
    assert endpoint.call("POST", "/adapters", {"name": "tiny", "local_path": str(adapters["ft:b"])})[0] == 400
    assert health(endpoint)["models"] == ["tiny", "ft:a.1", "ft:b"]


def test_the_last_adapter_may_go_and_the_base_stays(tiny, adapters, tmp_path):
    one = Endpoint(tmp_path / "e", serve_reply(tiny, {"x": adapters["ft:b"]}))
    before = one.chat(max_tokens=6)["choices"][0]["message"]["content"]
    assert one.chat(model="x")["choices"][0]["message"]["content"] == "the assistant"
    assert one.call("DELETE", "/adapters/x")[0] == 200
    assert one.chat(max_tokens=6)["choices"][0]["message"]["content"] == before
    assert one.call("POST", "/adapters", {"name": "y", "local_path": str(adapters["ft:a.1"])})[0] == 200
    assert one.chat(model="y")["choices"][0]["message"]["content"] == '{"colour": "red"}'
    one.here.server.command("pause")
    one.thread.join(10)
    assert one.here.code == 4


def test_a_deep_scratch_directory_still_gets_a_short_socket(tiny, tmp_path):
    deep = tmp_path / ("d" * 90) / "x"
    deep.mkdir(parents=True)
    one = Endpoint.__new__(Endpoint)
    one.here = Here(tmp_path / "h", serve_reply(tiny, {}), {})
    one.here.scratch = deep
    one.thread = one.here.start()
    while not one.here.server.of("ready"):
        assert one.thread.is_alive()
        time.sleep(0.01)
    one.path = one.here.server.of("ready")[0]["address"].removeprefix("unix:")
    assert len(one.path) < 107 and one.chat(max_tokens=1)
    one.here.server.command("cancel")
    one.thread.join(10)


def test_text_comes_in_whole_characters(tiny):
    tokenizer = load_tokenizer(tiny)
    text = "café 🎉 日本 end"
    stream = TextStream(tokenizer, [])
    pieces = [stream.feed(t) for t in tokenizer(text, add_special_tokens=False)["input_ids"]]
    assert "".join(pieces) + stream.finish() == text
    assert not any("\ufffd" in p for p in pieces)
