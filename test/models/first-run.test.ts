/** Training jobs on base models of the catalog that are not installed yet, over HTTP against a hub on this machine. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { recoverInstalls } from "../../src/models/base/install.ts";
import { startPipeline } from "../../src/training/queue/pipeline.ts";
import { createTestApp, type TestApp, type TestAppOptions } from "../support/app.ts";
import { chatLines } from "../support/datasets.ts";
import { until } from "../support/live.ts";
import { MODEL_FILES, safetensors, writeModel } from "../support/models.ts";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const REPO = "HuggingFaceTB/SmolLM2-360M-Instruct";
const MODEL = "smollm2-360m-instruct";
const DEFAULT = "smollm2-135m-instruct";
const big = safetensors({ weight: { dtype: "F32", shape: [100_000], data_offsets: [0, 400_000] } }, 400_000);
const sha256 = (bytes: Uint8Array) => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");

/** Holds the second half of the weights until it is resolved. */
let half = Promise.withResolvers<void>();
let wrongHash = false;

const hub = Bun.serve({
  port: 0,
  idleTimeout: 60,
  hostname: "127.0.0.1",
  fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === `/api/models/${REPO}/revision/main`)
      return Response.json({
        sha: COMMIT,
        siblings: [
          ...["config.json", "tokenizer.json", "tokenizer_config.json"].map((rfilename) => ({
            rfilename,
            size: String(MODEL_FILES[rfilename]).length,
          })),
          {
            rfilename: "model.safetensors",
            size: big.length,
            lfs: { sha256: wrongHash ? "0".repeat(64) : sha256(big), size: big.length },
          },
        ],
      });
    const name = pathname.split("/").at(-1) ?? "";
    if (name === "model.safetensors")
      return new Response(
        new ReadableStream({
          async start(controller) {
            controller.enqueue(big.slice(0, 200_000));
            await half.promise;
            controller.enqueue(big.slice(200_000));
            controller.close();
          },
        }),
      );
    const content = MODEL_FILES[name];
    return content === undefined ? new Response("no", { status: 404 }) : new Response(content);
  },
});

interface Lab extends TestApp {
  fileId: string;
}
const labs: (() => Promise<void>)[] = [];
let prepared = "";

/** An application with its pipeline, and a file with 40 rows. */
async function lab(config: TestAppOptions["config"] = {}): Promise<Lab> {
  const app = await createTestApp({
    // Without a slot nothing starts: jobs stay queued.
    config: { hub_url: `http://127.0.0.1:${hub.port}`, train_slots: 0, ...config },
  });
  const stop = startPipeline(app.ctx, { activeMs: 150, idleMs: 150 });
  labs.push(async () => {
    half.resolve();
    await stop();
    await app.close();
  });
  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", new File([`${chatLines(40).join("\n")}\n`], "rows.jsonl"));
  const { id } = await app.json<{ id: string }>("POST", "/v1/files", { raw: form });
  await until("the file", async () => (await app.json("GET", `/v1/files/${id}`)).status === "processed", 45_000, 20);
  return { ...app, fileId: id };
}

type Job = {
  id: string;
  state: string;
  progress: { waiting?: string };
  error: { code: string; message: string; advice: string | null; param: string | null } | null;
  spec: { base_model: { hash: string; revision: string; parameters: number } };
};
type Refusal = { error: { code: string; message: string; param: string } };

const jobIs = (t: Lab, id: string, done: (job: Job) => boolean, what: string) =>
  until(
    what,
    async () => {
      const job = await t.json<Job>("GET", `/v1/jobs/${id}`);
      if (job.state === "failed" && !done(job)) throw new Error(job.error?.message);
      return done(job) ? job : null;
    },
    45_000,
    20,
  );
const eventsOf = async (t: Lab, id: string) =>
  (await t.json<{ data: { message: string }[] }>("GET", `/v1/fine_tuning/jobs/${id}/events?limit=100`)).data
    .map((one) => one.message)
    .reverse();

