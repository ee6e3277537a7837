/**
 * Exports with a real trainer: a fine-tuned model is exported, compared, listed, downloaded and deleted; what cannot be
 * exported is refused with the reason.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { ExportView } from "../../src/training/exports/model.ts";
import { type Live, startLive, trainerMissing, until } from "../support/live.ts";
import { importTinyModel, trainingLines } from "../support/tiny.ts";

let live: Live;
let model: string;
const path = () => `/v1/models/${encodeURIComponent(model)}/exports`;

const ended = (id: string) =>
  until(
    "the export to end",
    async () => {
      const now = await live.call<ExportView>("GET", `/v1/exports/${id}`);
      return ["succeeded", "failed", "cancelled"].includes(now.state) ? now : null;
    },
    120_000,
  );
const request = (method: string, address: string, body?: unknown) =>
  fetch(live.url + address, {
    method,
    headers: { authorization: `Bearer ${live.key}`, "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
const refusal = async (method: string, address: string, body?: unknown) => {
  const answer = await request(method, address, body);
  const { error } = (await answer.json()) as { error: { code: string; param: string | null } };
  return [answer.status, error.code, error.param];
};

describe.skipIf(trainerMissing !== null)(`exports${trainerMissing ? ` (skipped: ${trainerMissing})` : ""}`, () => {
  beforeAll(async () => {
    live = await startLive();
    await importTinyModel(live);
    const form = new FormData();
    form.set("purpose", "fine-tune");
    form.set("file", new File([trainingLines(60)], "bank.jsonl"));
    const headers = { authorization: `Bearer ${live.key}` };
    const answer = await fetch(`${live.url}/v1/files`, { method: "POST", body: form, headers });
    const { id: file } = (await answer.json()) as { id: string };
    const body = { model: "tiny", training_file: file, max_steps: 4, batch_size: 4, evaluate_after: false };
    const { id } = await live.call<{ id: string }>("POST", "/v1/jobs", body);
    const done = await until(
      "the training",
      async () => {
        const job = await live.call<{ state: string; model: string | null }>("GET", `/v1/jobs/${id}`);
        return ["succeeded", "failed"].includes(job.state) ? job : null;
      },
      120_000,
    );
    model = done.model ?? "";
  }, 180_000);
  afterAll(() => live?.close());

  for (const [format, names] of [
    ["safetensors", ["README.md", "config.json", "model.safetensors", "tokenizer.json"]],
    ["gguf-q8_0", ["README.md", "model-q8_0.gguf"]],
  ] as const)
    test(`a fine-tuned model as ${format} is compared, listed and downloaded`, async () => {
      const begun = await live.call<ExportView>("POST", path(), { format });
      expect(begun).toMatchObject({ object: "model.export", model, format, fidelity: null });
      expect(await refusal("POST", path(), { format })).toEqual([409, "export_exists", "format"]);
      const made = await ended(begun.id);
      expect([made.state, made.error]).toEqual(["succeeded", null]);
      expect(made.files.map((file) => file.path)).toEqual(expect.arrayContaining([...names]));
      expect(made.fidelity).toMatchObject({ tokens_same: true, stop_tokens_same: true, template_same: true });
      expect(made.fidelity?.kl_mean).toBeLessThan(made.limits.kl_mean);
      for (const file of made.files) {
        const bytes = await (await request("GET", file.url)).arrayBuffer();
        expect([file.path, bytes.byteLength]).toEqual([file.path, file.size]);
        expect(new Bun.CryptoHasher("sha256").update(bytes).digest("hex")).toBe(file.sha256);
        if (file.path !== "README.md") continue;
        const card = new TextDecoder().decode(bytes);
        const use = format === "safetensors" ? "AutoModelForCausalLM.from_pretrained" : "llama.cpp, Ollama";
        for (const words of ["license: apache-2.0", `# ${model}`, "imported from a directory", use, "| Steps | 4 |"])
          expect(card).toContain(words);
      }
    }, 180_000);

  test("an export is deleted with its files, and can be created again", async () => {
    const { data } = await live.call<{ data: ExportView[] }>("GET", path());
    expect(data.map((one) => one.format).sort()).toEqual(["gguf-q8_0", "safetensors"]);
    const gone = data.find((one) => one.format === "safetensors") as ExportView;
    expect((await request("DELETE", `/v1/exports/${gone.id}`)).status).toBe(200);
    expect((await request("GET", gone.files[0]?.url ?? "")).status).toBe(404);
    const left = await live.call<{ data: ExportView[] }>("GET", path());
    expect(left.data.map((one) => one.format)).toEqual(["gguf-q8_0"]);
  });

  test("what cannot be exported is refused with the reason", async () => {
    expect(await refusal("POST", path(), { format: "exe" })).toEqual([400, "invalid_type", "format"]);
    if (!Bun.which("llama-quantize"))
      expect(await refusal("POST", path(), { format: "gguf-q4_k_m" })).toEqual([400, "no_quantizer", "format"]);
    expect(await refusal("POST", "/v1/models/tiny/exports", { format: "gguf-f16" })).toEqual([
      400,
      "not_tuned",
      "model",
    ]);
    expect((await refusal("GET", "/v1/models/ft:none/exports"))[0]).toBe(404);
    expect((await refusal("GET", "/v1/exports/none"))[0]).toBe(404);
  });
});
