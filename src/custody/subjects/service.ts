/** Searches for a person, for owners and administrators of a team: create, read, export, erase, delete. */
import { existsSync } from "node:fs";
import { and, count, desc, eq, inArray } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { pageLines } from "../../data/datasets/read-rows.ts";
import type { Hit } from "../../data/pii/find-person.ts";
import { linesOf } from "../../data/pii/lines.ts";
import { olderThan } from "../../db/paging.ts";
import { subjectRequest } from "../../db/schema/archives.ts";
import { sealedIn } from "../../db/sealed-columns.ts";
import { AppError, notFound } from "../../errors.ts";
import { DAY_MS } from "../../lib/clock.ts";
import { newId } from "../../lib/ids.ts";
import { seal } from "../../lib/sealed.ts";
import { csvField } from "../../lib/text/csv.ts";
import { requirePermission } from "../../roles.ts";
import type { CreateSubjectRequest, EraseSubject, SubjectRow, SubjectView } from "./model.ts";
import { subjectView } from "./model.ts";
import { subjectQueue, termsOf } from "./run.ts";
import { hitsIndexPath, hitsPath, removeHits } from "./search.ts";

/** Searches of one organization that have not ended. */
const MAX_OPEN = 5;
const OPEN = ["waiting", "running", "erasing"] as const;

const viewOf = (ctx: Ctx, row: SubjectRow): SubjectView => subjectView(row, termsOf(ctx, row));

/** Starts a search. @throws AppError `too_many_searches` */
export async function createSubject(ctx: Ctx, actor: Actor, given: CreateSubjectRequest): Promise<SubjectView> {
  requirePermission(actor, "team.manage");
  const id = newId("subjectRequest");
  const now = ctx.clock.now();
  const { match, reference } = given;
  const row = await ctx.write(async (tx) => {
    const [open] = await tx
      .select({ n: count() })
      .from(subjectRequest)
      .where(and(eq(subjectRequest.org, actor.org), inArray(subjectRequest.status, [...OPEN])));
    if ((open?.n ?? 0) >= MAX_OPEN)
      throw new AppError(
        "conflict",
        "too_many_searches",
        `${MAX_OPEN} searches are running. Wait until one has ended.`,
      );
    const values = {
      id,
      org: actor.org,
      status: "waiting" as const,
      terms: seal(ctx.secret, sealedIn("subject", id), JSON.stringify(given.terms)),
      match,
      reference,
      createdBy: actor.userId,
      createdAt: now,
      expiresAt: now + ctx.config.subject_request_days * DAY_MS,
    };
    const [made] = await tx.insert(subjectRequest).values(values).returning();
    // Not the terms: entries of the log are kept, and many may read them.
    await audit(tx, ctx, actor, "subject.search", id, { terms: given.terms.length, match, reference });
    return made;
  });
  if (!row) throw notFound("subject_request", id);
  subjectQueue(ctx).kick();
  return viewOf(ctx, row);
}

async function rowOf(ctx: Ctx, actor: Actor, id: string): Promise<SubjectRow> {
  requirePermission(actor, "team.manage");
  const [row] = await ctx.db
    .select()
    .from(subjectRequest)
    .where(and(eq(subjectRequest.id, id), eq(subjectRequest.org, actor.org)));
  if (!row) throw notFound("subject_request", id);
  return row;
}

export const getSubject = async (ctx: Ctx, actor: Actor, id: string): Promise<SubjectView> =>
  viewOf(ctx, await rowOf(ctx, actor, id));

/** Searches, newest first; at most `limit + 1`. */
export async function listSubjects(
  ctx: Ctx,
  actor: Actor,
  page: { after?: string; limit: number },
): Promise<SubjectView[]> {
  requirePermission(actor, "team.manage");
  const from = page.after ? await rowOf(ctx, actor, page.after) : undefined;
  const rows = await ctx.db
    .select()
    .from(subjectRequest)
    .where(and(eq(subjectRequest.org, actor.org), from && olderThan(subjectRequest, from)))
    .orderBy(desc(subjectRequest.createdAt), desc(subjectRequest.id))
    .limit(page.limit + 1);
  return rows.map((row) => viewOf(ctx, row));
}

