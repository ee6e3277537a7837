/** Detectors of personal data: every kind with its near misses, masks, and time that grows with the text. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { findPii } from "../../src/data/pii/detectors.ts";
import { markOf, PII_KIND_NAMES, type PiiKind } from "../../src/data/pii/kinds.ts";
import { masked } from "../../src/data/pii/mask.ts";
import { ANY_SIGN, SECRETS } from "../../src/data/pii/secrets.ts";

const lines = (name: string) =>
  readFileSync(join(import.meta.dir, "../cases/pii", name), "utf8")
    .split("\n")
    .filter((line) => line && !line.startsWith("# "))
    .map((line) => line.replaceAll("·", "").replaceAll("\\n", "\n"));
const values = (text: string) => findPii(text).map(({ kind, start, end }) => `${kind}: ${text.slice(start, end)}`);

const positives = lines("positives.txt").map((line) => {
  const [kind = "", marked = ""] = [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)];
  return { kind, text: marked.replace("[[", "").replace("]]", ""), value: /\[\[(.*)\]\]/s.exec(marked)?.[1] ?? "" };
});

test("every kind is found where it is", () => {
  const missed = positives.filter(({ kind, text, value }) => !values(text).includes(`${kind}: ${value}`));
  expect(missed.map(({ kind, text }) => `${kind}: ${text} -> ${values(text)}`)).toEqual([]);
});

test("the search for any sign of a key knows the signs of all", () => {
  const signs = SECRETS.flatMap((each) => each.signs);
  expect(signs.filter((sign) => !ANY_SIGN.test(sign))).toEqual([]);
});

test("the cases have every kind that detectors find", () => {
  const engines = ["person", "location", "other"];
  expect(PII_KIND_NAMES.filter((kind) => !positives.some((each) => each.kind === kind))).toEqual(engines as PiiKind[]);
});

test("near misses are not found: wrong check digits, dates, versions, placeholders, and numbers without their word", () => {
  const wrong = lines("negatives.txt").filter((text) => findPii(text).length > 0);
  expect(wrong.map((text) => `${text} -> ${values(text)}`)).toEqual([]);
});

test("several values in a text are found in order, without overlaps", () => {
  const text = positives.map((each) => each.text).join("\n\n");
  const found = findPii(text);
  expect(found.length).toBeGreaterThanOrEqual(positives.length);
  for (const [index, { start }] of found.entries()) expect(start).toBeGreaterThanOrEqual(found[index - 1]?.end ?? 0);
});

test("a mask shows little of a value, a mark nothing", () => {
  const shown = (kind: PiiKind, value: string) => `${masked(kind, value)} ${markOf(kind)}`;
  expect(shown("email", "jane.doe@mail.example.com")).toBe("j***@m***.com [EMAIL]");
  expect(shown("card", "4111 1111 1111 1111")).toBe("**** 1111 [CARD]");
  expect(shown("iban", "DE89 3704 0044 0532 0130 00")).toBe("DE** **** 00 [IBAN]");
  expect(shown("phone", "+49 30 901820")).toBe("+49***20 [PHONE]");
  expect(shown("ip", "8.8.4.4")).toBe("8.*** [IP]");
  expect(shown("us_ssn", "536-90-4399")).toBe("***99 [NATIONAL_ID]");
  expect(shown("openai_key", "sk-abcdef0123456789")).toBe("sk-*** [SECRET]");
  for (const { kind, value } of positives) {
    const left = masked(kind as PiiKind, value).replace(/\*+/g, "");
    expect(left.length, value).toBeLessThan(value.length > 9 ? value.length / 1.5 : value.length);
  }
});

test("the time grows with the text, whatever it has", () => {
  const parts = [
    "1",
    "1 ",
    "1-",
    "@",
    "a@",
    "a.",
    "AB12 ",
    "key=",
    "-----BEGIN PRIVATE KEY-----",
    "eyJ.",
    "1.",
    "::1",
    "(1)",
    "sk-",
    "é",
  ];
  const time = (text: string) => {
    const begun = process.cpuUsage().user;
    findPii(text);
    return (process.cpuUsage().user - begun) / 1000;
  };
  for (const part of parts) {
    const text = part.repeat(Math.ceil(200_000 / part.length));
    findPii(text.slice(0, 10_000));
    expect(time(text), JSON.stringify(part)).toBeLessThan(1500);
  }
});
