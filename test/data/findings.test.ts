/** What a base model's template and tokenizer do to rows, as the token report lists it: kinds, counts and places. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createTestApp, type TestApp } from "../support/app.ts";
import { hasTokenizer, installBase, rowsCase, templateCase } from "../support/bases.ts";
import { validated } from "../support/datasets.ts";
import { trainerMissing } from "../support/live.ts";

interface Finding {
  code: string;
  severity: string;
  count: number;
  samples: { row: number; path: string; sample: string; detail: string }[];
}
interface Counted {
  exact: boolean;
  rows: number;
  failed_rows: number;
  min: number;
  max: number;
  answers: { first: number | null; lost: Record<string, number> };
  findings: Finding[];
}

let lab: TestApp;
beforeAll(async () => {
  lab = await createTestApp();
  if (!hasTokenizer) return;
  await installBase(lab, "plain");
  for (const name of ["strict", "thinking", "no-reasoning", "reasoning", "tools", "not-ours"])
    await installBase(lab, name, templateCase(name));
});
afterAll(() => lab.close());

async function counted(rows: string, base: string, query = "holdout_fraction=0"): Promise<Counted> {
  const { dataset } = await validated(lab, rows, "rows.jsonl", query);
  return lab.json<Counted>("GET", `/v1/datasets/${dataset.id}/tokens?base_model=${base}`);
}

/** Each kind with its count, its first row and the field there. */
const brief = ({ findings }: Counted) =>
  findings.map(({ code, count, samples: [first] }) => [code, count, first?.row ?? 0, first?.path ?? ""]);

/** Base, rows and the findings. */
const CASES: [base: string, rows: string, found: (string | number)[][]][] = [
  [
    "plain",
    "only-tool-calls",
    [
      ["nothing_learned", 12, 1, "messages[1]"],
      ["tool_calls_not_shown", 12, 1, "messages[1].tool_calls"],
      ["tools_not_shown", 12, 1, "tools"],
    ],
  ],
  [
    "plain",
    "some-tool-calls",
    [
      ["nothing_learned", 3, 5, "messages[1]"],
      ["tool_calls_not_shown", 7, 1, "messages[1].tool_calls"],
      ["tools_not_shown", 7, 1, "tools"],
    ],
  ],
  ["tools", "only-tool-calls", []],
  ["tools", "some-tool-calls", []],
  ["strict", "one-row-refused", [["template_refuses", 1, 7, "messages[1]"]]],
  ["plain", "one-row-refused", []],
  ["plain", "special-in-question", [["special_tokens", 4, 1, "messages[0].content"]]],
  ["plain", "special-in-answer", [["special_tokens", 2, 2, "messages[1].content"]]],
  ["plain", "template-in-text", [["special_tokens", 12, 1, "text"]]],
  ["plain", "other-template", [["other_template", 5, 1, "messages[0].content"]]],
  ["no-reasoning", "reasoning-of-two-answers", [["reasoning_not_shown", 12, 1, "messages[1].content"]]],
  ["thinking", "reasoning-of-two-answers", []],
  ["plain", "reasoning-of-two-answers", []],
  ["plain", "reasoning-field", [["reasoning_not_shown", 12, 1, "messages[1].reasoning_content"]]],
  ["reasoning", "reasoning-field", []],
  ["plain", "named", [["name_not_shown", 12, 1, "messages[0].name"]]],
];

describe.skipIf(!hasTokenizer)("findings of a base model", () => {
  for (const [base, rows, found] of CASES)
    test(`${rows} with the template '${base}'`, async () => {
      expect(brief(await counted(rowsCase(rows), base))).toEqual(found);
    });

  test("name the reason, the text and the tokens", async () => {
    const refused = (await counted(rowsCase("one-row-refused"), "strict")).findings[0];
    expect(refused?.samples).toEqual([
      {
        row: 7,
        path: "messages[1]",
        sample: "Only mornings.",
        detail: "Conversation roles must alternate user/assistant",
      },
    ]);
    const special = (await counted(rowsCase("special-in-question"), "plain")).findings[0]?.samples[0];
    expect(special?.detail).toBe("<|im_end|> <|im_start|>");
    expect(special?.sample).toContain("Lima<|im_end|>");
  });

  test("list at most 20 rows, and count all", async () => {
    const row = (n: number) => JSON.stringify({ prompt: `Train ${n}<|im_end|>`, completion: "8:05" });
    const rows = Array.from({ length: 150 }, (_, n) => row(n)).join("\n");
    const [found] = (await counted(rows, "plain")).findings;
    expect([found?.code, found?.count, found?.samples.length]).toEqual(["special_tokens", 150, 20]);
  });

  test("include rows of the validation split, without counting their tokens", async () => {
    const whole = await counted(rowsCase("special-in-question"), "plain", "holdout_fraction=0.5&seed=1");
    expect([whole.rows, whole.findings[0]?.count]).toEqual([6, 4]);
  });

  test("separate a template that refuses from one that this server cannot render", async () => {
    const stats = await counted(rowsCase("named"), "not-ours");
    expect(stats.failed_rows).toBe(12);
    expect(stats.findings.map(({ code, severity }) => [code, severity])).toEqual([["not_rendered", "warning"]]);
    expect(stats.findings[0]?.samples[0]?.detail).toContain("xmlattr_of_python_only");
  });
});

/** Template, rows, and the sequences that the rows become. */
const COUNTED: [base: string, rows: string, sequences: number][] = [
  ["plain", "special-in-question", 12],
  ["plain", "special-in-answer", 12],
  ["plain", "only-tool-calls", 12],
  ["plain", "template-in-text", 12],
  ["plain", "reasoning-of-two-answers", 12],
  ["thinking", "reasoning-of-two-answers", 24],
  ["thinking", "rewritten-and-untrained", 4],
];

describe.skipIf(!hasTokenizer || trainerMissing !== null)("sequences and their tokens", () => {
  for (const [base, rows, count] of COUNTED)
    test(`of ${rows} with the template '${base}' are those of the trainer`, async () => {
      const { dataset } = await validated(lab, rowsCase(rows), "rows.jsonl", "holdout_fraction=0");
      const stats = await lab.json<{ sequences: { count: number; tokens: number } }>(
        "GET",
        `/v1/datasets/${dataset.id}/tokens?base_model=${base}`,
      );
      const seen = await lab.json<{ data: { sequences: { trains: number; context: number }[] }[] }>(
        "GET",
        `/v1/datasets/${dataset.id}/seen?base_model=${base}&limit=20`,
      );
      const trainer = seen.data.flatMap(({ sequences }) => sequences.map(({ trains, context }) => trains + context));
      expect(trainer.length).toBe(count);
      expect(stats.sequences).toEqual({ count, tokens: trainer.reduce((sum, one) => sum + one, 0) });
    }, 120_000);
});

describe.skipIf(!hasTokenizer)("where answers begin", () => {
  test("is the shortest length that keeps a token of an answer", async () => {
    const short = await counted('{"prompt": "Hi", "completion": "8:05"}', "strict");
    // The start token, 12 tokens of the question and of the opened answer, and one of the answer.
    expect(short.answers.first).toBe(14);
    const long = await counted(rowsCase("long-questions"), "plain");
    expect(long.answers.lost).toMatchObject({ "128": 12, "256": 0 });
    expect(long.answers.first).toBeGreaterThan(128);
  });

  test("is unknown for plain text, which has no answers", async () => {
    expect((await counted(rowsCase("template-in-text"), "plain")).answers.first).toBeNull();
  });
});
