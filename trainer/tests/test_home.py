"""Calling home: nothing lost or doubled while the server is away, gaps healed, refusals obeyed, uploads resumed."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from bucket import MailboxServer, until
from conftest import FORKED, losses, make_rows
from home_server import TOKEN, HomeServer
from jobs import train_reply

from finetune_trainer.protocol.backoff import backoff
from finetune_trainer.protocol.bootstrap import attempt_token
from finetune_trainer.protocol.failures import ModelLoad
from finetune_trainer.protocol.home import Home
from finetune_trainer.protocol.inputs import fetch_rows, input_dir
from finetune_trainer.protocol.spool import Spool, SpoolLost
from finetune_trainer.protocol.uploads import Upload, send_artifact

REPLY = {"heartbeat_s": 1, "max_batch_events": 50, "inputs": {}, "resume": None}


class Left(Exception):
    """Raised in place of ending the process."""


@pytest.fixture(params=["direct", "mailbox"])
def server(tmp_path, request):
    """The server of an attempt: every test of the protocol runs over a connection and through a mailbox."""
    server = HomeServer(tmp_path / "home.sock", tmp_path / "artifacts", dict(REPLY), {"train": make_rows(3)}).start()
    server.mailbox = MailboxServer(server) if request.param == "mailbox" else None
    yield server
    if server.mailbox:
        server.mailbox.close()
    server.stop()


def open_home(server, scratch, token=TOKEN, left=None) -> Home:
    def leave(code, message):
        if left is not None:
            left.append((code, message))
        raise Left(message)

    url = server.mailbox.enter(scratch) if server.mailbox else f"unix:{server.path}"
    return Home(url, token, scratch, leave)


def numbers(server) -> list[int]:
    return [e["n"] for e in server.of("test")]


def test_events_survive_outages_lost_answers_and_a_forgetful_server(server, tmp_path):
    home = open_home(server, tmp_path / "s")
    home.start()
    for n in range(400):
        home.emit("test", n=n)
        if n == 60:
            server.stop()
        if n == 150:
            server.start()
            server.lose_answers = 2
        if n == 250:
            home.flush()
            with server.lock:
                del server.events[200:]  # restored from a backup: what was acknowledged is gone
        time.sleep(0.002)
    home.close()
    assert numbers(server) == list(range(400))
    assert [e["seq"] for e in server.events] == list(range(1, 401))
    assert server.repeats > 0 and server.final


def test_a_gap_is_refused_and_the_events_sent_again(server, tmp_path):
    scratch = tmp_path / "s"
    scratch.mkdir()
    lines = [json.dumps({"seq": n, "at": 1, "type": "test", "n": n}) for n in range(1, 6)]
    (scratch / "events.jsonl").write_text("\n".join(lines) + "\n")
    home = open_home(server, scratch)
    home.start()
    home._spool._next_seq, home._spool._read_at = (
        4,
        sum(len(line) + 1 for line in lines[:3]),
    )  # as if 1-3 had been taken
    home._wake.set()
    home.emit("test", n=6)
    home.close()
    assert numbers(server) == [1, 2, 3, 4, 5, 6]


def test_a_batch_with_a_gap_stores_nothing(server, tmp_path):
    connection = open_home(server, tmp_path / "s").connection()
    reply = connection.json("POST", "/events", {"events": [{"seq": 2, "at": 1, "type": "test", "n": 2}]})
    assert reply["last_seq"] == 0 and server.events == [] and server.gaps == 1


def test_a_new_process_continues_the_spool_of_one_that_died(server, tmp_path):
    spool = Spool(tmp_path / "s" / "events.jsonl")
    for n in range(3):
        spool.append({"at": 1, "type": "test", "n": n})
    spool._writer.write(b'{"seq":4,"at":1,"type":"te')  # killed in mid-write
    spool._writer.close()
    server.events.append({"seq": 1, "at": 1, "type": "test", "n": 0})
    home = open_home(server, tmp_path / "s")
    home.start()
    home.emit("test", n=3)
    home.close()
    assert numbers(server) == [0, 1, 2, 3] and [e["seq"] for e in server.events] == [1, 2, 3, 4]


def test_a_fresh_scratch_numbers_after_what_the_server_holds(server, tmp_path):
    server.events.extend({"seq": n, "at": 1, "type": "test", "n": n} for n in (1, 2))
    home = open_home(server, tmp_path / "s")
    home.start()
    home.emit("test", n=3)
    home.close()
    assert [e["seq"] for e in server.events] == [1, 2, 3]


def test_a_spool_refuses_to_send_events_from_before_it_began(tmp_path):
    spool = Spool(tmp_path / "events.jsonl")
    spool.start_after(10)
    spool.append({"at": 1, "type": "test"})
    with pytest.raises(SpoolLost):
        spool.acknowledge(5)


def test_a_quiet_trainer_sends_heartbeats(server, tmp_path):
    home = open_home(server, tmp_path / "s")
    home.start()
    before = server.batches
    time.sleep(2.6)
    assert 2 <= server.batches - before <= 4
    home.close()


def test_numbers_that_json_lacks_become_strings_and_any_text_passes(server, tmp_path):
    home = open_home(server, tmp_path / "s")
    home.start()
    home.emit("test", n=0, values={"a": float("nan"), "b": float("-inf")}, text="\ud800 ok \u0000 é")
    home.emit("test", n=1, prompt=[{"role": "user", "content": "y" * 3_000_000}])
    home.log("info", "x" * 20000)
    home.close()
    assert server.of("test")[0]["values"] == {"a": "NaN", "b": "-Infinity"}
    assert server.of("test")[0]["text"] == "? ok \u0000 é"
    assert len(server.of("test")[1]["prompt"][0]["content"]) == 100_000
    assert len(server.of("log")[0]["message"]) == 8192


def test_a_refused_attempt_exits_with_3_at_once(attempt, tiny):
    job = attempt(train_reply(tiny, total=100000)).start()
    job.until(lambda: len(losses(job.server)) > 2)
    job.server.status = 409
    job.wait(code=3, timeout=10)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # leaving is an exception here
@pytest.mark.parametrize(("status", "code"), [(401, 3), (409, 3), (410, 3), (400, 1), (429, None), (503, None)])
def test_only_a_refusal_ends_the_attempt(server, tmp_path, status, code):
    left: list = []
    home = open_home(server, tmp_path / "s", left=left)
    home.start()
    server.status = status
    home.emit("test", n=1)
    if code is None:
        time.sleep(0.6)
    else:
        until(lambda: left)
    assert [c for c, _ in left] == ([] if code is None else [code])
    if code is None:
        server.status = None
        home.close()
        assert numbers(server) == [1]


def test_training_continues_without_the_server_and_everything_arrives(attempt, tiny):
    total = 150
    job = attempt(train_reply(tiny, total=total, save_every=50)).start(FORKED)
    job.until(lambda: len(losses(job.server)) > 5)
    seen = max(losses(job.server))
    job.server.stop()
    spool = job.scratch / "events.jsonl"
    job.until(lambda: spool.read_bytes().count(b'"train/loss"') > seen + 40)
    assert max(losses(job.server)) < seen + 40
    job.server.start()
    events = job.wait()
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert sorted(losses(job.server)) == list(range(1, total + 1))
    assert {a["step"] for a in job.server.complete("checkpoint")} >= {total}
    assert spool.read_bytes().count(b"\n") == len(events)


def test_uploads_resume_from_the_offset_of_the_server(server, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    content = bytes(range(256)) * 40000  # two parts
    (folder / "a.json").write_bytes(content)
    home = open_home(server, tmp_path / "s")
    connection = home.connection()
    entry = {"path": "a.json", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    opened = server.open_artifact({"kind": "report", "step": 0, "metrics": {}, "files": [entry]})
    (server.artifacts[opened["artifact_id"]]["folder"] / "a.json").write_bytes(content[:1000])  # cut off earlier
    reply = send_artifact(home, connection, Upload("report", 0, folder, ("a.json",)))
    assert reply["artifact_id"] == opened["artifact_id"]
    assert (server.artifacts[reply["artifact_id"]]["folder"] / "a.json").read_bytes() == content
    assert (
        send_artifact(home, connection, Upload("report", 0, folder, ("a.json",)))["artifact_id"]
        == opened["artifact_id"]
    )


def test_an_upload_waits_for_an_unreachable_server(server, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a.json").write_text("{}")
    home = open_home(server, tmp_path / "s")
    server.stop()
    threading.Timer(0.5, server.start).start()
    reply = send_artifact(home, home.connection(), Upload("report", 0, folder, ("a.json",)))
    assert server.artifacts[reply["artifact_id"]]["complete"]


def test_inputs_are_downloaded_in_ranges_and_hashed(server, tmp_path):
    source = tmp_path / "model"
    source.mkdir()
    content = b"weights" * 5000
    (source / "model.safetensors").write_bytes(content)
    entry = {"path": "model.safetensors", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    server.reply["inputs"]["base"] = {"server_path": str(source)}
    home = open_home(server, tmp_path / "s")
    home.start()
    part = tmp_path / "s" / "inputs" / "base" / "model.safetensors.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(content[:777])
    got = input_dir(home, "base", {"local_path": "/not/on/this/machine", "files": [entry]})
    assert (got / "model.safetensors").read_bytes() == content and not part.exists()
    with pytest.raises(ModelLoad, match="hash"):
        input_dir(
            home, "base", {"local_path": None, "files": [{**entry, "path": "model.safetensors", "sha256": "0" * 64}]}
        )
    home.close()


@pytest.mark.parametrize("path", ["../escape.json", "a/../../b.json", "/etc/passwd", "pytorch_model.bin", "x y.json"])
def test_input_names_outside_the_directory_are_refused(server, tmp_path, path):
    home = open_home(server, tmp_path / "s")
    with pytest.raises(ModelLoad, match="refused"):
        input_dir(home, "base", {"local_path": None, "files": [{"path": path, "size": 1, "sha256": "0"}]})


def test_rows_are_streamed_and_a_missing_split_is_none(server, tmp_path):
    home = open_home(server, tmp_path / "s")
    home.scratch.mkdir(exist_ok=True)
    assert fetch_rows(home, "train").read_text().count("\n") == 3
    assert fetch_rows(home, "validation") is None


def test_an_unknown_token_ends_the_process_with_code_3(server, tmp_path):
    left: list = []
    with pytest.raises(Left):
        open_home(server, tmp_path / "s", token="wrong", left=left).start()
    assert left[0][0] == 3


def test_backoff_doubles_to_five_seconds():
    delays = backoff()
    first = [next(delays) for _ in range(12)]
    assert 0.15 <= first[0] <= 0.2 and all(3.75 <= d <= 5 for d in first[6:])


def test_a_bootstrap_token_is_exchanged_once_and_kept_for_processes_that_start_again(tmp_path):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        """Loses its first answer, as a connection that breaks."""

        def do_POST(self):
            asked.append(
                (self.path, self.headers["authorization"], self.rfile.read(int(self.headers["content-length"])))
            )
            if len(asked) == 1:
                self.close_connection = True
                return
            body = json.dumps({"token": "fta-exchanged"}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as here:
        threading.Thread(target=here.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{here.server_address[1]}"
        assert attempt_token(url, "fta-own", tmp_path) == "fta-own"
        assert [attempt_token(url, "ftb-once", tmp_path) for _ in range(2)] == ["fta-exchanged"] * 2
        here.shutdown()
    (first, second) = asked
    assert first == second and first[:2] == ("/trainer/v1/bootstrap", "Bearer ftb-once")
    assert len(json.loads(first[2])["nonce"]) == 64
    assert (tmp_path / "attempt-token").stat().st_mode & 0o777 == 0o600
