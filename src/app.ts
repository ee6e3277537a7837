/** Wires rooms, providers, clock and database together; the only place that does. */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { type AnyElysia, Elysia } from "elysia";
import { announcementAdminPages } from "../views/pages/admin/announcement-routes.tsx";
import { deliveryPages } from "../views/pages/admin/delivery-routes.tsx";
import { incidentPages } from "../views/pages/admin/incident-routes.tsx";
import { mailPages } from "../views/pages/admin/mail-routes.tsx";
import { adminPages } from "../views/pages/admin/routes.tsx";
import { ssoAdminPages } from "../views/pages/admin/sso-routes.tsx";
import { teamPages } from "../views/pages/admin/team-routes.tsx";
import { adminTermsPages } from "../views/pages/admin/terms-routes.tsx";
import { userPages } from "../views/pages/admin/user-routes.tsx";
import { announcementPages } from "../views/pages/announcements/routes.tsx";
import { mailLinkPages } from "../views/pages/auth/mail-link-routes.tsx";
import { authPages } from "../views/pages/auth/routes.tsx";
import { ssoPages } from "../views/pages/auth/sso-routes.tsx";
import { importsPages } from "../views/pages/datasets/import-routes.tsx";
import { inspectionPages } from "../views/pages/datasets/inspection-routes.tsx";
import { mappingPages } from "../views/pages/datasets/mapping-routes.tsx";
import { datasetRepairPages } from "../views/pages/datasets/repair-routes.tsx";
import { datasetsPages } from "../views/pages/datasets/routes.tsx";
import { deploymentsPages } from "../views/pages/deployments/routes.tsx";
import { evaluationsPages } from "../views/pages/evaluations/routes.tsx";
import { homePages } from "../views/pages/home/routes.tsx";
import { computePages } from "../views/pages/hosts/routes.tsx";
import { jobsPages } from "../views/pages/jobs/routes.tsx";
import { exportsPages } from "../views/pages/models/exports-routes.tsx";
import { pushesPages } from "../views/pages/models/pushes-routes.tsx";
import { modelsPages } from "../views/pages/models/routes.tsx";
import { noticesPages } from "../views/pages/notices/routes.tsx";
import { gatewayPages } from "../views/pages/playground/routes.tsx";
import { queuePages } from "../views/pages/queue/routes.tsx";
import { emailPages } from "../views/pages/settings/email-routes.tsx";
import { notificationPages } from "../views/pages/settings/notification-routes.tsx";
import { settingsPages } from "../views/pages/settings/routes.tsx";
import { twoFactorPages } from "../views/pages/settings/two-factor-routes.tsx";
import { webhookPages } from "../views/pages/settings/webhook-routes.tsx";
import { statusPages } from "../views/pages/status/routes.tsx";
import { sweepsPages } from "../views/pages/sweeps/routes.tsx";
import { ownTeamPages } from "../views/pages/team/routes.tsx";
import { termsPages } from "../views/pages/terms/routes.tsx";
import { billingPages } from "../views/pages/usage/routes.tsx";
import { convertAuthenticators } from "./accounts/auth/convert.ts";
import { authApi } from "./api/account.ts";
import { analyticsApi } from "./api/analytics.ts";
import { announcementsApi } from "./api/announcements.ts";
import { auditApi } from "./api/audit.ts";
import { checkpointPermissionsApi } from "./api/checkpoint-permissions.ts";
import { gatewayApi } from "./api/completions.ts";
import { datasetMappingApi } from "./api/dataset-mapping.ts";
import { datasetRepairApi } from "./api/dataset-repair.ts";
import { datasetsApi } from "./api/datasets.ts";
import { deliveriesApi } from "./api/deliveries.ts";
import { deploymentsApi } from "./api/deployments.ts";
import { evaluationsApi } from "./api/evaluations.ts";
import { exportsApi } from "./api/exports.ts";
import { filesApi } from "./api/files.ts";
import { fineTuningApi } from "./api/fine-tuning.ts";
import { gradersApi } from "./api/graders.ts";
import { computeApi } from "./api/hosts.ts";
import { importsApi } from "./api/imports.ts";
import { inspectionApi } from "./api/inspection.ts";
import { installationApi } from "./api/installation.ts";
import { jobsApi } from "./api/jobs.ts";
import { quotasApi } from "./api/limits.ts";
import { mailApi } from "./api/mail.ts";
import { metricsApi } from "./api/metrics.ts";
import { modelsApi } from "./api/models.ts";
import { moderationsApi } from "./api/moderations.ts";
import { monitoringApi } from "./api/monitoring.ts";
import { noticesApi } from "./api/notices.ts";
import { organizationsApi } from "./api/organizations.ts";
import { pushesApi } from "./api/pushes.ts";
import { queueApi } from "./api/queue.ts";
import { responsesApi } from "./api/responses.ts";
import { ssoApi } from "./api/sso.ts";
import { statusApi } from "./api/status.ts";
import { storedCompletionsApi } from "./api/stored-completions.ts";
import { suspensionsApi } from "./api/suspensions.ts";
import { sweepsApi } from "./api/sweeps.ts";
import { teamApi } from "./api/team.ts";
import { termsApi } from "./api/terms.ts";
import { trainersApi } from "./api/trainer.ts";
import { twoFactorApi } from "./api/two-factor.ts";
import { uploadsApi } from "./api/uploads.ts";
import { billingApi } from "./api/usage.ts";
import { usersApi } from "./api/users.ts";
import { webhooksApi } from "./api/webhooks.ts";
import { assetPath } from "./assets.ts";
import { runCommand } from "./cli/admin-commands.ts";
import { callServer } from "./cli/admin-socket.ts";
import { openCompute } from "./compute/providers/registry.ts";
import type { Config } from "./config.ts";
import type { ComputeRegistry, Ctx } from "./ctx.ts";
import { acquireLock, type Lock } from "./db/lock.ts";
import { migrate } from "./db/migrate.ts";
import { openDatabase } from "./db/open.ts";
import { installation } from "./db/schema/audit.ts";
import { openSecret } from "./db/secret.ts";
import type { Db } from "./db/types.ts";
import { assets } from "./http/assets.ts";
import { apiDocs } from "./http/docs.tsx";
import { errorPage } from "./http/error-page.tsx";
import { errors } from "./http/errors.ts";
import { gate } from "./http/gate.ts";
import { session } from "./http/session.ts";
import { createBus } from "./lib/bus.ts";
import { systemClock } from "./lib/clock.ts";
import { openFiles } from "./lib/disk/files.ts";
import { makePrivate } from "./lib/disk/private.ts";
import { socketPath } from "./lib/disk/sockets.ts";
import { armFailPoints } from "./lib/fail-points.ts";
import { createFairQueue } from "./lib/fair-queue.ts";
import { randomChars } from "./lib/ids.ts";
import { createLog } from "./lib/log.ts";
import { askModel } from "./serving/gateway/ask.ts";

