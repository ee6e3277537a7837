/**
 * A whole lab in this process with real trainer processes: application, trainer socket, pipeline, and the fake trainer
 * in place of torch.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import { BUNDLED } from "../../plugins/index.ts";
import { createHost } from "../../src/compute/providers/host.ts";
import type { ConfigInput } from "../../src/config.ts";
import type { Provider } from "../../src/contract/provider.ts";
import type { Limits } from "../../src/contract/spec.ts";
import { job } from "../../src/db/schema/jobs.ts";
import type { Clock } from "../../src/lib/clock.ts";
import { type RunningServer, startServer } from "../../src/server.ts";
import type { AttemptRow, JobRow } from "../../src/training/jobs/model.ts";
import { listAttempts } from "../../src/training/jobs/service.ts";
import { getJob } from "../../src/training/jobs/store.ts";
import { type PipelineOptions, startPipeline } from "../../src/training/queue/pipeline.ts";
import { createTestApp, type TestApp } from "./app.ts";
import { chatLines } from "./datasets.ts";
import { until } from "./live.ts";
import { readyBase } from "./models.ts";

export interface Lab extends TestApp {
  provider: Provider;
  /** Address of the running server. */
  url(): string;
  /** A file with twenty training rows. */
  fileId: string;
  /** Stops pipeline and listeners, as a server that goes away; trainers go on. */
  goAway(): Promise<void>;
  /** A server that comes back and knows nothing but the data directory. */
  comeBack(): void;
  /** Creates a training job; `suffix` selects the behavior of the fake trainer. */
  train(suffix: string, request?: Record<string, unknown>): Promise<string>;
  /** Writes other timeouts into a job's frozen spec, which the API does not let anyone do. */
  setLimits(id: string, limits: Partial<Limits>): Promise<void>;
  job(id: string): Promise<JobRow>;
  attempts(id: string): Promise<AttemptRow[]>;
  /** Waits until the job is in one of `states`. */
  reached(id: string, ...states: JobRow["state"][]): Promise<JobRow>;
}

/** How often pipeline and tests look at jobs without a report of a change, in milliseconds; each takes CPU time. */
const LOOK_MS = 150;

/** Everything is on; close it at the end. */
export async function createLab(
  options: PipelineOptions & { trainSlots?: number; clock?: Clock; config?: ConfigInput } = {},
): Promise<Lab> {
  const python = Bun.which("python3");
  const plugin = await BUNDLED.process?.();
  if (!python || !plugin) throw new Error("python3 is needed");
  const app = await createTestApp({
    config: { train_slots: options.trainSlots ?? 2, ...options.config },
    ctx: options.clock ? { clock: options.clock } : {},
  });
  const { ctx } = app;
  const dir = join(import.meta.dir, "fake-trainer");
  const makeProvider = () =>
    plugin.create(
      createHost("process", ctx.files.path("process"), { ...ctx, trainer: async () => ({ python, dir }) }),
      { nice: 0 },
    );
  let provider = makeProvider();
  const registry = {
    get: (id: string) => (id === "process" ? { plugin, provider } : null),
    list: () => [{ plugin, provider }],
  };
  ctx.compute = registry;
  await readyBase(ctx);
  let server: RunningServer | null = null;
  let stopPipeline: (() => Promise<void>) | null = null;

  const comeBack = () => {
    provider = makeProvider();
    server = startServer(ctx, app.app);
    stopPipeline = startPipeline(ctx, { activeMs: LOOK_MS, idleMs: LOOK_MS, ...options });
  };
  const goAway = async () => {
    await stopPipeline?.();
    await server?.stop(0);
    stopPipeline = null;
    server = null;
  };
  comeBack();

  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", new File([`${chatLines(20).join("\n")}\n`], "rows.jsonl"));
  const { id: fileId } = await app.json<{ id: string }>("POST", "/v1/files", { raw: form });
  await until(
    "the file",
    async () => (await app.json("GET", `/v1/files/${fileId}`)).status === "processed",
    45_000,
    20,
  );

  const actor = app.actor("admin");
  /** Waits for the next change of a job, or a moment: the bus reports changes at once. */
  const nextChange = (id: string) =>
    new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        off();
        resolve();
      };
      const timer = setTimeout(done, LOOK_MS);
      const off = ctx.bus.on("job.changed", ({ jobId }) => {
        if (jobId === id) done();
      });
    });
  return {
    ...app,
    provider,
    url: () => server?.url ?? "",
    fileId,
    goAway,
    comeBack,
    async train(suffix, request = {}) {
      const body = { model: "tiny", training_file: fileId, suffix, max_steps: 20, save_every: 5, ...request };
      return (await app.json<{ id: string }>("POST", "/v1/jobs", { body })).id;
    },
    async setLimits(id, limits) {
      const { spec } = await getJob(ctx, actor, id);
      await ctx.write((tx) =>
        tx
          .update(job)
          .set({ spec: { ...spec, limits: { ...spec.limits, ...limits } } })
          .where(eq(job.id, id)),
      );
    },
    job: (id) => getJob(ctx, actor, id),
    attempts: (id) => listAttempts(ctx, actor, id),
    reached: (id, ...states) =>
      until(
        `job ${id} to be ${states.join(" or ")}`,
        async () => {
          const row = await getJob(ctx, actor, id);
          if (!states.includes(row.state) && ["failed", "succeeded", "cancelled"].includes(row.state))
            throw new Error(`the job is ${row.state}: ${row.error?.message}`);
          return states.includes(row.state) ? row : null;
        },
        30_000,
        () => nextChange(id),
      ),
    async close() {
      await goAway();
      for (const work of await provider.listOwned(ctx.installation))
        while (!(await provider.terminate(work.handle, { graceS: 0 })).gone) await Bun.sleep(20);
      await app.close();
      rmSync(app.dir, { recursive: true, force: true });
    },
  };
}
