/**
 * What may not be used: held until it is checked, restricted by a reviewer, or removed. All of it is kept in memory,
 * so that looking costs nothing where there is none.
 */
import { and, desc, eq } from "drizzle-orm";
import { type Actor, type Ctx, perContext } from "../../ctx.ts";
import { restriction } from "../../db/schema/moderation.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";

export type RestrictionRow = typeof restriction.$inferSelect;

interface State {
  /** By subject; null = not read yet. */
  rows: Map<string, RestrictionRow> | null;
  reading: Promise<Map<string, RestrictionRow>> | null;
}
const stateOf = perContext((): State => ({ rows: null, reading: null }));
const CHECKPOINT = /:ckpt-step-\d+$/;

async function read(db: Db): Promise<Map<string, RestrictionRow>> {
  const rows = await db.select().from(restriction);
  return new Map(rows.map((row) => [row.subject, row]));
}

async function all(ctx: Ctx): Promise<Map<string, RestrictionRow>> {
  const state = stateOf(ctx);
  if (state.rows) return state.rows;
  state.reading ??= read(ctx.db).finally(() => {
    state.reading = null;
  });
  const rows = await state.reading;
  state.rows ??= rows;
  return state.rows;
}

/** The restriction of a subject; null when there is none. */
export async function restrictionOf(ctx: Ctx, subject: string): Promise<RestrictionRow | null> {
  return (await all(ctx)).get(subject) ?? null;
}

/** The subject that stands for a model in one organization only: a base model belongs to nobody. */
export const modelInOrg = (org: string, model: string) => `${org} ${model}`;

/**
 * Stores a restriction in the caller's transaction, or replaces the one of the subject. It holds from now on, even
 * before the commit: what is restricted must not be usable for a moment.
 */
export async function restrict(tx: Db, ctx: Ctx, row: Omit<RestrictionRow, "createdAt">): Promise<void> {
  const stored = { ...row, createdAt: ctx.clock.now() };
  await all(ctx);
  const { subject: _, ...values } = stored;
  await tx.insert(restriction).values(stored).onConflictDoUpdate({ target: restriction.subject, set: values });
  stateOf(ctx).rows?.set(stored.subject, stored);
}

/** Lifts the restriction of a subject in the caller's transaction; call `forgetRestrictions` after the commit. */
export async function lift(tx: Db, subject: string): Promise<void> {
  await tx.delete(restriction).where(eq(restriction.subject, subject));
}

/**
 * Reads the restrictions again: after one was lifted, or a transaction failed. It waits for its turn among the writes,
 * so that no open transaction has a restriction that it would miss.
 */
export async function forgetRestrictions(ctx: Ctx): Promise<void> {
  await ctx.write(async (tx) => {
    stateOf(ctx).rows = await read(tx);
  });
}

/** What was removed from an organization, newest first: the tombstones of its lists. */
export function listRemoved(ctx: Ctx, org: string, object: "dataset" | "model"): Promise<RestrictionRow[]> {
  return ctx.db
    .select()
    .from(restriction)
    .where(and(eq(restriction.org, org), eq(restriction.kind, "removed"), eq(restriction.object, object)))
    .orderBy(desc(restriction.createdAt))
    .limit(100);
}

const dateOf = (ms: number) => new Date(ms).toISOString().slice(0, 10);

/** The error for something that was removed. */
const removedError = (row: RestrictionRow) =>
  new AppError(
    "gone",
    "removed",
    `${row.name} was removed on ${dateOf(row.createdAt)} by a reviewer of this installation: ${row.reason} Its content is erased${row.hash ? `; the hash of the content was ${row.hash}` : ""}.`,
  );

/** @throws AppError `removed` (410) for the id of something that was removed */
export async function refuseRemoved(ctx: Ctx, actor: Pick<Actor, "org">, id: string): Promise<void> {
  const row = await restrictionOf(ctx, id);
  if (row?.kind === "removed" && row.org === actor.org) throw removedError(row);
}

function refusalOf(row: RestrictionRow, param: string): AppError {
  switch (row.kind) {
    case "held":
      return new AppError("conflict", "held_for_moderation", `${row.name} may not be used yet: ${row.reason}`, {
        param,
      });
    case "checking":
      return new AppError("unavailable", "model_checking", `${row.name} may not be used yet: ${row.reason}`, {
        param,
        retryAfterS: 10,
      });
    case "restricted":
      return new AppError(
        "forbidden",
        "restricted",
        `${row.name} is restricted by a reviewer of this installation: ${row.reason} You can appeal on its page.`,
        { param },
      );
    case "removed":
      return removedError(row);
  }
}

/** @throws AppError `held_for_moderation` (409), `restricted` (403) for a dataset version that may not be used */
export async function requireUsableVersion(ctx: Ctx, versionId: string, param: string): Promise<void> {
  const row = await restrictionOf(ctx, versionId);
  if (row) throw refusalOf(row, param);
}

/** The restriction of a model in an organization: its own, that of its run's model, or one for that organization. */
function ofModel(rows: ReadonlyMap<string, RestrictionRow>, org: string, model: string): RestrictionRow | null {
  if (rows.size === 0) return null;
  const names = [model, model.replace(CHECKPOINT, "")];
  for (const name of names) {
    const row = rows.get(name) ?? rows.get(modelInOrg(org, name));
    // A check is of one model, not of the checkpoints of its run.
    if (row && (name === model || row.kind !== "checking")) return row;
  }
  return null;
}

/** The restriction that keeps `org` from using a model, for callers that cannot wait. */
export const knownOfModel = (ctx: Ctx, org: string, model: string): RestrictionRow | null =>
  ofModel(stateOf(ctx).rows ?? new Map(), org, model);

/**
 * Refuses models that may not be used. The server itself may ask a model that is being checked.
 * @throws AppError `model_checking` (503), `restricted` (403), `removed` (410)
 */
export async function requireUsableModel(ctx: Ctx, actor: Actor, model: string, param = "model"): Promise<void> {
  const rows = stateOf(ctx).rows ?? (await all(ctx));
  const row = ofModel(rows, actor.org, model);
  if (!row || (row.kind === "checking" && actor.via === "system")) return;
  throw refusalOf(row, param);
}
