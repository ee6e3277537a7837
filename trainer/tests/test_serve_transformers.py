"""What the engine on transformers does beyond the contract: refusals by name, disconnected clients, the queue, sampling
and text.
"""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest
import torch
from conftest import Here
from endpoint import QUESTION, Connection, Endpoint
from jobs import serve_reply

from finetune_trainer.model.generate import pick
from finetune_trainer.model.load import load_tokenizer
from finetune_trainer.serving import engine as engine_module
from finetune_trainer.serving.detokenize import TextStream


@pytest.fixture(autouse=True, scope="module")
def engine_on_transformers():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTL_ENGINE", "transformers")
        yield


def test_health_reports_models_and_load(endpoint):
    assert health(endpoint) == {"status": "ok", "models": ["tiny", "ft:a.1", "ft:b"], "active": 0, "waiting": 0}


def test_nucleus_sampling_excludes_unlikely_tokens():
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
    generator = torch.Generator().manual_seed(0)
    assert {pick(logits, 1.0, 0.6, generator) for _ in range(200)} == {0, 1}
    assert {pick(logits, 1.0, 0.5, generator) for _ in range(50)} == {0}
    counts = torch.bincount(torch.tensor([pick(logits, 1.0, 1.0, generator) for _ in range(4000)]), minlength=4) / 4000
    assert counts.tolist() == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)


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
def test_refusals_name_the_parameter(endpoint, body, status, param):
    got, answer = endpoint.call("POST", "/v1/chat/completions", {"model": "tiny", "messages": QUESTION, **body})
    assert got == status and set(answer) == {"error"}
    assert set(answer["error"]) == {"message", "type", "param", "code"} and answer["error"]["param"] == param


def test_neutral_values_are_accepted(endpoint):
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
def test_a_client_that_disconnects_stops_the_generation_within_a_second(endpoint, slow, stream):
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


def test_requests_queue_in_order_and_too_many_are_refused(endpoint, slow, monkeypatch):
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


def test_a_waiting_client_that_disconnects_leaves_the_queue(endpoint, slow):
    first, second = busy_request(endpoint, stream=True), busy_request(endpoint, stream=True)
    while health(endpoint)["waiting"] < 1:
        time.sleep(0.01)
    second.close()
    while health(endpoint)["waiting"]:
        time.sleep(0.01)
    first.close()


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