beforeAll(() => {
  const dir = mkdtempSync(join(tmpdir(), "ftl-first-run-"));
  prepared = dir;
  writeModel(join(dir, DEFAULT));
});
beforeEach(() => {
  half = Promise.withResolvers();
  wrongHash = false;
});
afterAll(async () => {
  for (const close of labs) await close();
  await hub.stop(true);
  rmSync(prepared, { recursive: true, force: true });
});

describe("a job on a model of the catalog that is not installed", () => {
  test.each([
    ["/v1/fine_tuning/jobs", { model: DEFAULT }],
    ["/v1/jobs", { model: DEFAULT, evaluate_after: false }],
    ["/v1/jobs", { model: "HuggingFaceTB/SmolLM2-135M-Instruct" }],
  ])("created with %s %o as a member: installs the model, then is queued with its hash", async (path, body) => {
    const t = await lab({ prepared_models: prepared });
    const made = await t.json<{ id: string }>("POST", path, {
      as: "member",
      body: { ...body, training_file: t.fileId },
    });
    const job = await jobIs(t, made.id, ({ state }) => state === "queued", "the job to be queued");
    const base = await t.json("GET", `/v1/base_models/${DEFAULT}`);
    expect(base).toMatchObject({ status: "ready" });
    expect(job.spec.base_model).toMatchObject({ hash: base.hash, revision: "local", parameters: 6 });
    expect(job.progress.waiting ?? "").not.toContain("Installing");
    const events = await eventsOf(t, made.id);
    expect(events[1]).toBe(`Installing base model ${DEFAULT}`);
    expect(events.slice(-2)).toEqual([
      `Base model ${DEFAULT} installed`,
      "Data validated: 36 training rows; the job is queued",
    ]);
  });

  test("the form of a new installation has the included model chosen, and starts a job that installs it", async () => {
    const t = await lab({ prepared_models: prepared });
    const headers = { accept: "text/html" };
    const page = await (await t.request("GET", "/jobs/new", { headers })).text();
    expect(page).toMatch(new RegExp(`<input type="radio" name="model" value="${DEFAULT}" checked`));
    expect(page.split(`value="${DEFAULT}"`)).toHaveLength(2);
    expect(page).toContain("The job installs the chosen one first.");
    expect(page).toContain(`${DEFAULT} is not installed yet: the job installs it first.`);
    const data = /<option value="(ds_[^"]+)" selected/.exec(page)?.[1] ?? "";
    const started = await t.request("POST", "/jobs", { form: { data, model: DEFAULT }, headers });
    const id = started.headers.get("location")?.split("/").at(-1) ?? "";
    await jobIs(t, id, ({ state }) => state === "queued", "the job to be queued");
  });

  test("shows the progress of the install in the job, its events, its page and other plans", async () => {
    const t = await lab();
    const plan = () =>
      t.json<{ ready: boolean; steps: number; warnings: string[]; spec: Job["spec"] }>("POST", "/v1/jobs/plan", {
        body: { model: MODEL, training_file: t.fileId },
      });
    const before = await plan();
    expect(before).toMatchObject({
      ready: true,
      spec: { base_model: { parameters: 361821120, context_length: 8192 } },
    });
    expect(before.steps).toBeGreaterThan(0);
    expect(before.warnings).toContain(`${MODEL} is not installed yet: the job installs it first.`);

    const made = await t.json<Job>("POST", "/v1/jobs", { body: { model: MODEL, training_file: t.fileId } });
    expect(made).toMatchObject({ state: "validating", progress: { waiting: `Installing base model ${MODEL}` } });
    const halfWay = new RegExp(`^Installing base model ${MODEL}: Downloading model.safetensors … 50%$`);
    const job = await jobIs(t, made.id, ({ progress }) => halfWay.test(progress.waiting ?? ""), "half of the download");
    expect(await eventsOf(t, made.id)).toContain(job.progress.waiting ?? "");
    expect((await plan()).warnings).toContain(`${job.progress.waiting}. The job starts afterwards.`);
    const page = await (await t.request("GET", `/jobs/${made.id}`, { headers: { accept: "text/html" } })).text();
    expect(page).toContain(job.progress.waiting ?? "");
    expect(await t.json("GET", `/v1/fine_tuning/jobs/${made.id}`)).toMatchObject({ status: "validating_files" });

    half.resolve();
    const queued = await jobIs(t, made.id, ({ state }) => state === "queued", "the job to be queued");
    expect(queued.spec.base_model.revision).toBe(COMMIT);
  });

  test("fails with the reason and advice when the install fails; a new job tries again", async () => {
    const t = await lab();
    half.resolve();
    wrongHash = true;
    const body = { model: MODEL, training_file: t.fileId };
    const { id } = await t.json<Job>("POST", "/v1/jobs", { body });
    const failed = await jobIs(t, id, ({ state }) => state === "failed", "the job to fail");
    expect(failed.error).toMatchObject({ code: "model_not_installed", param: "model" });
    expect(failed.error?.message).toBe(
      `The base model ${MODEL} could not be installed: model.safetensors does not match the size or hash that the hub lists; try again.`,
    );
    expect(failed.error?.advice).toContain("Run the job again to retry the installation");
    wrongHash = false;
    const again = await t.json<Job>("POST", `/v1/jobs/${id}/rerun`, { body: {} });
    await jobIs(t, again.id, ({ state }) => state === "queued", "the second job to be queued");
  });

  test("continues after a restart of the server, which interrupted the install", async () => {
    const t = await lab();
    const { id } = await t.json<Job>("POST", "/v1/jobs", { body: { model: MODEL, training_file: t.fileId } });
    await jobIs(t, id, ({ progress }) => /50%/.test(progress.waiting ?? ""), "half of the download");
    half.resolve();
    await recoverInstalls(t.ctx);
    await jobIs(t, id, ({ state }) => state === "queued", "the job to be queued");
  });

  test("is canceled while the model is being installed", async () => {
    const t = await lab();
    const { id } = await t.json<Job>("POST", "/v1/jobs", { body: { model: MODEL, training_file: t.fileId } });
    expect(await t.json("POST", `/v1/jobs/${id}/cancel`)).toMatchObject({ state: "cancelled" });
  });
});

