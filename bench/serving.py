"""Tokens per second of the built-in engine with 1, 4, 8 and 16 clients, against one request at a time and `generate`.

`bun run bench serving MODEL_DIR [--tokens 48] [--rounds 3] [--clients 1,4,8,16]`. Requests go over HTTP on the engine's
socket. The same clients then wait for an engine that runs one answer at a time, and for transformers' own
`model.generate` on one prompt after the other, in turn within each round. All answers are greedy and of one length.
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "trainer"))

import torch  # noqa: E402
from finetune_trainer.model.load import load_model, prepare_torch  # noqa: E402
from finetune_trainer.model.tokenizer import load_tokenizer  # noqa: E402
from finetune_trainer.serving import engine as engine_module  # noqa: E402
from finetune_trainer.serving.engine import Engine  # noqa: E402
from finetune_trainer.serving.http_server import open_server  # noqa: E402

QUESTIONS = [
    f"Name {n} things to see in Lisbon, and say in one sentence why each is worth a visit." for n in range(2, 34)
]


class Connection(http.client.HTTPConnection):
    """HTTP over the engine's socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=600)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def ask(path: str, question: str, tokens: int, times: list[float]) -> None:
    connection, began = Connection(path), time.perf_counter()
    messages = [{"role": "user", "content": question}]
    body = {"model": "m", "messages": messages, "temperature": 0, "max_tokens": tokens, "ignore_eos": True}
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    answer = json.loads(connection.getresponse().read())
    assert answer["usage"]["completion_tokens"] == tokens, answer
    times.append(time.perf_counter() - began)


def through_engine(path: str, clients: int, tokens: int, running: int) -> tuple[float, float]:
    """Tokens per second and the longest time of an answer, with at most `running` answers at once."""
    engine_module.MAX_RUNNING = running
    times: list[float] = []
    began = time.perf_counter()
    threads = [threading.Thread(target=ask, args=(path, QUESTIONS[n], tokens, times)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return clients * tokens / (time.perf_counter() - began), max(times)


def through_generate(model: object, tokenizer: object, clients: int, tokens: int) -> float:
    """Tokens per second of transformers' own loop, one prompt after the other."""
    began = time.perf_counter()
    for question in QUESTIONS[:clients]:
        messages = [{"role": "user", "content": question}]
        given = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            model.generate(**given, do_sample=False, max_new_tokens=tokens, min_new_tokens=tokens)
    return clients * tokens / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", default="1,4,8,16")
    options = parser.parse_args()
    model, tokenizer = load_model(options.model, "float32", prepare_torch()), load_tokenizer(options.model)
    engine = Engine(model, tokenizer, "m", 512)
    path = str(Path(tempfile.mkdtemp(prefix="ftl-")) / "s")
    server = open_server(Path(path), engine, 4096, print)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    at_once = engine_module.MAX_RUNNING
    through_engine(path, 2, 4, at_once)
    print("clients   together   one at a time   generate   together/one   together/generate   slowest answer")
    for clients in (int(one) for one in options.clients.split(",")):
        together, single, peer, slowest = [], [], [], []
        for _ in range(options.rounds):
            speed, longest = through_engine(path, clients, options.tokens, at_once)
            together.append(speed)
            slowest.append(longest)
            single.append(through_engine(path, clients, options.tokens, 1)[0])
            peer.append(through_generate(model, tokenizer, clients, options.tokens))
        a, b, c = (statistics.median(one) for one in (together, single, peer))
        print(
            f"{clients:7}   {a:6.1f}/s   {b:11.1f}/s   {c:6.1f}/s   {a / b:12.2f}   {a / c:17.2f}   "
            f"{statistics.median(slowest):12.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
