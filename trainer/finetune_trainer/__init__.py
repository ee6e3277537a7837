"""Fine-Tune Lab trainer: trains, evaluates, exports and serves models, and reports over trainer protocol v1."""

import os

__version__ = "0.1.0"
PROTOCOL = 1

# OpenMP reads this when torch loads it. By default its threads spin 300,000 rounds at the end of each operation. On a
# machine that does other work too, they take the core from the thread they wait for: products of matrices were 5 to 9
# times slower. With 1,000 rounds they are not, and as fast as before on an idle machine.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# PyTorch reads this at its first large tensor: tensors of 2 MB and more get huge pages. The kernel returns their memory
# and clears it again in every step, in pages of 4 KB otherwise, which was up to half of the time of a training on CPUs.
HUGE_PAGES = ("THP_MEM_ALLOC_ENABLE", "1")
os.environ.setdefault(*HUGE_PAGES)
