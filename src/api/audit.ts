/** JSON API of the audit log: of the installation for administrators, of an organization for those who manage it. */
import { Elysia } from "elysia";
import { exportAudit } from "../accounts/audit/export.ts";
import {
  AuditExportQuery,
  AuditQuery,
  AuditRowView,
  AuditVerification,
  auditFilter,
  auditRowView,
} from "../accounts/audit/model.ts";
import { namesOf } from "../accounts/audit/names.ts";
import { listAudit, verifyAudit } from "../accounts/audit/service.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { answers, answersType } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { generated } from "../http/stored-file.ts";
import { listOf, pageOf } from "../lib/page.ts";

const tags = ["Administration"];

async function listAuditRoute(ctx: Ctx, actor: Actor, query: AuditQuery, team = false) {
  const page = { ...auditFilter(query), team, after: query.after, limit: query.limit + 1 };
  const rows = await listAudit(ctx, actor, page);
  const names = await namesOf(ctx, rows);
  const views = rows.map((row) => auditRowView(row, names));
  return pageOf(views, query.limit);
}

function exportAuditRoute(ctx: Ctx, actor: Actor, { format, ...query }: AuditExportQuery, team = false): Response {
  return generated(ctx, exportAudit(ctx, actor, format, { ...auditFilter(query), team }), "audit", format);
}

async function verifyAuditRoute(ctx: Ctx): Promise<AuditVerification> {
  const { rows, brokenAt, removed } = await verifyAudit(ctx);
  return { object: "audit_verification", rows, intact: brokenAt === null, broken_at: brokenAt, removed };
}

export const auditApi = (ctx: Ctx) =>
  new Elysia({ name: "audit.api", prefix: "/v1/admin/audit", seed: ctx.installation })
    .use(session(ctx))
    .get("", ({ actor, query }) => listAuditRoute(ctx, actor, query), {
      query: AuditQuery,
      detail: {
        tags,
        summary: "List the audit log of this organization and the installation, newest first",
        responses: answers(listOf(AuditRowView)),
      },
    })
    .get("/export", ({ actor, query }) => exportAuditRoute(ctx, actor, query), {
      query: AuditExportQuery,
      detail: {
        tags,
        summary: "Download the audit log as CSV or JSON lines, with the same filters",
        responses: answersType("text/csv", "The entries, newest first."),
      },
    })
    .get("/verify", () => verifyAuditRoute(ctx), {
      detail: { tags, summary: "Verify the integrity of the audit log", responses: answers(AuditVerification) },
    });

export const teamAuditApi = (ctx: Ctx) =>
  new Elysia({ name: "team-audit.api", prefix: "/v1/organization/audit", seed: ctx.installation })
    .use(session(ctx))
    .get("", ({ actor, query }) => listAuditRoute(ctx, actor, query, true), {
      query: AuditQuery,
      detail: {
        tags: ["Organization"],
        summary: "List the audit log of your organization, newest first",
        responses: answers(listOf(AuditRowView)),
      },
    })
    .get("/export", ({ actor, query }) => exportAuditRoute(ctx, actor, query, true), {
      query: AuditExportQuery,
      detail: {
        tags: ["Organization"],
        summary: "Download the audit log of your organization as CSV or JSON lines, with the same filters",
        responses: answersType("text/csv", "The entries, newest first."),
      },
    });
