/** Signed provenance: complete, verified without a server, and invalid after one changed byte. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import type { ArtifactOpened } from "../../src/contract/trainer.ts";
import { model } from "../../src/db/schema/models.ts";
import { sha256Hex } from "../../src/lib/ids.ts";
import { signatureProblem, signJson } from "../../src/lib/signed-json.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { makeTrainer, trainSpec } from "../support/attempt.ts";
import { PROGRAM } from "../support/program.ts";
import { safetensors } from "../support/safetensors.ts";

let t: TestApp;
let name: string;
let passport: Record<string, unknown>;
let text: string;

beforeAll(async () => {
  t = await createTestApp();
  const trainer = await makeTrainer(t, { spec: trainSpec() });
  const bytes = {
    "adapter_model.safetensors": safetensors({ a: [1, 2] }),
    "adapter_config.json": Buffer.from('{"r":4}'),
  };
  for (const kind of ["checkpoint", "adapter"]) {
    const files = Object.entries(bytes).map(([path, one]) => ({ path, size: one.byteLength, sha256: sha256Hex(one) }));
    const body = { kind, step: 10, metrics: { "eval/loss": 0.5 }, files };
    const { artifact_id: id } = await trainer.json<ArtifactOpened>("POST", "/artifacts", { body });
    for (const [path, one] of Object.entries(bytes))
      await trainer.call("PUT", `/artifacts/${id}/${path}?offset=0`, { raw: new Uint8Array(one) });
    await trainer.json("POST", `/artifacts/${id}/complete`, { body: {} });
  }
  const result = { steps: 10, train_loss: 0.1, eval_loss: 0.5, tokens_seen: 100, adapter_artifact: null };
  await trainer.send([
    { type: "result", result },
    { type: "finished", outcome: "succeeded" },
  ]);
  const [made] = await t.ctx.db.select().from(model).where(eq(model.jobId, trainer.jobId));
  name = encodeURIComponent(made?.id ?? "");
  text = await (await t.request("GET", `/v1/models/${name}/passport`)).text();
  passport = JSON.parse(text);
});
afterAll(() => t.close());

describe("the provenance of a model", () => {
  test("has base model, data, settings and the hashes of its files", () => {
    expect(passport).toMatchObject({
      object: "model.passport",
      installation: t.ctx.installation,
      base_model: { id: "tiny", hash: "h1" },
      dataset: { hash: "d1" },
      seed: 1,
      spec: { method: { type: "sft" } },
      checkpoint: { step: 10, metrics: { "eval/loss": 0.5 } },
      artifacts: [{ kind: "adapter", files: [{ path: "adapter_model.safetensors" }, { path: "adapter_config.json" }] }],
    });
  });

  test("is valid only with the installation's key", async () => {
    const { public_key } = await t.json<{ public_key: string }>("GET", "/v1/passport_key");
    expect(signatureProblem(passport, public_key)).toBeNull();
    expect(signatureProblem(passport, Buffer.alloc(32, 1).toString("base64"))).toBe("it was signed with another key");
  });

  test("is invalid after any byte is changed", () => {
    let tried = 0;
    const end = text.indexOf('"signature"');
    for (let at = 0; at < end; at += 7) {
      const changed = text.slice(0, at) + (text[at] === "1" ? "2" : "1") + text.slice(at + 1);
      let document: unknown;
      try {
        document = JSON.parse(changed);
      } catch {
        continue; // not valid JSON
      }
      expect([at, signatureProblem(document) === null]).toEqual([at, false]);
      tried++;
    }
    const { signature } = passport as { signature: { value: string } };
    const other = Buffer.from(signature.value, "base64");
    other[5] = (other[5] ?? 0) ^ 1;
    expect(
      signatureProblem({ ...passport, signature: { ...signature, value: other.toString("base64") } }),
    ).not.toBeNull();
    expect(tried).toBeGreaterThan(50);
  });

  test("is verified by the command line without a server", async () => {
    const file = join(t.ctx.files.root, "passport.json");
    const run = (path: string, ...more: string[]) => Bun.spawnSync([...PROGRAM, "passport", "verify", path, ...more]);
    writeFileSync(file, text);
    const good = run(file);
    expect([good.exitCode, good.stdout.toString()]).toEqual([0, expect.stringContaining("Valid: ft:tiny")]);
    writeFileSync(file, text.replace('"seed":1', '"seed":2'));
    const bad = run(file);
    expect([bad.exitCode, bad.stdout.toString()]).toEqual([1, expect.stringContaining("changed after it was signed")]);
    expect(run(join(t.ctx.files.root, "none.json")).exitCode).toBe(2);
    writeFileSync(file, JSON.stringify(signJson("a".repeat(32), "passport", { hello: "world" })));
    const other = run(file);
    expect([other.exitCode, other.stdout.toString()]).toEqual([1, expect.stringContaining("not the provenance of a")]);
  });

  test("the model card has the same facts", async () => {
    const answer = await t.request("GET", `/v1/models/${name}/card`);
    const card = await answer.text();
    expect(answer.headers.get("content-type")).toContain("text/markdown");
    // Nothing that would load, and no link: the base has no repository.
    expect(card).not.toContain("```");
    expect(card).not.toContain("base_model:");
    for (const word of [
      "library_name: peft",
      "imported from a directory and has no known",
      "| Method | sft |",
      "| Seed | 1 |",
      "`d1`",
      "license: apache-2.0",
    ])
      expect(card).toContain(word);
  });

  test("other organizations and base models have none", async () => {
    expect((await t.request("GET", `/v1/models/${name}/passport`, { as: "otherAdmin" })).status).toBe(404);
    expect((await t.request("GET", "/v1/models/tiny/passport")).status).toBe(400);
  });
});
