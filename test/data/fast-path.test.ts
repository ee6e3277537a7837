/**
 * Rows taken by their bytes come out as the full check makes them: the same bytes, the same counts, the same problems.
 */
import { describe, expect, test } from "bun:test";
import { createPlainRows, type PlainRow } from "../../src/data/validation/fast-path/plain-row.ts";
import { createTextRows, type TextLayout } from "../../src/data/validation/fast-path/text-row.ts";
import { alpacaFormat } from "../../src/data/validation/formats/alpaca.ts";
import { chatFormat } from "../../src/data/validation/formats/chat.ts";
import { completionFormat } from "../../src/data/validation/formats/completion.ts";
import { objectOf as cellsOf } from "../../src/data/validation/formats/csv.ts";
import { createCsvRows } from "../../src/data/validation/formats/csv-bytes.ts";
import { checkedFields } from "../../src/data/validation/formats/detect.ts";
import type { RowFormat } from "../../src/data/validation/formats/format.ts";
import { preferenceFormat } from "../../src/data/validation/formats/preference.ts";
import { sharegptFormat } from "../../src/data/validation/formats/sharegpt.ts";
import { textFormat } from "../../src/data/validation/formats/text.ts";
import { readPair } from "../../src/data/validation/mapping/read.ts";
import { createRowCheck } from "../../src/data/validation/pass/row-check.ts";
import { isObject } from "../../src/data/validation/rows/chat.ts";
import { createProblems } from "../../src/data/validation/rows/problems.ts";
import { createRowText } from "../../src/data/validation/rows/row-text.ts";
import { type Checked, isPair, isText, type Message } from "../../src/data/validation/rows/types.ts";
import { splitCells } from "../../src/data/validation/scan/csv.ts";
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
type Next = ReturnType<typeof numbers>;

const pick = <T>(next: Next, list: readonly T[]): T => list[next(list.length)] as T;
const noCounts = (): PlainRow => ({ system: 0, user: 0, assistant: 0, characters: 0, alternatives: 0 });

function countsOf({ row }: Checked): PlainRow {
  const counts = noCounts();
  const add = (turns: Message[]) => {
    for (const { role } of turns) if (role !== "tool") counts[role]++;
    return turns.reduce((sum, { content }) => sum + content.length, 0);
  };
  if (isText(row)) return counts;
  counts.characters = add(row.messages);
  if (isPair(row)) {
    counts.characters += Math.max(add(row.chosen), add(row.rejected));
    counts.alternatives = 1;
  }
  return counts;
}

const LETTERS = ["a", "word ", "é", "漢", "😀", "\u007f", "\u2028", ",", ":", "{", "}]", "1", ";"];
const ESCAPES = ['\\"', "\\\\", "\\n", "\\t", "\\b", "\\/", "\\u00e9", "\\ud83d\\ude00", "\\ud83d", "\\u001f"];
/** A JSON text; escapes that need a second look come now and then. */
function text(next: Next): string {
  const pieces = Array.from({ length: next(8) }, () =>
    next(4) === 0 ? pick(next, ESCAPES.slice(0, next(9) ? 5 : 10)) : pick(next, LETTERS),
  );
  return `"${pieces.join("")}"`;
}
const SPACES = ["", "", "", " ", "\t", "\n  ", " \r\n"];
function objectOf(next: Next, fields: [string, string][]): string {
  const gap = next(3) === 0 ? () => pick(next, SPACES) : () => "";
  const inside = fields.map(([key, value]) => `${gap()}"${key}"${gap()}:${gap()}${value}${gap()}`);
  return `{${inside.join(",")}${fields.length === 0 ? gap() : ""}}`;
}
/** Mostly the fields as they are; now and then one is missing, doubled, or in another place. */
function shaken(next: Next, fields: [string, string][]): [string, string][] {
  const list = [...fields];
  const what = next(12);
  if (what === 0) list.splice(next(list.length), 1);
  if (what === 1) list.push(pick(next, fields));
  if (what === 2) list.reverse();
  return list;
}
const OTHERS = ["1", "-1.5e3", "true", "null", '"crm"', '"\\u00e9"', "[1]", "{}", "01", "nul", "[[[]]]"];
const more = (next: Next): [string, string][] =>
  Array.from({ length: next(3) }, () => [pick(next, ["source", "n", "é", "__proto__", "id"]), pick(next, OTHERS)]);
