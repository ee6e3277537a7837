/** What pages of the audit log read: one page of entries, with the names of what they are about. */
import * as v from "valibot";
import { AuditQuery, auditFilter } from "../../../src/accounts/audit/model.ts";
import { namesOf } from "../../../src/accounts/audit/names.ts";
import { auditActions, listAudit } from "../../../src/accounts/audit/service.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { listed } from "../../../src/lib/page.ts";
import type { AuditProps } from "./audit.tsx";

const PAGE = 50;
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");

export const AuditPageQuery = v.object({
  after: text(100),
  verify: text(5),
  actor: text(254),
  action: text(100),
  target: text(254),
  from: text(20),
  until: text(20),
});
export type AuditPageQuery = v.InferOutput<typeof AuditPageQuery>;

/** @param team only entries of the viewer's organization itself */
export async function auditProps(
  ctx: Ctx,
  actor: Actor,
  query: AuditPageQuery,
  team: boolean,
): Promise<{ props: AuditProps; status: number }> {
  const { after, verify: _, ...filter } = query;
  const given = Object.fromEntries(Object.entries(filter).filter(([, value]) => value.trim() !== ""));
  const parsed = v.safeParse(AuditQuery, given);
  const error = parsed.success ? undefined : `${v.getDotPath(parsed.issues[0])}: ${parsed.issues[0].message}`;
  const rows = parsed.success
    ? await listAudit(ctx, actor, {
        ...auditFilter(parsed.output),
        team,
        after: after || undefined,
        limit: PAGE + 1,
      })
    : [];
  const props = {
    rows: listed(rows, PAGE),
    names: await namesOf(ctx, rows),
    actions: await auditActions(ctx, actor, { team }),
    chain: null,
    error,
  };
  return { props, status: error ? 422 : 200 };
}
