"""Whether exported files hold the trained model: both models read the same prompts, and their probabilities are
compared.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.template import TemplateRefused, render
from ..model.load import end_token_ids
from ..model.score import causal_model

MAX_POSITIONS = 1024
"""Positions compared in all: their probabilities over the whole vocabulary are on disk between the two models."""
ROW_TOKENS = 128
# Tokens of these are compared besides those of the rows: they show every way to split text.
PROBES = (
    "\n\n1. First\n2. Second\n10. Tenth",
    "Total:   1234567 and 12,345.67 or 0001",
    "def f(x):\n    if x == 1:\n        return x ** 2\n\n\treturn 3\n",
    "I'll say it's DON'T, we've they're I'M you'd",
    "   leading and trailing   \t\n\r\n  next\r\n",
    "camelCase HTTPServer snake_case a.b.c",
    "...!!! ???;; -> => != && || https://example.com/a?c=1#d/",
    "中文句子 123 日本語カタカナ 한국어 Привет 👩‍👩‍👧 café",
    '{"a": [1, 2.5, null]} $100 + £20 = ¥30',
)
# Used when there are no rows.
GENERAL = (
    "Say hello.",
    "What is the capital of France?",
    "Write a short sentence about the sea.",
    'Answer as JSON with the field "colour": what colour is grass?',
    "Translate 'good morning' into German.",
    "Count from one to ten.",
)


@dataclass(frozen=True)
class Reference:
    """What the exported model is compared with."""

    ends: list[int]
    template: str
    prompts: list[list[int]]
    probes: list[list[int]]  # the tokens of PROBES
    directory: Path  # a file of log-probabilities for each prompt


def prompt_texts(tokenizer: Any, rows: list[dict[str, Any]]) -> list[str]:
    """The texts both models read: rows with their answers, by the chat template, or general questions."""
    out = []
    for row in rows:
        if "text" in row:
            out.append(row["text"])
            continue
        messages = [*row["messages"], *row.get("chosen", [])]
        asks = not messages or messages[-1].get("role") != "assistant"
        with contextlib.suppress(TemplateRefused):  # training and evaluation leave such rows out too
            out.append(render(tokenizer, messages, row.get("tools"), prompt=asks))
    if not any(text.strip() for text in out):
        asked = ([{"role": "user", "content": text}] for text in GENERAL)
        out = [render(tokenizer, messages, None, prompt=True) for messages in asked]
    # A tokenizer that composes letters first (NFC) reads the same then as a file that cannot say so.
    composed = tokenizer.backend_tokenizer.normalizer
    texts = [composed.normalize_str(text) if composed else text for text in out]
    return [text for text in texts if text.strip()]


def tokens_of(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a text as it stands."""
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def template_hash(tokenizer: Any) -> str:
    """Hex sha256 of the chat template, without line ends at its end, which GGUF readers drop."""
    return hashlib.sha256((tokenizer.chat_template or "").rstrip().encode()).hexdigest()


@torch.no_grad()
def log_probabilities(model: Any, ids: list[int]) -> np.ndarray:
    """Float32 log-probabilities (positions, vocabulary) of the next token at every position of a prompt."""
    device = causal_model(model).get_input_embeddings().weight.device
    logits = model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0].float()
    return logits.log_softmax(-1).cpu().numpy()


def record_reference(model: Any, tokenizer: Any, texts: list[str], directory: Path) -> Reference:
    """Records the log-probabilities of the trained model in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    prompts, left = [], MAX_POSITIONS
    for text in texts:
        ids = tokens_of(tokenizer, text)[: min(ROW_TOKENS, left)]
        if len(ids) < 2:
            continue
        np.save(directory / f"{len(prompts)}.npy", log_probabilities(model, ids))
        prompts.append(ids)
        left -= len(ids)
    probes = [tokens_of(tokenizer, text) for text in PROBES]
    return Reference(sorted(end_token_ids(model, tokenizer)), template_hash(tokenizer), prompts, probes, directory)


def compare(reference: Reference, model: Any, tokenizer: Any, texts: list[str]) -> dict[str, Any]:
    """How much a model read back from files differs from the trained one; the figures of the report."""
    differences, kl, same, positions = [], [], 0, 0
    for index, ids in enumerate(reference.prompts):
        was, now = np.load(reference.directory / f"{index}.npy"), log_probabilities(model, ids)
        width = min(was.shape[1], now.shape[1])  # padding of the vocabulary is never generated
        was, now = was[:, :width], now[:, :width]
        kl.append((np.exp(was) * (was - now)).sum(-1))
        taken = was.argmax(-1)
        rows = np.arange(len(ids))
        differences.append(np.abs(was[rows, taken] - now[rows, taken]))
        same += int((taken == now.argmax(-1)).sum())
        positions += len(ids)
    read = [tokens_of(tokenizer, text)[:ROW_TOKENS] for text in texts]
    kept = [ids for ids in read if len(ids) >= 2][: len(reference.prompts)]
    difference = np.concatenate(differences)
    return {
        "prompts": len(reference.prompts),
        "positions": positions,
        "kl_mean": max(0.0, float(np.concatenate(kl).mean())),  # rounding may make it slightly negative
        "kl_max": float(np.concatenate(kl).max()),
        "logprob_mean": float(difference.mean()),
        "logprob_max": float(difference.max()),
        "top1_same": same / positions,
        "tokens_same": [tokens_of(tokenizer, text) for text in PROBES] == reference.probes
        and all(a[: len(b)] == b for a, b in zip(kept, reference.prompts, strict=True)),
        "stop_tokens_same": sorted(end_token_ids(model, tokenizer)) == reference.ends,
        "template_same": template_hash(tokenizer) == reference.template,
    }


def shortfalls(found: dict[str, Any], limits: dict[str, float]) -> Iterator[str]:
    """What is beyond the limits, a sentence each."""
    if not found["template_same"]:
        yield "the chat template is different"
    if not found["stop_tokens_same"]:
        yield "the tokens that end an answer are different"
    if not found["tokens_same"]:
        yield "the tokenizer gives other tokens for the same text"
    if not found["kl_mean"] <= limits["kl_mean"]:
        yield f"the KL divergence is {found['kl_mean']:.3g} nats per token (at most {limits['kl_mean']:g})"
    if not found["top1_same"] >= limits["top1_same"]:
        share, least = found["top1_same"], limits["top1_same"]
        yield f"the most likely token is the same at {share:.1%} of positions (at least {least:.1%})"
