"""How an endpoint ends: soon after a signal, also without its server, and by itself when nobody can end it any more."""

from __future__ import annotations

import json
import signal
import time

import pytest
from conftest import Attempt
from endpoint import QUESTION, Connection
from jobs import serve_reply


@pytest.fixture
def serving(tiny, tmp_path):
    """An endpoint in a process of its own, ready."""
    started = []

    def start(**spec) -> Attempt:
        reply = serve_reply(tiny, {})
        reply["spec"].update(spec)
        one = Attempt(tmp_path / "a", reply, {}, FTL_ENGINE="transformers").start()
        started.append(one)
        one.until(lambda: one.server.of("ready"))
        return one

    yield start
    for one in started:
        one.process.kill()
        one.server.stop()


def open_stream(one: Attempt) -> Connection:
    """A request that is being answered."""
    connection = Connection(one.server.of("ready")[0]["address"].removeprefix("unix:"))
    body = {"model": "tiny", "messages": QUESTION, "stream": True, "ignore_eos": True}
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    assert connection.getresponse().read(1)
    return connection


def test_without_its_server_it_waits_if_it_never_sleeps_and_a_signal_ends_it_within_seconds(serving):
    one = serving()
    one.server.stop()
    with pytest.raises(AssertionError, match="took too long"):
        one.until(lambda: False, timeout=4)
    connection = open_stream(one)
    began = time.monotonic()
    one.process.send_signal(signal.SIGTERM)
    one.wait(4, timeout=20)
    assert time.monotonic() - began < 8
    connection.close()


def test_a_signal_ends_it_at_once_while_the_server_answers(serving):
    one = serving()
    began = time.monotonic()
    one.process.send_signal(signal.SIGTERM)
    events = one.wait(4, timeout=20)
    assert time.monotonic() - began < 8 and events[-1]["outcome"] == "paused"


def test_an_endpoint_whose_server_stays_away_for_longer_than_the_idle_limit_ends_itself(serving):
    one = serving(idle_after_s=1)
    time.sleep(4)  # with the server there the limit is the server's affair: heartbeats come every second
    assert one.process.poll() is None
    one.server.stop()
    one.wait(4, timeout=20)
    assert "out of reach" in (one.root / "log").read_text()
