/** Credits that the server gives by itself when the settings say so, each once. */
import { and, eq, gt, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { type Ctx, systemActor } from "../../ctx.ts";
import { organization } from "../../db/schema/auth.ts";
import { credit } from "../../db/schema/billing.ts";
import type { Db } from "../../db/types.ts";
import { DAY_MS } from "../../lib/clock.ts";
import { newId } from "../../lib/ids.ts";
import { microsFrom, usdOf } from "../meters/money.ts";
import { billingSettings } from "../settings/service.ts";

interface Automatic {
  org: string;
  reason: "sign_up" | "failed_work";
  micros: number;
  /** What it is for; a second one changes nothing. */
  source: string;
  note: string;
}

/** A credit that the server gives by itself, in the caller's transaction. */
export async function giveOnce(tx: Db, ctx: Ctx, { org, source, ...rest }: Automatic): Promise<void> {
  const [known] = await tx.select({ id: credit.id }).from(credit).where(eq(credit.source, source)).limit(1);
  if (known || rest.micros <= 0) return;
  const id = newId("credit");
  const by = { createdBy: "system", createdAt: ctx.clock.now() };
  await tx.insert(credit).values({ id, org, kind: "credit", source, state: "done", ...rest, ...by });
  const detail = { amount_usd: usdOf(rest.micros), reason: rest.reason };
  await audit(tx, ctx, systemActor(org), "credit.give", id, detail);
}

/** SQL: no such credit was given. */
export const notCredited = (source: unknown) =>
  sql`not exists (select 1 from ${credit} where ${credit.source} = ${source})`;

/** Teams of the last day get the credit of a sign-up: those that were there before it was switched on do not. */
async function creditSignUps(ctx: Ctx, usd: number): Promise<void> {
  const source = sql<string>`'sign-up ' || ${organization.id}`;
  const teams = await ctx.db
    .select({ org: organization.id, source })
    .from(organization)
    .where(and(gt(organization.createdAt, new Date(ctx.clock.now() - DAY_MS)), notCredited(source)));
  for (const team of teams)
    await ctx.write((tx) =>
      giveOnce(tx, ctx, { ...team, reason: "sign_up", note: "Welcome", micros: microsFrom(usd) ?? 0 }),
    );
}

/** Gives new teams what is due by the settings. */
export async function giveSignUpCredits(ctx: Ctx): Promise<void> {
  const { mode, sign_up_credit_usd: usd } = await billingSettings(ctx);
  if (mode !== "off" && usd > 0) await creditSignUps(ctx, usd);
}
