"""No regular expression of the trainer takes long over a hostile line: models, libraries and users write what they
read.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import time

import pytest

import finetune_trainer

LENGTH = 200_000
PIECES = (
    "a",
    "0",
    "_",
    "-",
    ".",
    "/",
    "[",
    "[0",
    "rank0",
    "Error",
    "aError: ",
    "exitcode: 1",
    "exitcode: 1) local_rank: ",
)


def patterns() -> dict[str, re.Pattern]:
    found = {}
    for module in pkgutil.walk_packages(finetune_trainer.__path__, "finetune_trainer."):
        if not module.name.endswith("__main__"):
            loaded = importlib.import_module(module.name)
            own = {name: value for name, value in vars(loaded).items() if isinstance(value, re.Pattern)}
            found |= {f"{module.name}.{name}": value for name, value in own.items()}
    return found


@pytest.mark.parametrize("piece", PIECES)
def test_a_long_line_is_read_in_linear_time(piece):
    found = patterns()
    assert any(name.endswith("RANK_LINE") for name in found) and any(name.endswith("CAUSE") for name in found)
    for start in ("", "[", "exitcode: "):
        for end in ("", "!", "]"):
            line = start + piece * (LENGTH // len(piece)) + end
            for name, pattern in found.items():
                text = line.encode() if isinstance(pattern.pattern, bytes) else line
                began = time.process_time()
                pattern.match(text), pattern.fullmatch(text), sum(1 for _ in pattern.finditer(text))
                assert time.process_time() - began < 2, f"{name} over {piece!r}"