describe("is refused with the next step, without a job", () => {
  const refused = async (t: Lab, as: "admin" | "member", model: string) => {
    const body = { model, training_file: t.fileId };
    for (const path of ["/v1/jobs/plan", "/v1/jobs", "/v1/fine_tuning/jobs"]) {
      const answer = await t.request("POST", path, { as, body });
      const { error } = (await answer.json()) as Refusal;
      expect([path, answer.status, error.code, error.param]).toEqual([path, 400, "model_not_installed", "model"]);
      if (path === "/v1/fine_tuning/jobs") return error.message;
    }
    throw new Error("unreachable");
  };

  test("without a hub: names the settings and the import", async () => {
    const t = await lab({ hub_url: "" });
    expect(await refused(t, "admin", MODEL)).toBe(
      `${MODEL} is not installed, and this installation does not use a hub (hub_url is empty). Import the model from a local directory on the Models page, or set prepared_models to a directory that has ${MODEL}.`,
    );
    expect((await t.json<{ data: unknown[] }>("GET", "/v1/jobs")).data).toEqual([]);
  });

  test("when only an administrator may download it", async () => {
    const t = await lab();
    expect(await refused(t, "member", MODEL)).toBe(
      `${MODEL} is not installed, and only administrators download models from the hub. Ask one to install it on the Models page.`,
    );
  });

  test("when its license has to be accepted", async () => {
    const t = await lab();
    const message = await refused(t, "admin", "llama-3.2-1b-instruct");
    expect(message).toContain("llama-3.2-1b-instruct is not installed");
    expect(message).toContain("POST /v1/base_models/llama-3.2-1b-instruct/license");
  });

  test("when the hub cannot be reached: 400, which clients do not repeat", async () => {
    const t = await lab({ hub_url: "http://127.0.0.1:1" });
    const answer = await t.request("POST", "/v1/fine_tuning/jobs", { body: { model: MODEL, training_file: t.fileId } });
    const { error } = (await answer.json()) as Refusal;
    expect([answer.status, error.code, error.param]).toEqual([400, "model_not_installed", "model"]);
    expect(error.message).toContain("127.0.0.1:1 could not be reached");
    expect((await t.json<{ data: unknown[] }>("GET", "/v1/jobs")).data).toEqual([]);
  });
});
