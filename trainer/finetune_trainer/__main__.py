"""`python -m finetune_trainer`: runs the attempt that the environment names. A provider starts it."""

import sys

from .launch.attempt import main

if __name__ == "__main__":
    sys.exit(main())
