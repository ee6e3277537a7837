/** The helpers for text: JSON with broken escapes, cutting, and log lines as a terminal would have shown them. */
import { expect, test } from "bun:test";
import { plainLine, withoutHidden } from "../../src/lib/text/names.ts";
import { cutText, findFlaw, wellFormedJson } from "../../src/lib/text/well-formed.ts";

test.each([
  ['"\\ud800"', "\ufffd"],
  ['"\\uDFFF x"', "\ufffd x"],
  ['"\\ud83e\\udd17"', "🤗"],
  ['"\\ud83e\\ud83e\\udd17"', "\ufffd🤗"],
  ['"\\\\ud800"', "\\ud800"],
  ['"\\\\\\ud800"', "\\\ufffd"],
  ['"a\\u0000b"', "a\ufffdb"],
  ['"\\u00e9 \\n"', "é \n"],
])("the JSON text %s means %j", (text, meant) => {
  expect(JSON.parse(wellFormedJson(text))).toBe(meant);
});

test("a text is cut before a character that would not fit, never in its middle", () => {
  expect([cutText("a🤗b", 2), cutText("a🤗b", 3), cutText("a🤗b", 4), cutText("abc", 2)]).toEqual([
    "a",
    "a🤗",
    "a🤗b",
    "ab",
  ]);
});

test("the first flaw is named by its path, however deep it lies", () => {
  expect(findFlaw({ a: [{ b: "\ud800" }] })?.param).toBe("a.0.b");
  expect(findFlaw({ a: { "x\0": 1 } })?.param).toBe("a.x");
  expect(findFlaw({ a: "🤗", b: [1, null, true, "x"] })).toBeNull();
  let deep: unknown = "\udc00";
  for (let n = 0; n < 200_000; n++) deep = [deep];
  const from = performance.now();
  expect(findFlaw(deep)?.flaw).toContain("half of a surrogate pair");
  expect(performance.now() - from).toBeLessThan(1000);
});

test.each([
  ["\u001b[1;31mred\u001b[0m and \u009b4mC1", "red and C1"],
  ["\u001b]0;title\u0007text \u001b]8;;http://x\u001b\\link\u001b]8;;\u001b\\", "text link"],
  ["an \u001b]unended title stays", "an unended title stays"],
  ["10%\r20%\r\r\nnext\r\n", "10%\n20%\nnext"],
  ["tab\tbell\u0007 null\u0000 é 한국어 \u202e", "tab\tbell null é 한국어 \u202e"],
])("the log line %j is kept as %j", (line, kept) => {
  expect(plainLine(line)).toBe(kept);
});

test("a line made to be slow is cleaned in no time", () => {
  const from = performance.now();
  for (const piece of ["\u001b]", "\u009d", "\u001b[", "\u009b0", "\u001b[0 "]) plainLine(piece.repeat(8000));
  expect(performance.now() - from).toBeLessThan(500);
});

test("names of files lose what nobody sees", () => {
  expect(withoutHidden("in\u202evoice\u0000\ud800.jsonl")).toBe("invoice\ufffd.jsonl");
});
