"""The control-plane client: fetches the spec, and sends numbered events, which are spooled to disk first."""

from __future__ import annotations

import collections
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .backoff import backoff
from .channel import Channel
from .connection import Connection, HttpFailure, Refused
from .spool import Spool, SpoolLost

MAX_BATCH_BYTES = 2 * 1024 * 1024
SEND_EVERY_S = 0.25
NO_CONTACT_S = 24 * 3600
MAX_LOG_BYTES = 8 * 1024
MAX_EVENT_TEXT = 100_000


class Home:
    """The control-plane client of an attempt. `emit` never blocks on the network; a sender thread sends the spool to
    the server.
    """

    def __init__(self, url: str, token: str, scratch: Path, leave: Callable[[int, str], None] | None = None) -> None:
        self.token, self.scratch = token, scratch
        self.channel = Channel(url, token, scratch)
        self._leave = leave or _exit_now
        self._last_contact = time.monotonic()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._acked = threading.Condition()
        self._spool = Spool(scratch / "events.jsonl")
        self._commands: collections.deque[dict[str, str]] = collections.deque()
        self._known_commands: set[str] = set()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._heartbeat_s = 15.0
        self._max_batch = 500

    def connection(self, timeout: float = 60) -> Connection:
        """A new connection for the calling thread; `timeout` is how long a response may take, in seconds."""
        return self.channel.connect(self._contact, timeout)

    def _contact(self) -> None:
        self._last_contact = time.monotonic()

    def out_of_reach(self) -> float:
        """Seconds since the server last answered, beyond what two missing heartbeats explain."""
        return time.monotonic() - self._last_contact - 2 * self._heartbeat_s

    def retry(self, call: Callable[[], Any]) -> Any:
        """Runs `call` until it no longer raises OSError; exits the process when refused or out of contact for a day."""
        delays, said = backoff(), None
        while True:
            try:
                return call()
            except Refused as refused:
                self._leave(3, str(refused))
                raise
            except OSError as error:
                if getattr(error, "errno", None) == 28:
                    raise
                if time.monotonic() - self._last_contact > NO_CONTACT_S:
                    self._leave(1, f"no contact with the server for 24 hours: {error}")
                if str(error) != said:
                    said = str(error)
                    print(f"calling {self.channel.name}: {said}; trying again", file=sys.stderr, flush=True)
            time.sleep(next(delays))

    def ask(self) -> dict[str, Any]:
        """Fetches the reply with the spec and does nothing else."""
        connection = self.connection()
        reply = self.retry(lambda: connection.json("GET", "/spec"))
        connection.close()
        return reply

    def start(self, reply: dict[str, Any] | None = None) -> dict[str, Any]:
        """Starts the sender thread with the settings of the spec reply, which is fetched when it is not given. Returns
        the reply.
        """
        reply = reply or self.ask()
        self._heartbeat_s = float(reply.get("heartbeat_s") or 15)
        self._max_batch = int(reply.get("max_batch_events") or 500)
        self._spool.start_after(int(reply.get("last_seq") or 0))
        self._thread = threading.Thread(target=self._send_forever, name="home", daemon=True)
        self._thread.start()
        return reply

    def emit(self, type: str, **data: Any) -> None:
        """Writes one event to the spool; it is sent within 250 ms. Texts are cut to 100,000 characters."""
        with self._lock:
            self._spool.append({"at": int(time.time() * 1000), "type": type, **plain(data)})

    def log(self, level: str, message: str) -> None:
        """Emits a log line (cut to 8 KiB) and prints it."""
        encoded = message.encode("utf-8", "replace")[:MAX_LOG_BYTES]
        print(f"[{level}] {message}", file=sys.stderr, flush=True)
        self.emit("log", level=level, message=encoded.decode("utf-8", "ignore"))

    def phase(self, phase: str, message: str = "") -> None:
        """Reports what the trainer is doing, also as a log line."""
        self.emit("phase", phase=phase, message=message)
        words = phase.replace("_", " ")
        self.log("info", f"{words}: {message}" if message else words)

    def metrics(self, step: int, total_steps: int, epoch: float, values: dict[str, float]) -> None:
        """Reports the metrics of a step, also as a log line; the line leaves out the machine's own (`system/`)."""
        self.emit("metrics", step=step, epoch=round(epoch, 4), values=values)
        shown = [
            f"{name.removeprefix('train/').removeprefix('perf/').replace('_', ' ')} {value:.4g}"
            for name, value in values.items()
            if not name.startswith("system/")
        ]
        self.log("info", f"step {step}/{total_steps}: {', '.join(shown)}")

    def take_command(self) -> dict[str, str] | None:
        """The oldest command that was not yet taken, as `{id, type}`; each is returned once."""
        with self._lock:
            return self._commands.popleft() if self._commands else None

    def command_done(self, command: dict[str, str]) -> None:
        """Reports that a command is done, so that the server stops repeating it."""
        self.emit("command_done", id=command["id"], command=command["type"])

    def flush(self) -> None:
        """Waits until the server has every event of the spool."""
        target = self._spool.last_seq
        self._wake.set()
        with self._acked:
            self._acked.wait_for(lambda: self._spool.acked >= target)

    def close(self) -> None:
        """Sends the rest, the last batch marked final, and stops the sender."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _send_forever(self) -> None:
        connection = self.connection()
        last_sent = 0.0
        delays = backoff()
        while True:
            with self._lock:
                lines, first = self._spool.next_batch(self._max_batch, MAX_BATCH_BYTES)
                final = self._closing and first + len(lines) - 1 >= self._spool.last_seq
            due = lines or final or time.monotonic() - last_sent >= self._heartbeat_s
            if due:
                try:
                    reply = connection.json(
                        "POST", "/events", _batch(lines, final), {"content-type": "application/json"}
                    )
                except Refused as refused:
                    self._leave(3, str(refused))
                    return
                except HttpFailure as failure:
                    self._leave(1, f"the server does not understand this trainer: {failure}")
                    return
                except OSError as error:
                    if time.monotonic() - self._last_contact > NO_CONTACT_S:
                        self._leave(1, f"no contact with the server for 24 hours: {error}")
                        return
                    time.sleep(next(delays))
                    continue
                last_sent, delays = time.monotonic(), backoff()
                before = self._spool.acked
                try:
                    self._receive(reply)
                except SpoolLost as error:
                    self._leave(1, str(error))
                    return
                if final and self._spool.acked >= self._spool.last_seq:
                    return
                if self._spool.behind() and self._spool.acked != before:
                    continue  # more is waiting and the server takes it: no pause
            self._wake.wait(SEND_EVERY_S)
            self._wake.clear()

    def _receive(self, reply: dict[str, Any]) -> None:
        with self._lock:
            self._spool.acknowledge(int(reply["last_seq"]))
            for command in reply.get("commands") or []:
                if command["id"] not in self._known_commands:
                    self._known_commands.add(command["id"])
                    self._commands.append(command)
        with self._acked:
            self._acked.notify_all()


def _batch(lines: list[bytes], final: bool) -> bytes:
    return b'{"events":[' + b",".join(lines) + b"]" + (b',"final":true}' if final else b"}")


def plain(value: Any) -> Any:
    """The value as JSON: numbers that JSON lacks become strings, and texts are cut to the limit of an event."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, str):
        return value if len(value) <= MAX_EVENT_TEXT else value[: MAX_EVENT_TEXT - 1] + "…"
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _exit_now(code: int, message: str) -> None:
    """Ends the process from any thread: the server no longer wants its work, so there is nothing to finish."""
    print(message, file=sys.stderr, flush=True)
    os._exit(code)
