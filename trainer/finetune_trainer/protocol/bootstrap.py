"""Exchanges the bootstrap token that a rented machine was started with for the token of its attempt."""

from __future__ import annotations

import os
import secrets
import sys
import time
from pathlib import Path

from .backoff import backoff
from .connection import Connection
from .mailbox import SCHEME, exchange_bootstrap

PREFIX = "ftb-"


def attempt_token(url: str, token: str, scratch: Path) -> str:
    """The token of the attempt: `token` itself, or what the server gives for a bootstrap token. It stays in scratch, so
    that a process which starts again on the same machine uses it. Tries until the server answers; raises Refused.
    """
    if not token.startswith(PREFIX):
        return token
    scratch.mkdir(parents=True, exist_ok=True)
    kept = scratch / "attempt-token"
    if kept.is_file():
        return kept.read_text().strip()
    # The answer may be lost: the same nonce gets the same token again.
    nonce = scratch / "bootstrap-nonce"
    if not nonce.is_file():
        _write(nonce, secrets.token_hex(32))
    found = _exchange(url, token, nonce.read_text().strip(), scratch)
    _write(kept, found)
    return found


def _exchange(url: str, token: str, nonce: str, scratch: Path) -> str:
    through_mailbox = url.startswith(SCHEME)
    name = "the mailbox" if through_mailbox else url
    connection = Connection(url, token)
    said = None
    for delay in backoff():
        try:
            if through_mailbox:
                return exchange_bootstrap(url, token, nonce, scratch)
            found = str(connection.json("POST", "/bootstrap", {"nonce": nonce})["token"])
            connection.close()
            return found
        except OSError as error:
            if str(error) != said:
                said = str(error)
                print(f"calling {name}: {said}; trying again", file=sys.stderr, flush=True)
            time.sleep(delay)
    raise AssertionError("backoff never ends")


def _write(path: Path, text: str) -> None:
    """Writes a file that only this user can read, completely or not at all."""
    part = path.with_suffix(".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)
    part.rename(path)
