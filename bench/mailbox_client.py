"""The trainer's side of `bun run bench mailbox`: times round trips and an upload through the mailbox, prints JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from finetune_trainer.protocol.bootstrap import attempt_token
from finetune_trainer.protocol.home import Home
from finetune_trainer.protocol.uploads import Upload, send_artifact


def main() -> None:
    requests, megabytes = int(sys.argv[1]), int(sys.argv[2])
    scratch, url = Path(os.environ["FTL_SCRATCH"]), os.environ["FTL_HOME_URL"]
    home = Home(
        url, attempt_token(url, os.environ["FTL_ATTEMPT_TOKEN"], scratch), scratch
    )
    connection = home.connection()
    trips = []
    for seq in range(1, requests + 1):
        event = {
            "seq": seq,
            "at": int(time.time() * 1000),
            "type": "log",
            "level": "info",
            "message": f"line {seq}",
        }
        begin = time.monotonic()
        home.retry(lambda event=event: connection.json("POST", "/events", {"events": [event]}))
        trips.append(time.monotonic() - begin)
    names = []
    for at in range(0, megabytes, 60):  # a JSON file has at most 64 MiB
        names.append(f"report-{at}.json")
        (scratch / names[-1]).write_text(
            '"' + "x" * (min(60, megabytes - at) * 1024 * 1024) + '"'
        )
    begin = time.monotonic()
    send_artifact(home, connection, Upload("report", 1, scratch, tuple(names)))
    print(json.dumps({"trips": trips, "upload_s": time.monotonic() - begin}))


if __name__ == "__main__":
    main()
