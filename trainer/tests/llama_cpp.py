"""llama.cpp itself, for the tests: its server within this process, on one GGUF file."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import xllamacpp

# Texts, each with the tokens that llama.cpp reads in the file of SmolLM2-135M-Instruct.
RECORDED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "golden/smollm2-tokens.json").read_text("utf-8"))


class LlamaCpp:
    """A GGUF file as llama.cpp reads it."""

    def __init__(self, path: Path):
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_parallel, params.warmup, params.verbosity = 512, 1, False, -1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        self.server = xllamacpp.Server(params)

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.server.listening_address + path, data, {"content-type": "application/json"}
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return json.load(answer)

    def tokens(self, text: str) -> list[int]:
        """The tokens of a text, whose special tokens count as such."""
        return self._ask("/tokenize", {"content": text, "add_special": False, "parse_special": True})["tokens"]

    def answer(self, prompt: list[int], count: int) -> list[int]:
        """The most likely `count` tokens after a prompt, or fewer up to and with the one that ends the answer."""
        body = {"prompt": prompt, "n_predict": count, "temperature": 0, "return_tokens": True, "cache_prompt": False}
        return self._ask("/completion", body)["tokens"]

    def facts(self) -> dict[str, Any]:
        """What the server says about the model."""
        return self._ask("/props")
