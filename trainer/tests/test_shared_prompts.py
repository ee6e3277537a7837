"""Pairs whose prompt is computed once give the outputs and gradients of pairs whose sides are computed apart."""

from __future__ import annotations

import pytest
import torch

from finetune_trainer.training.methods.shared_prompts import SharedPrompts, can_share, join

PROMPTS, CHOSEN, REJECTED = [50, 3, 0, 20], [10, 20, 9, 1], [15, 7, 30, 12]


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs of many shapes: a long prompt, a short one, none at all, and one side that is how the other begins."""
    draw = torch.Generator().manual_seed(1)

    def words(count: int) -> torch.Tensor:
        return torch.randint(5, 120, (count,), generator=draw)

    prompts = [words(count) for count in PROMPTS]
    chosen = [torch.cat([prompt, words(count)]) for prompt, count in zip(prompts, CHOSEN, strict=True)]
    rejected = [torch.cat([prompt, words(count)]) for prompt, count in zip(prompts, REJECTED, strict=True)]
    rejected[3] = torch.cat([chosen[3], words(5)])
    sides = chosen + rejected
    ids, mask = torch.full((8, max(map(len, sides))), 2), torch.zeros(8, max(map(len, sides)), dtype=torch.long)
    for row, side in enumerate(sides):
        ids[row, : len(side)] = side
        mask[row, : len(side)] = 1
    return ids, mask


@pytest.fixture
def model(tiny):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)


def logits_and_gradient(model, ids, mask) -> tuple[torch.Tensor, torch.Tensor]:
    model.zero_grad()
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[mask.bool()]
    logits.logsumexp(-1).sum().backward()
    return logits.detach(), model.model.layers[0].self_attn.q_proj.weight.grad.clone()


def test_joined_pairs_give_the_outputs_and_gradients_of_separate_pairs(model):
    ids, mask = batch()
    joined = join(ids, mask)
    assert joined.ids.shape == (4, 75)
    assert ids.shape == (8, 65)
    apart = logits_and_gradient(model, ids, mask)
    with SharedPrompts(model)():
        together = logits_and_gradient(model, ids, mask)
    for one, other in zip(apart, together, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert "forward" not in vars(model.model)


def test_an_answer_does_not_see_the_other_one(model):
    ids, mask = batch()
    changed = ids.clone()
    changed[0, 50:60] = 7  # the first pair's chosen answer
    with SharedPrompts(model)(), torch.no_grad():
        before, after = (model(input_ids=one, attention_mask=mask, use_cache=False).logits[4] for one in (ids, changed))
    torch.testing.assert_close(before, after)


def test_pairs_that_share_little_are_not_joined():
    ids = torch.arange(80).view(4, 20) + 5
    assert join(ids, torch.ones_like(ids)) is None
    assert join(ids[:3], torch.ones_like(ids[:3])) is None


def test_models_with_another_kind_of_attention_are_unchanged(model):
    assert can_share(model.model)
    model.config.sliding_window = 64
    assert not can_share(model.model)
    model.config.layer_types = ["full_attention", "full_attention"]
    assert can_share(model.model)
    model.config.layer_types = ["full_attention", "linear_attention"]
    assert not can_share(model.model)
    model.config.layer_types = None
    model.config.sliding_window = None
    model.config.num_local_experts = 4
    assert not can_share(model.model)
