"""A trainer of the mailbox without a model, for faults: it enters, reports steps, uploads a file, and ends."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from finetune_trainer.protocol.bootstrap import attempt_token
from finetune_trainer.protocol.home import Home
from finetune_trainer.protocol.inputs import fetch_rows, input_dir
from finetune_trainer.protocol.uploads import Upload, send_artifact

# Lost answers are noticed after this time instead of a minute.
ANSWER_S = 3


def main() -> int:
    steps, size = int(sys.argv[1]), int(sys.argv[2])
    scratch = Path(os.environ["FTL_SCRATCH"])
    url = os.environ["FTL_HOME_URL"]
    home = Home(
        url, attempt_token(url, os.environ["FTL_ATTEMPT_TOKEN"], scratch), scratch
    )
    connect = home.channel.connect
    home.connection = lambda timeout=60: connect(home._contact, ANSWER_S)
    reply = home.start()
    input_dir(home, "base", reply["inputs"]["base"])
    fetch_rows(home, "train")
    for step in range(1, steps + 1):
        home.emit("metrics", step=step, epoch=0, values={"train/loss": float(step)})
        time.sleep(0.02)
    out = scratch / "out"
    out.mkdir()
    (out / "report.json").write_text('{"text":"' + "x" * size + '"}')
    send_artifact(
        home, home.connection(), Upload("report", steps, out, ("report.json",))
    )
    home.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
