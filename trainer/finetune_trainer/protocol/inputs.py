"""Inputs of a job: files of models and adapters (in place, or downloaded and hashed) and the rows of a split."""

from __future__ import annotations

import http.client
import shutil
import urllib.parse
from pathlib import Path
from typing import Any

from .connection import Connection, HttpFailure, check_status
from .failures import ModelLoad
from .files import PICKLE_SUFFIXES, SAFE_PATH, sha256_file
from .home import Home


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
    connection = home.connection()
    for file in files:
        _download(home, connection, name, file, target / file["path"])
    connection.close()
    return target


def _download(home: Home, connection: Connection, name: str, file: dict[str, Any], target: Path) -> None:
    """Downloads one file by ranges and resumes after a broken connection; kept only when size and hash agree."""
    if target.is_file() and target.stat().st_size == file["size"] and sha256_file(target) == file["sha256"]:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    url = f"/inputs/{urllib.parse.quote(name, safe='')}/{urllib.parse.quote(file['path'])}"

    def fetch() -> None:
        have = part.stat().st_size if part.exists() else 0
        if have > file["size"]:
            part.unlink()
            have = 0
        if have < file["size"]:
            response = connection.once("GET", url, headers={"range": f"bytes={have}-"} if have else {})
            if response.status >= 400:
                check_status(
                    response.status,
                    {"error": {"message": _read(connection, response, 2000).decode("utf-8", "replace")}},
                )
            with part.open("ab" if response.status == 206 else "wb") as stream:
                while piece := _read(connection, response, 1 << 20):
                    stream.write(piece)
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


def _read(connection: Connection, response: http.client.HTTPResponse, size: int) -> bytes:
    try:
        return response.read(size)
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise OSError(f"the connection broke: {error}") from error


def fetch_rows(home: Home, split: str) -> Path | None:
    """Streams the rows of a split into scratch and returns the JSONL file; None when the job has no such split."""
    target = home.scratch / f"data-{split}.jsonl"
    part = target.with_suffix(".part")
    connection = home.connection()

    def fetch() -> bool:
        response = connection.once("GET", f"/data/{split}")
        if response.status >= 400:
            body = {"error": {"message": _read(connection, response, 2000).decode("utf-8", "replace")}}
            if response.status == 404:
                return False
            check_status(response.status, body)
        with part.open("wb") as stream:
            while piece := _read(connection, response, 1 << 20):
                stream.write(piece)
        return True

    found = home.retry(fetch)
    connection.close()
    if not found:
        return None
    shutil.move(part, target)
    return target
