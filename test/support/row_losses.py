"""Prints the mean loss per token of a LoRA adapter over rows, computed with transformers and PEFT alone:
`python row_losses.py BASE_DIR ADAPTER_DIR ROWS_JSONL`. The tokens in the loss are the answer and its end token."""

import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


def main(base: str, adapter: str, rows: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter).eval()
    total, count = 0.0, 0
    for line in Path(rows).read_text("utf-8").splitlines():
        messages = json.loads(line)["messages"]
        prompt = tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
        full = f"{prompt}{messages[-1]['content']}<|im_end|>"
        start = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        ids = torch.tensor([tokenizer(full, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0]
        losses = torch.nn.functional.cross_entropy(logits[start - 1 : -1], ids[0, start:], reduction="sum")
        total, count = total + losses.item(), count + ids.shape[1] - start
    print(json.dumps({"loss": total / count, "tokens": count}))


if __name__ == "__main__":
    main(*sys.argv[1:4])
