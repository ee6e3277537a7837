"""A trainer that trains nothing but speaks trainer protocol v1 for real: what the engine's tests launch. The suffix of
the job says how it misbehaves.

Words in the suffix, joined by `-`: `crash.N` exits 1 at step N, `kill.N` dies of SIGKILL at step N, `code.N` exits with N at once, `mute` says nothing,
`stall.N` stops working at step N but lives on, `deaf` obeys no command and no SIGTERM, `fail.REASON` reports that failure at step 3,
`once` misbehaves on the first attempt alone, `bare` succeeds without a checkpoint, `bye` exits 0 at step 3 without a word,
`savekill.N` dies of SIGKILL in the middle of uploading the checkpoint of step N, `hog.N` takes memory without end from step N on,
`slow.N` takes N ms a step, `fast.N` reports the time left by a clock that is N times as fast, `talk` says a log line every step, `judged` has losses that are higher by a thousand learning rates,
`idle` warns that nothing was learned, `raise.N` reports an exception at step N, `later.N` one at step N times the number of the attempt.
"""

import hashlib
import http.client
import json
import os
import signal
import socket
import struct
import sys
import time
import traceback

STEP_S = 0.02


class Refused(Exception):
    """The server will not have this attempt any more."""


class Home:
    def __init__(self) -> None:
        self.path = os.environ["FTL_HOME_URL"].removeprefix("unix:")
        self.token = os.environ["FTL_ATTEMPT_TOKEN"]
        self.seq = 0
        self.waiting: list = []
        self.commands: list = []

    def call(self, method: str, path: str, body=None):
        """One request; goes on trying for a minute while the server is away."""
        raw = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        for _ in range(600):
            connection = http.client.HTTPConnection("localhost", timeout=10)
            try:
                connection.sock = socket.socket(socket.AF_UNIX)
                connection.sock.connect(self.path)
                headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
                connection.request(method, "/trainer/v1" + path, body=None if method == "GET" else raw, headers=headers)
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):  # cut off in the middle of an answer
                time.sleep(0.1)
                continue
            finally:
                connection.close()
            if answer.status in (401, 409, 410) and b"wrong_offset" not in text:
                raise Refused(text.decode())
            if answer.status >= 500:
                time.sleep(0.1)
                continue
            if answer.status == 409:  # a part whose answer was lost: it has arrived
                return json.loads(text)
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {answer.status} {text.decode()}")
            return json.loads(text)
        raise RuntimeError("the server stayed away")

    def emit(self, type: str, **fields) -> None:
        self.seq += 1
        self.waiting.append({"seq": self.seq, "at": int(time.time() * 1000), "type": type, **fields})

    def send(self) -> None:
        reply = self.call("POST", "/events", {"events": self.waiting})
        self.waiting = [event for event in self.waiting if event["seq"] > reply["last_seq"]]
        known = [command["id"] for command in self.commands]
        self.commands += [command for command in reply["commands"] if command["id"] not in known]


def tensor_file() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return struct.pack("<Q", len(header)) + header + struct.pack("<2f", 1.0, 2.0)


def checkpoint(home: Home, step: int, tokens: int, die: bool = False) -> None:
    files = {
        "adapter_model.safetensors": tensor_file(),
        "optimizer.safetensors": tensor_file(),
        "adapter_config.json": b'{"peft_type": "LORA", "r": 16}',
        "trainer_state.json": json.dumps({"global_step": step, "tokens": tokens}).encode(),
        "rng.json": b"{}",
    }
    entries = [{"path": p, "size": len(c), "sha256": hashlib.sha256(c).hexdigest()} for p, c in files.items()]
    metrics = {"step": step, "train/loss": 1 / step, "eval/loss": 2 / step}
    opened = home.call("POST", "/artifacts", {"kind": "checkpoint", "step": step, "metrics": metrics, "files": entries})
    for entry in [] if opened["complete"] else opened["files"]:
        content, at = files[entry["path"]], entry["offset"]
        while at < len(content):
            at = home.call("PUT", f"/artifacts/{opened['artifact_id']}/{entry['path']}?offset={at}", content[at:])["offset"]
        if die:
            os.kill(os.getpid(), signal.SIGKILL)
    home.call("POST", f"/artifacts/{opened['artifact_id']}/complete")