const maybe = (next: Next, key: string, value: string): [string, string][] => (next(2) ? [[key, value]] : []);
const turn = (next: Next, role: string, content: string, roles: string[]) =>
  objectOf(
    next,
    next(20)
      ? [
          [role, `"${pick(next, roles)}"`],
          [content, text(next)],
        ]
      : shaken(next, [[role, '"user"'], [content, text(next)], ...more(next)]),
  );
const turns = (next: Next, role: string, content: string, roles: string[]) =>
  `[${Array.from({ length: next(5) }, () => turn(next, role, content, roles)).join(pick(next, [",", ", ", ",\n"]))}]`;

const ROWS: { format: RowFormat; fields: (next: Next) => [string, string][]; least: number }[] = [
  {
    format: completionFormat,
    fields: (next) => [
      ["prompt", text(next)],
      ["completion", text(next)],
      ...maybe(next, "system", pick(next, [text(next), "null"])),
    ],
    least: 2000,
  },
  {
    format: alpacaFormat,
    fields: (next) => [
      ["instruction", text(next)],
      ...maybe(next, "input", pick(next, [text(next), '""'])),
      ["output", text(next)],
      ...(next(8) ? [] : [["history", "[]"] as [string, string]]),
    ],
    least: 2000,
  },
  {
    format: sharegptFormat,
    fields: (next) => [
      ...maybe(next, "id", pick(next, ['"x1"', "17"])),
      ["conversations", turns(next, "from", "value", ["human", "gpt", "gpt", "system", "tool"])],
      ...(next(6) ? [] : maybe(next, "system", text(next))),
    ],
    least: 800,
  },
  {
    format: chatFormat,
    fields: (next) => [["messages", turns(next, "role", "content", ["user", "assistant", "assistant", "system"])]],
    least: 800,
  },
  {
    format: preferenceFormat,
    fields: (next) => {
      const chosen = text(next);
      return [
        ["prompt", next(30) ? text(next) : '" \\n"'],
        ["chosen", chosen],
        ["rejected", next(12) ? text(next) : pick(next, [chosen, '"\u00a0"', '"\u3000\t"'])],
        ...maybe(next, "system", pick(next, [text(next), "null"])),
        ...(next(8) ? [] : maybe(next, "input", text(next))),
      ];
    },
    least: 700,
  },
];

function requireLayout({ name, layout }: RowFormat): TextLayout {
  if (!layout) throw new Error(`${name} has no layout`);
  return layout;
}

describe("rows of texts", () => {
  test.each(ROWS)("$format.name", ({ format, fields, least }) => {
    const next = numbers(41);
    let taken = 0;
    for (let round = 0; round < 12_000; round++) {
      let line = objectOf(next, shaken(next, [...fields(next), ...(next(2) ? more(next) : [])]));
      const at = next(line.length);
      // Now and then something is put in or taken out anywhere.
      if (next(8) === 0)
        line = line.slice(0, at) + pick(next, ['"', "}", "]", " ", "\\", ",", "\u0001", ""]) + line.slice(at + next(2));
      const bytes = Buffer.from(`${line}\n{"prompt":"next","completion":"line"}`);
      const end = Buffer.byteLength(line);
      const short = createProblems();
      const full = createProblems();
      const counts = noCounts();
      const rows = createRowCheck(format, short);
      const made = createTextRows(
        { ...requireLayout(format), onlyWithExtra: false },
        checkedFields(format),
        counts,
        rows.noteIgnored,
      )(bytes, 0, end);
      if (!made) {
        expect(short.list()).toEqual([]);
        continue;
      }
      taken++;
      const check = createRowCheck(format, full);
      const checked = check.check(bytes, 0, end);
      const found = {
        text: made.bytes.toString("utf8", made.from, made.to),
        counts,
        problems: short.list(),
        ignored: rows.ignored,
      };
      const texts = textsOf(made);
      expect(texts.shortcut).toEqual(texts.reader);
      expect({ line, ...found }).toEqual({
        line,
        text: JSON.stringify(checked?.row),
        counts: checked ? countsOf(checked) : noCounts(),
        problems: full.list(),
        ignored: check.ignored,
      });
    }
    expect(taken).toBeGreaterThan(least);
  });

  test("rows with many extra fields and very long rows get the full check", () => {
    const take = createTextRows(completionFormat.layout, completionFormat.fields, noCounts(), () => {});
    const row = (extra: object, words: number) =>
      Buffer.from(JSON.stringify({ prompt: "a".repeat(words), completion: "b", ...extra }));
    const taken = (bytes: Buffer) => take(bytes, 0, bytes.length) !== null;
    const many = Object.fromEntries(Array.from({ length: 21 }, (_, n) => [`f${n}`, n]));
    expect([taken(row({}, 1)), taken(row({ f: 1 }, 70_000)), taken(row(many, 1)), taken(row({}, 1 << 20))]).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });
});

