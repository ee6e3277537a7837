/**
 * Real data through every format, and token counts that agree with Python's transformers to the token. Skips, by name,
 * what is not on this machine.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { splitPath } from "../../src/data/datasets/rows.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { hasTokenizer, installBase, templateCase } from "../support/bases.ts";
import { validated } from "../support/datasets.ts";
import { TRAINER_ENV, until } from "../support/live.ts";

/** Data sets of other people; see the README beside them. */
const DATA = join(import.meta.dir, "../../../shared/data");
const PYTHON = join(TRAINER_ENV, "bin/python");
const BASE = "smollm2-135m-instruct";

let lab: TestApp;
beforeAll(async () => {
  lab = await createTestApp();
});
afterAll(() => lab.close());

const MAPPING = "mapping[prompt]=text&mapping[completion]=category";
const sets: {
  file: string;
  format: string;
  type?: string;
  rows: number;
  query?: string;
  roles: string[];
  tools?: number;
}[] = [
  { file: "alpaca_en_demo.json", format: "alpaca", rows: 999, roles: ["user", "assistant"] },
  {
    file: "glaive_toolcall_en_demo.json",
    format: "sharegpt",
    rows: 300,
    roles: ["user", "assistant", "tool"],
    tools: 191,
  },
  { file: "v1_sft_demo.jsonl", format: "chat", rows: 500, roles: ["user", "assistant"] },
  { file: "banking77-train.csv", format: "csv", rows: 10_003, query: MAPPING, roles: ["user", "assistant"] },
  { file: "banking77-test.csv", format: "csv", rows: 3080, query: MAPPING, roles: ["user", "assistant"] },
  {
    file: "dpo_en_demo.json",
    format: "sharegpt_preference",
    type: "preference",
    rows: 300,
    roles: ["user", "assistant"],
  },
  { file: "v1_dpo_demo.jsonl", format: "preference", type: "preference", rows: 10, roles: ["system", "assistant"] },
  { file: "kto_en_demo.json", format: "unpaired", type: "unpaired", rows: 300, roles: ["user", "assistant"] },
  { file: "c4_demo.jsonl", format: "text", type: "text", rows: 300, roles: [] },
];
const missing = (file: string) => !existsSync(join(DATA, file));

describe("real data", () => {
  for (const { file, format, type = "chat", rows, query, roles, tools } of sets)
    test.skipIf(missing(file))(`${file} is accepted whole as ${format}`, async () => {
      const { version, report } = await validated(lab, readFileSync(join(DATA, file)), file, query);
      expect(report.problems.filter((problem) => problem.severity === "error")).toEqual([]);
      expect(version).toMatchObject({ status: "ready", format, row_type: type, rows, bad_rows: 0 });
      expect(version.holdout_rows).toBe(Math.min(1000, Math.round(rows * 0.1)));
      for (const role of roles) expect(report.roles[role]).toBeGreaterThan(0);
      expect(report.rows_with_tools).toBe(tools ?? 0);
    });
});

interface Tokens {
  exact: boolean;
  rows: number;
  counted_rows: number;
  tokens: number;
  max: number;
  p50: number;
  p95: number;
  over: Record<string, number>;
  failed_rows: number;
  failure: string | null;
}
const tokens = (dataset: string, base: string) =>
  lab.json<Tokens>("GET", `/v1/datasets/${dataset}/tokens?base_model=${base}`);

/**
 * Tokens of canonical rows, as the trainer's own library counts them, one list a row with a length for each of its
 * sequences; arguments: pairs of model directory and rows.
 */
const COUNT = `
import json, sys
from transformers import AutoTokenizer
for model, rows in zip(sys.argv[1::2], sys.argv[2::2]):
    tokenizer = AutoTokenizer.from_pretrained(model)
    lengths = []
    for line in open(rows, encoding="utf-8"):
        row = json.loads(line)
        if "text" in row:
            ids = tokenizer(row["text"])["input_ids"]
            lengths.append([len(ids) + (ids[-1] != tokenizer.eos_token_id)])
            continue
        own = []
        for answer in [row[side] for side in ("chosen", "rejected") if side in row] or [[]]:
            messages = [{k: v for k, v in m.items() if k != "weight"} for m in row["messages"] + answer]
            for m in messages:
                for call in m.get("tool_calls", []):
                    call["function"]["arguments"] = json.loads(call["function"]["arguments"])
            text = tokenizer.apply_chat_template(messages, tools=row.get("tools"), tokenize=False)
            own.append(len(tokenizer(text, add_special_tokens=False)["input_ids"]))
        lengths.append(own)
    print(json.dumps(lengths), flush=True)
`;

