"""Delays between tries while the server does not answer."""

from __future__ import annotations

import random
from collections.abc import Iterator


def backoff() -> Iterator[float]:
    """Retry delays in seconds: 0.2 doubling to 5, each shortened by up to a quarter so that trainers do not retry in
    step.
    """
    delay = 0.2
    while True:
        yield delay * (1 - random.Random().random() / 4)
        delay = min(delay * 2, 5.0)
