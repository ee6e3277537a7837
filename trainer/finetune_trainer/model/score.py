"""Teacher-forced scoring: loss and token accuracy of the tokens in the loss, with logits computed for those only."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..data.tokens import IGNORED, Tokens

# Padded tokens of one batch: with a vocabulary of 50,000 their float32 logits take at most 0.8 GB.
BATCH_TOKENS = 4096
# Configs with one of these change the logits after the head; such models go through their own forward.
HEAD_EXTRAS = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier", "lm_head_multiplier")


@dataclass
class Score:
    """Sums over scored tokens: `nll` in nats (keeps its gradient), `correct` and `count` in tokens."""

    nll: torch.Tensor
    correct: torch.Tensor
    count: int


def causal_model(model: Any) -> Any:
    """The language model inside the wrappers of PEFT and of data parallelism; it includes the LoRA layers."""
    model = getattr(model, "module", model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def answer_logits(
    model: Any, input_ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor | None = None
) -> torch.Tensor:
    """Float32 logits `(n, vocabulary)` that predict the n positions `mask` (batch, length - 1) marks, rows first.

    Rows must be padded on the right: then causal attention excludes the padding and no mask is needed. `positions`
    (batch, length) that restart at 0 isolate packed rows from each other (training/packing.py).
    """
    if getattr(getattr(model, "module", model), "answers_when_called", False):
        return model(input_ids=input_ids, answer_mask=mask, position_ids=positions)
    return _logits_at(causal_model(model), input_ids, mask, positions)


def score_when_called(model: Any) -> None:
    """Makes `model(input_ids=…, answer_mask=…)` give `answer_logits`, on the model and on every later wrapper.

    DDP, FSDP and DeepSpeed work only in the call of the outermost module; calling past them would train n different
    models.
    """
    causal = causal_model(model)
    plain = causal.forward

    @functools.wraps(plain)
    def forward(*args: Any, answer_mask: torch.Tensor | None = None, **kwargs: Any) -> Any:
        if answer_mask is None:
            return plain(*args, **kwargs)
        return _logits_at(causal, kwargs["input_ids"], answer_mask, kwargs.get("position_ids"))

    causal.forward = forward
    model.answers_when_called = True


def _logits_at(
    causal: Any, input_ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor | None = None
) -> torch.Tensor:
    given = {"input_ids": input_ids, "use_cache": False} | ({} if positions is None else {"position_ids": positions})
    config = causal.config.get_text_config()
    if any(getattr(config, name, None) not in (None, 1.0) for name in HEAD_EXTRAS):
        return causal(**given).logits[:, :-1][mask].float()
    hidden = causal.base_model(**given).last_hidden_state
    return causal.get_output_embeddings()(hidden[:, :-1][mask]).float()


def score(model: Any, input_ids: torch.Tensor, labels: torch.Tensor, positions: torch.Tensor | None = None) -> Score:
    """Scores a right-padded batch; `labels` (batch, length) are -100 for tokens not in the loss; `positions` are those
    of packs.
    """
    targets = labels[:, 1:]
    mask = targets != IGNORED
    wanted = targets[mask].long()
    logits = answer_logits(model, input_ids, mask, positions)
    with torch.no_grad():
        correct = (logits.argmax(-1) == wanted).sum()
    return Score(F.cross_entropy(logits, wanted, reduction="sum"), correct, int(wanted.numel()))


def pad_right(rows: list[tuple[np.ndarray, np.ndarray]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels of rows as two (batch, longest) tensors."""
    longest = max(len(ids) for ids, _ in rows)
    ids = np.full((len(rows), longest), pad_id, np.int64)
    labels = np.full((len(rows), longest), IGNORED, np.int64)
    for index, (row_ids, row_labels) in enumerate(rows):
        ids[index, : len(row_ids)] = row_ids
        labels[index, : len(row_labels)] = row_labels
    return torch.from_numpy(ids), torch.from_numpy(labels)


def batches_by_length(lengths: np.ndarray, batch_size: int, batch_tokens: int = BATCH_TOKENS) -> Iterator[np.ndarray]:
    """Row indices in batches of similar length, longest first, so that too little memory shows at once.

    A batch holds at most `batch_size` rows, and fewer when their padded tokens would exceed `batch_tokens`.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        rows = max(1, min(batch_size, batch_tokens // max(1, int(lengths[order[start]]))))
        yield order[start : start + rows]
        start += rows


@dataclass
class RowScores:
    """Per row, in the order of the rows: summed loss in nats, correct tokens, tokens in the loss."""

    nll: np.ndarray
    correct: np.ndarray
    count: np.ndarray

    def loss(self) -> float:
        """Mean loss in nats per token over all rows."""
        return float(self.nll.sum() / max(1, self.count.sum()))

    def accuracy(self) -> float:
        """Share of correctly predicted tokens over all rows."""
        return float(self.correct.sum() / max(1, self.count.sum()))


@torch.no_grad()
def score_rows(
    model: Any, tokens: Tokens, batch_size: int, pad_id: int, should_stop: Callable[[], bool] = lambda: False
) -> RowScores:
    """Scores each row (in batches of similar length), in evaluation mode without gradients."""
    device = next(model.parameters()).device
    nll, correct, count = (np.zeros(len(tokens)) for _ in range(3))
    with evaluation_mode(model):
        for batch in batches_by_length(tokens.lengths(), batch_size):
            if should_stop():
                break
            ids, labels = pad_right([tokens.row(int(i)) for i in batch], pad_id)
            ids, targets = ids.to(device), labels.to(device)[:, 1:]
            mask = targets != IGNORED
            wanted = targets[mask]
            logits = answer_logits(model, ids, mask)
            losses = F.cross_entropy(logits, wanted, reduction="none").double()
            right = (logits.argmax(-1) == wanted).double()
            row_of = mask.nonzero()[:, 0]
            zeros = torch.zeros(len(batch), dtype=torch.float64, device=device)
            nll[batch] = zeros.index_add(0, row_of, losses).cpu().numpy()
            correct[batch] = zeros.index_add(0, row_of, right).cpu().numpy()
            count[batch] = mask.sum(1).cpu().numpy()
    return RowScores(nll, correct, count)


@torch.no_grad()
def reward_rows(
    model: Any, pairs: Any, batch_size: int, pad_id: int, should_stop: Callable[[], bool] = lambda: False
) -> np.ndarray:
    """Rewards (pairs, 2) that a reward model gives the chosen and the rejected sides of preference rows."""
    device = next(model.parameters()).device
    rewards = np.zeros((len(pairs), 2))
    with evaluation_mode(model):
        for batch in batches_by_length(pairs.lengths(), batch_size):
            if should_stop():
                break
            sides = [pairs.sides(int(i))[which] for which in (0, 1) for i in batch]
            ids, _ = pad_right(sides, pad_id)
            lengths = torch.tensor([len(row) for row, _ in sides])
            mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
            logits = model(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False).logits
            rewards[batch] = logits.squeeze(-1).float().cpu().numpy().reshape(2, -1).T
    return rewards


@contextlib.contextmanager
def evaluation_mode(model: Any) -> Iterator[None]:
    """Evaluation mode (no dropout) inside the block; the previous mode after it."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
