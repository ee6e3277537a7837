/**
 * What a plan says about data before anything starts: refusals and warnings that depend on the base model, the method
 * and the validation file, by request field. Job creation gives the same refusals.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { TrainSpec } from "../../src/contract/spec.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { hasTokenizer, installBase, rowsCase, templateCase } from "../support/bases.ts";
import { settled, validated } from "../support/datasets.ts";
import { until } from "../support/live.ts";

interface Plan {
  spec: TrainSpec;
  warnings: string[];
  findings: { code: string; count: number }[];
}

let lab: TestApp;
const known = new Map<string, string>();

beforeAll(async () => {
  lab = await createTestApp();
  if (!hasTokenizer) return;
  await installBase(lab, "plain");
  for (const name of ["strict", "tools", "thinking"]) await installBase(lab, name, templateCase(name));
  await installBase(lab, "brackets", templateCase("brackets"), true);
});
afterAll(() => lab.close());

/** The dataset with rows of a case, uploaded once. A name with `/` adds settings, such as `all-good/seed=2`. */
async function data(name: string): Promise<string> {
  let id = known.get(name);
  if (!id) {
    const [rows = "", settings = "holdout_fraction=0"] = name.split("/");
    const { dataset } = await validated(lab, rowsCase(rows), `${rows}.jsonl`, settings);
    id = dataset.id;
    known.set(name, id);
  }
  return id;
}

async function post(path: string, base: string, rows: string, { validation, ...extra }: Record<string, unknown> = {}) {
  const body = {
    model: base,
    training_file: await data(rows),
    ...(typeof validation === "string" ? { validation_file: await data(validation) } : {}),
    ...extra,
  };
  const answer = await lab.request("POST", path, { body });
  const { error, ...plan } = (await answer.json()) as Plan & {
    error?: { code: string; param: string; message: string };
  };
  return { status: answer.status, error, plan };
}

const warningsOf = async (base: string, rows: string, extra?: Record<string, unknown>) => {
  const { status, error, plan } = await post("/v1/jobs/plan", base, rows, extra);
  expect([status, error?.message]).toEqual([200, undefined]);
  return plan.warnings;
};

/** Base, rows, the other request fields, and the refusal: code, field and words of the message. */
const REFUSED: [string, string, Record<string, unknown>, string, string, string[]][] = [
  [
    "plain",
    "only-tool-calls",
    {},
    "nothing_to_learn",
    "model",
    [
      "nothing of the answers: in all 12 rows, nothing would be in the loss",
      "Choose the chat template with tools (chat_template: tools)",
      "such as qwen2.5-0.5b-instruct (not installed yet)",
    ],
  ],
  [
    "strict",
    "one-row-refused",
    {},
    "template_refuses_rows",
    "training_file",
    ["refuses 1 of 12 rows: row 7 (messages[1]): Conversation roles must alternate"],
  ],
  [
    "strict",
    "two-questions-each",
    { on_template_error: "leave_out" },
    "no_training_rows",
    "model",
    ["refuses all 12 rows: row 1 (messages[1]): Conversation roles must alternate"],
  ],
  [
    "brackets",
    "some-tool-calls",
    { chat_template: "tools" },
    "invalid_value",
    "chat_template",
    ["brackets is not one"],
  ],
  [
    "plain",
    "long-questions",
    { max_length: 64 },
    "nothing_within_length",
    "max_length",
    ["No answer begins within 64 tokens"],
  ],
  ["plain", "all-good", {}, "one_label", "training_file", ["All 12 rows are labeled good", "add rows labeled bad"]],
  ["plain", "one-row-refused", { method: "dpo" }, "not_supported", "method", ["pairs"]],
];

describe.skipIf(!hasTokenizer)("a plan and a job are refused", () => {
  for (const [base, rows, extra, code, param, words] of REFUSED)
    test(`${code}: ${rows} with '${base}' and ${JSON.stringify(extra)}`, async () => {
      for (const path of ["/v1/jobs/plan", "/v1/jobs"]) {
        const { status, error } = await post(path, base, rows, extra);
        expect([path, status, error?.code, error?.param]).toEqual([path, 400, code, param]);
        for (const said of words) expect(error?.message).toContain(said);
      }
    });

  test("an empty validation file is named at its field", async () => {
    const form = new FormData();
    form.set("purpose", "fine-tune");
    form.set("file", new File(["\n\n"], "empty.jsonl"));
    const { id } = await lab.json<{ id: string }>("POST", "/v1/files", { raw: form });
    await until("the file", async () => (await lab.json("GET", `/v1/files/${id}`)).status === "error");
    const { status, error } = await post("/v1/jobs/plan", "plain", "same-questions", { validation_file: id });
    expect([status, error?.param]).toEqual([400, "validation_file"]);
    expect(error?.message).toContain("The file is empty");
  });

  test("the same file with another split is the same data, and warned about", async () => {
    const dataset = await data("other-questions");
    const before = await lab.json<{ version: { id: string } }>("GET", `/v1/datasets/${dataset}`);
    await lab.json("POST", `/v1/datasets/${dataset}/versions`, { body: { seed: 9, holdout_fraction: 0.2 } });
    const { version } = await settled(lab, dataset);
    const warnings = await warningsOf("plain", "other-questions", {
      training_file: version.id,
      validation_file: before.version.id,
    });
    expect(version.number).toBe(2);
    expect(warnings.join("\n")).toContain("The validation file has the same rows as the training file");
  });
});

