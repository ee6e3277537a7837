"""What the engine on transformers does beyond the contract: refusals by name, disconnected clients, the queue, sampling
and text.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time

import httpx2
import openai
import pytest
import torch
from conftest import Here
from endpoint import QUESTION, Connection, Endpoint
from jobs import serve_reply

from finetune_trainer.model import sampling as sampling_module
from finetune_trainer.model.decoding import Batch
from finetune_trainer.model.load import load_model
from finetune_trainer.model.sampling import Sampling, pick
from finetune_trainer.model.tokenizer import load_tokenizer
from finetune_trainer.serving import engine as engine_module
from finetune_trainer.serving.api import known
from finetune_trainer.serving.detokenize import TextStream
from finetune_trainer.serving.engine import Engine
from finetune_trainer.serving.http_server import open_server
from finetune_trainer.serving.speed import Speed


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

    def drawn(times=200, **options):
        return [pick(logits, Sampling(1, **options), generator) for _ in range(times)]

    assert set(drawn(top_p=0.6)) == {0, 1}
    assert set(drawn(top_p=0.5)) == {0}
    assert set(drawn(top_k=3)) == {0, 1, 2}
    assert set(drawn(top_k=2, top_p=0.6)) == {0}, "0.5 of the 0.8 that two tokens have is above 0.6"
    assert set(drawn(min_p=0.4)) == {0, 1}
    assert set(drawn(temperature=1e-6)) == {0} and set(drawn(temperature=0)) == {0}
    counts = torch.bincount(torch.tensor(drawn(4000)), minlength=4) / 4000
    assert counts.tolist() == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "nobody"}, 404, "model"),
        ({"n": 0}, 400, "n"),
        ({"top_logprobs": 2}, 400, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, 400, "top_logprobs"),
        ({"temprature": 1}, 400, "temprature"),
        ({"guided_json": {"type": "object"}}, 400, "guided_json"),
        ({"modalities": ["text", "audio"], "audio": {"voice": "alloy"}}, 400, "modalities"),
        ({"web_search_options": {}}, 400, "web_search_options"),
        ({"reasoning_effort": "high"}, 400, "reasoning_effort"),
        ({"logit_bias": {"99999": 1}}, 400, "logit_bias"),
        ({"logit_bias": {"7": 101}}, 400, "logit_bias.7"),
        ({"presence_penalty": 2.5}, 400, "presence_penalty"),
        ({"repetition_penalty": 0}, 400, "repetition_penalty"),
        ({"min_p": 2}, 400, "min_p"),
        ({"stop_token_ids": [-1]}, 400, "stop_token_ids"),
        ({"messages": [{"role": "user", "content": "half \ud83d"}]}, 400, "messages.0.content"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"content": "x"}]}, 400, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages.0.content.0.type"),
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


def test_null_is_the_same_as_absent(endpoint):
    """For every field that a request may leave out; clients write null for what is not set."""
    optional = (known.CHAT | known.HARMLESS | set(known.NEUTRAL)) - {"model", "messages", "max_tokens", "temperature"}
    plain = endpoint.chat(model="ft:a.1")["choices"]
    assert endpoint.chat(model="ft:a.1", max_tokens=None, **dict.fromkeys(optional))["choices"] == plain


def test_errors_never_quote_a_value_at_length(endpoint):
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "zzz" * 1000}}}
    for body in ({"response_format": schema}, {"guided_json": schema}, {"x" * 5000: 1}, {"model": "y" * 5000}):
        status, answer = endpoint.call("POST", "/v1/chat/completions", {"model": "tiny", "messages": QUESTION, **body})
        assert status in (400, 404) and len(json.dumps(answer)) < 600 and "None" not in answer["error"]["message"]


def test_a_failure_inside_a_request_is_that_requests_own_error(endpoint, monkeypatch):
    """The connection stays open, other requests are answered, and the log has the cause."""

    def broken(*_):
        raise RuntimeError("a tensor of the wrong shape")

    with monkeypatch.context() as patch:
        patch.setattr(sampling_module, "pick", broken)
        connection = Connection(endpoint.path)
        for stream in (False, True):
            body = json.dumps({"model": "tiny", "messages": QUESTION, "seed": 1, "stream": stream})
            connection.request("POST", "/v1/chat/completions", body)
            response = connection.getresponse()
            error = json.loads(response.read())["error"]
            assert (response.status, error["code"], error["type"]) == (500, "engine_error", "server_error")
            assert "wrong shape" not in error["message"]
    body = json.dumps({"model": "ft:a.1", "messages": QUESTION, "temperature": 0})
    connection.request("POST", "/v1/chat/completions", body)
    assert json.loads(connection.getresponse().read())["choices"][0]["message"]["content"] == '{"colour": "red"}'
    connection.close()


def busy_request(endpoint, **body):
    """A request that runs for long, sent and left open."""
    connection = Connection(endpoint.path)
    endless = {"temperature": 2, "ignore_eos": True}
    connection.request(
        "POST", "/v1/chat/completions", json.dumps({"model": "tiny", "messages": QUESTION, **endless, **body})
    )
    return connection


@pytest.fixture
def slow(endpoint, monkeypatch):
    """Makes every step take 30 ms, and lets one answer run at a time, so that requests overlap."""
    real = Batch.logits

    def dawdle(self, causal):
        time.sleep(0.03)
        return real(self, causal)

    monkeypatch.setattr(Batch, "logits", dawdle)
    monkeypatch.setattr(engine_module, "MAX_RUNNING", 1)
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


@pytest.fixture
def short_queue(tiny, tmp_path):
    """An endpoint on which two answers may wait."""
    engine = Engine(load_model(tiny, "float32", torch.device("cpu")), load_tokenizer(tiny), "tiny", max_waiting=2)
    server = open_server(tmp_path / "s", engine, 400, print)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    one = Endpoint.__new__(Endpoint)
    one.path = str(tmp_path / "s")
    yield one
    server.shutdown()
    engine.stop(10)


def test_requests_queue_in_order_and_too_many_are_refused(endpoint, slow, short_queue):
    ends: list[int] = []

    def ask(number: int) -> None:
        short_queue.chat(max_tokens=12, ignore_eos=True)
        ends.append(number)

    threads = []
    for number in range(3):
        threads.append(threading.Thread(target=ask, args=(number,)))
        threads[-1].start()
        while (state := health(short_queue))["active"] + state["waiting"] < number + 1:
            time.sleep(0.005)
    connection = busy_request(short_queue)
    response = connection.getresponse()
    assert response.status == 429 and response.getheader("retry-after") == "3", "a second for each, until one has ended"
    assert json.loads(response.read())["error"]["type"] == "rate_limit_error"
    for thread in threads:
        thread.join()
    assert ends == [0, 1, 2]


def test_retry_after_follows_the_length_of_the_queue_and_the_recent_speed():
    speed = Speed()
    assert speed.wait_for(3) == 3
    for n in range(200):
        speed.ended(n * 0.25)
    assert [speed.wait_for(n) for n in (1, 20, 100, 10_000)] == [1, 5, 25, 60]


def test_forty_requests_at_once_all_succeed_with_the_official_client(endpoint):
    async def ask() -> list[str]:
        transport = httpx2.AsyncHTTPTransport(uds=endpoint.path)
        async with openai.AsyncOpenAI(
            api_key="none", base_url="http://localhost/v1", http_client=httpx2.AsyncClient(transport=transport)
        ) as client:
            asked = (
                client.chat.completions.create(model=name, messages=QUESTION, temperature=0, max_tokens=40)
                for name in ["ft:a.1", "ft:b"] * 20
            )
            return [answer.choices[0].message.content for answer in await asyncio.gather(*asked)]

    assert asyncio.run(ask()) == ['{"colour": "red"}', "the assistant"] * 20


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


def test_an_answer_that_runs_keeps_the_weights_it_began_with(endpoint, adapters, slow):
    """An adapter is replaced and then unloaded while an answer uses it."""
    asked = {"max_tokens": 40, "temperature": 0, "ignore_eos": True}
    expected = endpoint.chat(model="ft:a.1", **asked)["choices"]
    assert endpoint.load("ft:swap", adapters["ft:a.1"]) == 200
    connection = busy_request(endpoint, model="ft:swap", **asked)
    while not health(endpoint)["active"]:
        time.sleep(0.005)
    assert endpoint.load("ft:swap", adapters["ft:b"], load_inplace=True) == 200
    assert endpoint.unload("ft:swap") == 200
    assert health(endpoint)["active"] == 1, "the answer still runs"
    assert json.loads(connection.getresponse().read())["choices"] == expected
    connection.close()