test("records of CSV", () => {
  const next = numbers(43);
  const columns = ["id", "system", "prompt", "completion"];
  const mapping = { prompt: "prompt", completion: "completion", system: "system" };
  const pieces = [
    "a",
    "word ",
    "é",
    "😀",
    '""',
    '"',
    ",",
    ";",
    "\n",
    "\r\n",
    "\t",
    "\\",
    "\u0000",
    "\u001f",
    "\u007f",
    " ",
  ];
  const cell = () => {
    const inside = Array.from({ length: next(5) }, () => pick(next, pieces.slice(0, next(6) ? 5 : pieces.length))).join(
      "",
    );
    return next(2)
      ? `"${next(10) ? inside.replaceAll(/"+/g, '""') : inside}"`
      : next(6)
        ? inside.replaceAll(/[",;]/g, "")
        : inside;
  };
  let taken = 0;
  for (let round = 0; round < 12_000; round++) {
    const delimiter = pick(next, [",", ";"]);
    const record = Array.from({ length: next(10) ? 4 : 3 + next(3) }, cell).join(delimiter);
    const bytes = Buffer.from(`${record}\n"1","","next","line"`);
    const end = Buffer.byteLength(record);
    const counts = noCounts();
    const made = createCsvRows(columns, mapping, delimiter, counts)(bytes, 0, end);
    if (!made) continue;
    taken++;
    const texts = textsOf(made);
    expect(texts.shortcut).toEqual(texts.reader);
    const problems = createProblems();
    const checked = readPair(cellsOf(columns, splitCells(record, delimiter)), mapping, problems);
    expect({
      record,
      text: made.bytes.toString("utf8", made.from, made.to),
      counts,
      problems: [] as unknown[],
    }).toEqual({
      record,
      text: JSON.stringify(checked?.row),
      counts: checked && isObject(checked.row) ? countsOf(checked) : noCounts(),
      problems: problems.list(),
    });
  }
  expect(taken).toBeGreaterThan(3000);
});

test("plain text rows", () => {
  const next = numbers(47);
  let taken = 0;
  for (let round = 0; round < 6000; round++) {
    let line = objectOf(next, shaken(next, [["text", text(next)]]));
    const at = next(line.length);
    if (next(8) === 0) line = line.slice(0, at) + pick(next, ['"', "}", " ", "\\", ","]) + line.slice(at + next(2));
    const bytes = Buffer.from(`${line}\n{"text":"next"}`);
    const end = Buffer.byteLength(line);
    const counts = noCounts();
    const own = createRowText();
    if (!createPlainRows(counts, own).text(bytes, 0, end)) continue;
    taken++;
    const texts = textsOf({ bytes, from: 0, to: end, text: own });
    expect(texts.shortcut).toEqual(texts.reader);
    const problems = createProblems();
    const checked = createRowCheck(textFormat, problems).check(bytes, 0, end);
    const length = checked && isText(checked.row) ? checked.row.text.length : -1;
    expect({ line, same: checked?.same, characters: counts.characters, problems: problems.list() }).toEqual({
      line,
      same: true,
      characters: length,
      problems: [],
    });
  }
  expect(taken).toBeGreaterThan(1500);
});