describe.skipIf(!hasTokenizer)("a plan is allowed", () => {
  test("when the template shows the same rows", async () => {
    for (const [base, rows] of [
      ["tools", "only-tool-calls"],
      ["plain", "one-row-refused"],
    ] as const)
      expect((await warningsOf(base, rows)).join(" ")).not.toMatch(/template|tool/);
  });

  test("without the rows that the template refuses, when they are left out", async () => {
    const { plan } = await post("/v1/jobs/plan", "strict", "one-row-refused", { on_template_error: "leave_out" });
    expect(plan.spec.dataset.train_rows).toBe(11);
  });

  test("when the chat template with tools shows them", async () => {
    const { plan, error } = await post("/v1/jobs/plan", "plain", "only-tool-calls", { chat_template: "tools" });
    expect([error?.message, plan.findings]).toEqual([undefined, []]);
    expect(plan.spec.data).toEqual({ chat_template: "tools" });
  });

  test("when all tokens are in the loss", async () => {
    const warnings = await warningsOf("plain", "only-tool-calls", { loss_on: "all" });
    expect(warnings.join("\n")).toContain(
      "does not show tool calls (12 of 12 rows), tool definitions (12 of 12 rows): row 1",
    );
  });

  test("with a length that keeps the first token of an answer, and no shorter one", async () => {
    const { error } = await post("/v1/jobs/plan", "plain", "long-questions", { max_length: 64 });
    const first = Number(/more than (\d+)/.exec(error?.message ?? "")?.[1]);
    expect(first).toBeGreaterThan(128);
    const tight = await post("/v1/jobs/plan", "plain", "long-questions", { max_length: first });
    expect(tight.status).toBe(200);
    expect((await post("/v1/jobs/plan", "plain", "long-questions", { max_length: first - 1 })).status).toBe(400);
  });
});

/** Base, rows, the other request fields, and words of one warning. */
const WARNED: [string, string, Record<string, unknown>, string][] = [
  [
    "plain",
    "some-tool-calls",
    {},
    "In 3 of 12 rows, the chat template of plain shows nothing of the answer, which is not learned: row 5",
  ],
  [
    "plain",
    "some-tool-calls",
    {},
    "does not show tool calls (7 of 12 rows), tool definitions (7 of 12 rows): row 1 (messages[1].tool_calls) and 6 more",
  ],
  ["plain", "special-in-question", {}, "special tokens of this base model. 4 of 12 rows: row 1 (messages[0].content)"],
  ["plain", "special-in-answer", {}, "special tokens of this base model. 2 of 12 rows: row 2 (messages[1].content)"],
  ["plain", "special-in-answer", {}, "They are read as plain text."],
  ["plain", "special-in-answer", { special_tokens: "strip" }, "They are removed."],
  ["plain", "special-in-answer", { special_tokens: "keep" }, "They end or begin turns in the middle of the text"],
  [
    "strict",
    "one-row-refused",
    { on_template_error: "leave_out" },
    "The chat template of strict refuses 1 of 12 rows, left out of the training: row 7 (messages[1])",
  ],
  [
    "strict",
    "same-questions",
    { validation: "one-row-refused" },
    "The chat template of strict refuses 1 of 12 validation rows, left out of the validation: row 7",
  ],
  ["plain", "template-in-text", {}, "They end or begin turns"],
  ["plain", "template-in-text", {}, "special tokens of this base model. 12 of 12 rows: row 1 (text)"],
  ["plain", "other-template", {}, "marks of another model's chat template. 5 of 12 rows: row 1"],
  ["plain", "long-question-sometimes", { max_length: 128 }, "In 3 of 12 rows, the answer begins after 128 tokens"],
  [
    "plain",
    "same-questions",
    { validation: "other-questions" },
    "Of 9 validation rows, 2 have the same prompt as a training row (row 1 like training row 4, row 2 like training row 5)",
  ],
  ["plain", "one-question/holdout_fraction=0.3&seed=1", {}, "Of 6 validation rows, 6 have the same prompt"],
];

describe.skipIf(!hasTokenizer)("a plan warns", () => {
  for (const [base, rows, extra, words] of WARNED)
    test(`${words}: ${rows}`, async () => {
      expect((await warningsOf(base, rows, extra)).join("\n")).toContain(words);
    });
});

describe.skipIf(!hasTokenizer)("the steps of a plan", () => {
  const stepsOf = async (extra: Record<string, unknown> = {}) => {
    const { plan } = await post("/v1/jobs/plan", "thinking", "reasoning-of-two-answers", {
      n_epochs: 1,
      batch_size: 4,
      ...extra,
    });
    return plan.spec.schedule.total_steps;
  };

  test("count each sequence that the template makes of a conversation", async () => {
    // 12 rows with two answers, of which the template renders the first differently once the second follows.
    expect(await stepsOf()).toBe(6);
    // With all tokens in the loss, each row is one sequence.
    expect(await stepsOf({ loss_on: "all" })).toBe(3);
  });
});
