/** Wires rooms, providers, clock and database together; the only place that does. */

import { availableParallelism } from "node:os";
import { join } from "node:path";
import { type AnyElysia, Elysia } from "elysia";
import { convertAuthenticators } from "./accounts/auth/convert.ts";
import { assetPath } from "./assets.ts";
import { runCommand } from "./cli/admin-commands.ts";
import { callServer } from "./cli/admin-socket.ts";
import { openCompute } from "./compute/providers/registry.ts";
import { loadStoredProviders } from "./compute/providers/stored.ts";
import type { Config } from "./config.ts";
import type { ComputeRegistry, Ctx } from "./ctx.ts";
import { acquireLock, type Lock } from "./db/lock.ts";
import { migrate } from "./db/migrate.ts";
import { openDatabase } from "./db/open.ts";
import { installation } from "./db/schema/audit.ts";
import { openSecret } from "./db/secret.ts";
import { loadSecretSettings, withSecretSettings } from "./db/secret-settings.ts";
import type { Db } from "./db/types.ts";
import type { AppError } from "./errors.ts";
import { assets } from "./http/assets.ts";
import { apiDocs } from "./http/docs.tsx";
import { errorPage } from "./http/error-page.tsx";
import { errors } from "./http/errors.ts";
import { gate } from "./http/gate.ts";
import { session } from "./http/session.ts";
import { createBus } from "./lib/bus.ts";
import { steadyClock, systemClock } from "./lib/clock.ts";
import { openFiles } from "./lib/disk/files.ts";
import { makePrivate } from "./lib/disk/private.ts";
import { socketPath } from "./lib/disk/sockets.ts";
import { armFailPoints } from "./lib/fail-points.ts";
import { createFairQueue } from "./lib/fair-queue.ts";
import { randomChars } from "./lib/ids.ts";
import { createLog } from "./lib/log.ts";
import { diskStore } from "./lib/objects/disk.ts";
import { openBucket } from "./objects/bucket.ts";
import { ROUTES } from "./routes.ts";

/** A context with what it owns. */
export interface OpenCtx extends Ctx {
  lock: Lock;
  /** Resolves when another process has taken the database of a server: this one must stop. */
  lost: Promise<AppError>;
  /** Aborts `signal`, waits for queued writes, closes the database and releases the data directory. */
  close(): Promise<void>;
}

const noProviders: ComputeRegistry = { get: () => null, list: () => [] };

async function installationId(db: Db, write: Ctx["write"]): Promise<string> {
  const id = randomChars(12);
  await write((tx) => tx.insert(installation).values({ key: "id", value: id }).onConflictDoNothing());
  const rows = await db.select().from(installation);
  return rows.find((row) => row.key === "id")?.value ?? id;
}

/** Graders use one CPU core each and leave one to the server; one process renders rows, one request at a time. */
function makeTurns(): Ctx["turns"] {
  const slots = Math.max(1, Math.min(4, availableParallelism() - 1));
  return {
    graders: createFairQueue({
      slots,
      maxWaiting: 256,
      maxWaitingEach: 32,
      code: "graders_busy",
      what: "Python graders",
    }),
    inspection: createFairQueue({
      slots: 1,
      maxWaiting: 64,
      maxWaitingEach: 8,
      code: "inspection_busy",
      what: "requests to show rows",
    }),
  };
}

/**
 * Opens the data directory: acquires its lock, migrates the database, and creates the tools of all services.
 * @param overrides replacements for tools, for tests (clock, log, compute)
 * @throws AppError `data_dir_in_use`, `data_dir_open`, `database_in_use`, `database_unreachable`, `schema_newer`,
 *   `wrong_secret`
 */
export async function createCtx(config: Config, overrides: Partial<Ctx> = {}): Promise<OpenCtx> {
  const failPoint = armFailPoints(config.fail_points);
  const files = overrides.files ?? openFiles(config.data_dir);
  makePrivate(files.root);
  const lock = acquireLock(files.root);
  let opened: { close(): Promise<void> } | null = null;
  try {
    const database = await openDatabase(
      config.database_url ?? `file:${join(files.root, "lab.db")}`,
      files.root,
      config.database_token ?? undefined,
    );
    opened = database;
    await migrate(database.client, assetPath("migrations"));
    const log = overrides.log ?? createLog(config.log_level);
    if (config.fail_points)
      log(
        "error",
        `FAIL POINTS ARE ON: this server will kill itself (${config.fail_points}). Never use it for real work.`,
      );
    const stop = new AbortController();
    const ctx: OpenCtx = {
      installation: await installationId(database.db, database.write),
      secret: await openSecret(files.root, {
        ...database,
        convert: (secret) => convertAuthenticators(database, secret),
        unreadable: (failed) =>
          log("error", "encrypted values that the secret does not open; enter them again", { values: failed }),
      }),
      config,
      db: database.db,
      write: database.write,
      emptyLog: database.emptyLog,
      clock: steadyClock(systemClock),
      log,
      bus: createBus((name, cause) => log("error", `a listener of ${name} failed`, { cause })),
      files,
      disk: diskStore(files.root),
      bucket: null,
      compute: noProviders,
      turns: makeTurns(),
      trainerHome: `unix:${socketPath(files.path("run", "trainers"), "trainer.sock")}`,
      failPoint,
      signal: stop.signal,
      state: new Map(),
      lock,
      lost: database.lost,
      async close() {
        stop.abort();
        await database.close();
        lock.release();
      },
      ...overrides,
    };
    const stored = await loadSecretSettings(ctx);
    ctx.config = withSecretSettings(ctx.config, stored);
    ctx.bucket ??= openBucket(
      () => ctx.config,
      () => ctx.clock.now(),
    );
    // Plugins are created last: their host tools are parts of the context.
    if (!overrides.compute) ctx.compute = await openCompute(ctx, stored, await loadStoredProviders(ctx.db));
    return ctx;
  } catch (error) {
    await opened?.close();
    lock.release();
    throw error;
  }
}

/** The HTTP application of `ctx`: the gate, then the routes in room order. */
export function createApp(ctx: Ctx): AnyElysia {
  const app: AnyElysia = new Elysia({
    name: "finetune-lab",
    systemRouter: false,
    // The path begins after `://`, however short the host is, as in `pathOf`.
    handler: { standardHostname: false },
  })
    .use(gate(ctx))
    .use(errors(ctx, errorPage))
    .use(session(ctx))
    .get("/healthz", () => ({ status: "ok" }), {
      detail: { summary: "Whether the server answers", tags: ["Server"] },
    })
    // The address at which clients of other inference servers look.
    .get("/health", () => ({ status: "ok" }), {
      detail: { summary: "The same as /healthz", tags: ["Server"] },
    })
    .use(assets(ctx));
  for (const routes of ROUTES) app.use(routes(ctx));
  // Last: it describes the routes above.
  return app.use(apiDocs(ctx, () => app));
}

export type App = ReturnType<typeof createApp>;

/**
 * Runs an administrator command: through the running server when there is one, else on the data directory itself.
 * @throws AppError as the command throws it
 */
export async function adminCommand(
  config: Config,
  name: string,
  args: Record<string, unknown>,
): Promise<Record<string, unknown>> {
  const answer = await callServer(config.data_dir, name, args);
  if (answer) return answer;
  const ctx = await createCtx(config);
  try {
    return await runCommand(ctx, name, args);
  } finally {
    await ctx.close();
  }
}