def obey(home: Home, step: int, tokens: int):
    """Carries out waiting commands; the outcome that ends the work, or None."""
    outcome = None
    for command in list(home.commands):
        if command["type"] in ("pause", "checkpoint"):
            checkpoint(home, max(1, step), tokens)
        if command["type"] != "checkpoint":
            outcome = "cancelled" if command["type"] == "cancel" else outcome or "paused"
        home.emit("command_done", id=command["id"], command=command["type"])
        home.commands.remove(command)
    return outcome


def train(home: Home, reply: dict, words: dict) -> int:
    schedule = reply["spec"]["schedule"]
    total = schedule["total_steps"]
    step, tokens = 0, 0
    if reply["resume"]:
        if reply["resume"]["local_path"] and os.path.exists(reply["resume"]["local_path"]):
            with open(os.path.join(reply["resume"]["local_path"], "trainer_state.json")) as handle:
                tokens = json.load(handle)["tokens"]
        else:  # in a container: the files come over the same road as everything else
            tokens = home.call("GET", "/inputs/resume/trainer_state.json")["tokens"]
        step = reply["resume"]["step"]
    home.emit("phase", phase="training", message="fake")
    home.emit(
        "plan", total_steps=total, steps_per_epoch=total, train_rows=1, train_tokens_per_epoch=1,
        trainable_parameters=1, total_parameters=2, rows_cut=0, rows_dropped=0,
    )
    home.send()
    first, began = step, time.monotonic()
    while step < total:
        time.sleep(words["slow"] / 1000 if "slow" in words else STEP_S)
        step, tokens = step + 1, tokens + 10
        if step == words.get("crash"):
            print("about to crash", flush=True)
            os._exit(1)
        if step == words.get("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        if step == words.get("raise") or step == words.get("later", 0) * reply["attempt"]:
            try:
                raise ValueError(f"wrong at {id(home)}")
            except ValueError as error:
                home.emit("failed", reason="internal", message=f"ValueError: {error}", retry=True, detail=traceback.format_exc())
            home.send()
            return 1
        if "fail" in words and step == 3:
            home.emit("failed", reason=words["fail"], message="the fake trainer failed on request", retry=True)
            home.send()
            return 1
        if step == words.get("stall"):
            time.sleep(600)
        if step == words.get("hog"):
            hoard = []
            while True:
                hoard.append(bytearray(b"x") * 2**22)
        if "bye" in words and step == 3:
            return 0
        if "talk" in words:
            home.emit("log", level="info", message=f"step {step}")
        rate = 1000 * reply["spec"]["hyperparameters"]["learning_rate"] if "judged" in words else 0
        values = {"train/loss": 1 / step + rate, "train/token_accuracy": 0.5, "perf/tokens_per_second": 500.0}
        home.emit("metrics", step=step, epoch=step / total, values=values)
        eta = 1.0
        if "fast" in words:
            eta = words["fast"] * (total - step) * (time.monotonic() - began) / (step - first)
        home.emit("progress", step=step, total_steps=total, epoch=step / total, tokens_seen=tokens, eta_s=eta, fraction=step / total)
        if step % schedule["save_every"] == 0 or step == total:
            home.send()
            if "bare" not in words:
                checkpoint(home, step, tokens, step == words.get("savekill"))
        home.send()
        outcome = None if "deaf" in words else obey(home, step, tokens)
        if outcome:
            home.emit("finished", outcome=outcome)
            home.send()
            return 4
    result = {"steps": step, "train_loss": 0.1, "eval_loss": 0.2, "tokens_seen": tokens, "adapter_artifact": None}
    if "idle" in words:
        result["warnings"] = ["Nothing was learned: the adapter is all zero."]
    home.emit("result", result=result)
    home.emit("finished", outcome="succeeded")
    home.send()
    return 0


def main() -> int:
    home = Home()
    reply = home.call("GET", "/spec")
    home.seq = reply["last_seq"]
    words = {}
    for word in (reply["spec"].get("suffix") or "").split("-"):
        name, _, value = word.partition(".")
        words[name] = int(value) if value.isdigit() else value
    if "once" in words and reply["attempt"] > 1:
        words = {}
    if "code" in words:
        return words["code"]
    if "deaf" in words:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "mute" in words:
        time.sleep(600)
    return train(home, reply, words)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Refused as error:
        print(error, file=sys.stderr)
        sys.exit(3)
