/** Page routes of the administration: providers, settings, backups, audit log, status. */
import { statfsSync } from "node:fs";
import { Elysia } from "elysia";
import * as v from "valibot";
import { verifyAudit } from "../../../src/accounts/audit/service.ts";
import { VERSION } from "../../../src/assets.ts";
import { runChecks } from "../../../src/cli/doctor/machine.ts";
import { listHosts } from "../../../src/compute/hosts/service.ts";
import { describeProviders, testProvider } from "../../../src/compute/limits/administration.ts";
import type { ProviderTest } from "../../../src/compute/providers/model.ts";
import { FORM_PLUGINS } from "../../../src/compute/providers/plugins.ts";
import { pluginProblems, trainerIdentity } from "../../../src/compute/providers/registry.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { deleteBackup, listBackups, startBackup } from "../../../src/insights/installation/backups.ts";
import {
  listSecretSettings,
  removeSecretSetting,
  saveSecretSetting,
} from "../../../src/insights/installation/secret-settings.ts";
import { readSettings } from "../../../src/insights/installation/settings.ts";
import { readLeftovers, readSpace, removeLeftovers } from "../../../src/insights/installation/space.ts";
import { listAcceptances, readWork } from "../../../src/insights/installation/work.ts";
import { formatBytes } from "../../../src/lib/text/format.ts";
import { readBucketState } from "../../../src/objects/sweep.ts";
import { AuditList, AuditPage } from "./audit.tsx";
import { AuditPageQuery, auditProps } from "./audit-page-data.ts";
import { BackupList, BackupsPage } from "./backups.tsx";
import { ProvidersPage } from "./providers.tsx";
import { AdminSettingsPage } from "./settings.tsx";
import { StatusChecks, StatusPage, type StatusProps } from "./status.tsx";

const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(200)) });
const StatusQuery = v.object({ checks: text(5) });

const SecretName = v.object({ name: v.pipe(v.string(), v.maxLength(200)) });
const SecretForm = v.object({ ...SecretName.entries, value: v.pipe(v.string(), v.maxLength(10_000)) });

interface Visit {
  request: Request;
  actor: Actor;
}

async function showProviders(ctx: Ctx, { request, actor }: Visit, test?: ProviderTest) {
  const hosts = await listHosts(ctx, actor);
  const providers = describeProviders(ctx, actor).map((one) => {
    const own = hosts.filter((host) => host.provider === one.id);
    return { ...one, hosts: own.length, unreachable: own.filter((host) => host.state === "silent").length };
  });
  const props = { providers, problems: pluginProblems(ctx), forms: FORM_PLUGINS, test };
  const page = <ProvidersPage {...props} />;
  return html(pageOf(ctx, request, actor), page);
}

async function showAudit(ctx: Ctx, { request, actor }: Visit, query: AuditPageQuery) {
  const { props, status } = await auditProps(ctx, actor, query, false);
  const shown = { ...props, chain: query.verify ? await verifyAudit(ctx) : null };
  return html(pageOf(ctx, request, actor), <AuditPage {...shown} />, {
    status,
    fragments: { audit: () => <AuditList {...shown} /> },
  });
}

function showSettings(ctx: Ctx, { request, actor }: Visit, error?: string, status = 200) {
  const props = { settings: readSettings(ctx, actor), secrets: listSecretSettings(ctx, actor) };
  const page = <AdminSettingsPage {...props} dataDir={ctx.files.root} error={error} />;
  return html(pageOf(ctx, request, actor), page, { status });
}

/** Changes a secret setting; a refusal shows the page with its reason. */
async function changeSecret(ctx: Ctx, visit: Visit, said: string, change: () => Promise<unknown>) {
  try {
    await change();
    return redirect(visit.request, "/admin/settings", said);
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    return showSettings(ctx, visit, error.message, ERROR_TABLE[error.kind].status);
  }
}

const saveSecret = (ctx: Ctx, visit: Visit, given: v.InferOutput<typeof SecretForm>) =>
  changeSecret(ctx, visit, "The value is stored encrypted.", () =>
    saveSecretSetting(ctx, visit.actor, { name: given.name, value: given.value || undefined }),
  );

const encryptSecret = (ctx: Ctx, visit: Visit, name: string) =>
  changeSecret(ctx, visit, "The value is encrypted, and no longer in the file.", () =>
    saveSecretSetting(ctx, visit.actor, { name }),
  );

