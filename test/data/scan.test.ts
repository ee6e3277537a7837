/** The scanners and the multipart reader: whatever the chunks, the records are the same. */
import { describe, expect, test } from "bun:test";
import { createPlainRows, type PlainRow } from "../../src/data/validation/fast-path/plain-row.ts";
import { chatFormat } from "../../src/data/validation/formats/chat.ts";
import { findFault } from "../../src/data/validation/pass/json-check.ts";
import { createRowCheck } from "../../src/data/validation/pass/row-check.ts";
import { createProblems } from "../../src/data/validation/rows/problems.ts";
import { createRowText } from "../../src/data/validation/rows/row-text.ts";
import { isText } from "../../src/data/validation/rows/types.ts";
import { guessDelimiter, scanCsv, splitCells } from "../../src/data/validation/scan/csv.ts";
import { scanJsonArray } from "../../src/data/validation/scan/json-array.ts";
import { type RecordSink, type Scanner, scanLines } from "../../src/data/validation/scan/lines.ts";
import { readMultipart } from "../../src/lib/multipart.ts";
import { textsOf } from "./support/row-texts.ts";

/** A small generator of the same numbers every time (mulberry32), so that a failure can be seen again. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * below);
  };
}

type Make = (sink: RecordSink) => Scanner;
const MAX = 1 << 20;

/** Records, too long lines and breakages as one list; `cuts` are the sizes of the chunks. */
function scan(make: Make, content: Buffer, cut: () => number): string[] {
  const seen: string[] = [];
  const scanner = make({
    record: (bytes, start, end, line) => seen.push(`${line}: ${bytes.toString("utf8", start, end)}`),
    tooLong: (line, bytes) => seen.push(`${line}: too long, ${bytes}`),
    broken: (line, detail) => seen.push(`${line}: broken, ${detail}`),
  });
  for (let at = 0; at < content.length; ) {
    const size = Math.max(1, cut());
    // A copy, wiped afterwards: a scanner that kept a reference to the chunk would be found out.
    const chunk = Buffer.from(content.subarray(at, at + size));
    scanner.push(chunk);
    chunk.fill(0);
    at += size;
  }
  scanner.end();
  return seen;
}

const PIECES = [
  '"',
  '""',
  "\\",
  '\\"',
  "\n",
  "\r\n",
  "\r",
  ",",
  ";",
  "{",
  "}",
  "[",
  "]",
  ":",
  " ",
  "a",
  "é",
  "漢",
  "😀",
  "0",
  "null",
];
const makers: { name: string; make: Make }[] = [
  { name: "lines", make: (sink) => scanLines(MAX, sink) },
  { name: "lines of at most 10 bytes", make: (sink) => scanLines(10, sink) },
  { name: "JSON arrays", make: (sink) => scanJsonArray(MAX, sink) },
  { name: "JSON arrays of elements of at most 10 bytes", make: (sink) => scanJsonArray(10, sink) },
  { name: "CSV", make: (sink) => scanCsv(MAX, ",", sink) },
  { name: "CSV of records of at most 10 bytes", make: (sink) => scanCsv(10, ",", sink) },
];

describe("the records do not depend on the chunks", () => {
  for (const { name, make } of makers)
    test(name, () => {
      const next = numbers(7);
      for (let round = 0; round < 400; round++) {
        let text = name.startsWith("JSON") && next(4) > 0 ? "[" : "";
        for (let i = next(40); i > 0; i--) text += PIECES[next(PIECES.length)];
        const content = Buffer.from(text);
        const once = scan(make, content, () => content.length);
        expect(scan(make, content, () => 1)).toEqual(once);
        expect(scan(make, content, () => 1 + next(7))).toEqual(once);
      }
    });
});

test("lines are those of split, without line endings", () => {
  const next = numbers(11);
  for (let round = 0; round < 200; round++) {
    const lines = Array.from({ length: 1 + next(8) }, () => "x".repeat(next(30)));
    const text = lines.join(next(2) ? "\n" : "\r\n");
    const found = scan(
      (sink) => scanLines(MAX, sink),
      Buffer.from(text),
      () => 1 + next(9),
    );
    const expected = lines.map((line, index) => `${index + 1}: ${line}`);
    if (lines.at(-1) === "") expected.pop();
    expect(found).toEqual(expected);
  }
});

