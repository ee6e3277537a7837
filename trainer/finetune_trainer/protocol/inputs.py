"""Inputs of a job: files of models and adapters (in place, or downloaded from the hub or the server and hashed) and the
rows of a split.
"""

from __future__ import annotations

import http.client
import shutil
import time
import urllib.parse
from pathlib import Path
from typing import Any

from .connection import Connection, HttpFailure, check_status
from .failures import BadData, ModelLoad
from .files import PICKLE_SUFFIXES, SAFE_PATH, sha256_file
from .home import Home
from .hub import Hub, HubFailure, hub_of


def input_dir(home: Home, name: str, entry: dict[str, Any]) -> Path:
    """A directory with the files of an input: its local path when that is on this machine, else a checked download."""
    files = entry.get("files") or []
    for file in files:
        path = str(file["path"])
        if not SAFE_PATH.fullmatch(path) or ".." in path.split("/") or Path(path).suffix.lower() in PICKLE_SUFFIXES:
            raise ModelLoad(f"input {name}: the file name {path!r} is refused")
    local = entry.get("local_path")
    if local and Path(local).is_dir():
        for file in files:
            found = Path(local, file["path"])
            if not found.is_file() or found.stat().st_size != file["size"]:
                raise ModelLoad(f"input {name}: {file['path']} is missing or does not have the size that was imported")
        return Path(local)
    if not files:
        raise ModelLoad(f"input {name}: no files, and {local!r} is not on this machine")
    target = home.scratch / "inputs" / name
    home.phase("downloading", name)
    _download_all(home, name, entry, target)
    return target


def _download_all(home: Home, name: str, entry: dict[str, Any], target: Path) -> None:
    """Downloads the files of an input: from the hub as long as it gives them as the job names them, else from the
    server. Reports where they came from.
    """
    began, came = time.monotonic(), {}
    connection = home.connection()
    hub: Hub | None = None
    try:
        hub = hub_of(entry)
    except HubFailure as failure:
        home.log("warn", f"{name}: {failure}. Its files come from {home.channel.files_from}.")
    for file in entry["files"]:
        path = target / file["path"]
        if path.is_file() and path.stat().st_size == file["size"] and sha256_file(path) == file["sha256"]:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        source = home.channel.files_from
        if hub is not None:
            try:
                hub.download(file, part)
                part.rename(path)
                source = f"the hub ({hub.name})"
            except HubFailure as failure:
                # One failure is enough: the next file would fail in the same way, after the same time.
                hub = None
                home.log("warn", f"{name}: {failure}. This file and the next ones come from {source}.")
        if hub is None:
            _download(home, connection, name, file, path, part)
        count, size = came.get(source, (0, 0))
        came[source] = (count + 1, size + file["size"])
    connection.close()
    if came:
        parts = [
            f"{count} file{'' if count == 1 else 's'} ({size / 1e6:.1f} MB) from {source}"
            for source, (count, size) in came.items()
        ]
        home.log("info", f"downloaded {name}: {', '.join(parts)} in {time.monotonic() - began:.1f} s")


def _download(home: Home, connection: Connection, name: str, file: dict[str, Any], target: Path, part: Path) -> None:
    """Downloads one file from the server by ranges and resumes after a broken connection; kept only when size and hash
    agree.
    """
    url = f"/inputs/{urllib.parse.quote(name, safe='')}/{urllib.parse.quote(file['path'])}"

    def fetch() -> None:
        have = part.stat().st_size if part.exists() else 0
        if have > file["size"]:
            part.unlink()
        if have != file["size"]:
            _continue(connection, url, part)
        if part.stat().st_size != file["size"]:
            raise OSError("the download was cut off")

    try:
        for _ in range(3):
            home.retry(fetch)
            if sha256_file(part) == file["sha256"]:
                part.rename(target)
                return
            part.unlink()
    except HttpFailure as failure:
        raise ModelLoad(f"input {name}: {file['path']}: {failure}") from failure
    raise ModelLoad(f"input {name}: {file['path']} does not have the hash that the job names")


def _continue(connection: Connection, url: str, part: Path) -> None:
    """Downloads what is missing of `part`. Raises OSError when the connection breaks; what came until then is kept."""
    have = part.stat().st_size if part.exists() else 0
    response = connection.once("GET", url, headers={"range": f"bytes={have}-"} if have else {})
    if response.status == 416:
        # The file is not longer than what is here: the caller compares sizes and hashes.
        response.read()
        return
    if response.status >= 400:
        check_status(response.status, {"error": {"message": response.read()[:2000].decode("utf-8", "replace")}})
    length = int(response.headers.get("content-length") or -1)
    with part.open("ab" if response.status == 206 else "wb") as stream:
        while piece := _read(connection, response, 1 << 20):
            stream.write(piece)
            length -= len(piece)
    if length > 0:
        connection.close()
        raise OSError("the download was cut off")


def _read(connection: Connection, response: http.client.HTTPResponse, size: int) -> bytes:
    """What has arrived, at most `size` bytes; empty at the end."""
    try:
        if not (piece := response.read1(size)):
            response.close()  # the connection can be used again
        return piece
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise OSError(f"the connection broke: {error}") from error


def fetch_rows(home: Home, split: str) -> Path | None:
    """Downloads the rows of a split into scratch and returns the JSONL file; None when the job has no such split. From
    another machine it compares their hash; an interrupted download goes on where it broke.
    """
    target = home.scratch / f"data-{split}.jsonl"
    part = target.with_suffix(".part")
    part.unlink(missing_ok=True)
    connection = home.connection()
    try:
        digest = None
        if not home.channel.is_local:
            digest = home.retry(lambda: connection.json("GET", f"/data/{split}/digest"))
        for _ in range(3):
            home.retry(lambda: _continue(connection, f"/data/{split}", part))
            if digest is None or sha256_file(part) == digest["sha256"]:
                shutil.move(part, target)
                return target
            part.unlink()
    except HttpFailure as failure:
        if failure.status == 404:
            return None
        raise
    finally:
        connection.close()
    raise BadData(
        f"the rows of {split} do not have the hash that the server names",
        "Check the proxies between this machine and the server.",
    )
