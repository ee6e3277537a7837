"""Log probabilities in OpenAI's two forms, and the text and bytes of single tokens."""

from __future__ import annotations

import json
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

from ...model.sampling import Step


class TokenTexts:
    """The text of single tokens. A token may be part of a character: only its bytes are exact."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        decoder = getattr(tokenizer.backend_tokenizer, "decoder", None)
        kind = json.loads(decoder.__getstate__()) if decoder is not None else {}
        kinds = {kind.get("type"), *(one.get("type") for one in kind.get("decoders", []))}
        self._bytes = {char: byte for byte, char in bytes_to_unicode().items()} if "ByteLevel" in kinds else None
        self._added = {int(i): str(token) for i, token in tokenizer.added_tokens_decoder.items()}

    def bytes_of(self, token: int) -> bytes:
        """The exact bytes of a token."""
        if token in self._added:
            return self._added[token].encode()
        text = self.tokenizer.convert_ids_to_tokens(token) or ""
        if self._bytes is not None:
            return b"".join(bytes([self._bytes[c]]) if c in self._bytes else c.encode("utf-8", "replace") for c in text)
        if len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
            return bytes([int(text[3:5], 16)])
        return text.replace("\u2581", " ").encode("utf-8", "replace")

    def name(self, token: int) -> str:
        """A token as the completions form names it: its text, or `bytes:\\x..` for part of a character."""
        raw = self.bytes_of(token)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


class LogprobsWriter:
    """The log probabilities of one answer; `take` gives those since the last time."""

    def __init__(self, texts: TokenTexts, *, chat: bool) -> None:
        self._texts, self._chat = texts, chat
        self._steps: list[Step] = []
        self._offset = 0

    def add(self, step: Step) -> None:
        """Takes one more token. A chat answer ends before its end token."""
        if not (self._chat and step.ends):
            self._steps.append(step)

    def add_prompt(self, steps: list[Step]) -> None:
        """Takes the tokens of an echoed prompt, the first of which nothing predicts."""
        self._steps += steps

    def take(self) -> dict[str, Any] | None:
        """The tokens since the last time in the form of the request; None when there are none."""
        steps, self._steps = self._steps, []
        if not steps:
            return None
        return self._chat_form(steps) if self._chat else self._plain_form(steps)

    def _chat_form(self, steps: list[Step]) -> dict[str, Any]:
        content = [
            {
                **self._entry(step.token, step.logprob or 0.0),
                "top_logprobs": [self._entry(token, logprob) for token, logprob in step.top],
            }
            for step in steps
        ]
        return {"content": content, "refusal": None}

    def _entry(self, token: int, logprob: float) -> dict[str, Any]:
        raw = self._texts.bytes_of(token)
        return {"token": raw.decode("utf-8", "replace"), "logprob": _finite(logprob), "bytes": list(raw)}

    def _plain_form(self, steps: list[Step]) -> dict[str, Any]:
        name, offsets = self._texts.name, []
        for step in steps:
            offsets.append(self._offset)
            self._offset += len(self._texts.bytes_of(step.token).decode("utf-8", "replace"))
        return {
            "tokens": [name(step.token) for step in steps],
            "token_logprobs": [None if step.logprob is None else _finite(step.logprob) for step in steps],
            "top_logprobs": [self._alternatives(step) for step in steps],
            "text_offset": offsets,
        }

    def _alternatives(self, step: Step) -> dict[str, float] | None:
        """The most likely tokens and the chosen one. Two tokens of one text are one entry: the more likely."""
        if step.logprob is None:
            return None
        found: dict[str, float] = {}
        for token, logprob in (*step.top, (step.token, step.logprob)):
            found.setdefault(self._texts.name(token), _finite(logprob))
        return found


def _finite(logprob: float) -> float:
    """JSON has no infinity; OpenAI writes -9999 for a token that cannot come."""
    return max(logprob, -9999.0)
