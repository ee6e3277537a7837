"""Grading by the server: small requests, retries while it is unreachable or busy, and a clear failure when the grader
fails.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ..data import exact
from ..data.tool_calls.answers import Answer
from ..protocol.connection import Busy, HttpFailure
from ..protocol.failures import TrainingFailed
from ..protocol.home import Home

# Answers per request: a grader in an endless loop is stopped one answer at a time, and must be noticed within minutes.
ANSWERS_PER_REQUEST = 8
MAX_REQUEST_CHARS = 2_000_000
# How long the server may take for one request, and how long it may refuse it as busy, in seconds.
ANSWER_S = 900
BUSY_LIMIT_S = 1800
# Tries when the grader's own model or sandbox failed, and the pause between them in seconds.
TRIES, PAUSE_S = 3, 5.0
JSON_TYPE = {"content-type": "application/json"}
ADVICE = "Run the grader on a single row (POST /v1/fine_tuning/alpha/graders/run), fix it, and start the job again."


@dataclass
class Graded:
    """Rewards in the order of the answers, 0 where the grader failed; `errors` counts the failures."""

    rewards: list[float]
    errors: int


class Grading:
    """Requests rewards from the server, over its own connection."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._connection = home.connection(timeout=ANSWER_S)
        self._told = 0

    def __call__(self, items: list[dict[str, Any]], outputs: list[Answer]) -> Graded:
        """The rewards of answers to rows. Raises TrainingFailed (`grader_failed`) when every answer
        of a request fails.
        """
        rewards: list[float] = []
        errors = 0
        samples = [sample_of(item, output) for item, output in zip(items, outputs, strict=True)]
        for part in parts(samples):
            grades = self._part(part)
            failed = [grade["error"] for grade in grades if grade["error"] is not None]
            if failed and self._told < 20:  # enough to see what is wrong; the metric counts all
                self._told += 1
                self._home.log("warn", f"the grader failed on {len(failed)} of {len(grades)} answers: {failed[0]}")
            rewards += [float(grade["reward"]) for grade in grades]
            errors += len(failed)
        return Graded(rewards, errors)

    def _part(self, samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for tries in range(1, TRIES + 1):
            grades = self._request(samples)
            if not all(grade["error"] is not None for grade in grades):
                return grades
            if tries == TRIES or not all(grade.get("again") for grade in grades):
                break
            time.sleep(PAUSE_S)
        raise TrainingFailed(
            "grader_failed", f"the grader failed on all {len(grades)} answers of a batch: {grades[0]['error']}", ADVICE
        )

    def _request(self, samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One request. An unreachable server is retried as for events; a busy one for half an hour."""
        until = time.monotonic() + BUSY_LIMIT_S

        def once() -> list[dict[str, Any]]:
            try:
                return self._connection.json("POST", "/grade", exact.dumps({"samples": samples}), JSON_TYPE)["grades"]
            except OSError as error:
                if not isinstance(error, Busy) or time.monotonic() < until:
                    raise
                raise TrainingFailed("grader_failed", f"the grader cannot be asked: {error}", ADVICE) from error

        try:
            return self._home.retry(once)
        except HttpFailure as failure:
            raise TrainingFailed("grader_failed", f"the grader cannot be used: {failure}", ADVICE) from failure


def sample_of(item: dict[str, Any], output: Answer) -> dict[str, Any]:
    """An answer as the server grades it. Calls have the form of chat completions."""
    calls = [
        {"id": f"call_{at}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for at, (name, arguments) in enumerate(output.calls, 1)
    ]
    return {"item": item, "output": output.content, **({"tools": calls} if calls else {})}


def parts(samples: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Samples in requests of at most ANSWERS_PER_REQUEST, and of fewer when they are long."""
    out: list[list[dict[str, Any]]] = []
    size = 0
    for sample in samples:
        chars = len(sample["output"]) + len(repr((sample["item"], sample.get("tools"))))
        if not out or len(out[-1]) == ANSWERS_PER_REQUEST or size + chars > MAX_REQUEST_CHARS:
            out.append([])
            size = 0
        out[-1].append(sample)
        size += chars
    return out
