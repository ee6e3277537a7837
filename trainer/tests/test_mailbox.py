"""The mailbox: a bucket that fails, addresses that expire, answers that are lost, and who can read what."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading

import pytest
from bucket import MailboxServer, until
from home_server import TOKEN, HomeServer

from finetune_trainer.protocol.bootstrap import attempt_token
from finetune_trainer.protocol.connection import Refused
from finetune_trainer.protocol.home import Home
from finetune_trainer.protocol.mailbox import Addresses, MailboxConnection, exchange_bootstrap, unseal


@pytest.fixture
def box(tmp_path):
    home = HomeServer(tmp_path / "home.sock", tmp_path / "artifacts", {"inputs": {}, "resume": None}, {}).start()
    box = MailboxServer(home)
    yield box
    box.close()
    home.stop()


def connect(box, scratch, timeout=10.0) -> MailboxConnection:
    box.enter(scratch)
    return MailboxConnection(TOKEN, Addresses(scratch), timeout=timeout)


def batch(*numbers: int) -> dict:
    return {"events": [{"seq": n, "at": 1, "type": "test"} for n in numbers]}


def test_a_bucket_that_fails_loses_and_doubles_nothing(box, tmp_path):
    box.enter(tmp_path / "s")
    home = Home("mailbox:", TOKEN, tmp_path / "s")
    home.start()
    for n in range(60):
        home.emit("test", n=n)
        if n % 20 == 10:
            box.faults += [503, 500, 429]
    home.close()
    assert [event["n"] for event in box.home.of("test")] == list(range(60))


def test_expired_addresses_are_read_again(box, tmp_path):
    connection = connect(box, tmp_path / "s")
    assert connection.json("POST", "/events", batch(1))["last_seq"] == 1
    box.revoked.add("first")
    box.renew("second")
    with pytest.raises(OSError, match="refused an address"):
        connection.json("POST", "/events", batch(2))
    assert connection.json("POST", "/events", batch(2))["last_seq"] == 2


def test_a_lost_answer_is_asked_for_again(box, tmp_path):
    connection = connect(box, tmp_path / "s", timeout=0.6)
    box.lost_answers = 1
    with pytest.raises(OSError, match="no answer"):
        connection.json("POST", "/events", batch(1))
    assert connection.json("POST", "/events", batch(1))["last_seq"] == 1
    assert box.home.repeats == 1


def test_an_old_answer_in_the_slot_is_not_taken(box, tmp_path):
    connection = connect(box, tmp_path / "s")
    box.objects["out/0-1"] = b'{"n":99,"status":200,"headers":{}}\n{"last_seq":7}'
    assert connection.json("POST", "/events", batch(1))["last_seq"] == 1
    for content in (b"", b"no answer", b"[1]\n", b'{"n":'):
        box.objects["out/0-0"] = box.objects["out/0-1"] = content
        assert connection.json("POST", "/events", batch(2))["last_seq"] == 2


def test_a_mailbox_that_was_removed_ends_the_attempt(box, tmp_path):
    connection = connect(box, tmp_path / "s", timeout=0.3)
    assert connection.json("POST", "/events", batch(1))["last_seq"] == 1
    box.home.stop()
    box.objects.clear()
    with pytest.raises(OSError, match="no answer"):
        connection.json("POST", "/events", batch(2))
    with pytest.raises(Refused, match="removed the mailbox"):
        connection.json("POST", "/events", batch(2))


def test_each_connection_has_a_lane_and_a_closed_one_frees_it(box, tmp_path):
    connections = [connect(box, tmp_path / "s") for _ in range(4)]
    for connection in connections[:3]:
        connection.json("POST", "/events", batch())
    assert {f"PUT in/{lane}-1" for lane in range(3)} <= set(box.asked)
    waiting = threading.Thread(target=lambda: connections[3].json("POST", "/events", batch()), daemon=True)
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive()
    connections[1].close()
    waiting.join(10)
    assert not waiting.is_alive() and "PUT in/1-0" in box.asked


def test_numbers_go_on_in_another_process(box, tmp_path):
    for expected in (1, 2, 3):
        connection = connect(box, tmp_path / "s")
        connection.json("POST", "/events", batch())
        connection.close()
        assert f"PUT in/0-{expected % 2}" in box.asked
    assert int((tmp_path / "s" / "mailbox" / "lane-0").read_text()) == 3


def seal(key: str, text: bytes) -> bytes:
    """What the server does, written the other way round: byte by byte."""
    salt, secret = b"0123456789abcdef", key.encode()
    hidden = bytes(
        byte ^ hmac.new(secret, b"stream" + salt + (at // 32).to_bytes(4, "big"), hashlib.sha256).digest()[at % 32]
        for at, byte in enumerate(text)
    )
    return salt + hmac.new(secret, b"tag" + salt + hidden, hashlib.sha256).digest() + hidden


def boot_url(box) -> str:
    pair = json.dumps([box.address("boot-in"), box.address("boot-out")]).encode()
    return "mailbox:" + base64.urlsafe_b64encode(pair).decode().rstrip("=")


def answer_boot(box, key: str | None = None) -> dict:
    """Answers the exchange, sealed with the trainer's nonce unless `key` is another; returns the request."""
    until(lambda: "boot-in" in box.objects)
    line, _, body = box.objects.pop("boot-in").partition(b"\n")
    head, nonce = json.loads(line), json.loads(body)["nonce"]
    text = json.dumps({"token": "fta-own", "addresses": box.address("addresses", "renew")}).encode()
    box.objects["boot-out"] = (
        json.dumps({"n": head["n"], "status": 200, "headers": {}}).encode() + b"\n" + seal(key or nonce, text)
    )
    return {**head, "nonce": nonce}


