"""Control of a running job from outside: commands of the server, and signals."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from .home import Home


class Commands:
    """Commands from the server and signals from the system, as flags that the training loop reads between steps."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.pending: list[dict[str, str]] = []
        self.stop: str | None = None  # "paused" | "cancelled"; a signal may set it at any time
        self.on_signal: Callable[[], None] = lambda: None  # called in the signal handler

    def install_signals(self) -> None:
        """SIGTERM and SIGINT pause."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, *_: Any) -> None:
        self.stop = self.stop or "paused"
        self.on_signal()

    def poll(self) -> bool:
        """Takes new commands; True when the job must stop."""
        while command := self._home.take_command():
            if command["type"] == "checkpoint":
                self.pending.append(command)
            elif command["type"] in ("pause", "cancel"):
                self.stop = "cancelled" if command["type"] == "cancel" else self.stop or "paused"
                self.pending.append(command)
            else:
                self._home.log("warn", f"unknown command {command['type']!r} is ignored")
        return self.stop is not None

    def take_pending(self) -> list[dict[str, str]]:
        """Commands that were taken and are not yet reported as done."""
        taken, self.pending = self.pending, []
        return taken