test("array elements are those of JSON.parse, with their first lines", () => {
  const next = numbers(13);
  const value = (depth: number): unknown => {
    const kind = next(depth > 2 ? 4 : 6);
    if (kind === 0) return next(1000);
    if (kind === 1) return ['a"b', "x\\", "[{,", "é\n", ""][next(5)];
    if (kind === 2) return null;
    if (kind === 3) return true;
    if (kind === 4) return Array.from({ length: next(4) }, () => value(depth + 1));
    return Object.fromEntries(Array.from({ length: next(4) }, (_, i) => [`k${i}}`, value(depth + 1)]));
  };
  for (let round = 0; round < 200; round++) {
    const list = Array.from({ length: next(6) }, () => value(0));
    const text = JSON.stringify(list, null, next(3));
    const found = scan(
      (sink) => scanJsonArray(MAX, sink),
      Buffer.from(` \n${text}\n`),
      () => 1 + next(9),
    );
    expect(found.map((record) => JSON.parse(record.slice(record.indexOf(":") + 1)))).toEqual(list);
  }
  const pretty = JSON.stringify([{ a: 1 }, { b: [2, 3] }], null, 1);
  const lines = scan(
    (sink) => scanJsonArray(MAX, sink),
    Buffer.from(pretty),
    () => 3,
  ).map((record) => record.split(":")[0]);
  expect(lines).toEqual(["2", "5"]);
});

