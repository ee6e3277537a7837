"""Chooses how an attempt reaches its server: a connection, or the mailbox in an object store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .connection import Connection
from .mailbox import SCHEME, Addresses, MailboxConnection


class Channel:
    """Makes the connections of an attempt. `name` is for people: addresses of a mailbox are secret."""

    def __init__(self, url: str, token: str, scratch: Path) -> None:
        self._url, self._token = url, token
        self._addresses = Addresses(scratch) if url.startswith(SCHEME) else None
        self.name = "the mailbox" if self._addresses else url
        # Where files come from, for people.
        self.files_from = "the object store" if self._addresses else "the server"
        # A trainer of the server's machine reads nothing that a network could change.
        self.is_local = url.startswith("unix:")

    def connect(self, on_contact: Callable[[], None] = lambda: None, timeout: float = 60) -> Connection:
        """A new connection for the calling thread; `timeout` is how long a response may take, in seconds."""
        if self._addresses is not None:
            return MailboxConnection(self._token, self._addresses, on_contact, timeout)
        return Connection(self._url, self._token, on_contact, timeout)
