/** The administration page; the access table lets administrators in only. */
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
import { AdminPage, type AdminProps } from "./page.tsx";

const PAGE = 50;
const startedAt = Date.now();
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Query = v.object({
  tab: v.optional(v.picklist(["people", "plugins", "audit", "status"]), "people"),
  after: text(100),
  verify: text(5),
});

const paged = <T extends { id: string }>(rows: T[]) => {
  const items = rows.slice(0, PAGE);
  return { items, hasMore: rows.length > PAGE, last: items.at(-1)?.id ?? null };
};

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

async function propsOf(ctx: Ctx, actor: Actor, query: v.InferOutput<typeof Query>): Promise<AdminProps> {
  const at = { limit: PAGE + 1, after: query.after || undefined };
  const disk = statfsSync(ctx.files.root);
  return {
    tab: query.tab,
    me: actor.userId,
    users: paged(query.tab === "people" ? await listUsers(ctx, actor, at) : []),
    providers: listProviders(ctx),
    problems: pluginProblems(ctx),
    audit: paged(query.tab === "audit" ? await listAudit(ctx, actor, at) : []),
    chain: query.tab === "audit" && query.verify ? await verifyAudit(ctx) : null,
    status: {
      version: VERSION,
      installation: ctx.installation,
      dataDir: ctx.files.root,
      databaseBytes: sizeOf(join(ctx.files.root, "lab.db")) + sizeOf(join(ctx.files.root, "lab.db-wal")),
      diskFree: disk.bavail * disk.bsize,
      diskTotal: disk.blocks * disk.bsize,
      memoryMb: Math.round(process.memoryUsage.rss() / 1024 ** 2),
      startedAt,
      environment: (await trainerIdentity(ctx)).environment,
    },
  };
}

export const adminPages = (ctx: Ctx) =>
  new Elysia({ name: "admin.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get(
      "/admin",
      async ({ request, actor, query }) =>
        html(pageOf(ctx, request, actor), <AdminPage {...(await propsOf(ctx, actor, query))} />),
      { query: Query },
    )
    .post(
      "/admin/invite",
      async ({ request, actor, body }) => {
        const page = pageOf(ctx, request, actor);
        const of = await propsOf(ctx, actor, { tab: "people", after: "", verify: "" });
        try {
          const { invitation, token } = await createInvitation(ctx, actor, { email: body.email, role: body.role });
          const origin = ctx.config.public_url?.replace(/\/$/, "") ?? page.info.url.origin;
          return html(
            page,
            <AdminPage {...of} invited={{ email: invitation.email, link: `${origin}/invite?token=${token}` }} />,
          );
        } catch (error) {
          if (!(error instanceof AppError) || error.kind === "internal") throw error;
          return html(page, <AdminPage {...of} error={error.message} />, { status: ERROR_TABLE[error.kind].status });
        }
      },
      {
        body: v.object({
          email: v.pipe(v.string(), v.email("must be an e-mail address")),
          role: v.picklist(["admin", "member"]),
        }),
      },
    )
    .post(
      "/admin/users/:id",
      async ({ request, actor, params, body }) => {
        await changeUser(ctx, actor, params.id, { disabled: body.disabled === "true" });
        return redirect(
          request,
          "/admin",
          body.disabled === "true" ? "The account is disabled." : "The account is enabled.",
        );
      },
      {
        params: v.object({ id: v.pipe(v.string(), v.maxLength(100)) }),
        body: v.object({ disabled: v.picklist(["true", "false"]) }),
      },
    );