test("CSV cells are read as they were written", () => {
  const next = numbers(17);
  const cells = ["", "a", 'say "hi"', "x,y", "two\nlines", "é", '"', '""', "tail\r"];
  for (let round = 0; round < 200; round++) {
    const rows = Array.from({ length: 1 + next(5) }, () =>
      Array.from({ length: 3 }, () => cells[next(cells.length)] ?? ""),
    );
    const quote = (cell: string) => (/[",\r\n]/.test(cell) || next(3) === 0 ? `"${cell.replaceAll('"', '""')}"` : cell);
    const text = rows.map((row) => row.map(quote).join(",")).join(next(2) ? "\n" : "\r\n");
    const found: string[][] = [];
    const scanner = scanCsv(MAX, ",", {
      record: (bytes, start, end) => found.push(splitCells(bytes.toString("utf8", start, end), ",")),
      tooLong() {},
      broken() {},
    });
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; at += 5) scanner.push(bytes.subarray(at, at + 5));
    scanner.end();
    expect(found).toEqual(rows);
  }
  // A quote inside a cell that is not quoted is an ordinary character.
  expect(
    scan(
      (sink) => scanCsv(MAX, ",", sink),
      Buffer.from('5" pipe,x\ny,z\n'),
      () => 4,
    ),
  ).toEqual(['1: 5" pipe,x', "2: y,z"]);
  expect([guessDelimiter("a;b;c,d"), guessDelimiter("a\tb"), guessDelimiter("a")]).toEqual([";", "\t", ","]);
});

test("the exact check accepts the same JSON as JSON.parse", () => {
  const next = numbers(19);
  const pieces = [
    '"a"',
    '"b":',
    "1",
    "-0.5e3",
    "01",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "true",
    "nul",
    " ",
    '"\\u00e9"',
    '"\\x"',
    "\n",
  ];
  let good = 0;
  for (let round = 0; round < 20_000; round++) {
    let text = "";
    for (let i = 1 + next(7); i > 0; i--) text += pieces[next(pieces.length)];
    let parses = true;
    try {
      JSON.parse(text);
    } catch {
      parses = false;
    }
    const fault = findFault(text);
    if (fault?.kind === "duplicate_key") continue;
    expect({ text, ok: fault === null }).toEqual({ text, ok: parses });
    if (parses) good++;
  }
  expect(good).toBeGreaterThan(1000);
});

test("the full check accepts every row of the fast path unchanged, with the same counts", () => {
  const next = numbers(29);
  const contents = [
    "hi",
    "",
    "é漢😀",
    'a\\n\\t\\"b\\\\',
    "\\u00e9",
    "\\ud83d\\ude00",
    "\\ud83d",
    "\\ude00x",
    "\\ud83d\\u0041",
    "\\u12g4",
    "\\x",
    "tab\there",
    "\\",
    "{}",
  ];
  const roles = ["user", "assistant", "system", "tool", "users", "robot"];
  const plain: PlainRow = { system: 0, user: 0, assistant: 0, characters: 0, alternatives: 0 };
  const own = createRowText();
  const rows = createPlainRows(plain, own);
  let taken = 0;
  for (let round = 0; round < 30_000; round++) {
    const gap = next(3) ? " " : "";
    const list = Array.from({ length: next(4) }, () => {
      const role = roles[next(next(3) ? 2 : roles.length)];
      return `{"role":${gap}"${role}",${gap}"content":${gap}"${contents[next(next(3) ? 5 : contents.length)]}"}`;
    });
    let text = `{"messages":${gap}[${list.join(`,${gap}`)}]}`;
    // Now and then something is put in, taken out or cut off.
    const at = next(text.length);
    if (next(6) === 0) text = text.slice(0, at) + ['"', "}", " ", "\\", ",", ""][next(6)] + text.slice(at + next(2));
    const bytes = Buffer.from(`${text}\n{"messages": [{"role": "user", "content": "next line"}]}`);
    const end = bytes.indexOf("\n");
    if (!rows.chat(bytes, 0, end)) continue;
    taken++;
    const texts = textsOf({ bytes, from: 0, to: end, text: own });
    expect(texts.shortcut).toEqual(texts.reader);
    const problems = createProblems();
    const checked = createRowCheck(chatFormat, problems).check(bytes, 0, end);
    expect({ text, problems: problems.list() }).toEqual({ text, problems: [] });
    expect(checked?.same).toBe(true);
    const messages = checked && !isText(checked.row) ? checked.row.messages : [];
    expect({ ...plain }).toEqual({
      system: messages.filter((message) => message.role === "system").length,
      user: messages.filter((message) => message.role === "user").length,
      assistant: messages.filter((message) => message.role === "assistant").length,
      characters: messages.reduce((sum, message) => sum + message.content.length, 0),
      alternatives: 0,
    });
  }
  expect(taken).toBeGreaterThan(3000);
});

describe("the multipart reader", () => {
  async function* inPieces(content: Buffer, cut: () => number) {
    for (let at = 0; at < content.length; ) {
      const size = cut();
      yield new Uint8Array(content.subarray(at, at + size));
      at += size;
    }
  }
  async function read(content: Buffer, cut: () => number, boundary: string) {
    const parts: { name: string; filename: string | null; text: string }[] = [];
    for await (const part of readMultipart(inPieces(content, cut), boundary)) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of part.body) chunks.push(new Uint8Array(chunk));
      parts.push({ name: part.name, filename: part.filename, text: Buffer.concat(chunks).toString("latin1") });
    }
    return parts;
  }

  test("returns what FormData holds, whatever the chunks", async () => {
    const next = numbers(23);
    for (let round = 0; round < 40; round++) {
      const data = new FormData();
      // Contents made of what a boundary is made of.
      const noise = () => Array.from({ length: next(60) }, () => "\r\n-WebKit"[next(9)]).join("");
      const [text, file] = [noise(), noise()];
      data.set("purpose", text);
      data.set("file", new File([file], 'näme "x".jsonl'));
      data.set("empty", new File([], "e"));
      const request = new Request("http://localhost/", { method: "POST", body: data });
      const boundary = /boundary=(.+)$/.exec(request.headers.get("content-type") ?? "")?.[1]?.replaceAll('"', "") ?? "";
      const content = Buffer.from(await request.arrayBuffer());
      const expected = [
        { name: "purpose", filename: null, text: text.replaceAll(/\r\n|\r|\n/g, "\r\n") },
        { name: "file", filename: 'näme "x".jsonl', text: file },
        { name: "empty", filename: "e", text: "" },
      ];
      const whole = await read(content, () => content.length, boundary);
      expect(whole.slice(1)).toEqual(expected.slice(1));
      expect(await read(content, () => 1, boundary)).toEqual(whole);
      expect(await read(content, () => 1 + next(20), boundary)).toEqual(whole);
    }
  });

  test("a part that is not read is skipped", async () => {
    const content = Buffer.from(
      '--b\r\ncontent-disposition: form-data; name="a"\r\n\r\nlong\r\n--b\r\ncontent-disposition: form-data; name="c"\r\n\r\nd\r\n--b--\r\n',
    );
    const names: string[] = [];
    for await (const part of readMultipart(
      inPieces(content, () => 3),
      "b",
    ))
      names.push(part.name);
    expect(names).toEqual(["a", "c"]);
  });
});
