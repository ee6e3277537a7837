/** What the bytes of a file are read as: archives, tables, and JSON and CSV of every layout. */
import { afterAll, describe, expect, test } from "bun:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import type { Reading } from "../../src/data/validation/containers/source.ts";
import type { Report } from "../../src/data/validation/rows/report.ts";
import { fixture, jsonl, pair, pairs, read, removeFolder } from "./support/read-bytes.ts";

afterAll(removeFolder);

const csv = (rows: string[], end = "\n") => rows.map((row) => row + end).join("");
const csvRows = ["prompt;completion", ...pairs.map((row) => `${row.prompt};${row.completion}`)];

const ping = (n: number) => ({
  messages: [
    { role: "user", content: `Ping ${n}` },
    { role: "assistant", content: `Pong ${n}` },
  ],
});

interface Read {
  name: string;
  filename: string;
  content: string | Uint8Array;
  container: Report["container"];
  reading?: Partial<Reading>;
  /** Remarks about the container. */
  codes?: string[];
  compression?: string[];
  part?: string;
  rows?: number;
  first?: object;
}

const turnsOf = (prompt: string, completion: string) => [
  { role: "user", content: prompt },
  { role: "assistant", content: completion },
];
const indent = (value: unknown) => JSON.stringify(value, null, 2);
const column = (name: "prompt" | "completion") => Object.fromEntries(pairs.map((row, n) => [String(n), row[name]]));

