/**
 * The validation split does not share prompts with training rows, keeps the shares of labels, and is the same for the
 * same rows and seed. Equal and nearly equal rows are found, and can be left out.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { countOverlap } from "../../src/data/validation/pass/overlap.ts";
import type { ValidateTask } from "../../src/data/validation/pass/task.ts";
import { validateFile } from "../../src/data/validation/pass/validate.ts";

const dir = mkdtempSync(join(tmpdir(), "ftl-splits-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
let files = 0;

type Json = Record<string, unknown>;
interface Row {
  id: number;
  messages: { role: string; content: string }[];
  label?: boolean;
}

/** Validates rows, given as values or as the text of a file. */
function read(rows: Json[] | string, options: Partial<ValidateTask> = {}) {
  const source = join(dir, `${files}.jsonl`);
  const outDir = join(dir, String(files++));
  writeFileSync(source, typeof rows === "string" ? rows : rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  const task = { source, filename: "a.jsonl", outDir, mapping: null, seed: 42, holdoutFraction: 0.1, skipBad: true };
  const outcome = validateFile({ ...task, removeDuplicates: null, maxLineBytes: 1e6, diskReserve: 0, ...options });
  const side = (name: string) =>
    outcome.status === "ready"
      ? readFileSync(join(outDir, `${name}.jsonl`), "utf8")
          .split("\n")
          .filter(Boolean)
          .map((line) => JSON.parse(line) as Row)
      : [];
  return { ...outcome, outDir, train: side("train"), holdout: side("holdout") };
}
const turn = (role: string, content: string) => ({ role, content });
const chat = (user: string, answer: string, system?: string): Json => ({
  messages: [...(system ? [turn("system", system)] : []), turn("user", user), turn("assistant", answer)],
});
const prompts = (rows: Row[]) =>
  rows.map(({ messages }) => messages.find(({ role }) => role === "user")?.content ?? "");
const range = (count: number) => Array.from({ length: count }, (_, n) => n);
const codes = ({ report }: { report: { problems: { code: string }[] } }) => report.problems.map(({ code }) => code);

/** Twenty words that differ from topic to topic. */
const sentence = (topic: number) =>
  range(20)
    .map((n) => `w${topic}x${n}`)
    .join(" ");

describe("rows with one prompt stay in one split", () => {
  test("five prompts with six answers each: one prompt is validated, and none is in both splits", () => {
    const found = read(range(30).map((n) => ({ prompt: `Q${n % 5}`, completion: `A${n % 5} variant ${n}` })));
    expect([found.train.length, found.holdout.length]).toEqual([24, 6]);
    expect(new Set(prompts(found.holdout)).size).toBe(1);
    expect(prompts(found.train)).not.toContain(prompts(found.holdout)[0] ?? "");
    expect(found.report.split.by).toBe("near_prompt");
  });

  test.each<[string, (n: number) => Json, (row: Row) => string]>([
    [
      "letter case and spaces",
      (n) => chat(n % 2 ? `what   IS ${n >> 1}?` : `What is ${n >> 1}?`, `a${n}`),
      (row) => prompts([row])[0]?.replace(/\D/g, "") ?? "",
    ],
    [
      "one word of twenty",
      (n) => chat(`${sentence(n >> 1)} v${n}`, `a${n}`),
      (row) => /w(\d+)x/.exec(prompts([row])[0] ?? "")?.[1] ?? "",
    ],
    [
      "the system message",
      (n) => chat(sentence(n >> 1), `a${n}`, `You are number ${n}.`),
      (row) => prompts([row])[0] ?? "",
    ],
    [
      "Chinese text without spaces",
      (n) =>
        chat(
          `${[..."请问银行卡被吞了应该怎么办谢谢您的帮助"].map((c) => c + String.fromCharCode(0x4e00 + (n >> 1))).join("")}${n}`,
          `a${n}`,
        ),
      (row) => prompts([row])[0]?.[1] ?? "",
    ],
    [
      "earlier turns",
      (n) => ({
        messages: [
          turn("user", sentence(n >> 1)),
          turn("assistant", "Say more."),
          turn("user", "more"),
          turn("assistant", `a${n}`),
        ],
      }),
      (row) => prompts([row])[0] ?? "",
    ],
    [
      "chosen and rejected",
      (n) => ({ prompt: sentence(n >> 1), chosen: `good ${n}`, rejected: `bad ${n}` }),
      (row) => prompts([row])[0] ?? "",
    ],
  ])("prompts that differ in %s only", (_, row, topic) => {
    const found = read(range(100).map(row));
    expect(found.holdout).toHaveLength(10);
    const held = new Set(found.holdout.map(topic));
    expect(held.size).toBe(5);
    expect(found.train.map(topic).filter((each) => held.has(each))).toEqual([]);
  });

  test("a common system message or template does not make prompts the same", () => {
    const system = sentence(0);
    const shared = read(range(100).map((n) => chat(`question ${n}`, `answer ${n}`, system)));
    expect(shared.report.split).toMatchObject({ by: "near_prompt", holdout_rows: 10 });
    const template = read(range(100).map((n) => chat(`${sentence(0)} ${sentence(1)} ${n % 50}`, `answer ${n}`)));
    expect(template.report.split).toMatchObject({ by: "prompt", holdout_rows: 10 });
    const held = new Set(prompts(template.holdout));
    expect(prompts(template.train).filter((each) => held.has(each))).toEqual([]);
  });

  test("prompts that are linked only by a third one stay together, in any order", () => {
    const words = `${sentence(0)} ${sentence(100)}`.split(" ");
    const [a, c] = [words.toSpliced(0, 3, "a1", "a2", "a3"), words.toSpliced(37, 3, "c1", "c2", "c3")];
    const linked = [a, c, words].map((each) => chat(each.join(" "), "linked"));
    for (const order of [linked, linked.toReversed()]) {
      const found = read([...order, ...range(6).map((n) => chat(sentence(n + 1), `a${n}`))], { holdoutFraction: 0.5 });
      const sides = [found.train, found.holdout].map(
        (rows) => rows.filter(({ messages }) => messages.at(-1)?.content === "linked").length,
      );
      expect(sides.toSorted()).toEqual([0, 3]);
    }
  });

  test("also after memory for the comparison of prompts is full", () => {
    const line = (n: number, user: string) => JSON.stringify(chat(user, `a${n}`));
    const kept = range(66_000).map((n) => line(n, `first${n} second${n}`));
    // Pairs that differ in one word of 21, and rows with a prompt of their own.
    const late = range(3000).map((n) => line(n, `${sentence(n >> 1)} v${n}`));
    const alone = range(600).map((n) => line(n, sentence(10_000 + n)));
    const found = read([...kept, ...late, ...alone].join("\n"), { holdoutFraction: 0.01 });
    expect(found.report.duplicates).toMatchObject({ near: 0, complete: false });
    expect(found.report.split.by).toBe("near_prompt");
    const topic = (row: Row) => Number(/^w(\d+)x/.exec(prompts([row])[0] ?? "")?.[1] ?? -1);
    const held = new Set(found.holdout.map(topic));
    expect([...held].some((each) => each >= 10_000)).toBe(true);
    expect(found.train.map(topic).filter((each) => each >= 0 && held.has(each))).toEqual([]);
  });

  test("one prompt for all rows cannot be split: the report warns", () => {
    const found = read(range(100).map((n) => chat("Write a poem.", `poem ${n}`)));
    expect(found.report.split).toMatchObject({ by: "row", holdout_rows: 10 });
    expect(codes(found)).toContain("prompts_shared");
  });

  test("the same rows and seed give the same split; 1,000 rows are the most", () => {
    const rows = range(12_000).map((n) => chat(`question ${n}`, `answer ${n}`));
    const [a, b, c] = [read(rows), read(rows), read(rows, { seed: 7 })];
    expect(b.hash).toBe(a.hash ?? "");
    expect(b.holdout).toEqual(a.holdout);
    expect(c.holdout).not.toEqual(a.holdout);
    expect([a.train.length, a.holdout.length]).toEqual([11_000, 1000]);
  });
});

describe("the split keeps the shares of labels", () => {
  const count = (rows: Row[], of: (row: Row) => string) =>
    Object.fromEntries(
      Object.entries(Object.groupBy(rows, of))
        .map(([label, each]) => [label, each?.length])
        .sort(),
    );

  test("of labeled preference data", () => {
    const found = read(
      range(200).map((n) => ({ messages: [turn("user", `q ${n}`), turn("assistant", `a ${n}`)], label: n % 10 !== 0 })),
    );
    expect(count(found.holdout, ({ label }) => String(label))).toEqual({ false: 2, true: 18 });
    expect(found.report.label_counts).toEqual([
      { label: "good", rows: 180 },
      { label: "bad", rows: 20 },
    ]);
  });

  test("of short answers from a small set; a label with one row stays for training", () => {
    const labels = [
      ...range(60).map(() => "billing"),
      ...range(30).map(() => "fraud"),
      ...range(10).map(() => "other"),
      "rare",
    ];
    const found = read(
      labels.map((label, n) => chat(`message ${n}`, label)),
      { holdoutFraction: 0.2 },
    );
    expect(count(found.holdout, ({ messages }) => messages.at(-1)?.content ?? "")).toEqual({
      billing: 12,
      fraud: 6,
      other: 2,
    });
    expect(found.report.label_counts?.map(({ label, rows }) => [label, rows])).toEqual([
      ["billing", 60],
      ["fraud", 30],
      ["other", 10],
      ["rare", 1],
    ]);
  });

  test("answers that are all different are no labels", () => {
    expect(read(range(60).map((n) => chat(`q ${n}`, `a ${n}`))).report.label_counts).toBeUndefined();
  });
});

describe("duplicates", () => {
  const rows = [
    chat(sentence(1), "one"),
    chat(sentence(2), "two"),
    chat(sentence(1), "one"),
    chat(`${sentence(1)} more`, "one"),
    chat(`${sentence(2)} more`, "another"),
  ];

  test("are listed as pairs of lines: equal rows, and the same answer to nearly the same prompt", () => {
    const { report } = read(rows);
    expect(report.duplicates).toEqual({
      rows: 1,
      near: 1,
      removed: 0,
      complete: true,
      pairs: [
        { line: 3, first_line: 1, kind: "exact" },
        { line: 4, first_line: 1, kind: "near" },
      ],
    });
    expect(report.problems.find(({ code }) => code === "near_duplicate")?.samples[0]).toMatchObject({
      line: 4,
      detail: "like line 1",
    });
  });

  test("the same prompt and answer after another system message is no duplicate", () => {
    const { report } = read(range(4).map((n) => chat(sentence(1), "one", `You are number ${n}.`)));
    expect(report.duplicates).toMatchObject({ rows: 0, near: 0 });
  });

  test.each([
    ["exact", [1, 2, 4, 5]],
    ["near", [1, 2, 5]],
  ] as const)("are left out on request: %s", (removeDuplicates, kept) => {
    const found = read(rows, { removeDuplicates, holdoutFraction: 0 });
    expect(found.train.map(({ id }) => id)).toEqual([...kept]);
    expect(found.report).toMatchObject({ rows: kept.length, duplicates: { removed: 5 - kept.length } });
    expect(found.report.roles.user).toBe(kept.length);
    expect(codes(found)).toContain("duplicate_removed");
  });
});

test("a row is named by its line everywhere, and by its place where several are on one line", () => {
  const line = (n: number) => JSON.stringify(chat(`q ${n}`, `a ${n}`));
  const found = read(`\n${line(1)}\nnot json\n\n${line(2)}\n`, { holdoutFraction: 0 });
  expect(found.train.map(({ id }) => id)).toEqual([2, 5]);
  expect(found.report.problems.find(({ code }) => code === "not_json")?.samples[0]?.line).toBe(3);
  const array = read(`[${line(1)},{"no":1},${line(2)}]`, { filename: "a.json", holdoutFraction: 0 });
  expect(array.train.map(({ id }) => id)).toEqual([1, 3]);
  expect(array.report.problems.find(({ severity }) => severity === "error")?.samples[0]?.line).toBe(2);
});

test("the overlap of two files names the rows: the same prompt, or nearly the same", () => {
  const train = read([chat("Hello there", "x"), chat(sentence(1), "y"), chat(sentence(2), "z")], {
    holdoutFraction: 0,
  });
  const held = read([chat(`${sentence(2)} please`, "z"), chat("hello THERE", "q"), chat(sentence(3), "y")], {
    holdoutFraction: 0,
  });
  const path = ({ outDir }: { outDir: string }) => [join(outDir, "train.jsonl")];
  const found = countOverlap({ train: path(train), validation: path(held) }, () => {});
  expect(found).toMatchObject({ rows: 3, known: 1, near: 1 });
  expect(found.pairs).toEqual([
    { row: 1, train_row: 3, kind: "near", similarity: expect.any(Number), sample: `${sentence(2)} please` },
    { row: 2, train_row: 1, kind: "same", similarity: 1, sample: "hello THERE" },
  ]);
  expect(found.pairs[0]?.similarity).toBeGreaterThan(0.8);
});

describe("personal data and secrets are counted by row, and the report does not repeat them", () => {
  test.each([
    ["card 4111 1111 1111 1111 please", "card_number", "4111…11"],
    ["card 4111-1111-1111-1111", "card_number", "4111…11"],
    ["amex 378282246310005", "card_number", "3782…05"],
    ["IBAN DE89 3704 0044 0532 0130 00 AND more", "iban", "DE89…00"],
    ["GB82WEST12345698765432", "iban", "GB82…32"],
    ["write to jane.doe+x@mail.example.org.", "email_address", "j…@mail.example.org"],
    [`key sk-${"proj-aB3"}${"x1".repeat(20)} here`, "secret_key", "sk-…"],
    [`AKIA${"ABCD1234".repeat(2)}`, "secret_key", "AKIA…"],
    [`ghp_${"a1B2".repeat(9)}`, "secret_key", "ghp_…"],
    ["-----BEGIN RSA PRIVATE KEY-----\nMIIE", "secret_key", "private key"],
    ["order 4111 1111 1111 1112", null, ""],
    ["phone +49 170 1234567, at 1796009134005", null, ""],
    ["DE89 3704 0044 0532 0130 01", null, ""],
    ["@decorator and user@localhost, 5 @ 3.50", null, ""],
    ["ask-me-anything-about-the-very-long-compound-word", null, ""],
  ])("%s", (text, code, sample) => {
    const { report } = read([chat("hello", "there"), chat(text, "ok")]);
    const found = report.problems.filter(({ code }) =>
      ["card_number", "iban", "email_address", "secret_key"].includes(code),
    );
    expect(found.map(({ code, count, samples }) => [code, count, samples[0]?.line, samples[0]?.sample])).toEqual(
      code ? [[code, 1, 2, sample]] : [],
    );
  });
});
