/** Stored answers in the database: kept per organization, within its quota, until they expire or are deleted. */
import { and, asc, desc, eq, gt, lt, lte, type SQL, sql } from "drizzle-orm";
import { requireRoom } from "../../accounts/quotas/service.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { sqlJson } from "../../db/json.ts";
import { storedAnswer } from "../../db/schema/answers.ts";
import type { Db } from "../../db/types.ts";
import { notFound } from "../../errors.ts";
import { DAY_MS } from "../../lib/clock.ts";
import { requireDisk } from "../../lib/disk/reserve.ts";

export type StoredAnswer = typeof storedAnswer.$inferSelect;
type Kind = StoredAnswer["kind"];

const EVERY_MS = 3_600_000;

/** True when this installation keeps answers at all. */
export const keepsAnswers = (ctx: Ctx) => ctx.config.answer_retention_days > 0;

/**
 * Refuses to store an answer before it is generated.
 * @param bytes size of the request; the answer is not known yet and is stored in any case
 * @throws AppError `quota_exceeded` (403), `disk_full` (507)
 */
export async function requireStorage(ctx: Ctx, actor: Actor, bytes: number): Promise<void> {
  if (!ctx.config.database_url) requireDisk(ctx.files.root, ctx.config.disk_reserve_bytes, bytes);
  await requireRoom(ctx, actor.org, bytes);
}

/**
 * Stores an answer. It can be read as soon as this returns.
 * @param pending it is not generated yet
 */
export async function saveAnswer(
  ctx: Ctx,
  actor: Actor,
  given: Pick<StoredAnswer, "id" | "kind" | "model" | "previousId" | "metadata" | "input" | "answer">,
  pending = false,
): Promise<void> {
  const now = ctx.clock.now();
  const bytes = Buffer.byteLength(sqlJson([given.input, given.answer, given.metadata]));
  const expiresAt = now + ctx.config.answer_retention_days * DAY_MS;
  const row = { ...given, pending, org: actor.org, userId: actor.userId, bytes, createdAt: now, expiresAt };
  await ctx.write((tx) => tx.insert(storedAnswer).values(row));
}

/**
 * Replaces a stored answer; one that was deleted meanwhile stays so.
 * @param inside called with the previous row, in the same transaction
 */
export async function replaceAnswer(
  ctx: Ctx,
  id: string,
  { answer, pending }: Pick<StoredAnswer, "answer" | "pending">,
  inside: (tx: Db, before: StoredAnswer) => Promise<void>,
): Promise<void> {
  await ctx.write(async (tx) => {
    const [row] = await tx.select().from(storedAnswer).where(eq(storedAnswer.id, id)).limit(1);
    if (!row) return;
    const bytes = Buffer.byteLength(sqlJson([row.input, answer, row.metadata]));
    await tx.update(storedAnswer).set({ answer, pending, bytes }).where(eq(storedAnswer.id, id));
    await inside(tx, row);
  });
}

/** The responses that were pending before a moment, oldest first. */
export function pendingAnswers(ctx: Ctx, before: number, limit: number): Promise<StoredAnswer[]> {
  return ctx.db
    .select()
    .from(storedAnswer)
    .where(and(sql`pending = 1`, lt(storedAnswer.createdAt, before)))
    .orderBy(asc(storedAnswer.createdAt))
    .limit(limit);
}

const visible = (ctx: Ctx, actor: Actor, kind: Kind) =>
  and(eq(storedAnswer.org, actor.org), eq(storedAnswer.kind, kind), gt(storedAnswer.expiresAt, ctx.clock.now()));

/** @throws AppError `response_not_found`, `completion_not_found`: also when expired or another organization's */
export async function getAnswer(ctx: Ctx, actor: Actor, kind: Kind, id: string): Promise<StoredAnswer> {
  const [row] = await ctx.db
    .select()
    .from(storedAnswer)
    .where(and(eq(storedAnswer.id, id), visible(ctx, actor, kind)))
    .limit(1);
  if (!row) throw notFound(kind, id.slice(0, 100));
  return row;
}

/** @throws AppError `response_not_found` or `completion_not_found` */
export async function deleteAnswer(ctx: Ctx, actor: Actor, kind: Kind, id: string): Promise<void> {
  const row = await getAnswer(ctx, actor, kind, id);
  await ctx.write((tx) => tx.delete(storedAnswer).where(eq(storedAnswer.id, row.id)));
}

/** Replaces the metadata of a completion. @throws AppError `completion_not_found` */
export async function setMetadata(
  ctx: Ctx,
  actor: Actor,
  id: string,
  metadata: Record<string, string>,
): Promise<StoredAnswer> {
  const row = await getAnswer(ctx, actor, "completion", id);
  await ctx.write((tx) => tx.update(storedAnswer).set({ metadata }).where(eq(storedAnswer.id, row.id)));
  return { ...row, metadata };
}

interface AnswerQuery {
  model?: string;
  /** Pairs that an answer must have. */
  metadata?: Record<string, string> | null;
  after?: string;
  limit: number;
  order: "asc" | "desc";
}

const hasPairs = (pairs: Record<string, string>): SQL =>
  sql`not exists (select 1 from json_each(${sqlJson(pairs)}) wanted where not exists
    (select 1 from json_each(${storedAnswer.metadata}) m where m.key = wanted.key and m.value = wanted.value))`;

/** Completions by creation time; at most `limit + 1`, so that the caller knows whether there are more. */
export async function listCompletions(ctx: Ctx, actor: Actor, query: AnswerQuery): Promise<StoredAnswer[]> {
  const { model, metadata, after, limit, order } = query;
  const from = after ? await getAnswer(ctx, actor, "completion", after) : null;
  const place = sql`(${storedAnswer.createdAt}, ${storedAnswer.id})`;
  const beyond = order === "asc" ? sql.raw(">") : sql.raw("<");
  const direction = order === "asc" ? asc : desc;
  return ctx.db
    .select()
    .from(storedAnswer)
    .where(
      and(
        visible(ctx, actor, "completion"),
        model === undefined ? undefined : eq(storedAnswer.model, model),
        metadata ? hasPairs(metadata) : undefined,
        metadata === null ? sql`${storedAnswer.metadata} = '{}'` : undefined,
        from ? sql`${place} ${beyond} (${from.createdAt}, ${from.id})` : undefined,
      ),
    )
    .orderBy(direction(storedAnswer.createdAt), direction(storedAnswer.id))
    .limit(limit + 1);
}

/** Starts deleting expired answers every hour. @returns a function that stops it */
export function startAnswerExpiry(ctx: Ctx): () => void {
  const round = async () => {
    await ctx.write((tx) => tx.delete(storedAnswer).where(lte(storedAnswer.expiresAt, ctx.clock.now())));
  };
  const safely = () =>
    round().catch((cause) => {
      if (!ctx.signal.aborted) ctx.log("error", "expired answers not deleted", { cause });
    });
  void safely();
  const timer = setInterval(() => void safely(), EVERY_MS);
  return () => clearInterval(timer);
}
