/**
 * What moderation looks at: its settings, and the requests for checks, which who changes something stores in the same
 * transaction. The checks themselves are made by src/moderation. Switched off, nothing is stored.
 */
import { and, eq } from "drizzle-orm";
import { type Ctx, keptRead } from "../../ctx.ts";
import { sqlJson } from "../../db/json.ts";
import { installation } from "../../db/schema/audit.ts";
import { moderationCheck, moderationRule } from "../../db/schema/moderation.ts";
import type { Db } from "../../db/types.ts";
import type { BusMessage } from "../../lib/bus.ts";
import { newId } from "../../lib/ids.ts";
import { restrict } from "./service.ts";

const ROW = "moderation";

export interface ModerationSettings {
  enabled: boolean;
  /** A decision takes effect once another reviewer confirms it. */
  second_reviewer: boolean;
}
const OFF: ModerationSettings = { enabled: false, second_reviewer: false };

const settings = keptRead(async (ctx): Promise<ModerationSettings> => {
  const [row] = await ctx.db.select().from(installation).where(eq(installation.key, ROW)).limit(1);
  return row ? { ...OFF, ...(JSON.parse(row.value) as Partial<ModerationSettings>) } : OFF;
});

/** The settings of moderation; read once and after each change. */
export const moderationSettings = (ctx: Ctx): Promise<ModerationSettings> => settings.get(ctx);

/** Reads the settings again: after the transaction that stored them. */
export const forgetSettings = (ctx: Ctx): void => settings.forget(ctx);

/** Stores the settings in the caller's transaction; they apply from now on. Call `forgetSettings` when it has ended. */
export async function storeSettings(tx: Db, ctx: Ctx, next: ModerationSettings): Promise<void> {
  const value = sqlJson(next);
  await tx
    .insert(installation)
    .values({ key: ROW, value })
    .onConflictDoUpdate({ target: installation.key, set: { value } });
  settings.set(ctx, next);
}

/** Whether moderation is on, as the last request read it. */
export const knownEnabled = (ctx: Ctx): boolean => (settings.last(ctx) ?? OFF).enabled;

interface Subject {
  org: string;
  object: "dataset_version" | "model";
  subject: string;
  name: string;
  hash: string | null;
  userId: string;
}

/**
 * Stores that something has to be checked, in the caller's transaction. A dataset version is held when a rule says so,
 * a model until it passed; both only where a rule looks at them.
 * @returns the message to emit after the commit
 */
export async function requestCheck(tx: Db, ctx: Ctx, of: Subject): Promise<BusMessage[]> {
  const { enabled } = await moderationSettings(ctx);
  if (!enabled) return [];
  const isModel = of.object === "model";
  const rules = await tx
    .select({ action: moderationRule.action })
    .from(moderationRule)
    .where(
      and(eq(moderationRule.enabled, true), eq(isModel ? moderationRule.onModels : moderationRule.onDatasets, true)),
    );
  if (isModel && rules.length === 0) return [];
  const { name: _, hash, ...values } = of;
  const [stored] = await tx
    .insert(moderationCheck)
    .values({ id: newId("moderationCheck"), ...values, state: "waiting", createdAt: ctx.clock.now() })
    .onConflictDoNothing()
    .returning({ id: moderationCheck.id });
  if (!stored) return [];
  const mark = { subject: of.subject, org: of.org, object: of.object, name: of.name, hash, caseId: null };
  if (isModel)
    await restrict(tx, ctx, {
      ...mark,
      kind: "checking",
      reason: "moderation checks run before its first deployment. They take a few minutes.",
    });
  else if (rules.some(({ action }) => action === "hold"))
    await restrict(tx, ctx, { ...mark, kind: "held", reason: "moderation checks of its rows are running." });
  return [{ name: "moderation.requested", event: { org: of.org } }];
}
