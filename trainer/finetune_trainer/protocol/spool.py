"""The event spool: an append-only JSONL file of numbered events, read back in batches until the server has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class SpoolLost(RuntimeError):
    """The server asks for events from before this spool began."""


class Spool:
    """Numbers, stores and re-reads events. Memory use does not grow while the server is unreachable. Callers hold a
    lock.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self.first_seq, self.last_seq = 1, 0
        self.acked = 0
        self._read_at, self._next_seq = 0, 1
        self._recover()
        self._writer = path.open("ab")
        self._reader = path.open("rb")

    def _recover(self) -> None:
        """Reads the spool of an earlier process of this attempt; an unfinished last line is cut off."""
        if not self._path.exists():
            return
        good = 0
        with self._path.open("r+b") as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                seq = json.loads(line)["seq"]
                if good == 0:
                    self.first_seq = seq
                self.last_seq = seq
                good += len(line)
            stream.truncate(good)
        self._next_seq = self.first_seq

    def start_after(self, server_seq: int) -> None:
        """Continues after what the server holds: numbers it has are skipped, and new ones come after them."""
        if server_seq > self.last_seq:
            self.last_seq = server_seq
            self._read_at = self._path.stat().st_size
            self._next_seq = self.first_seq = server_seq + 1
        self.acknowledge(server_seq)

    def append(self, event: dict[str, Any]) -> None:
        """Numbers an event and writes it to the file."""
        self.last_seq += 1
        line = json.dumps({"seq": self.last_seq, **event}, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        self._writer.write(line.encode("utf-8", "replace") + b"\n")
        self._writer.flush()

    def behind(self) -> bool:
        """Whether events wait to be sent."""
        return self._next_seq <= self.last_seq

    def next_batch(self, max_events: int, max_bytes: int) -> tuple[list[bytes], int]:
        """The next unsent lines, and the number of the first. Reading does not remove them."""
        lines: list[bytes] = []
        size = 0
        self._reader.seek(self._read_at)
        while len(lines) < max_events and self._next_seq + len(lines) <= self.last_seq:
            line = self._reader.readline()
            if lines and size + len(line) > max_bytes:
                break
            lines.append(line.rstrip(b"\n"))
            size += len(line)
        return lines, self._next_seq

    def acknowledge(self, server_seq: int) -> None:
        """Moves the read position to just after the server's last number, backwards too when the server lost some."""
        self.acked = min(server_seq, self.last_seq)
        target = self.acked + 1
        if target < self._next_seq:
            if target < self.first_seq:
                raise SpoolLost(f"the server lost events up to {server_seq}; this spool begins at {self.first_seq}")
            self._read_at, self._next_seq = 0, self.first_seq
        self._reader.seek(self._read_at)
        while self._next_seq < target:
            self._read_at += len(self._reader.readline())
            self._next_seq += 1
