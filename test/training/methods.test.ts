/**
 * Methods over HTTP: the default by row type, OpenAI's dpo and our own names, refused combinations of options, and runs
 * that continue from fine-tuned models.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { LoraSettings, RowType, TrainSpec } from "../../src/contract/spec.ts";
import { createLab, type Lab } from "../support/lab.ts";
import { until } from "../support/live.ts";

const user = { role: "user", content: "Who helps?" };
const says = (content: string) => ({ role: "assistant", content });
const LINES: Record<RowType, (i: number) => object> = {
  chat: (i) => ({ messages: [user, says(`answer ${i}`)] }),
  preference: (i) => ({
    input: { messages: [user] },
    preferred_output: [says(`good ${i}`)],
    non_preferred_output: [says(`bad ${i}`)],
  }),
  unpaired: (i) => ({ messages: [user, says(`answer ${i}`)], label: i % 2 === 0 }),
  prompt: (i) => ({ messages: [user], answer: `answer ${i}` }),
  text: (i) => ({ text: `Some plain text, number ${i}.` }),
};
const files = {} as Record<RowType, string>;
let lab: Lab;

interface Job {
  id: string;
  model: string;
  spec: TrainSpec;
  method: Record<string, unknown>;
}
interface Refusal {
  error: { message: string; param: string; code: string };
}
const create = (path: string, rows: RowType, extra: object) =>
  lab.request("POST", path, { body: { model: "tiny", training_file: files[rows], ...extra } });
const made = async (rows: RowType, extra: object = {}, path = "/v1/jobs") => {
  const answer = await create(path, rows, extra);
  expect([answer.status, answer.ok ? "" : await answer.clone().text()]).toEqual([200, ""]);
  const { id } = (await answer.json()) as Job;
  const job = await lab.json<Job>("GET", `/v1/jobs/${id}`);
  await lab.request("POST", `/v1/jobs/${id}/cancel`, { body: {} });
  return job;
};
const refusal = async (rows: RowType, extra: object, path = "/v1/jobs") => {
  const answer = await create(path, rows, extra);
  return { status: answer.status, ...((await answer.json()) as Refusal).error };
};

beforeAll(async () => {
  lab = await createLab();
  for (const [type, line] of Object.entries(LINES)) {
    const form = new FormData();
    form.set("purpose", "fine-tune");
    const text = Array.from({ length: 24 }, (_, i) => JSON.stringify(line(i + 1))).join("\n");
    form.set("file", new File([`${text}\n`], `${type}.jsonl`));
    const { id } = await lab.json<{ id: string }>("POST", "/v1/files", { raw: form });
    files[type as RowType] = id;
    await until(type, async () => (await lab.json("GET", `/v1/files/${id}`)).status === "processed", 45_000, 20);
  }
}, 60_000);
afterAll(() => lab.close());

describe("the method", () => {
  // Prompts are for GRPO, which cannot do without a grader: reinforcement.test.ts.
  const usual = { chat: "sft", preference: "dpo", unpaired: "kto", text: "pretrain" } as const;
  for (const [rows, method] of Object.entries(usual))
    test(`of ${rows} rows is ${method} unless another is named`, async () => {
      const { spec } = await made(rows as RowType);
      expect(spec.method.type).toBe(method);
      expect(spec.dataset.row_type ?? "chat").toBe(rows as RowType);
    });

  test("may be another one for the row type, with its own settings", async () => {
    const { spec } = await made("preference", { method: "orpo", beta: 0.4, dora: true, quantization: "nf4" });
    expect(spec.method).toMatchObject({ type: "orpo", beta: 0.4, quantization: "nf4", adapter: { dora: true } });
    const pairs = await made("preference", { method: "reward", center: 0.05 });
    expect(pairs.spec.method).toMatchObject({ type: "reward", center: 0.05 });
  });

  test.each([
    ["preference", { method: "sft" }, "method", "conversations"],
    ["chat", { method: "dpo" }, "method", "pairs"],
    ["text", { method: "kto" }, "method", "labeled preference data"],
    ["unpaired", { method: "pretrain" }, "method", "plain text"],
    ["preference", { packing: true }, "packing", "compares whole answers"],
    ["preference", { neftune_alpha: 5 }, "neftune_alpha", "reference"],
    ["preference", { label_smoothing: 0.1 }, "label_smoothing", "robust"],
    ["preference", { loss: "exo_pair", label_smoothing: 0 }, "label_smoothing", "above 0"],
    ["preference", { loss: "perfect" }, "loss", "Invalid"],
    ["preference", { beta: 0 }, "beta", "greater than 0"],
    ["chat", { beta: 0.1 }, "beta", "does not apply to the method 'sft'"],
    ["unpaired", { batch_size: 1 }, "batch_size", "at least 2"],
    ["chat", { adapter: "full", quantization: "nf4" }, "quantization", "frozen"],
    ["chat", { adapter: "full", lora_r: 8 }, "lora_r", "does not apply to full fine-tuning"],
    ["chat", { adapter: "full", rslora: true }, "rslora", "does not apply to full fine-tuning"],
    ["text", { adapter: "ia3" }, "adapter", "Invalid"],
    ["chat", { quantization: "fp4" }, "quantization", "Invalid"],
    ["chat", { early_stopping: 0 }, "early_stopping", "at least 1"],
    ["chat", { neftune_alpha: -1 }, "neftune_alpha", "greater than 0"],
    ["chat", { attention: "flash_attention_2" }, "attention", "GPUs only"],
    ["preference", { padding_free: true }, "padding_free", "for sft and pretrain"],
    ["chat", { padding_free: true, packing: true }, "padding_free", "almost no padding"],
    ["chat", { attention: "quick" }, "attention", "Invalid"],
    ["chat", { liger_kernel: true }, "liger_kernel", "GPUs only"],
    ["chat", { torch_compile: true }, "torch_compile", "On CPUs"],
  ] as [RowType, object, string, string][])(
    "of %s rows with %j is refused by field",
    async (rows, extra, param, says) => {
      const { status, message, ...answer } = await refusal(rows, extra);
      expect([status, answer.param]).toEqual([400, param]);
      expect(message).toContain(says);
    },
  );

  test("reads special tokens and refused rows as the request says; old and plain specs do not name them", async () => {
    const plain = await made("chat");
    expect(Object.keys(plain.spec)).not.toContain("data");
    const set = { special_tokens: "strip", on_template_error: "leave_out", reasoning: "mask" };
    expect((await made("preference", set)).spec.data).toEqual(set as TrainSpec["data"] & object);
    const ftl = await made("chat", { ftl: { special_tokens: "keep" } }, "/v1/fine_tuning/jobs");
    expect(ftl.spec.data).toEqual({ special_tokens: "keep" });
    expect(await refusal("chat", { special_tokens: "drop" })).toMatchObject({ status: 400, param: "special_tokens" });
  });

  test("needs validation rows of the same type", async () => {
    const answer = await refusal("chat", { validation_file: files.text });
    expect(answer).toMatchObject({ status: 400, param: "validation_file", code: "wrong_row_type" });
  });

  test("is resolved once the data is validated", async () => {
    const form = new FormData();
    form.set("purpose", "fine-tune");
    const text = Array.from({ length: 30_000 }, (_, i) => JSON.stringify(LINES.preference(i))).join("\n");
    form.set("file", new File([text], "many.jsonl"));
    const { id } = await lab.json<{ id: string }>("POST", "/v1/files", { raw: form });
    const job = await lab.json<Job>("POST", "/v1/jobs", {
      body: { model: "tiny", training_file: id, beta: 0.3, max_steps: 5 },
    });
    const settled = await until("the spec", async () => {
      const found = await lab.json<Job & { state: string }>("GET", `/v1/jobs/${job.id}`);
      return found.state === "validating" ? null : found;
    });
    expect(settled.spec.method).toMatchObject({ type: "dpo", beta: 0.3 });
    await lab.request("POST", `/v1/jobs/${job.id}/cancel`, { body: {} });
  });
});

describe("OpenAI's form", () => {
  const JOBS = "/v1/fine_tuning/jobs";
  test("dpo has beta among its hyperparameters, and returns the resolved ones", async () => {
    const hyperparameters = { beta: 0.2, n_epochs: 2, batch_size: 4, learning_rate_multiplier: 2 };
    const method = { type: "dpo", dpo: { hyperparameters } };
    const { id, spec } = await made("preference", { method }, JOBS);
    expect(spec.method).toMatchObject({ type: "dpo", beta: 0.2, loss: "sigmoid" });
    const shown = await lab.json<Job>("GET", `${JOBS}/${id}`);
    expect(shown.method).toEqual({ type: "dpo", dpo: { hyperparameters } });
  });

  interface Shown {
    hyperparameters: Record<"n_epochs" | "batch_size" | "learning_rate_multiplier", number>;
  }
  const sizes = { sft: "chat", pretrain: "text", dpo: "preference", orpo: "preference", reward: "preference" } as const;
  test.each([
    ...Object.entries({ ...sizes, kto: "unpaired" as const }).flatMap(([method, rows]) =>
      (["lora", "full"] as const).map((adapter) => [rows, method, adapter] as const),
    ),
  ])(
    "of %s rows with %s and adapter %s shows the numbers that are used, and they can be sent again",
    async (rows, method, adapter) => {
      const ftl = { method, adapter };
      for (const given of [{}, { n_epochs: 3, batch_size: 6, learning_rate_multiplier: 0.25 }]) {
        const { id, spec } = await made(rows, { hyperparameters: given, ftl }, JOBS);
        const { hyperparameters } = await lab.json<Shown>("GET", `${JOBS}/${id}`);
        expect(hyperparameters).toMatchObject({ learning_rate_multiplier: 1, ...given });
        const { n_epochs, batch_size, learning_rate } = spec.hyperparameters;
        expect(hyperparameters).toMatchObject({ n_epochs, batch_size });
        const { learning_rate_multiplier } = hyperparameters;
        const again = await made(
          rows,
          { hyperparameters: { n_epochs, batch_size, learning_rate_multiplier }, ftl },
          JOBS,
        );
        expect(again.spec.hyperparameters).toEqual(spec.hyperparameters);
        expect(learning_rate).toBe(again.spec.hyperparameters.learning_rate);
      }
    },
  );

  test("a learning rate beside a multiplier is refused, in either API, and names both", async () => {
    for (const [path, extra, param] of [
      [JOBS, { hyperparameters: { learning_rate_multiplier: 4 }, ftl: { learning_rate: 1e-4 } }, "hyperparameters."],
      [
        JOBS,
        {
          method: { type: "supervised", supervised: { hyperparameters: { learning_rate_multiplier: 4 } } },
          ftl: { learning_rate: 1e-4 },
        },
        "method.supervised.hyperparameters.",
      ],
      ["/v1/jobs", { learning_rate_multiplier: 4, learning_rate: 1e-4 }, ""],
    ] as const) {
      const answer = await refusal("chat", extra, path);
      expect([answer.status, answer.param]).toEqual([400, `${param}learning_rate_multiplier`]);
      expect(answer.message).toContain("'learning_rate_multiplier'");
      expect(answer.message).toContain("'learning_rate'");
    }
    // `auto` is no value of its own.
    const { spec } = await made("chat", { learning_rate_multiplier: "auto", learning_rate: 1e-4 });
    expect(spec.hyperparameters.learning_rate).toBe(1e-4);
  });

  test("other settings of a method are under ftl, and so are our own methods", async () => {
    const method = { type: "dpo", dpo: { hyperparameters: { beta: "auto" } } };
    const { spec } = await made("preference", { method, ftl: { loss: "ipo", quantization: "int8" } }, JOBS);
    expect(spec.method).toMatchObject({ type: "dpo", beta: 0.1, loss: "ipo", quantization: "int8" });
    const own = await made("unpaired", { ftl: { method: "kto", undesirable_weight: 1.5 } }, JOBS);
    const shown = await lab.json<Job>("GET", `${JOBS}/${own.id}`);
    expect(shown.method).toMatchObject({ type: "kto", kto: { hyperparameters: { beta: 0.1 } } });
  });

  test.each([
    ["preference", { method: { type: "supervised" } }, "method.type"],
    ["chat", { method: { type: "dpo", dpo: {} } }, "method.type"],
    [
      "preference",
      { method: { type: "dpo", dpo: { hyperparameters: { beta: 3 } } } },
      "method.dpo.hyperparameters.beta",
    ],
    [
      "preference",
      { method: { type: "dpo", dpo: { hyperparameters: { gamma: 3 } } } },
      "method.dpo.hyperparameters.gamma",
    ],
    ["preference", { method: { type: "dpo", dpo: { loss: "ipo" } } }, "method.dpo.loss"],
    ["chat", { method: { type: "reinforcement", reinforcement: {} } }, "method.reinforcement.grader"],
    ["preference", { ftl: { label_smoothing: 0.2 } }, "ftl.label_smoothing"],
  ] as [RowType, object, string][])("%s rows with %j are refused, naming the field", async (rows, extra, param) => {
    const answer = await refusal(rows, extra, JOBS);
    expect([answer.status, answer.param]).toEqual([400, param]);
  });
});

describe("a run that continues from a fine-tuned model", () => {
  test("keeps the adapter's shape, reads its files and protects them from pruning", async () => {
    const first = await lab.train("first", { lora_r: 4, lora_layers: 2 });
    await lab.reached(first, "succeeded");
    const { spec: before } = await lab.json<Job>("GET", `/v1/jobs/${first}`);
    const model = before.output_model;
    const checkpoints = await lab.json<{ data: { id: string }[] }>("GET", `/v1/jobs/${first}/checkpoints`);
    const { id, spec } = await made("chat", { model, lora_dropout: 0.1, suffix: "second" });
    expect(spec.start).toMatchObject({ model, checkpoint_id: checkpoints.data[0]?.id });
    expect(spec.base_model.id).toBe("tiny");
    expect(spec.method.adapter).toEqual({ ...before.method.adapter, dropout: 0.1 } as LoraSettings);
    const shown = await lab.json<Job>("GET", `/v1/fine_tuning/jobs/${id}`);
    expect(shown.model).toBe(model);
    expect(await refusal("chat", { model, lora_r: 8 })).toMatchObject({ status: 400, param: "lora_r" });
    const pairs = await made("preference", { model });
    expect(pairs.spec).toMatchObject({ method: { type: "dpo" }, start: { model } });
    const done = await lab.train("third", { model });
    await lab.reached(done, "succeeded");
  }, 60_000);

  test("needs an existing model of the same organization", async () => {
    expect(await refusal("chat", { model: "ft:tiny:org::nothing" })).toMatchObject({ status: 400, param: "model" });
  });
});