const noModel = !hasTokenizer;
const cases = [
  ...sets.map((set) => ({ ...set, base: BASE })),
  ...sets.filter((set) => set.tools).map((set) => ({ ...set, base: "with-tools" })),
];

describe("token counts", () => {
  test("a base model that is not installed is named in the error", async () => {
    const { dataset } = await validated(lab, '{"prompt": "a", "completion": "b"}');
    const answer = await lab.request("GET", `/v1/datasets/${dataset.id}/tokens?base_model=none`);
    const { error } = (await answer.json()) as { error: { code: string; param: string } };
    expect([answer.status, error.code, error.param]).toEqual([400, "base_model_not_ready", "base_model"]);
  });

  test.skipIf(noModel)("a template that refuses rows is reported with its own words", async () => {
    await installBase(lab, "refusing", "{{ raise_exception('roles must alternate') }}");
    const { dataset } = await validated(lab, '{"prompt": "a", "completion": "b"}', "t.jsonl", "holdout_fraction=0");
    const counted = await tokens(dataset.id, "refusing");
    expect(counted).toMatchObject({ failed_rows: 1, tokens: 0 });
    expect(counted.failure).toContain("roles must alternate");
  });

  test.skipIf(noModel)(
    "a template that never ends is ended, and the server goes on",
    async () => {
      await installBase(
        lab,
        "endless",
        "{% for i in range(1000000000) %}{% for j in range(1000000000) %}{% endfor %}{% endfor %}",
      );
      const { dataset, version } = await validated(
        lab,
        '{"prompt": "a", "completion": "b"}',
        "t.jsonl",
        "holdout_fraction=0",
      );
      expect(version.status).toBe("ready");
      const asked = lab.request("GET", `/v1/datasets/${dataset.id}/tokens?base_model=endless`);
      expect((await lab.request("GET", `/v1/datasets/${dataset.id}`)).status).toBe(200);
      const answer = await asked;
      const { error } = (await answer.json()) as { error: { code: string; message: string } };
      expect([answer.status, error.code]).toEqual([503, "tokens_not_counted"]);
    },
    60_000,
  );

  test.skipIf(noModel || sets.some((set) => missing(set.file)) || !existsSync(PYTHON))(
    "are an estimate at once, then exactly what transformers counts, on every set of real data",
    async () => {
      await installBase(lab, BASE);
      await installBase(lab, "with-tools", templateCase("tools"));
      const made = [];
      for (const { file, query, base } of cases) {
        const { dataset, version } = await validated(lab, readFileSync(join(DATA, file)), file, query);
        const first = await tokens(dataset.id, base);
        expect(first).toMatchObject({
          exact: version.train_rows <= 200,
          rows: version.train_rows,
          counted_rows: Math.min(200, version.train_rows),
        });
        made.push({ file, base, dataset, version, first });
      }
      const pairs = made.flatMap(({ base, version }) => [
        lab.ctx.files.path("models", base),
        splitPath(lab.ctx, version.id, "train"),
      ]);
      const run = Bun.spawn([PYTHON, "-c", COUNT, ...pairs], { stdout: "pipe", stderr: "ignore" });
      const counted = (await new Response(run.stdout).text()).trim().split("\n");
      for (const [index, { file, base, dataset, first }] of made.entries()) {
        const found = JSON.parse(counted[index] ?? "[]") as number[][];
        const lengths = found.map((own) => Math.max(...own));
        const exact = await until("the exact count", async () => {
          const now = await tokens(dataset.id, base);
          return now.exact && now;
        });
        const sum = found.flat().reduce((total, length) => total + length, 0);
        const { tokens: total, rows, counted_rows, max, failed_rows } = exact;
        expect({ file, base, total, rows, counted_rows, max, failed_rows }).toEqual({
          file,
          base,
          total: sum,
          rows: lengths.length,
          counted_rows: lengths.length,
          max: Math.max(...lengths),
          failed_rows: 0,
        });
        expect(exact.over["256"]).toBe(lengths.filter((length) => length > 256).length);
        const median = lengths.toSorted((a, b) => a - b)[Math.floor(lengths.length / 2)] ?? 0;
        expect(Math.abs(exact.p50 - median)).toBeLessThanOrEqual(median * 0.1);
        expect(Math.abs(first.tokens - sum)).toBeLessThan(sum * 0.25);
      }
    },
    180_000,
  );
});