const removeSecret = (ctx: Ctx, visit: Visit, name: string) =>
  changeSecret(ctx, visit, "The value is removed.", () => removeSecretSetting(ctx, visit.actor, name));

async function showBackups(ctx: Ctx, { request, actor }: Visit) {
  const { backup_store: store, backup_keep: keep, artifact_store: artifacts, s3_bucket: bucket } = ctx.config;
  const { problem, ...listed } = await listBackups(ctx, actor);
  const props = {
    ...listed,
    problem: problem?.message ?? null,
    store,
    keep,
    hasBucket: bucket !== null,
    objectsInBucket: artifacts === "s3",
    dataDir: ctx.files.root,
  };
  return html(pageOf(ctx, request, actor), <BackupsPage {...props} />, {
    fragments: { backups: () => <BackupList {...props} /> },
  });
}

async function backUp(ctx: Ctx, { request, actor }: Visit) {
  // The page follows the backup; this answer does not wait for its end.
  await startBackup(ctx, actor);
  return redirect(request, "/admin/backups");
}

async function removeBackup(ctx: Ctx, { request, actor }: Visit, name: string) {
  await deleteBackup(ctx, actor, name);
  return redirect(request, "/admin/backups", "The backup is deleted.");
}

async function statusProps(ctx: Ctx, actor: Actor, withChecks: boolean): Promise<StatusProps> {
  const disk = statfsSync(ctx.files.root);
  return {
    version: VERSION,
    installation: ctx.installation,
    dataDir: ctx.files.root,
    environment: (await trainerIdentity(ctx)).environment,
    memoryBytes: process.memoryUsage.rss(),
    startedAt: Math.round(performance.timeOrigin),
    diskFree: disk.bavail * disk.bsize,
    diskTotal: disk.blocks * disk.bsize,
    work: await readWork(ctx, actor),
    space: await readSpace(ctx, actor),
    leftovers: await readLeftovers(ctx, actor),
    licenses: await listAcceptances(ctx, actor),
    bucket: await readBucketState(ctx),
    metricsToken: ctx.config.metrics_token !== null,
    checks: withChecks ? await runChecks(ctx.config, true) : null,
  };
}

async function showStatus(ctx: Ctx, { request, actor }: Visit, query: v.InferOutput<typeof StatusQuery>) {
  const page = pageOf(ctx, request, actor);
  if (query.checks && request.headers.get("hx-target")?.endsWith("#checks"))
    return html(page, <StatusChecks checks={await runChecks(ctx.config, true)} />);
  return html(page, <StatusPage {...(await statusProps(ctx, actor, query.checks !== ""))} />);
}

async function clean(ctx: Ctx, { request, actor }: Visit) {
  const bytes = await removeLeftovers(ctx, actor);
  return redirect(request, "/admin/status", `${formatBytes(bytes)} are free again.`);
}

export const adminPages = (ctx: Ctx) =>
  new Elysia({ name: "admin.pages", prefix: "/admin", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("", ({ request }) => redirect(request, "/admin/users"))
    .get("/providers", (visit) => showProviders(ctx, visit))
    .post(
      "/providers/:id/test",
      async (visit) => showProviders(ctx, visit, await testProvider(ctx, visit.actor, visit.params.id)),
      { params: Id },
    )
    .get("/settings", (visit) => showSettings(ctx, visit))
    .post("/settings/secrets", (visit) => saveSecret(ctx, visit, visit.body), { body: SecretForm })
    .post("/settings/secrets/encrypt", (visit) => encryptSecret(ctx, visit, visit.body.name), { body: SecretName })
    .post("/settings/secrets/remove", (visit) => removeSecret(ctx, visit, visit.body.name), { body: SecretName })
    .get("/backups", (visit) => showBackups(ctx, visit))
    .post("/backups", (visit) => backUp(ctx, visit))
    .post("/backups/:id/delete", (visit) => removeBackup(ctx, visit, visit.params.id), { params: Id })
    .get("/audit", (visit) => showAudit(ctx, visit, visit.query), { query: AuditPageQuery })
    .get("/status", (visit) => showStatus(ctx, visit, visit.query), { query: StatusQuery })
    .post("/status/clean", (visit) => clean(ctx, visit));
