"""`python -m finetune_trainer`: runs the attempt that the environment names. A provider starts it."""

import os
import sys

from .launch import attempt, rented

if __name__ == "__main__":
    on_rented = "FTL_DEADLINE" in os.environ and os.environ.get("FTL_RENTED") != "child"
    sys.exit(rented.main() if on_rented else attempt.main())
