/**
 * A server that rents machines at the fake clouds: queue, supervisor, sweep, metering and the bundled plugins as they
 * are, on a virtual clock that a test moves. What the cloud knows is compared with the database at the end.
 */
import { eq, inArray } from "drizzle-orm";
import { createHost } from "../../../src/compute/providers/host.ts";
import type { Provider } from "../../../src/contract/provider.ts";
import type { Limits, Need } from "../../../src/contract/spec.ts";
import { attempt, job } from "../../../src/db/schema/jobs.ts";
import { newId } from "../../../src/lib/ids.ts";
import { createInTurn } from "../../../src/lib/in-turn.ts";
import { meterRunning } from "../../../src/training/attempts/meter.ts";
import { sweepOrphans } from "../../../src/training/attempts/orphans.ts";
import {
  expireQueued,
  liveAttempts,
  type SupervisorState,
  superviseAttempt,
} from "../../../src/training/attempts/supervise.ts";
import type { JobRow } from "../../../src/training/jobs/model.ts";
import { openQueue, runQueue } from "../../../src/training/queue/runner.ts";
import { createTestApp, type TestApp } from "../../support/app.ts";
import { createInputs, trainSpec } from "../../support/attempt.ts";
import { type VirtualClock, virtualClock } from "../../support/fake-cloud/clock.ts";
import { FakeCloud } from "../../support/fake-cloud/core.ts";
import { NEED } from "../../support/fake-cloud/lab.ts";
import { fetchOf } from "../../support/fake-cloud/server.ts";
import { VENDORS } from "../../support/fake-cloud/vendors.ts";
import { type Manners, RemoteTrainer } from "./remote-trainer.ts";

/** Between two looks of the server at everything, as in its pipeline: also the sweep's interval. */
export const STEP_MS = 5000;
const ORPHAN_GRACE_MS = 30_000;
/** Machines boot within a few steps: longer boots show nothing more. */
const BOOT_MS = 20_000;
const MOST_STEPS = 600;

class Killed extends Error {}

/** A fail point of the server. */
export type Killing = Parameters<TestApp["ctx"]["failPoint"]>[0];

/** An application for all rows of a file, on a virtual clock. Close it at the end. */
export async function remoteApp(): Promise<{ app: TestApp; clock: VirtualClock }> {
  const clock = virtualClock(Date.now());
  const app = await createTestApp({
    config: { trainer_url: "https://lab.example.com", trainer_probe: false, first_contact_s: 60 },
    ctx: { clock },
  });
  await createInputs(app);
  return { app, clock };
}

export class World {
  readonly clouds: Record<string, FakeCloud> = {};
  readonly trainers: RemoteTrainer[] = [];
  readonly jobs: string[] = [];
  readonly manners: Manners = { mute: false, endless: false };
  /** The server runs. */
  up = true;
  /** Trainers reach the server. */
  connected = true;
  restarts = 0;
  /** The last interval of the ledger before the row. */
  ledgerFrom = 0;
  private supervisor: SupervisorState;
  private queue: ReturnType<typeof openQueue>;

  constructor(
    readonly app: TestApp,
    readonly clock: VirtualClock,
    /** The vendor of the row; others are there when `more` names them. */
    readonly vendor: string,
    private readonly settings: Record<string, unknown> = {},
    more: readonly string[] = [],
  ) {
    for (const id of [vendor, ...more]) {
      const { dialect } = VENDORS[id] as (typeof VENDORS)[string];
      this.clouds[id] = new FakeCloud(
        { ...dialect, bootMs: BOOT_MS },
        {
          clock,
          onBoot: (machine) => {
            const trainer = new RemoteTrainer(app, machine, this.manners);
            this.trainers.push(trainer);
            return {
              end: () => {
                trainer.alive = false;
              },
              notice: (seconds) => {
                trainer.notice = seconds;
              },
            };
          },
        },
      );
    }
    this.supervisor = this.remember();
    this.queue = openQueue(app.ctx);
    this.connect();
  }

  get cloud(): FakeCloud {
    return this.clouds[this.vendor] as FakeCloud;
  }

  get provider(): Provider {
    return this.app.ctx.compute.get(this.vendor)?.provider as Provider;
  }

  private remember(): SupervisorState {
    return {
      startedAt: this.clock.now(),
      launching: new Set(),
      goneSince: new Map(),
      late: new Set(),
      lateQueued: new Set(),
      askAgainAt: new Map(),
      orphanSince: new Map(),
    };
  }

  /** New provider objects, which know nothing. */
  private connect(): void {
    const { ctx } = this.app;
    const entries = Object.entries(this.clouds).map(([id, cloud]) => {
      const { plugin, config } = VENDORS[id] as (typeof VENDORS)[string];
      const parts = {
        installation: ctx.installation,
        clock: this.clock,
        log: () => {},
        signal: ctx.signal,
        inTurn: createInTurn(),
        trainer: async () => ({ python: "python3", dir: this.app.dir }),
      };
      const host = { ...createHost(id, `${this.app.dir}/${id}`, parts), fetch: fetchOf(cloud) };
      const defaults = Object.fromEntries(plugin.config.map((field) => [field.name, field.default]));
      const own = { api_url: "http://127.0.0.1:9", api_key: cloud.account.apiKey };
      return { plugin, provider: plugin.create(host, { ...defaults, ...config, ...own, ...this.settings }) };
    });
    ctx.compute = { list: () => entries, get: (id) => entries.find(({ plugin }) => plugin.id === id) ?? null };
  }

  /** The server is killed when it reaches a fail point for the first time. */
  killAt(point: Killing): void {
    this.app.ctx.failPoint = (name) => {
      if (name !== point || !this.up) return;
      this.up = false;
      throw new Killed(point);
    };
  }

