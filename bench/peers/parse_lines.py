"""A script without any check: json.loads on each line of a file, gzip or not. For bench/dataset-validation.ts."""

import gzip
import json
import re
import sys
import time

began, cpu, rows = time.perf_counter(), time.process_time(), 0
with (gzip.open if sys.argv[1].endswith(".gz") else open)(sys.argv[1], "rb") as lines:
    for line in lines:
        if json.loads(line):
            rows += 1
print(
    json.dumps(
        {
            "status": "ready",
            "rows": rows,
            "ms": (time.perf_counter() - began) * 1000,
            "cpuMs": (time.process_time() - cpu) * 1000,
            "peakMb": int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1024,
        }
    )
)
