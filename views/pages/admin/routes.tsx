/** The administration page; the access table admits only administrators. */
import { statfsSync, statSync } from "node:fs";
import { join } from "node:path";
import { Elysia } from "elysia";
import * as v from "valibot";
import { listAudit, verifyAudit } from "../../../src/accounts/audit/service.ts";
import { createInvitation } from "../../../src/accounts/organizations/invitations.ts";
import { changeUser, listUsers } from "../../../src/accounts/organizations/users.ts";
import { VERSION } from "../../../src/assets.ts";
import { listProviders, pluginProblems, trainerIdentity } from "../../../src/compute/providers/registry.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { listed } from "../../../src/lib/page.ts";
import { AdminPage, type AdminProps } from "./page.tsx";

const PAGE = 50;
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Query = v.object({
  tab: v.optional(v.picklist(["people", "plugins", "audit", "status"]), "people"),
  after: text(100),
  verify: text(5),
});

const Invite = v.object({
  email: v.pipe(v.string(), v.email("must be an e-mail address")),
  role: v.picklist(["admin", "member"]),
});
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const Disable = v.object({ disabled: v.picklist(["true", "false"]) });

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

async function propsOf(ctx: Ctx, actor: Actor, query: v.InferOutput<typeof Query>): Promise<AdminProps> {
  const at = { limit: PAGE + 1, after: query.after || undefined };
  const disk = statfsSync(ctx.files.root);
  return {
    tab: query.tab,
    me: actor.userId,
    users: listed(query.tab === "people" ? await listUsers(ctx, actor, at) : [], PAGE),
    providers: listProviders(ctx),
    problems: pluginProblems(ctx),
    audit: listed(query.tab === "audit" ? await listAudit(ctx, actor, at) : [], PAGE),
    chain: query.tab === "audit" && query.verify ? await verifyAudit(ctx) : null,
    status: {
      version: VERSION,
      installation: ctx.installation,
      dataDir: ctx.files.root,
      databaseBytes: sizeOf(join(ctx.files.root, "lab.db")) + sizeOf(join(ctx.files.root, "lab.db-wal")),
      diskFree: disk.bavail * disk.bsize,
      diskTotal: disk.blocks * disk.bsize,
      memoryMb: Math.round(process.memoryUsage.rss() / 1024 ** 2),
      startedAt: Math.round(performance.timeOrigin),
      environment: (await trainerIdentity(ctx)).environment,
    },
  };
}

async function show(ctx: Ctx, request: Request, actor: Actor, query: v.InferOutput<typeof Query>) {
  return html(pageOf(ctx, request, actor), <AdminPage {...(await propsOf(ctx, actor, query))} />);
}

/** Shows the page with the link of the invitation, or with the reason of a refusal. */
async function invite(ctx: Ctx, request: Request, actor: Actor, { email, role }: v.InferOutput<typeof Invite>) {
  const page = pageOf(ctx, request, actor);
  const props = await propsOf(ctx, actor, { tab: "people", after: "", verify: "" });
  try {
    const { invitation, token } = await createInvitation(ctx, actor, { email, role });
    const origin = ctx.config.public_url?.replace(/\/$/, "") ?? page.info.url.origin;
    const link = `${origin}/invite?token=${token}`;
    return html(page, <AdminPage {...props} invited={{ email: invitation.email, link }} />);
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    return html(page, <AdminPage {...props} error={error.message} />, { status: ERROR_TABLE[error.kind].status });
  }
}

async function setDisabled(ctx: Ctx, request: Request, actor: Actor, id: string, disabled: boolean) {
  await changeUser(ctx, actor, id, { disabled });
  return redirect(request, "/admin", disabled ? "The account is disabled." : "The account is enabled.");
}

export const adminPages = (ctx: Ctx) =>
  new Elysia({ name: "admin.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/admin", ({ request, actor, query }) => show(ctx, request, actor, query), { query: Query })
    .post("/admin/invite", ({ request, actor, body }) => invite(ctx, request, actor, body), { body: Invite })
    .post(
      "/admin/users/:id",
      ({ request, actor, params, body }) => setDisabled(ctx, request, actor, params.id, body.disabled === "true"),
      { params: Id, body: Disable },
    );
