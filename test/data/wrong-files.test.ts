/** Files without rows, damaged files and archives that expand too far: each is named in one sentence. */
import { afterAll, describe, expect, test } from "bun:test";
import { gzipSync } from "node:zlib";
import { fixture, jsonl, pair, read, removeFolder } from "./support/read-bytes.ts";

afterAll(removeFolder);

const refused: { name: string; filename?: string; content: string | Uint8Array; code?: string; says: RegExp }[] = [
  {
    name: "a Git LFS pointer",
    content: "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 132735\n",
    says: /^This is a Git LFS pointer, not the file/,
  },
  {
    name: "a web page",
    content: "\n<!DOCTYPE html><html><body>Sign in</body></html>",
    says: /^This is a web page that was saved instead of the file/,
  },
  { name: "XML", filename: "a.xml", content: '<?xml version="1.0"?><rows/>', says: /XML/ },
  {
    name: "a pickle",
    filename: "a.pkl",
    content: Buffer.from("\x80\x04\x95\x0a\0\0\0", "latin1"),
    says: /^This is a Python pickle/,
  },
  {
    name: "SQLite",
    filename: "a.db",
    content: Buffer.from("SQLite format 3\0\x10\0", "latin1"),
    says: /^This is an SQLite database/,
  },
  { name: "a PDF", content: "%PDF-1.7\n%\xe2\xe3", says: /^This is a PDF document/ },
  { name: "RTF", filename: "a.rtf", content: "{\\rtf1\\ansi Hello}", says: /^This is an RTF document/ },
  {
    name: "a tar archive",
    filename: "a.csv",
    content: Buffer.concat([Buffer.alloc(257, "a\0"), Buffer.from("ustar\x0000"), Buffer.alloc(250)]),
    says: /^This is a tar archive/,
  },
  {
    name: "tar in gzip",
    filename: "a.tgz",
    content: gzipSync(Buffer.concat([Buffer.alloc(257, "a\0"), Buffer.from("ustar\x0000"), Buffer.alloc(250)])),
    says: /^This is a tar archive/,
  },
  {
    name: "an old Excel file",
    filename: "a.xls",
    content: Buffer.from("d0cf11e0a1b11ae1000000", "hex"),
    says: /^This is an old Office file/,
  },
  {
    name: "a PNG",
    filename: "a.csv",
    content: Buffer.from("89504e470d0a1a0a0000000d,,", "hex"),
    says: /^This is a PNG image/,
  },
  { name: "a Word document", filename: "a.docx", content: fixture("document.zip"), says: /^This is a Word document/ },
  { name: "a PyTorch file", filename: "a.pt", content: fixture("torch.zip"), says: /^This is a PyTorch file/ },
  {
    name: "bytes of no known kind",
    filename: "a.csv",
    content: Buffer.from([1, 2, 3, 44, 0, 44, 200, 10, 9, 44]),
    says: /^This is a binary file/,
  },
  {
    name: "a ZIP archive of several files",
    filename: "several.zip",
    content: fixture("several.zip"),
    code: "choose_part",
    says: /has several parts: "train.jsonl", "test.jsonl"\. Choose/,
  },
  {
    name: "lists of unknown names",
    filename: "a.json",
    content: JSON.stringify({ good: [pair(0)], bad: [pair(1)] }),
    code: "choose_part",
    says: /has several parts: "good", "bad"/,
  },
  {
    name: "an archive in an archive in an archive",
    filename: "a.gz",
    content: gzipSync(gzipSync(gzipSync(jsonl))),
    says: /archive in an archive/,
  },
  {
    name: "a gzip bomb",
    filename: "a.jsonl.gz",
    content: gzipSync(Buffer.alloc(80 << 20, 32)),
    code: "expands_too_far",
    says: /more than 200 times its size/,
  },
  {
    name: "a ZIP bomb",
    filename: "bomb.zip",
    content: fixture("bomb.zip"),
    code: "expands_too_far",
    says: /more than 200 times its size/,
  },
  {
    name: "gzip that breaks off",
    filename: "a.gz",
    content: gzipSync(jsonl).subarray(0, 60),
    code: "damaged_file",
    says: /^The gzip archive is damaged or incomplete/,
  },
  {
    name: "Parquet that breaks off",
    filename: "cut.parquet",
    content: fixture("cut.parquet"),
    code: "damaged_file",
    says: /^The Parquet file is damaged or incomplete/,
  },
  {
    name: "Arrow that breaks off",
    filename: "a.arrow",
    content: fixture("stream.arrow").subarray(0, 1500),
    code: "damaged_file",
    says: /^The Arrow file is damaged or incomplete/,
  },
  {
    name: "a workbook that breaks off",
    filename: "a.xlsx",
    content: fixture("book.xlsx").subarray(0, 3000),
    code: "damaged_file",
    says: /damaged or incomplete/,
  },
  {
    name: "prose named .jsonl",
    content: "Dear Sir\nor Madam\n".repeat(80),
    code: "not_json",
    says: /^The file is not JSON: line 1 begins with "Dear Sir" \(column 1: .*Write each row/,
  },
  {
    name: "Python dictionaries",
    content: "{'prompt': 'a', 'completion': 'b'}\n".repeat(20),
    code: "not_json",
    says: /Python value in single quotes/,
  },
];

test("a table that expands over the limit of the server is refused", async () => {
  for (const name of ["chat.parquet", "stream.arrow", "book.xlsx"]) {
    const outcome = await read(fixture(name), name, {}, 300);
    expect(outcome.error, name).toMatch(/expands to more than 300 B.*max_unpacked_bytes/);
    expect(outcome.codes, name).toEqual(["expands_too_far"]);
  }
});

describe("files without rows are named in one sentence", () => {
  for (const { name, filename = "train.jsonl", content, code = "wrong_file", says } of refused)
    test(name, async () => {
      const outcome = await read(content, filename);
      expect(outcome).toMatchObject({ status: "failed" });
      expect(outcome.error).toMatch(says);
      expect(outcome.report.problems).toHaveLength(1);
      expect(outcome.report.problems[0]).toMatchObject({ code, count: 1 });
      expect(outcome.report.csv).toBeNull();
    });
});
