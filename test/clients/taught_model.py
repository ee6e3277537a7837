"""Makes a tiny model that knows the answers to the requests of client suites: `python taught_model.py LESSONS TEMPLATE
OUT`. A test that fails then says something about the server, not about the wit of a model."""

import json
import sys
from pathlib import Path

import torch
from conftest import make_tiny_model
from transformers import AutoModelForCausalLM, AutoTokenizer

STEPS = 100
BATCH = 12


def labeled(tokenizer, messages: list[dict], tools: list[dict] | None = None) -> tuple[list[int], list[int]]:
    """Token ids of a conversation, and labels: the last turn with its end."""
    render = tokenizer.apply_chat_template
    prompt = render(messages[:-1], tools=tools, tokenize=False, add_generation_prompt=True)
    whole = render(messages, tools=tools, tokenize=False).removesuffix("\n")
    given, said = (tokenizer(each, add_special_tokens=False)["input_ids"] for each in (prompt, whole[len(prompt) :]))
    return given + said, [-100] * len(given) + said


def main(lessons: Path, template: Path, out: Path) -> None:
    rows = [json.loads(line) for line in lessons.read_text("utf-8").splitlines()]
    text = template.read_text("utf-8")
    make_tiny_model(out, (text, *(json.dumps(row, ensure_ascii=False) for row in rows)), text)
    tokenizer = AutoTokenizer.from_pretrained(out)
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    model.config.max_position_embeddings = 4096
    pairs = [labeled(tokenizer, **row) for row in rows]
    longest = max(len(ids) for ids, _ in pairs)
    ids = torch.tensor([ids + [1] * (longest - len(ids)) for ids, _ in pairs])
    labels = torch.tensor([labels + [-100] * (longest - len(labels)) for _, labels in pairs])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=STEPS)
    order = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        chosen = torch.randperm(len(pairs), generator=order)[:BATCH]
        used = max(len(pairs[n][0]) for n in chosen)
        loss = model(input_ids=ids[chosen, :used], labels=labels[chosen, :used]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    with torch.no_grad():
        said = model(input_ids=ids).logits[:, :-1].argmax(-1)
    wrong = ((said != labels[:, 1:]) & (labels[:, 1:] != -100)).sum().item()
    if wrong:
        raise SystemExit(f"{wrong} tokens of the lessons were not learned")
    model.save_pretrained(out)


if __name__ == "__main__":
    main(*(Path(each) for each in sys.argv[1:]))
