"""Writes rows as Parquet or Arrow (`write JSONL OUT`), and reads such a file into Python rows (`read FILE`).

For bench/dataset-validation.ts. Needs pyarrow.
"""

import json
import re
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq

ROWS_PER_GROUP = 50_000


def write(source: str, target: str) -> None:
    """Writes the rows of a JSONL file in groups, so that memory stays small."""
    writer = None
    with open(source, "rb") as lines:
        group: list[object] = []
        for line in lines:
            group.append(json.loads(line))
            if len(group) == ROWS_PER_GROUP:
                writer = add(writer, group, target)
                group = []
        if group:
            writer = add(writer, group, target)
    writer.close()


def add(writer, group: list[object], target: str):
    """Adds a group of rows, and opens the file with the first one."""
    table = pa.Table.from_pylist(group)
    if writer is None:
        parquet = target.endswith(".parquet")
        writer = pq.ParquetWriter(target, table.schema) if parquet else pa.ipc.new_file(target, table.schema)
    if isinstance(writer, pq.ParquetWriter):
        writer.write_table(table)
    else:
        writer.write_table(table, max_chunksize=1000)
    return writer


def read(path: str) -> None:
    """Reads a file in batches into Python rows, and prints time and memory."""
    began, cpu, rows = time.perf_counter(), time.process_time(), 0
    if path.endswith(".parquet"):
        batches = pq.ParquetFile(path).iter_batches(batch_size=1000)
    else:
        file = pa.ipc.open_file(path)
        batches = (file.get_batch(index) for index in range(file.num_record_batches))
    for batch in batches:
        rows += len(batch.to_pylist())
    result = {
        "status": "ready",
        "rows": rows,
        "ms": (time.perf_counter() - began) * 1000,
        "cpuMs": (time.process_time() - cpu) * 1000,
        "peakMb": int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1024,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    write(*sys.argv[2:]) if sys.argv[1] == "write" else read(sys.argv[2])