def test_a_bootstrap_token_is_exchanged_through_the_mailbox_once(box, tmp_path):
    asked: list[dict] = []
    thread = threading.Thread(target=lambda: asked.append(answer_boot(box)))
    thread.start()
    scratch = tmp_path / "s"
    assert attempt_token(boot_url(box), "ftb-once", scratch) == "fta-own"
    thread.join()
    assert attempt_token(boot_url(box), "ftb-once", scratch) == "fta-own"
    assert [(one["method"], one["path"], one["headers"]["authorization"]) for one in asked] == [
        ("POST", "/bootstrap", "Bearer ftb-once")
    ]
    assert (scratch / "mailbox.json").stat().st_mode & 0o777 == 0o600
    assert b"fta-own" not in box.objects["boot-out"]


def test_an_answer_for_somebody_else_is_not_taken(box, tmp_path):
    thread = threading.Thread(target=lambda: answer_boot(box, "another nonce"))
    thread.start()
    with pytest.raises(OSError, match="somebody else"):
        exchange_bootstrap(boot_url(box), "ftb-once", "a" * 64, tmp_path, timeout=5)
    thread.join()


def test_a_refused_bootstrap_token_ends_the_attempt(box, tmp_path):
    def refuse() -> None:
        until(lambda: "boot-in" in box.objects)
        head = json.loads(box.objects.pop("boot-in").partition(b"\n")[0])
        body = json.dumps({"error": {"code": "bootstrap_token_used", "message": "used"}}).encode()
        box.objects["boot-out"] = json.dumps({"n": head["n"], "status": 401, "headers": {}}).encode() + b"\n" + body

    thread = threading.Thread(target=refuse)
    thread.start()
    with pytest.raises(Refused, match="used"):
        attempt_token(boot_url(box), "ftb-once", tmp_path)
    thread.join()


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 500])
def test_a_sealed_text_is_read_with_its_key_alone(size):
    text = bytes(range(256)) * 2
    assert unseal("key", seal("key", text[:size])) == text[:size]
    with pytest.raises(OSError, match="somebody else"):
        unseal("other", seal("key", text[:size]))
