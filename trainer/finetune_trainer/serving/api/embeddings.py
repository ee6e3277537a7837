"""Checks an embeddings request, and builds its answer."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import ApiError, invalid
from .fields import integer, shortened, token_ids
from .messages import context_exceeded
from .request import ServedModel, checked_body

MAX_INPUTS = 2048
FIELDS = frozenset({"model", "input", "dimensions", "encoding_format", "user"})


@dataclass(frozen=True)
class EmbeddingRequest:
    """A checked request. `dimensions` 0 means all."""

    model: str
    inputs: list[list[int]]
    dimensions: int
    as_base64: bool

    def answer(self, vectors: list[np.ndarray]) -> dict[str, Any]:
        """The answer, with one vector of length 1 for each input."""
        data = [
            {"object": "embedding", "index": index, "embedding": self._written(vector)}
            for index, vector in enumerate(vectors)
        ]
        count = sum(len(one) for one in self.inputs)
        usage = {"prompt_tokens": count, "total_tokens": count}
        return {"object": "list", "data": data, "model": self.model, "usage": usage}

    def _written(self, vector: np.ndarray) -> str | list[float]:
        kept = vector[: self.dimensions or None].astype("<f4")
        kept = kept / max(float(np.linalg.norm(kept)), 1e-12)
        return base64.b64encode(kept.tobytes()).decode() if self.as_base64 else [float(x) for x in kept]


def parse_embeddings(body: Any, engine: ServedModel) -> EmbeddingRequest:
    """Checks a request body. Raises ApiError naming the parameter."""
    body = checked_body(body, engine)
    for name, value in body.items():
        if name not in FIELDS and value is not None:
            name = shortened(name)
            raise ApiError(400, f"Unrecognized request argument supplied: {name}", name, "unknown_parameter")
    encoding = body.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise invalid("encoding_format", "encoding_format must be float or base64.")
    inputs = _inputs(body.get("input"), engine)
    for index, ids in enumerate(inputs):
        if not ids:
            raise invalid(f"input.{index}" if len(inputs) > 1 else "input", "An input is empty.")
        if len(ids) > engine.context:
            raise context_exceeded(len(ids), engine.context, "input")
    dimensions = integer(body, "dimensions", 0, 1, engine.width)
    return EmbeddingRequest(body["model"], inputs, dimensions, encoding == "base64")


def _inputs(value: Any, engine: ServedModel) -> list[list[int]]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not value or len(value) > MAX_INPUTS:
        raise invalid("input", f"input must be a text, a list of token ids, or a list of up to {MAX_INPUTS} of them.")
    if type(value[0]) is int:
        return [token_ids(value, "input", engine.vocabulary)]
    if all(isinstance(one, str) for one in value):
        return engine.tokenizer(value, add_special_tokens=False)["input_ids"]
    return [token_ids(one, f"input.{index}", engine.vocabulary) for index, one in enumerate(value)]
