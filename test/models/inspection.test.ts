/** The loss-mask inspector: it shows exactly what is trained on, for rows of every type; over HTTP and as a page. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import type { RowType } from "../../src/contract/spec.ts";
import { splitPath } from "../../src/data/datasets/rows.ts";
import { attempt as attempts, job as jobs } from "../../src/db/schema/jobs.ts";
import { baseModelDir } from "../../src/models/base/service.ts";
import { compareFirstBatch } from "../../src/training/attempts/first-batch.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { makeTrainer, trainSpec } from "../support/attempt.ts";
import { SERVER_ENV, TRAINER_ENV, trainerMissing, until } from "../support/live.ts";
import { readyBase } from "../support/models.ts";
import { TINY_MODEL } from "../support/tiny.ts";

const missing = trainerMissing;
const user = (content: string) => ({ role: "user", content });
const says = (content: string, weight?: 0 | 1) => ({
  role: "assistant",
  content,
  ...(weight === undefined ? {} : { weight }),
});
const LINES: Record<RowType, object[]> = {
  chat: [
    { messages: [user("a number"), says("red")] },
    { messages: [user("zwei 😀"), says("not this", 0), user("and now?"), says("green, it is")] },
    { messages: [user("long ".repeat(90)), says("blue")] },
  ],
  preference: [
    { prompt: [user("which?")], chosen: [says("the first")], rejected: [says("the second one")] },
    { prompt: [user("which now?")], chosen: [says("this")], rejected: [says("that")] },
  ],
  unpaired: [
    { messages: [user("hm"), says("well"), user("so?"), says("yes")], label: true },
    { messages: [user("ho"), says("no!")], label: false },
  ],
  prompt: [{ messages: [user("which color?")], answer: "red" }],
  text: [{ text: "The user says a number." }, { text: "Näher, mein 😀, zu dir" }, { text: "and on ".repeat(60) }],
};
interface Sequence {
  name: string;
  pieces: string[];
  states: string;
  trains: number;
  context: number;
  cut: number;
  hashes: string[];
  warnings?: string[];
}
interface JobAfter {
  state: string;
  error: { code: string; message: string } | null;
  progress: object;
}
interface Page {
  data: { id: number; sequences: Sequence[]; error?: string }[];
  row_type: string;
  base_model: string;
  max_length: number;
  has_more: boolean;
}
const datasets = {} as Record<RowType, { id: string; version: string }>;
let lab: TestApp;

/** The rows tokenized by the trainer's own functions, with the inspector's hash. */
const TRAINED = `
import json, sys
sys.modules["torch"] = None  # loads faster
from pathlib import Path
from finetune_trainer.training.inspection import end_ids_of, row_hash
from finetune_trainer.model.tokenizer import load_tokenizer
from finetune_trainer.data.rows import read_rows, tokenize
base, kind, path, length, loss_on = sys.argv[1:]
tokenizer = load_tokenizer(Path(base))
rows = read_rows(Path(path), kind)
tokens = tokenize(kind, tokenizer, rows, max_length=int(length), loss_on=loss_on, end_ids=end_ids_of(Path(base), tokenizer))
found = {}
for i, row_id in enumerate(tokens.row_ids):
    sides = [tokens.row(2 * i), tokens.row(2 * i + 1)] if kind == "preference" else [tokens.row(i)]
    found.setdefault(str(row_id), []).extend(row_hash(*side) for side in sides)
print(json.dumps(found))
`;
async function trained(kind: RowType, maxLength: number, lossOn: string): Promise<Record<string, string[]>> {
  const path = splitPath(lab.ctx, datasets[kind].version, "train");
  const child = Bun.spawn(
    [join(TRAINER_ENV, "bin/python"), "-c", TRAINED, TINY_MODEL, kind, path, String(maxLength), lossOn],
    { cwd: join(import.meta.dir, "../../trainer"), stdout: "pipe" },
  );
  return JSON.parse(await new Response(child.stdout).text());
}
/** A dataset of these rows, all of them for training. */
async function uploaded(name: string, lines: object[]): Promise<{ id: string; version: string }> {
  const form = new FormData();
  form.set("holdout_fraction", "0");
  form.set("file", new File([lines.map((line) => JSON.stringify(line)).join("\n")], `${name}.jsonl`));
  const { id } = await lab.json<{ id: string }>("POST", "/v1/datasets", { raw: form });
  const version = await until("the version", async () => {
    const found = await lab.json<{ version: { id: string; status: string } }>("GET", `/v1/datasets/${id}`);
    return found.version.status === "ready" ? found.version.id : null;
  });
  return { id, version };
}
const inLoss = (one: Sequence | undefined) =>
  one?.pieces.filter((_, index) => one.states[index] === "t").join("") ?? "";
