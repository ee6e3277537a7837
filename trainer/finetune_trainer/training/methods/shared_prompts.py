"""The common beginning of a pair goes through the model once: a pair is one sequence of prompt, chosen and rejected
answer.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

# A joined pair needs its own mask, which costs a little: not worth it for less.
MAX_SHARE = 0.9


@dataclass
class JoinedPairs:
    """Pairs as one sequence each: (pairs, longest) ids, positions and mask, and the place of each position of each
    side.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    allowed: torch.Tensor  # (pairs, 1, longest, longest): whether a token may attend to another
    chosen: torch.Tensor  # (pairs, length of a padded side)
    rejected: torch.Tensor

    def apart(self, hidden: torch.Tensor) -> torch.Tensor:
        """(pairs, longest, width) outputs as those of (2 * pairs, length, width): all chosen sides, then all rejected
        ones.
        """
        rows = torch.arange(len(hidden), device=hidden.device)[:, None] * hidden.shape[1]
        places = torch.cat([rows + self.chosen, rows + self.rejected])
        return hidden.flatten(0, 1).index_select(0, places.flatten()).view(*places.shape, -1)


def join(ids: torch.Tensor, mask: torch.Tensor) -> JoinedPairs | None:
    """Sequences (2 * pairs, length), chosen sides first and padded on the right, joined; None when that would save
    little.
    """
    pairs = len(ids) // 2
    if len(ids) != 2 * pairs or not pairs:
        return None
    first, second = ids.split(pairs)
    of_first, of_second = (part.bool() for part in mask.split(pairs))
    common = ((first == second) & of_first & of_second).cumprod(1).sum(1, keepdim=True)
    ends = of_first.sum(1, keepdim=True)
    totals = ends + of_second.sum(1, keepdim=True) - common
    longest = int(totals.max())
    if longest > MAX_SHARE * 2 * ids.shape[1]:
        return None
    at = torch.arange(longest, device=ids.device).expand(pairs, -1)
    in_second = at >= ends
    positions = torch.where(in_second, at - ends + common, at).clamp(max=ids.shape[1] - 1)
    joined = torch.where(in_second, second.gather(1, positions), first.gather(1, positions))
    query, key = at[:, :, None], at[:, None, :]
    chosen_answer = (key >= common[:, :, None]) & (key < ends[:, :, None])
    allowed = (key <= query) & (key < totals[:, :, None]) & ~(in_second[:, :, None] & chosen_answer)
    place = torch.arange(ids.shape[1], device=ids.device).expand(pairs, -1)
    rejected = torch.where(place < common, place, place - common + ends)
    return JoinedPairs(
        joined, positions, allowed[:, None], *(where.clamp(max=longest - 1) for where in (place, rejected))
    )


def can_share(backbone: Any) -> bool:
    """Whether a model takes our mask and positions: full attention in all layers, and rotary positions."""
    config = backbone.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    # The balance of experts is computed over all tokens, shared or not.
    experts = any("experts" in name and isinstance(value, int) and value for name, value in vars(config).items())
    rotary = getattr(config, "rope_parameters", None) or getattr(config, "rope_theta", None)
    plain = all(kind == "full_attention" for kind in kinds) if kinds else not window
    takes = {"input_ids", "attention_mask", "position_ids"} <= inspect.signature(backbone.forward).parameters.keys()
    return bool(config._attn_implementation == "sdpa" and plain and rotary and takes and not experts)


class SharedPrompts:
    """Replaces the forward of a model's layers while a loss over pairs is computed: `with shared():`. Elsewhere nothing
    changes.
    """

    def __init__(self, model: Any, allowed: bool = True) -> None:
        """`model` is the one that is trained, with its adapter; when not `allowed`, nothing is joined."""
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.backbone = base.base_model
        self.possible = allowed and can_share(self.backbone)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Inside the block, batches of chosen sides followed by rejected ones are joined."""
        if not self.possible:
            yield
            return
        plain, own = self.backbone.forward, vars(self.backbone).get("forward")

        def forward(
            input_ids: torch.Tensor | None = None, attention_mask: torch.Tensor | None = None, **given: Any
        ) -> Any:
            known = input_ids is not None and attention_mask is not None and attention_mask.dim() == 2
            pairs = join(input_ids, attention_mask) if known and given.get("position_ids") is None else None
            if pairs is None:
                return plain(input_ids=input_ids, attention_mask=attention_mask, **given)
            given |= {"attention_mask": pairs.allowed, "position_ids": pairs.positions}
            found = plain(input_ids=pairs.ids, **given)
            found.last_hidden_state = pairs.apart(found.last_hidden_state)
            return found

        self.backbone.forward = forward
        try:
            yield
        finally:
            del self.backbone.forward
            if own is not None:
                self.backbone.forward = own
