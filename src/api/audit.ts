/** JSON API of the audit log, for administrators. */
import { Elysia } from "elysia";
import { AuditQuery, AuditRowView, AuditVerification, auditRowView } from "../accounts/audit/model.ts";
import { listAudit, verifyAudit } from "../accounts/audit/service.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { listOf, pageOf } from "../lib/page.ts";

const tags = ["Administration"];

async function listAuditRoute(ctx: Ctx, actor: Actor, query: AuditQuery) {
  const rows = await listAudit(ctx, actor, { ...query, limit: query.limit + 1 });
  return pageOf(rows.map(auditRowView), query.limit);
}

async function verifyAuditRoute(ctx: Ctx): Promise<AuditVerification> {
  const { rows, brokenAt } = await verifyAudit(ctx);
  return { object: "audit_verification", rows, intact: brokenAt === null, broken_at: brokenAt };
}

export const auditApi = (ctx: Ctx) =>
  new Elysia({ name: "audit.api", prefix: "/v1/admin/audit", seed: ctx.installation })
    .use(session(ctx))
    .get("", ({ actor, query }) => listAuditRoute(ctx, actor, query), {
      query: AuditQuery,
      detail: {
        tags,
        summary: "List the audit log of this organization, newest first",
        responses: answers(listOf(AuditRowView)),
      },
    })
    .get("/verify", () => verifyAuditRoute(ctx), {
      detail: { tags, summary: "Verify the integrity of the audit log", responses: answers(AuditVerification) },
    });
