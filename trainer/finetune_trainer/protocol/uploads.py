"""Uploads of artifacts in resumable parts, on their own thread: training continues while the server is slow or
unreachable.
"""

from __future__ import annotations

import shutil
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .connection import Connection, HttpFailure
from .files import sha256_file
from .home import Home, plain


@dataclass
class Upload:
    """One artifact to upload. `files` are names in `directory`; `reply` is the server's response
    once it is complete.
    """

    kind: str
    step: int
    directory: Path
    files: tuple[str, ...]
    metrics: dict[str, Any] = field(default_factory=dict)
    wanted: bool = False
    then: Callable[[], None] | None = None
    reply: dict[str, Any] | None = None
    error: str | None = None
    done: threading.Event = field(default_factory=threading.Event)


class Uploader:
    """A queue of uploads and its thread. At most `keep` checkpoints wait; older ones that nobody
    requested are skipped.
    """

    def __init__(self, home: Home, keep: int) -> None:
        self._home, self._keep = home, keep
        self._queue: list[Upload] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="uploads", daemon=True)
        self._thread.start()

    def add(self, upload: Upload) -> Upload:
        """Queues an upload. Checkpoints beyond `keep` that still wait are dropped, oldest first, unless they were
        requested.
        """
        with self._changed:
            self._queue.append(upload)
            waiting = [u for u in self._queue[1:-1] if u.kind == "checkpoint" and not u.wanted]
            for old in waiting[: max(0, len(waiting) - self._keep + 1)]:
                self._queue.remove(old)
                old.error = "skipped: a newer checkpoint was saved before the server took it"
                shutil.rmtree(old.directory, ignore_errors=True)
                old.done.set()
            self._changed.notify_all()
        return upload

    def wait(self) -> None:
        """Returns when every queued upload is complete or has failed."""
        with self._changed:
            self._changed.wait_for(lambda: not self._queue)

    def _work(self) -> None:
        connection = self._home.connection()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue)
                upload = self._queue[0]
            try:
                upload.reply = send_artifact(self._home, connection, upload)
            except (HttpFailure, OSError) as error:
                upload.error = str(error)
                self._home.log("error", f"the {upload.kind} of step {upload.step} was not taken: {error}")
            if upload.then is not None:
                upload.then()
            upload.done.set()
            with self._changed:
                self._queue.pop(0)
                self._changed.notify_all()


def send_artifact(home: Home, connection: Connection, upload: Upload) -> dict[str, Any]:
    """Opens an artifact, sends every file from the offset that the server has, and completes it; returns the last
    response.
    """
    files = [
        {"path": name, "size": path.stat().st_size, "sha256": sha256_file(path)}
        for name in upload.files
        for path in [upload.directory / name]
    ]
    order = {"kind": upload.kind, "step": upload.step, "metrics": plain(upload.metrics), "files": files}
    opened = home.retry(lambda: connection.json("POST", "/artifacts", order))
    identity = urllib.parse.quote(opened["artifact_id"], safe="")
    if not opened["complete"]:
        offsets = {f["path"]: f["offset"] for f in opened["files"]}
        for file in files:
            _send_file(home, connection, identity, upload.directory / file["path"], file, offsets.get(file["path"], 0))
    return home.retry(lambda: connection.json("POST", f"/artifacts/{identity}/complete", {}))


def _send_file(
    home: Home, connection: Connection, identity: str, path: Path, file: dict[str, Any], offset: int
) -> None:
    with path.open("rb") as stream:
        while offset < file["size"]:
            stream.seek(offset)
            part = stream.read(connection.part_bytes)
            url = f"/artifacts/{identity}/{urllib.parse.quote(file['path'])}?offset={offset}"

            def put(url: str = url, part: bytes = part) -> int:
                try:
                    reply = connection.json("PUT", url, part, {"content-type": "application/octet-stream"})
                except HttpFailure as failure:
                    # The response to a part was lost: the server says how much it has.
                    if failure.status == 409 and isinstance(failure.body.get("offset"), int):
                        return failure.body["offset"]
                    raise
                return int(reply["offset"])

            offset = home.retry(put)
