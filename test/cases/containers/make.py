"""Writes the binary files of this folder with the libraries that users write theirs with.

Run with the trainer's Python, with openpyxl installed beside it. The files are checked in, so that tests need neither.
"""

import gzip
import io
import json
import zipfile
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

HERE = Path(__file__).parent


def turns(index: int) -> list[dict[str, str]]:
    """A conversation of two turns."""
    return [{"role": "user", "content": f"Ping {index}"}, {"role": "assistant", "content": f"Pong {index}"}]


ROWS = [{"messages": turns(index), "id": 9007199254740993 + index, "score": None} for index in range(12)]
TABLE = pa.Table.from_pylist(ROWS)
JSONL = "".join(json.dumps({"messages": turns(index)}) + "\n" for index in range(12))


def tables() -> None:
    """Parquet with several pages and row groups, and Arrow in its three forms."""
    pq.write_table(TABLE, HERE / "chat.parquet", row_group_size=5, data_page_size=64)
    pq.write_table(TABLE, HERE / "zstd.parquet", compression="zstd", data_page_version="2.0")
    pq.write_table(TABLE, HERE / "gzip.parquet", compression="gzip", use_dictionary=False)
    whole = (HERE / "chat.parquet").read_bytes()
    (HERE / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    with pa.OSFile(str(HERE / "file.arrow"), "wb") as sink, pa.ipc.new_file(sink, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=5)
    with pa.OSFile(str(HERE / "stream.arrow"), "wb") as sink, pa.ipc.new_stream(sink, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=5)
    feather.write_feather(TABLE, str(HERE / "zstd.feather"), compression="zstd")
    feather.write_feather(TABLE, str(HERE / "lz4.feather"), compression="lz4")


def kinds() -> None:
    """Columns of many types, each with a value, another value, and null."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901)
    turn = pa.struct([("role", pa.string()), ("n", pa.int64())])
    columns = {
        "text": pa.array(['a "quote"\n', "été 漢 😀", None]),
        "label": pa.array(["yes", "no", None]).dictionary_encode(),
        "tags": pa.array([["a", "b"], [], None], pa.list_(pa.string())),
        "turns": pa.array(
            [[{"role": "user", "n": 1}], [{"role": None, "n": None}, {"role": "x", "n": 2}], None],
            pa.list_(turn),
        ),
        "pair": pa.array([{"a": "x", "b": {"c": True}}, {"a": None, "b": None}, None]),
        "map": pa.array([[("k", "v")], [], None], pa.map_(pa.string(), pa.string())),
        "price": pa.array([Decimal("12345678901234567.89"), Decimal("-0.05"), None], pa.decimal128(20, 2)),
        "day": pa.array([date(2026, 1, 2), date(1969, 12, 31), None]),
        "millis": pa.array([moment, datetime(1969, 12, 31, 23, 59, 59), None], pa.timestamp("ms"), safe=False),
        "micros": pa.array([moment, datetime(1969, 12, 31, 23, 59, 59, 999999), None], pa.timestamp("us")),
        "nanos": pa.array([1, 1_767_323_045_678_901_234, None], pa.timestamp("ns", "UTC")),
        "short": pa.array([0.1, -2.5, None], pa.float32()),
        "long": pa.array([0.1, 1e300, None], pa.float64()),
        "small": pa.array([-1, 127, None], pa.int8()),
        "unsigned": pa.array([18446744073709551615, 0, None], pa.uint64()),
        "flag": pa.array([True, False, None]),
        "nothing": pa.nulls(3),
        "bytes": pa.array([b"abc", b"", None], pa.binary()),
        "large": pa.array(["x" * 20, "", None], pa.large_string()),
        "fixed": pa.array([[1.5, 2.5], [0.0, -1.0], None], pa.list_(pa.float32(), 2)),
    }
    table = pa.table(columns)
    pq.write_table(table, HERE / "kinds.parquet", compression="lz4")
    pq.write_table(
        table,
        HERE / "int96.parquet",
        use_deprecated_int96_timestamps=True,
        data_page_version="2.0",
        compression="brotli",
    )
    with pa.OSFile(str(HERE / "kinds.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def workbook() -> None:
    """Two sheets, with a comma, a line break, a number, a date, and empty rows at the end."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Rows"
    sheet.append(["prompt", "completion"])
    for index in range(10):
        sheet.append([f"Ping {index}, ok?", f'Pong "{index}"\nline two'])
    sheet.append(["How many?", 42])
    sheet.append(["When?", datetime(2026, 1, 2)])
    for row in (15, 16):
        sheet.cell(row=row, column=1, value="")
    book.create_sheet("Notes").append(["nothing to learn"])
    book.save(HERE / "book.xlsx")


def archives() -> None:
    """ZIP archives: one file (with what macOS adds), several files, a packed file inside, a Word document."""
    contents: dict[str, dict[str, bytes]] = {
        "one.zip": {"data/": b"", "data/train.jsonl": JSONL.encode(), "__MACOSX/data/._train.jsonl": b"x"},
        "several.zip": {"train.jsonl": JSONL.encode(), "test.jsonl": JSONL[: JSONL.index("\n") + 1].encode()},
        "packed.zip": {"train.jsonl.gz": gzip.compress(JSONL.encode(), mtime=0)},
        "document.zip": {"word/document.xml": b"<w:document/>", "[Content_Types].xml": b"<Types/>"},
        "torch.zip": {"archive/data.pkl": b"\x80\x02.", "archive/version": b"3"},
        "bomb.zip": {"train.jsonl": bytes(80 * 1024 * 1024)},
    }
    for name, files in contents.items():
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for path, content in files.items():
                archive.writestr(zipfile.ZipInfo(path), content, zipfile.ZIP_DEFLATED)
        (HERE / name).write_bytes(buffer.getvalue())


if __name__ == "__main__":
    tables()
    kinds()
    workbook()
    archives()