/** A context with what it owns. */
export interface OpenCtx extends Ctx {
  lock: Lock;
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
 * @throws AppError `data_dir_in_use`, `data_dir_open`, `schema_newer`, `wrong_secret`
 */
export async function createCtx(config: Config, overrides: Partial<Ctx> = {}): Promise<OpenCtx> {
  const failPoint = armFailPoints(config.fail_points);
  const files = overrides.files ?? openFiles(config.data_dir);
  makePrivate(files.root);
  const lock = acquireLock(files.root);
  try {
    const database = await openDatabase(
      config.database_url ?? `file:${join(files.root, "lab.db")}`,
      config.database_token ?? undefined,
    );
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
      clock: systemClock,
      log,
      bus: createBus((name, cause) => log("error", `a listener of ${name} failed`, { cause })),
      files,
      compute: noProviders,
      turns: makeTurns(),
      trainerHome: `unix:${socketPath(files.path("run", "trainers"), "trainer.sock")}`,
      failPoint,
      signal: stop.signal,
      state: new Map(),
      lock,
      async close() {
        stop.abort();
        await database.close();
        lock.release();
      },
      ...overrides,
    };
    // Plugins are created last: their host tools are parts of the context.
    if (!overrides.compute) ctx.compute = await openCompute(ctx);
    return ctx;
  } catch (error) {
    lock.release();
    throw error;
  }
}

/**
 * The routes of every room, in room order. A list, because the compiler cannot follow the types of a chain this long.
 */
const ROUTES: readonly ((ctx: Ctx) => AnyElysia)[] = [
  auditApi,
  authApi,
  twoFactorApi,
  ssoApi,
  usersApi,
  organizationsApi,
  suspensionsApi,
  teamApi,
  termsApi,
  installationApi,
  monitoringApi,
  statusApi,
  webhooksApi,
  deliveriesApi,
  mailApi,
  noticesApi,
  announcementsApi,
  authPages,
  mailLinkPages,
  ssoPages,
  termsPages,
  settingsPages,
  ownTeamPages,
  twoFactorPages,
  webhookPages,
  notificationPages,
  emailPages,
  noticesPages,
  announcementPages,
  quotasApi,
  computePages,
  computeApi,
  filesApi,
  uploadsApi,
  importsApi,
  datasetsApi,
  datasetRepairApi,
  datasetMappingApi,
  importsPages,
  datasetsPages,
  datasetRepairPages,
  modelsApi,
  modelsPages,
  inspectionApi,
  inspectionPages,
  mappingPages,
  billingPages,
  billingApi,
  (ctx) => gradersApi(ctx, askModel(ctx)),
  metricsApi,
  fineTuningApi,
  checkpointPermissionsApi,
  jobsApi,
  (ctx) => jobsPages(ctx, askModel(ctx)),
  queueApi,
  queuePages,
  (ctx) => trainersApi(ctx, askModel(ctx)),
  evaluationsApi,
  evaluationsPages,
  exportsApi,
  exportsPages,
  pushesApi,
  pushesPages,
  sweepsApi,
  sweepsPages,
  deploymentsApi,
  deploymentsPages,
  gatewayApi,
  storedCompletionsApi,
  responsesApi,
  moderationsApi,
  gatewayPages,
  analyticsApi,
  adminPages,
  userPages,
  teamPages,
  ssoAdminPages,
  deliveryPages,
  mailPages,
  adminTermsPages,
  announcementAdminPages,
  statusPages,
  incidentPages,
  homePages,
];

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