/** A page of hits. */
export async function listHits(
  ctx: Ctx,
  actor: Actor,
  id: string,
  page: { after: number; limit: number },
): Promise<{ rows: Hit[]; next: number | null }> {
  await rowOf(ctx, actor, id);
  if (!existsSync(hitsIndexPath(ctx, id))) return { rows: [], next: null };
  return pageLines<Hit>(hitsPath(ctx, id), hitsIndexPath(ctx, id), page, null);
}

function refuseOpen(row: SubjectRow): void {
  if (row.status !== "done")
    throw new AppError("conflict", "search_not_done", `This search is ${row.status}. It must be done first.`);
}

/** The report with all hits, in pieces; recorded in the audit log. @throws AppError `search_not_done` */
export async function exportSubject(
  ctx: Ctx,
  actor: Actor,
  id: string,
  format: "json" | "csv",
): Promise<AsyncGenerator<string>> {
  const row = await rowOf(ctx, actor, id);
  refuseOpen(row);
  await ctx.write((tx) => audit(tx, ctx, actor, "subject.export", id, { format }));
  return pieces(ctx, row, format);
}

async function* pieces(ctx: Ctx, row: SubjectRow, format: "json" | "csv"): AsyncGenerator<string> {
  const path = hitsPath(ctx, row.id);
  yield format === "csv"
    ? "number,kind,in,place,context\r\n"
    : `{"request":${JSON.stringify(viewOf(ctx, row))},"hits":[`;
  let first = true;
  for await (const line of existsSync(path) ? linesOf(path) : []) {
    if (!line) continue;
    const { id, kind, of, ref, context } = JSON.parse(line) as Hit;
    if (format === "csv") yield `${[String(id), kind, of, ref, context].map(csvField).join(",")}\r\n`;
    else yield `${first ? "" : ","}\n${line}`;
    first = false;
  }
  if (format === "json") yield "\n]}\n";
}

/** Starts the erasure of what was found. @throws AppError `search_not_done`, `nothing_found` */
export async function eraseSubject(ctx: Ctx, actor: Actor, id: string, given: EraseSubject): Promise<SubjectView> {
  const row = await rowOf(ctx, actor, id);
  refuseOpen(row);
  if (row.hits === 0 || !row.result)
    throw new AppError("conflict", "nothing_found", "The search found nothing that could be erased.");
  if (!existsSync(hitsPath(ctx, id)))
    throw new AppError(
      "gone",
      "hits_gone",
      "The hits of this search are no longer on the server's disk. Search again.",
    );
  const { old_versions, stored } = given;
  const deleted = { answers: 0, samples: 0, log_lines: 0, responses: 0, completions: 0 };
  const erasure = { by: actor.userId, at: ctx.clock.now(), old_versions, stored, deleted };
  await ctx.write(async (tx) => {
    const values = { ...erasure, datasets: [], deleted_versions: [], kept_versions: [] };
    await tx
      .update(subjectRequest)
      .set({ status: "erasing", erasure: values, error: null })
      .where(and(eq(subjectRequest.id, id), eq(subjectRequest.status, "done")));
    await audit(tx, ctx, actor, "subject.erase", id, { old_versions, stored, hits: row.hits });
  });
  subjectQueue(ctx).kick();
  return getSubject(ctx, actor, id);
}

/** Deletes a search with its report. @throws AppError `search_running` */
export async function deleteSubject(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  const row = await rowOf(ctx, actor, id);
  if (row.status === "running" || row.status === "erasing")
    throw new AppError("conflict", "search_running", "Wait until it has ended, then delete it.");
  await ctx.write(async (tx) => {
    await tx.delete(subjectRequest).where(eq(subjectRequest.id, id));
    await audit(tx, ctx, actor, "subject.delete", id);
  });
  await removeHits(ctx, id);
  await ctx.emptyLog();
  ctx.bus.emit("subject.changed", { org: row.org, requestId: id });
}
