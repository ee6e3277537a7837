/** Page route of the audit log of a team. */
import { Elysia } from "elysia";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { html, pageOf } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { AuditList } from "../admin/audit.tsx";
import { AuditPageQuery, auditProps } from "../admin/audit-page-data.ts";
import { TeamAuditPage } from "./audit.tsx";

async function show(ctx: Ctx, { request, actor }: { request: Request; actor: Actor }, query: AuditPageQuery) {
  const { props, status } = await auditProps(ctx, actor, query, true);
  return html(pageOf(ctx, request, actor), <TeamAuditPage {...props} />, {
    status,
    fragments: { audit: () => <AuditList {...props} /> },
  });
}

export const teamAuditPages = (ctx: Ctx) =>
  new Elysia({ name: "team-audit.pages", prefix: "/team/audit", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("", (visit) => show(ctx, visit, visit.query), { query: AuditPageQuery });