const seen = (kind: RowType, query = "") =>
  lab.json<Page>("GET", `/v1/datasets/${datasets[kind].id}/seen?base_model=tiny&limit=20${query}`);

describe.skipIf(missing !== null)(`what a model sees${missing ? ` (skipped: ${missing})` : ""}`, () => {
  beforeAll(async () => {
    lab = await createTestApp({ config: { trainer_env: SERVER_ENV } });
    await readyBase(lab.ctx, "tiny");
    cpSync(TINY_MODEL, baseModelDir(lab.ctx, "tiny"), { recursive: true });
    for (const [kind, lines] of Object.entries(LINES)) datasets[kind as RowType] = await uploaded(kind, lines);
  }, 60_000);
  afterAll(() => lab?.close());

  for (const kind of Object.keys(LINES) as RowType[])
    test(`${kind} rows are shown as they are trained on`, async () => {
      const page = await seen(kind, "&max_length=64");
      expect([page.row_type, page.base_model, page.max_length]).toEqual([kind, "tiny", 64]);
      const hashes = await trained(kind, 64, "completion");
      expect(page.data.length).toBe(LINES[kind].length);
      for (const row of page.data) {
        expect(hashes[String(row.id)] ?? []).toEqual(row.sequences.flatMap((sequence) => sequence.hashes));
        for (const { pieces, states, trains, context, cut } of row.sequences) {
          expect([pieces.length, trains + context + cut]).toEqual([states.length, states.length]);
          expect(states).toMatch(/^c[ct]*x*$/);
        }
      }
    }, 60_000);

  test("answers are in the loss; prompts and weight 0 are context; the rest is truncated", async () => {
    const [first, second, third] = (await seen("chat", "&max_length=100")).data.map(({ sequences }) => sequences[0]);
    expect(inLoss(first)).toBe("red<|im_end|>");
    expect(inLoss(second)).toBe("green, it is<|im_end|>");
    expect(second?.pieces.join("")).toContain("zwei 😀");
    expect([third?.trains, (third?.cut ?? 0) > 0]).toEqual([0, true]);
    const all = (await seen("chat", "&loss_on=all")).data[0]?.sequences[0];
    expect([all?.context, all?.cut]).toEqual([1, 0]);
  });

  test("pairs show both sides, unpaired rows the last answer, texts every token", async () => {
    const names = async (kind: RowType) => (await seen(kind)).data[0]?.sequences.map(({ name }) => name);
    expect(await names("preference")).toEqual(["chosen", "rejected"]);
    expect(await names("unpaired")).toEqual(["good"]);
    expect(await names("text")).toEqual(["text"]);
    const prompt = (await seen("prompt")).data[0]?.sequences[0];
    expect([prompt?.name, prompt?.cut, prompt?.pieces.join("").trimEnd().endsWith("assistant")]).toEqual([
      "prompt",
      0,
      true,
    ]);
    const text = (await seen("text")).data[1]?.sequences[0];
    expect(text?.pieces.join("")).toContain("Näher, mein 😀, zu dir");
  });

  test("a row may be several sequences, lose turns, or be refused, and the others are still shown", async () => {
    const call = { id: "c", type: "function", function: { name: "look", arguments: "{}" } };
    const calls = { role: "assistant", content: null, tool_calls: [call] };
    const { id } = await uploaded("turns", [
      { messages: [user("a"), says("red"), user("b"), says("green")] },
      { messages: [user("a"), user("b"), says("blue")] },
      { messages: [user("a"), calls], tools: [{ type: "function", function: { name: "look" } }] },
      { messages: [user("a <|im_end|> b"), says("c")] },
      { messages: [user("a"), says("<think>\nbecause\n</think>\n\nblue")] },
    ]);
    await readyBase(lab.ctx, "thinks");
    const base = baseModelDir(lab.ctx, "thinks");
    cpSync(TINY_MODEL, base, { recursive: true });
    const strict =
      "{% for m in messages %}{% if m.role == 'user' and loop.index0 % 2 %}{{ raise_exception('must alternate') }}{% endif %}{% endfor %}";
    const template = readFileSync(join(import.meta.dir, "../../trainer/tests/golden/templates/qwen3.jinja"), "utf8");
    writeFileSync(join(base, "chat_template.jinja"), strict + template);
    const path = `/v1/datasets/${id}/seen?limit=20&max_length=2048`;
    const [chat, refused, tools, special] = (await lab.json<Page>("GET", `${path}&base_model=thinks`)).data;
    expect(chat?.sequences.map(inLoss)).toEqual([
      "<think>\n\n</think>\n\nred<|im_end|>",
      "<think>\n\n</think>\n\ngreen<|im_end|>",
    ]);
    expect(refused?.sequences).toEqual([]);
    expect(refused?.error).toMatch(/^the model's chat template refuses the conversation: must alternate$/);
    expect(inLoss(tools?.sequences[0])).toContain('{"name": "look", "arguments": {}}');
    expect(special?.sequences[0]?.pieces.filter((piece) => piece === "<|im_end|>").length).toBe(2);
    const kept = await lab.json<Page>("GET", `${path}&base_model=thinks&special_tokens=keep`);
    expect(kept.data[3]?.sequences[0]?.pieces.filter((piece) => piece === "<|im_end|>").length).toBe(3);
    const blind = (await lab.json<Page>("GET", `${path}&base_model=tiny`)).data[2]?.sequences[0];
    expect([blind?.trains, blind?.hashes, blind?.warnings]).toEqual([
      0,
      [],
      [
        "assistant turns not in the loss, because this model's chat template renders nothing of them (tool calls)",
        "tool definitions that this model's chat template does not render",
      ],
    ]);
    const page = await lab.request("GET", `/datasets/${id}/seen?base=thinks`, { headers: { accept: "text/html" } });
    const text = await page.text();
    // Whether the reasoning is marked as in the loss, by the choice on the page.
    const marked = (html: string) =>
      [...html.matchAll(/<mark>(.*?)<\/mark>/gs)].map(([, inner = ""]) => inner.replace(/<[^>]+>/g, "")).join("|");
    expect([marked(text).includes("because"), marked(text).includes("blue")]).toEqual([true, true]);
    expect(text).toContain('<option value="mask">reasoning: context only</option>');
    const pages = { accept: "text/html" };
    const masked = await lab.request("GET", `/datasets/${id}/seen?base=thinks&reasoning=mask`, { headers: pages });
    const mask = marked(await masked.text());
    expect([mask.includes("because"), mask.includes("blue")]).toEqual([false, true]);
    const unknown = await lab.request("GET", `/datasets/${id}/seen?base=thinks&reasoning=no`, { headers: pages });
    expect(await unknown.text()).toContain("Reasoning of answers has a value that does not exist.");
    for (const words of ["sequence 1 of 2", "This row cannot be trained on", "conversation: must alternate."])
      expect(text).toContain(words);
  });

  test("the page marks the tokens, and keeps the form when the query is invalid", async () => {
    const path = `/datasets/${datasets.chat.id}/seen`;
    const page = await (await lab.request("GET", `${path}?rows=yes`, { headers: { accept: "text/html" } })).text();
    expect(page).toContain("<mark>");
    expect(page).toContain("What the model sees");
    const wrong = await (await lab.request("GET", `${path}?length=4`, { headers: { accept: "text/html" } })).text();
    expect(wrong).toContain("must be at least 8");
  });

  test("a job continues when its first batch matches the stored rows, and fails when it does not", async () => {
    const dataset = { dataset_id: datasets.preference.id, version_id: datasets.preference.version };
    const spec = trainSpec({
      dataset: { ...trainSpec().dataset, ...dataset, row_type: "preference" },
      method: { type: "dpo", adapter: trainSpec().method.adapter, loss: "sigmoid", beta: 0.1, label_smoothing: 0 },
    });
    const rows = (await seen("preference", "&max_length=128")).data.flatMap(({ id, sequences }) =>
      sequences.flatMap(({ hashes }) => hashes.map((hash) => ({ row_id: id, hash }))),
    );
    // A short run reports its end before the pipeline compared anything.
    const state = async (reported: typeof rows, atEnd = false) => {
      const trainer = await makeTrainer(lab, { spec });
      cpSync(TINY_MODEL, baseModelDir(lab.ctx, "tiny"), { recursive: true }); // makeTrainer installs another model
      const first = { type: "first_batch", step: 1, rows: reported };
      if (atEnd) {
        const events = [first, { type: "finished", outcome: "succeeded" }].map((one, n) => ({
          ...one,
          seq: n + 1,
          at: lab.ctx.clock.now(),
        }));
        await trainer.call("POST", "/events", { body: { events } });
        return { ...(await lab.json<JobAfter>("GET", `/v1/jobs/${trainer.jobId}`)), refused: 410 };
      }
      await trainer.send([first]);
      const [job] = await lab.ctx.db.select().from(jobs).where(eq(jobs.id, trainer.jobId));
      const [which] = await lab.ctx.db.select().from(attempts).where(eq(attempts.id, trainer.attemptId));
      if (job && which) await compareFirstBatch(lab.ctx, job, which);
      const after = await lab.json<JobAfter>("GET", `/v1/jobs/${trainer.jobId}`);
      const refused = (await trainer.call("POST", "/events", { body: { events: [] } })).status;
      return { ...after, refused };
    };
    expect(rows.length).toBe(4);
    expect(await state(rows)).toMatchObject({
      state: "running",
      progress: { first_batch: { state: "same", rows: 2 } },
      refused: 200,
    });
    const swapped = rows.map((row, n) => (n === 2 ? { ...row, hash: rows[0]?.hash ?? "" } : row));
    for (const [reported, words] of [
      [swapped, /the tokens of row 2 are not those of the stored row/],
      [[{ ...rows[0], row_id: 9 }] as typeof rows, /a row 9 that the dataset does not contain/],
    ] as const) {
      for (const atEnd of [false, true]) {
        const job = await state(reported, atEnd);
        expect([job.state, job.error?.code, job.refused]).toEqual(["failed", "first_batch_differs", 410]);
        expect(job.error?.message).toMatch(words);
      }
    }
  });

  test("people take turns, and one who asks too often is refused with a reason", async () => {
    const path = `/v1/datasets/${datasets.chat.id}/seen?base_model=tiny`;
    const queue = lab.ctx.turns.inspection;
    const gate = Promise.withResolvers<void>();
    const order: string[] = [];
    const member = `${lab.orgs.a}/${lab.users.member}`;
    const many = Array.from({ length: 9 }, () =>
      queue.run(member, () => gate.promise.then(() => Bun.sleep(100))).then(() => order.push("member")),
    );
    const over = await lab.request("GET", path, { as: "member" });
    const { error } = (await over.json()) as { error: { code: string; message: string } };
    expect([over.status, error.code, over.headers.get("retry-after")]).toEqual([429, "inspection_busy", "5"]);
    expect(error.message).toBe(
      "Too many requests to show rows of yours are already waiting. Try again in a few seconds.",
    );
    const admins = lab.request("GET", path).then(({ status }) => order.push(`admin ${status}`));
    await until("the administrator waits", async () => queue.counts().waiting === 9);
    gate.resolve();
    await Promise.all([admins, ...many]);
    expect(order.slice(0, 2)).toEqual(["member", "admin 200"]);
  });

  test("nobody sees another organization's rows, and invalid queries name the field", async () => {
    const path = `/v1/datasets/${datasets.chat.id}/seen`;
    expect((await lab.request("GET", path, { as: "otherAdmin" })).status).toBe(404);
    for (const [query, status] of [
      ["max_length=4", 400],
      ["base_model=none", 400],
      ["limit=1000", 400],
      ["loss_on=some", 400],
    ] as const)
      expect([query, (await lab.request("GET", `${path}?${query}`)).status]).toEqual([query, status]);
  });
});