  /** A server that starts again: it knows what is in the database. */
  async restart(): Promise<void> {
    this.app.ctx.failPoint = () => {};
    this.queue.stop();
    this.supervisor = this.remember();
    this.queue = openQueue(this.app.ctx);
    this.connect();
    await this.app.ctx.write((tx) => tx.update(job).set({ leaseToken: null, leaseUntil: 0 }));
    this.up = true;
    this.restarts++;
  }

  /** Ends what the world added to the application. */
  close(): void {
    this.queue.stop();
    this.app.ctx.failPoint = () => {};
  }

  /** A queued training of ten steps with a checkpoint after five. */
  async train(limits: Partial<Limits> = {}, need: Partial<Need> = {}): Promise<string> {
    const id = newId("trainJob");
    const all = { queued_s: 86_400, no_progress_s: 300, total_s: 86_400, max_attempts: 4, ...limits };
    const spec = trainSpec({ need: { ...NEED, ...need }, limits: all });
    const now = this.clock.now();
    const { org, userId } = this.app.actor("admin");
    await this.app.ctx.write((tx) =>
      tx.insert(job).values({
        id,
        org,
        kind: "train",
        name: "remote",
        state: "queued",
        spec,
        request: {},
        metadata: {},
        progress: {},
        attempts: 0,
        createdBy: userId,
        createdAt: now,
        queuedAt: now,
      }),
    );
    this.app.ctx.bus.emit("job.changed", { org, jobId: id, kind: "train", state: "queued" });
    this.jobs.push(id);
    return id;
  }

  /** Waits for a part of the pass; a failure is tried again in the next one, and a kill ends the server. */
  private async outcomeOf(work: Promise<unknown>): Promise<void> {
    try {
      await work;
    } catch (error) {
      if (!(error instanceof Killed) && !(error instanceof Error && "providerErrorKind" in error)) throw error;
    }
  }

  /** Runs a part of the pass while the server is up. */
  private async attempt(work: () => Promise<unknown>): Promise<void> {
    if (this.up) await this.outcomeOf(work());
  }

  /** What the server's pipeline does in one interval. */
  private async pass(): Promise<void> {
    const { ctx } = this.app;
    const launches: Promise<void>[] = [];
    await this.attempt(() =>
      runQueue(ctx, this.queue.carry, (work, id) => {
        this.supervisor.launching.add(id);
        launches.push(this.outcomeOf(work).finally(() => this.supervisor.launching.delete(id)));
      }),
    );
    await Promise.all(launches);
    for (const { job: row, attempt: one } of this.up ? await liveAttempts(ctx) : [])
      await this.attempt(() => superviseAttempt(ctx, this.supervisor, row, one));
    await this.attempt(() => meterRunning(ctx));
    await this.attempt(() => sweepOrphans(ctx, this.supervisor.orphanSince, ORPHAN_GRACE_MS));
    await this.attempt(() => expireQueued(ctx, this.supervisor));
  }

  /** Five seconds of everything, `times` times. */
  async step(times = 1): Promise<void> {
    for (let i = 0; i < times; i++) {
      this.clock.advance(STEP_MS);
      for (const cloud of Object.values(this.clouds)) cloud.tick();
      await Bun.sleep(0);
      if (this.up && this.connected) for (const trainer of this.trainers) await trainer.live();
      await this.pass();
    }
  }

  async until(what: string, holds: () => boolean | Promise<boolean>, most = MOST_STEPS): Promise<void> {
    for (let i = 0; i < most; i++) {
      if (await holds()) return;
      await this.step();
    }
    throw new Error(`not within ${most} intervals: ${what}; ${await this.state()}`);
  }

  async job(id: string): Promise<JobRow> {
    const [row] = await this.app.ctx.db.select().from(job).where(eq(job.id, id));
    return row as JobRow;
  }

  async attempts() {
    const { db } = this.app.ctx;
    return db
      .select()
      .from(attempt)
      .where(inArray(attempt.jobId, this.jobs))
      .orderBy(attempt.createdAt, attempt.number);
  }

  /** Jobs, attempts and machines in words, for messages. */
  async state(): Promise<string> {
    const jobs = await Promise.all(this.jobs.map((id) => this.job(id)));
    const words = jobs.map(({ state, progress }) => `${state} (${progress.waiting ?? progress.step ?? ""})`);
    const tries = (await this.attempts()).map(({ state, outcome }) => outcome ?? state);
    const machines = Object.values(this.clouds).flatMap((cloud) =>
      [...cloud.machines.values()].map((one) => cloud.stateOf(one)),
    );
    const said = this.trainers.map((one) => `${one.called} ${one.refused} ${one.step}`);
    return `trainers ${said}; jobs ${words}; attempts ${tries}; machines ${machines}`;
  }

  /** The newest trainer that has called home has reached the step. */
  atStep(step: number): Promise<void> {
    return this.until(`step ${step}`, () => this.trainers.some((one) => one.alive && one.step >= step));
  }

  /** Waits until every job has ended and nothing costs money. */
  async settle(): Promise<void> {
    const isOver = async (id: string) => ["succeeded", "failed", "cancelled"].includes((await this.job(id)).state);
    await this.until("the end of all jobs", async () => (await Promise.all(this.jobs.map(isOver))).every(Boolean));
    const gone = () => Object.values(this.clouds).every((cloud) => cloud.alive().length === 0);
    await this.until("the end of all machines", gone, 100);
    const settled = async () => (await this.attempts()).every(({ goneAt }) => goneAt !== null);
    await this.until("the confirmation that machines are gone", settled, 100);
  }
}
