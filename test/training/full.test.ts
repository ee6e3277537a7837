/**
 * Full fine-tuning through a running server: the full model is listed, evaluated, served, chats under its name next to
 * its base, and starts another run.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { EvaluateResult, ServeSpec, TrainSpec } from "../../src/contract/spec.ts";
import { type Live, startLive, trainerMissing, until } from "../support/live.ts";
import { importTinyModel, trainingLines } from "../support/tiny.ts";

interface JobView {
  id: string;
  state: string;
  kind: string;
  model: string | null;
  spec: Pick<TrainSpec, "method" | "start"> & Pick<ServeSpec, "adapters" | "whole">;
}
interface Lineage {
  artifacts: { id: string; kind: string; files: { path: string; size: number }[] }[];
  evaluations: { result: EvaluateResult | null }[];
  deployments: { model: string; state: string }[];
}
interface ExportView {
  id: string;
  state: string;
  fidelity: { stop_tokens_same: boolean } | null;
}
interface Chat {
  model: string;
  choices: { message: { content: string } }[];
}

describe.skipIf(trainerMissing !== null)("a full fine-tuned model", () => {
  let live: Live;
  let file = "";
  let model = "";
  let further = "";

  const finished = (id: string) =>
    until(
      "the run",
      async () => {
        const now = await live.call<JobView>("GET", `/v1/jobs/${id}`);
        if (["failed", "cancelled"].includes(now.state)) throw new Error(`${now.state}: ${live.log()}`);
        return now.state === "succeeded" ? now : null;
      },
      120_000,
    );
  const train = async (body: Record<string, unknown>) => {
    const { id } = await live.call<{ id: string }>("POST", "/v1/jobs", {
      model: "tiny",
      training_file: file,
      max_steps: 20,
      batch_size: 8,
      learning_rate: 3e-3,
      ...body,
    });
    return finished(id);
  };
  const lineage = () => live.call<Lineage>("GET", `/v1/models/${encodeURIComponent(model)}/lineage`);
  const says = async (name: string) => {
    const messages = [{ role: "user", content: "number 1" }];
    const body = { model: name, messages, max_tokens: 12, temperature: 0 };
    const answer = await until(
      `an answer of ${name}`,
      () => live.call<Chat>("POST", "/v1/chat/completions", body).catch(() => null),
      60_000,
    );
    return answer.choices[0]?.message.content ?? "";
  };

  beforeAll(async () => {
    live = await startLive();
    await importTinyModel(live);
    const form = new FormData();
    form.set("purpose", "fine-tune");
    form.set("file", new File([trainingLines(40)], "rows.jsonl"));
    const headers = { authorization: `Bearer ${live.key}` };
    const sent = await fetch(`${live.url}/v1/files`, { method: "POST", body: form, headers });
    file = ((await sent.json()) as { id: string }).id;
  }, 60_000);
  afterAll(() => live.close());

  test("is listed with the files of a full model", async () => {
    const job = await train({ adapter: "full", precision: "float32", evaluate_after: true });
    expect(job.spec.method.adapter).toEqual({ type: "full" });
    model = job.model ?? "";
    const { artifacts } = await lineage();
    const whole = artifacts.find((one) => one.kind === "model");
    const names = whole?.files.map(({ path }) => path) ?? [];
    expect(names).toContain("model.safetensors");
    expect(names).toContain("config.json");
    expect(names).toContain("tokenizer.json");
    const path = `/v1/models/${encodeURIComponent(model)}/passport`;
    const provenance = JSON.stringify(await live.call("GET", path));
    expect(provenance).toContain(whole?.id ?? "no model");
    const { data } = await live.call<{ data: { id: string }[] }>("GET", "/v1/models");
    expect(data.map(({ id }) => id)).toContain(model);
  }, 150_000);

  test("is evaluated next to its base", async () => {
    const result = await until("the evaluation", async () => (await lineage()).evaluations[0]?.result, 90_000);
    expect(result.tuned?.loss.mean).toBeLessThan(result.base.loss.mean - 1);
  }, 100_000);

  test("answers under its own name, and so does its base", async () => {
    const tuned = await says(model);
    const base = await says("tiny");
    expect(tuned).not.toBe(base);
    const { data } = await live.call<{ data: JobView[] }>("GET", "/v1/jobs?kind=serve");
    const specs = data.map(({ spec }) => spec);
    expect(specs.find(({ whole }) => whole)).toMatchObject({ adapters: [], whole: { name: model } });
    expect(specs.filter(({ whole }) => !whole)).toHaveLength(1);
  }, 130_000);

  test("is continued by another run, which gives a full model as well", async () => {
    const job = await train({ model, max_steps: 2, precision: "bfloat16", evaluate_after: false });
    further = job.model ?? "";
    expect(job.spec.start?.model).toBe(model);
    expect(job.spec.method.adapter).toEqual({ type: "full" });
    const begun = { model, training_file: file };
    await expect(live.call("POST", "/v1/jobs", { ...begun, adapter: "lora" })).rejects.toThrow("full fine-tuned model");
    await expect(live.call("POST", "/v1/jobs", { ...begun, lora_r: 8 })).rejects.toThrow("lora_r");
  }, 130_000);

  test("is promoted to a base model, on which adapters are trained", async () => {
    const asked = { source: "tuned", model, id: "tiny-whole" };
    await live.call("POST", "/v1/base_models/import", asked);
    const base = await until(
      "the base model",
      async () => {
        const now = await live.call<{ status: string; error: string | null; source: object }>(
          "GET",
          "/v1/base_models/tiny-whole",
        );
        if (now.status === "failed") throw new Error(now.error ?? "failed");
        return now.status === "ready" ? now : null;
      },
      30_000,
    );
    expect(base.source).toMatchObject({ kind: "tuned", reference: model });
    const job = await train({ model: "tiny-whole", max_steps: 2 });
    expect(job.spec.method.adapter.type).toBe("lora");
    const adapter = { ...asked, model: job.model ?? "", id: "other" };
    await expect(live.call("POST", "/v1/base_models/import", adapter)).rejects.toThrow("merged safetensors");
    const path = `/v1/models/${encodeURIComponent(job.model ?? "")}/exports`;
    await finished((await live.call<{ id: string }>("POST", path, { format: "safetensors" })).id);
    await live.call("POST", "/v1/base_models/import", adapter);
  }, 130_000);

  test("is exported as GGUF, and as safetensors only when they differ from its own files", async () => {
    const path = `/v1/models/${encodeURIComponent(model)}/exports`;
    await expect(live.call("POST", path, { format: "safetensors" })).rejects.toThrow("full fine-tuned model");
    const { id } = await live.call<{ id: string }>("POST", path, { format: "gguf-q8_0" });
    await finished(id);
    const { data } = await live.call<{ data: ExportView[] }>("GET", path);
    expect(data).toMatchObject([{ id, state: "succeeded", fidelity: { stop_tokens_same: true } }]);
    const halves = `/v1/models/${encodeURIComponent(further)}/exports`;
    const half = await live.call<{ id: string }>("POST", halves, { format: "safetensors" });
    await finished(half.id);
  }, 130_000);
});