const files: Read[] = [
  {
    name: "gzip",
    filename: "a.jsonl.gz",
    content: gzipSync(jsonl),
    container: "jsonl",
    codes: ["unpacked"],
    compression: ["gzip"],
  },
  {
    name: "gzip of several members",
    filename: "a.jsonl.gz",
    content: Buffer.concat([gzipSync(jsonl.slice(0, 99)), gzipSync(jsonl.slice(99))]),
    container: "jsonl",
    codes: ["unpacked"],
    compression: ["gzip"],
  },
  {
    name: "zstd",
    filename: "a.jsonl.zst",
    content: zstdCompressSync(jsonl),
    container: "jsonl",
    codes: ["unpacked"],
    compression: ["zstd"],
  },
  {
    name: "xz",
    filename: "a.jsonl.xz",
    content: fixture("chat.jsonl.xz"),
    container: "jsonl",
    codes: ["unpacked"],
    compression: ["xz"],
  },
  {
    name: "gzip without an extension",
    filename: "data",
    content: gzipSync(csv(csvRows)),
    container: "csv",
    codes: ["unpacked"],
    compression: ["gzip"],
  },
  {
    name: "ZIP of one file",
    filename: "one.zip",
    content: fixture("one.zip"),
    container: "jsonl",
    codes: ["unpacked"],
    compression: ["zip"],
    part: "data/train.jsonl",
  },
  {
    name: "ZIP of several files, one chosen",
    filename: "several.zip",
    content: fixture("several.zip"),
    reading: { part: "test.jsonl" },
    container: "jsonl",
    codes: ["unpacked"],
    compression: ["zip"],
    part: "test.jsonl",
    rows: 1,
  },
  {
    name: "ZIP of several files, all of them",
    filename: "several.zip",
    content: fixture("several.zip"),
    reading: { part: "*" },
    container: "jsonl",
    codes: ["duplicate", "unpacked"],
    compression: ["zip"],
    part: "*",
    rows: 13,
  },
  {
    name: "gzip in ZIP",
    filename: "packed.zip",
    content: fixture("packed.zip"),
    container: "jsonl",
    codes: ["unpacked"],
    compression: ["zip", "gzip"],
    part: "train.jsonl.gz",
  },
  {
    name: "Parquet in gzip",
    filename: "a.parquet.gz",
    content: gzipSync(fixture("chat.parquet")),
    container: "parquet",
    codes: ["table_read", "unpacked"],
    compression: ["gzip"],
  },
  ...["chat.parquet", "zstd.parquet", "gzip.parquet"].map(
    (name): Read => ({
      name: `Parquet, ${name}`,
      filename: name,
      content: fixture(name),
      container: "parquet",
      codes: ["table_read"],
    }),
  ),
  ...["file.arrow", "stream.arrow", "zstd.feather", "lz4.feather"].map(
    (name): Read => ({
      name: `Arrow, ${name}`,
      filename: name,
      content: fixture(name),
      container: "arrow",
      codes: ["table_read"],
    }),
  ),
  {
    name: "Excel workbook",
    filename: "book.xlsx",
    content: fixture("book.xlsx"),
    container: "xlsx",
    codes: ["parts_left_out", "table_read"],
    part: "Rows",
    first: {
      messages: [
        { role: "user", content: "Ping 0, ok?" },
        { role: "assistant", content: 'Pong "0"\nline two' },
      ],
    },
  },
  {
    name: "a list in an object",
    filename: "a.json",
    content: indent({ version: 1, data: pairs }),
    container: "json_object",
    codes: ["rows_in_object"],
    part: "data",
  },
  {
    name: "a list in an object on one line",
    filename: "a.json",
    content: JSON.stringify({ examples: pairs }),
    container: "json_object",
    codes: ["rows_in_object"],
    part: "examples",
  },
  {
    name: "train and test in an object",
    filename: "a.json",
    content: indent({ train: pairs, test: [pair(99)] }),
    container: "json_object",
    codes: ["parts_left_out", "rows_in_object"],
    part: "train",
  },
  {
    name: "test in an object, chosen",
    filename: "a.json",
    content: indent({ train: pairs, test: [pair(0)] }),
    reading: { part: "test" },
    container: "json_object",
    codes: ["parts_left_out", "rows_in_object"],
    part: "test",
    rows: 1,
  },
  {
    name: "columns as pandas writes them",
    filename: "a.json",
    content: JSON.stringify({ prompt: column("prompt"), completion: column("completion") }),
    container: "json_columns",
    codes: ["columns_turned"],
  },
  {
    name: "lists as columns",
    filename: "a.json",
    content: indent({ prompt: pairs.map((row) => row.prompt), completion: pairs.map((row) => row.completion) }),
    container: "json_columns",
    codes: ["columns_turned"],
  },
  {
    name: "rows by their index",
    filename: "a.json",
    content: JSON.stringify(Object.fromEntries(pairs.map((row, n) => [n, row]))),
    container: "json_columns",
    codes: ["columns_turned"],
  },
  {
    name: "rows by name",
    filename: "a.json",
    content: indent(Object.fromEntries(pairs.map((row, n) => [`faq-${n}`, row]))),
    container: "json_columns",
    codes: ["columns_turned"],
  },
  {
    name: "a list of turns on each line",
    filename: "a.jsonl",
    content: pairs.map(({ prompt, completion }) => `${JSON.stringify(turnsOf(prompt, completion))}\n`).join(""),
    container: "jsonl",
    codes: ["lists_read"],
  },
  {
    name: "columns and data apart",
    filename: "a.json",
    content: JSON.stringify({
      columns: ["prompt", "completion"],
      index: [0],
      data: pairs.map((row) => [row.prompt, row.completion]),
    }),
    container: "json_columns",
    codes: ["columns_turned"],
  },
  {
    name: "rows as the hub's viewer answers",
    filename: "a.json",
    content: JSON.stringify({ features: [], rows: pairs.map((row, n) => ({ row_idx: n, row, truncated_cells: [] })) }),
    container: "json_columns",
    codes: ["columns_turned"],
  },
  {
    name: "one row over several lines",
    filename: "a.jsonl",
    content: indent(pair(0)),
    container: "json_sequence",
    codes: ["objects_in_sequence"],
    rows: 1,
  },
  {
    name: "objects over several lines",
    filename: "a.jsonl",
    content: pairs.map(indent).join("\n"),
    container: "json_sequence",
    codes: ["objects_in_sequence"],
  },
  {
    name: "objects without anything between",
    filename: "a.jsonl",
    content: pairs.map((row) => JSON.stringify(row)).join(""),
    container: "json_sequence",
    codes: ["objects_in_sequence"],
  },
  {
    name: "a comma after each line",
    filename: "a.jsonl",
    content: pairs.map((row) => `${JSON.stringify(row)},\n`).join(""),
    container: "json_sequence",
    codes: ["objects_in_sequence"],
  },
  {
    name: "a comma before the closing bracket",
    filename: "a.json",
    content: `[${pairs.map((row) => JSON.stringify(row)).join(",\n")},\n]`,
    container: "json_array",
    codes: ["trailing_comma"],
  },
  {
    name: "CR as line end",
    filename: "a.jsonl",
    content: jsonl.replaceAll("\n", "\r"),
    container: "jsonl",
    codes: ["cr_lines"],
  },
  {
    name: "CSV with CR as line end",
    filename: "a.csv",
    content: csv(csvRows, "\r"),
    container: "csv",
    codes: ["cr_lines"],
  },
  {
    name: "files joined with their byte order marks",
    filename: "a.jsonl",
    content: `\ufeff${jsonl}\ufeff${jsonl}`,
    container: "jsonl",
    codes: ["bom", "bom_inside", "duplicate"],
    rows: 24,
  },
  {
    name: "sep= of Excel",
    filename: "a.csv",
    content: csv(["sep=;", ...csvRows], "\r\n"),
    container: "csv",
    codes: ["crlf", "sep_line"],
  },
  {
    name: "UTF-16 as Windows saves it",
    filename: "a.csv",
    content: Buffer.from(`\ufeff${csv(csvRows)}`, "utf16le"),
    container: "csv",
    codes: ["encoding_converted"],
  },
  {
    name: "UTF-16 without its mark",
    filename: "a.jsonl",
    content: Buffer.from(jsonl, "utf16le"),
    container: "jsonl",
    codes: ["encoding_converted"],
  },
  {
    name: "empty records and columns at the end of CSV",
    filename: "a.csv",
    content: csv(["prompt,completion,,", ...pairs.map((row) => `${row.prompt},${row.completion},,`), ",,,", '"","",,']),
    container: "csv",
  },
  {
    name: "two columns of one name",
    filename: "a.csv",
    content: csv(["prompt,completion,completion", ...pairs.map((row) => `${row.prompt},${row.completion},x`)]),
    container: "csv",
    codes: ["duplicate_column"],
  },
  {
    name: "a text file of lines",
    filename: "a.txt",
    content: pairs.map((row) => `${row.prompt}, ok\n`).join(""),
    container: "text",
    codes: ["text_rows"],
    first: { text: "Ping 0, ok" },
  },
  {
    name: "a text file of paragraphs",
    filename: "a.txt",
    content: pairs.map((row) => `${row.prompt}\n${row.completion}\n \n`).join(""),
    container: "text",
    codes: ["text_rows"],
    first: { text: "Ping 0\nPong 0" },
  },
  { name: "JSONL named .txt", filename: "a.txt", content: jsonl, container: "jsonl" },
];

describe("files that are read, with a remark that says how", () => {
  for (const {
    name,
    filename,
    content,
    container,
    reading,
    codes = [],
    compression = [],
    part,
    rows = 12,
    first,
  } of files)
    test(name, async () => {
      const outcome = await read(content, filename, reading);
      expect(outcome.error).toBeNull();
      expect(outcome.report.container).toBe(container);
      expect(outcome.rows).toHaveLength(rows);
      expect(outcome.rows[0]).toMatchObject(first ?? ping(0));
      expect(outcome.codes.filter((code) => !["few_rows", "ignored_field"].includes(code)).sort()).toEqual(
        codes.sort(),
      );
      expect(outcome.report.source).toMatchObject({ compression, part: part ?? null });
    });

  test("the line of a fault counts from the beginning of the file", async () => {
    const { report } = await read(indent({ version: 1, data: [...pairs, { prompt: "x" }] }), "a.json");
    const fault = report.problems.find((problem) => problem.code === "missing_field");
    const text = indent({ version: 1, data: [...pairs, { prompt: "x" }] }).split("\n");
    expect(text[(fault?.samples[0]?.line ?? 0) - 1]).toBe("    {");
    expect(fault?.samples[0]?.line).toBe(4 + 12 * 4);
  });
});
