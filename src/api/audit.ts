/** JSON API of the audit log, for administrators. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { type AuditRow, listAudit, verifyAudit } from "../accounts/audit/service.ts";
import type { Ctx } from "../ctx.ts";
import { session } from "../http/session.ts";
import { pageOf } from "../lib/page.ts";

const tags = ["Administration"];
const Query = v.strictObject({
  limit: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^\d{1,3}$/, "must be a whole number"),
      v.transform(Number),
      v.minValue(1),
      v.maxValue(100),
    ),
    "20",
  ),
  after: v.optional(v.pipe(v.string(), v.maxLength(100))),
  target: v.optional(v.pipe(v.string(), v.maxLength(200))),
});

const view = (row: AuditRow) => ({
  object: "audit_row" as const,
  id: row.id,
  created_at: Math.floor(row.at / 1000),
  actor: row.actor,
  action: row.action,
  target: row.target,
  detail: row.detail,
  hash: row.hash,
});

export const auditApi = (ctx: Ctx) =>
  new Elysia({ name: "audit.api", prefix: "/v1/admin/audit", seed: ctx.installation })
    .use(session(ctx))
    .get(
      "",
      async ({ actor, query }) => {
        const rows = await listAudit(ctx, actor, { ...query, limit: query.limit + 1 });
        return pageOf(rows.map(view), query.limit);
      },
      { query: Query, detail: { summary: "What was done in this organization, newest first", tags } },
    )
    .get(
      "/verify",
      async () => {
        const { rows, brokenAt } = await verifyAudit(ctx);
        return { object: "audit_verification" as const, rows, intact: brokenAt === null, broken_at: brokenAt };
      },
      { detail: { summary: "Walk the whole chain of the audit log", tags } },
    );
