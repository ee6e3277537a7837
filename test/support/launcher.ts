/** Launches the engines of serve jobs in tests, without processes. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { and, eq, inArray } from "drizzle-orm";
import type { ServeSpec } from "../../src/contract/spec.ts";
import { job } from "../../src/db/schema/jobs.ts";
import type { TestApp } from "./app.ts";
import { startEngine, type TestEngine } from "./engine.ts";
import { insertAttempt } from "./models.ts";

/**
 * Stands in for pipeline, provider and trainer: starts an engine for a queued serve job, ends one that is being
 * stopped.
 */
export interface Launcher {
  engines: Map<string, TestEngine>;
  started: number;
  /** Queued jobs stay queued. */
  hold: boolean;
  /** Jobs fail immediately. */
  broken: boolean;
  kill(jobId: string, noticed: boolean): Promise<void>;
  close(): Promise<void>;
}

export function startLauncher(app: TestApp): Launcher {
  const dir = mkdtempSync(join(tmpdir(), "ftl-launch-"));
  const set = (id: string, values: Partial<typeof job.$inferInsert>) =>
    app.ctx.write((tx) => tx.update(job).set(values).where(eq(job.id, id)));
  const publish = (id: string, state: string) =>
    app.ctx.bus.emit("job.changed", { org: app.orgs.a, jobId: id, kind: "serve", state });
  const it: Launcher = {
    engines: new Map(),
    started: 0,
    hold: false,
    broken: false,
    async kill(jobId, noticed) {
      await it.engines.get(jobId)?.stop();
      it.engines.delete(jobId);
      if (!noticed) return;
      const error = { code: "killed", message: "The process was killed.", advice: null, param: null, detail: null };
      await set(jobId, { state: "failed", error });
      publish(jobId, "failed");
    },
    async close() {
      clearInterval(timer);
      for (const engine of it.engines.values()) await engine.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
  let busy = false;
  const look = async () => {
    if (busy || app.ctx.signal.aborted) return;
    busy = true;
    const rows = await app.ctx.db
      .select()
      .from(job)
      .where(and(eq(job.kind, "serve"), inArray(job.state, ["queued", "stopping"])));
    for (const row of rows) {
      if (row.state === "stopping") {
        await it.engines.get(row.id)?.stop();
        it.engines.delete(row.id);
        await set(row.id, { state: "cancelled" });
        publish(row.id, "cancelled");
      } else if (it.broken) {
        it.started++;
        const error = {
          code: "model_load",
          message: "The weights are damaged.",
          advice: null,
          param: null,
          detail: null,
        };
        await set(row.id, { state: "failed", error });
        publish(row.id, "failed");
      } else if (!it.hold) {
        it.started++;
        const engine = startEngine(join(dir, `${row.id}.sock`));
        it.engines.set(row.id, engine);
        const models = [row.spec.base_model.id, ...(row.spec as ServeSpec).adapters.map((one) => one.name)];
        await insertAttempt(app.ctx, row.id, { socketDir: dir });
        await set(row.id, { state: "running", progress: { address: engine.address, models } });
        app.ctx.bus.emit("job.ready", { org: row.org, jobId: row.id, address: engine.address, models });
      }
    }
    busy = false;
  };
  const timer = setInterval(() => void look(), 15);
  return it;
}
