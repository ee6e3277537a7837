/** Attempts with a fast clock and the real transitions, and what the ledger has of them. */

import { and, desc, eq, sql } from "drizzle-orm";
import { OWN_MACHINE } from "../../plugins/shared/own-machine.ts";
import { verifyLedger } from "../../src/billing/ledger/verify.ts";
import type { TrainerEvent } from "../../src/contract/trainer.ts";
import { attempt, job } from "../../src/db/schema/jobs.ts";
import { artifact } from "../../src/db/schema/models.ts";
import { newId } from "../../src/lib/ids.ts";
import { applyTrainerEvents } from "../../src/training/attempts/trainer-events.ts";
import type { EndReason } from "../../src/training/jobs/failures.ts";
import { attemptFailed, finishJob, jobIn, move, newestAttempt } from "../../src/training/jobs/transitions.ts";
import type { TestApp } from "./app.ts";
import { trainSpec } from "./attempt.ts";
import type { FakeClock } from "./clock.ts";

interface Made {
  gpus?: number;
  price?: number;
  kind?: "train" | "serve";
  id?: string;
  /** By default the administrator's, in the first organization. */
  org?: string;
  userId?: string;
  provider?: string;
}

/** A job and its attempt. */
export interface Launched {
  id: string;
  attemptId: string;
}

interface Seen {
  meter: string;
  begins: number;
  ms: number;
  quantity: number;
  free: string | null;
  micros: number;
}

/** What moves attempts of the application. */
export function metered(app: () => Pick<TestApp, "ctx" | "orgs" | "users">, clock: FakeClock) {
  const violations = async () =>
    (await verifyLedger(app().ctx.db)).flatMap(({ name, violations }) => violations.map((one) => `${name}: ${one}`));

  /** An attempt whose launch was just recorded; with an id, the next one of that job. */
  async function launched({ gpus = 2, price = 0, kind = "train", id = newId("trainJob"), ...more }: Made = {}) {
    const { org = app().orgs.a, userId = app().users.admin, provider = "cloud" } = more;
    const now = clock.now();
    const attemptId = newId("attempt");
    await app().ctx.write(async (tx) => {
      const [before] = await tx.select().from(job).where(eq(job.id, id));
      const number = (before?.attempts ?? 0) + 1;
      const spec = { ...trainSpec(), kind } as ReturnType<typeof trainSpec>;
      if (before) await tx.update(job).set({ state: "starting", attempts: number }).where(eq(job.id, id));
      else
        await tx.insert(job).values({
          id,
          org,
          kind,
          name: "test",
          state: "starting",
          spec,
          request: {},
          metadata: {},
          progress: {},
          attempts: 1,
          createdBy: userId,
          createdAt: now,
          queuedAt: now,
        });
      // As its trainer would ask for it.
      const [saved] = before
        ? await tx
            .select({ id: artifact.id })
            .from(artifact)
            .where(and(eq(artifact.jobId, id), eq(artifact.kind, "checkpoint"), eq(artifact.status, "complete")))
            .orderBy(desc(artifact.createdAt))
            .limit(1)
        : [];
      const { phase: _phase, ...progress } = before?.progress ?? {};
      await tx.update(job).set({ progress }).where(eq(job.id, id));
      await tx.insert(attempt).values({
        id: attemptId,
        org,
        jobId: id,
        number,
        state: "starting",
        provider,
        offer: {
          id: "o",
          location: "there",
          gpus,
          gpuName: "H100",
          gpuMemoryMb: 80_000,
          cpus: 8,
          memoryMb: 1000,
          ...OWN_MACHINE,
          market: price > 0 ? "on_demand" : "own",
          pricePerHour: price,
          startsInS: 0,
          available: true,
        },
        tokenHash: attemptId,
        resumedFrom: saved?.id ?? null,
        createdAt: now,
        startedAt: now,
      });
    });
    return { id, attemptId };
  }

  const send = (of: Launched, ...events: object[]) =>
    app().ctx.write((tx) =>
      applyTrainerEvents(
        app().ctx,
        tx,
        { id: of.attemptId, jobId: of.id },
        events.map((event) => ({ seq: 1, at: clock.now(), ...event })) as TrainerEvent[],
      ),
    );
  const phase = (of: Launched, name: string) => send(of, { type: "phase", phase: name, message: "" });
  const progress = (of: Launched, tokens: number) =>
    send(of, { type: "progress", step: 1, total_steps: 10, fraction: 0.1, eta_s: null, tokens_seen: tokens });
  const saved = (of: Launched, org = app().orgs.a) =>
    app().ctx.write((tx) =>
      tx.insert(artifact).values({
        id: newId("artifact"),
        org,
        jobId: of.id,
        attemptId: of.attemptId,
        kind: "checkpoint",
        step: 1,
        metrics: {},
        files: [],
        manifestHash: crypto.randomUUID(),
        bytes: 1,
        status: "complete",
        createdAt: clock.now(),
        completedAt: clock.now(),
      }),
    );
  async function fail(of: Launched, reason: EndReason) {
    await app().ctx.write(async (tx) => {
      const row = await jobIn(tx, of.id);
      const which = await newestAttempt(tx, of.id);
      if (row && which) await attemptFailed(tx, app().ctx, row, which, { reason, message: reason, retry: true });
    });
  }
  const finish = (of: Launched) =>
    app().ctx.write(async (tx) => {
      const row = await jobIn(tx, of.id);
      if (row) await finishJob(tx, app().ctx, row, { state: "succeeded" });
    });
  const moveTo = (of: Launched, state: "pausing" | "stopping") =>
    app().ctx.write(async (tx) => {
      const row = await jobIn(tx, of.id);
      if (row) await move(tx, app().ctx, row, state);
    });

  const rowsOf = (of: Launched, meter: string) =>
    app().ctx.db.all<Seen>(sql`select meter, cast(substr(source, length(attempt_id) + length(meter) + 3) as integer) as begins,
      to_ms - from_ms as ms, quantity, free_reason as free, micros from meter_interval
      where attempt_id = ${of.attemptId} and meter = ${meter} order by n`);
  const sumOf = async (id: string, meter: string) => {
    const [row] = await app().ctx.db.all<{ all: number; free: number; micros: number }>(
      sql`select coalesce(sum(quantity), 0) as "all", coalesce(sum(free), 0) as free, coalesce(sum(micros), 0) as micros
        from meter_interval where job_id = ${id} and meter = ${meter}`,
    );
    return row ?? { all: 0, free: 0, micros: 0 };
  };
  return { violations, launched, send, phase, progress, saved, fail, finish, moveTo, rowsOf, sumOf };
}
