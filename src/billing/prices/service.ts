/** Price lists: which ones are in force, which are announced, and making or withdrawing one. */

import { and, desc, eq, isNotNull, isNull, lte, ne, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { isPerson } from "../../db/accounts.ts";
import { olderThan } from "../../db/paging.ts";
import { organization, user } from "../../db/schema/auth.ts";
import { priceList } from "../../db/schema/billing.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { type BusMessage, emitAll } from "../../lib/bus.ts";
import { DAY_MS } from "../../lib/clock.ts";
import { newId } from "../../lib/ids.ts";
import { recordForAll } from "../../notices/events/store.ts";
import { dayAt } from "../meters/months.ts";
import { billingSettings } from "../settings/service.ts";
import { changesOf } from "./changes.ts";
import { listsAt } from "./lists.ts";
import {
  type CreatePriceList,
  type CurrentPrices,
  dayOf,
  type PriceChanges,
  type PriceListRow,
  type PriceListView,
  priceListView,
  pricesOf,
} from "./model.ts";
import type { Prices } from "./rate.ts";
import { laterLists, upcomingFor } from "./upcoming.ts";

/** How long before its effect a raise must be announced. */
const NOTICE_DAYS = 30;

const ofScope = (org: string | null) => (org === null ? isNull(priceList.org) : eq(priceList.org, org));
const valid = isNull(priceList.withdrawnAt);

/** The first day (UTC) on which a raise that is announced now may take effect. */
const earliestRaise = (now: number) => Math.ceil((now + NOTICE_DAYS * DAY_MS) / DAY_MS) * DAY_MS;
const today = (now: number) => Math.floor(now / DAY_MS) * DAY_MS;

/** No list was ever in force, and nobody but administrators has an account: nobody has to be notified. */
async function isFreshInstallation(tx: Db, now: number): Promise<boolean> {
  const [list] = await tx
    .select({ id: priceList.id })
    .from(priceList)
    .where(and(valid, lte(priceList.effectiveAt, now)))
    .limit(1);
  if (list) return false;
  const [person] = await tx
    .select({ id: user.id })
    .from(user)
    .where(and(isPerson, ne(user.role, "admin")))
    .limit(1);
  return !person;
}

interface Change extends PriceChanges {
  effectiveAt: number;
  prices: Prices;
}

/** What a request changes at the time when it takes effect. */
async function changeOf(db: Db, now: number, given: CreatePriceList): Promise<Change> {
  const { organization: org, effective_date } = given;
  const prices = pricesOf(given);
  if (org !== null) {
    const [known] = await db.select({ id: organization.id }).from(organization).where(eq(organization.id, org));
    if (!known) throw notFound("organization", org).withParam("organization", "invalid");
  }
  const effectiveAt = (effective_date && dayOf(effective_date)) || today(now);
  const before = await listsAt(db, org ?? "", Math.max(effectiveAt, now));
  const list = { id: "", prices };
  const same = org === null ? before.base : before.org;
  if (same && Bun.deepEquals(same.prices, prices))
    throw new AppError("invalid", "prices_unchanged", "These are the prices that are in force then.", {
      param: "items",
    });
  const changes = changesOf(before, org === null ? { org: null, base: list } : { ...before, org: list });
  const raise = changes.some((one) => one.raise) && !(await isFreshInstallation(db, now));
  const earliest_date = dayAt(raise ? earliestRaise(now) : today(now));
  return { object: "price_list.changes", changes, raise, earliest_date, effectiveAt, prices };
}

/** What a price list would change. Administrators only; changes nothing. @throws AppError like `createPriceList` */
export async function comparePriceList(ctx: Ctx, actor: Actor, given: CreatePriceList): Promise<PriceChanges> {
  requireAdmin(actor);
  const { effectiveAt: _at, prices: _prices, ...changes } = await changeOf(ctx.db, ctx.clock.now(), given);
  return changes;
}

/**
 * @throws AppError `price_list_in_the_past`, `price_lists_overlap`, `price_list_before_scheduled`,
 * `price_raise_too_soon`
 */
async function checkDate(tx: Db, now: number, org: string | null, { effectiveAt, raise }: Change): Promise<void> {
  const refuse = (code: string, message: string) => new AppError("invalid", code, message, { param: "effective_date" });
  if (effectiveAt < today(now))
    throw refuse("price_list_in_the_past", "Prices cannot take effect in the past. Choose today or a later day.");
  const [last] = await tx
    .select()
    .from(priceList)
    .where(and(ofScope(org), valid))
    .orderBy(desc(priceList.effectiveAt))
    .limit(1);
  const day = dayAt(last?.effectiveAt ?? 0);
  if (last?.effectiveAt === effectiveAt)
    throw refuse("price_lists_overlap", `There is a price list for ${day} already. Choose a later day.`);
  if (last && last.effectiveAt > effectiveAt)
    throw refuse(
      "price_list_before_scheduled",
      `A price list takes effect on ${day}. Choose a later day, or withdraw that list first.`,
    );
  if (raise && effectiveAt < now + NOTICE_DAYS * DAY_MS)
    throw refuse(
      "price_raise_too_soon",
      `A raise takes effect ${NOTICE_DAYS} days after it is announced or later: ${dayAt(earliestRaise(now))} at the earliest.`,
    );
}

/** Notifies everybody whom a list concerns. @returns the message to emit after the commit */
function notify(tx: Db, ctx: Ctx, row: PriceListRow): Promise<BusMessage> {
  const day = dayAt(row.effectiveAt);
  const words =
    row.withdrawnAt === null
      ? {
          type: "billing.prices_announced" as const,
          title: `New prices take effect on ${day}`,
          body: [row.note, "Work that starts before then keeps the prices that it started with."]
            .filter(Boolean)
            .join("\n"),
        }
      : {
          type: "billing.prices_withdrawn" as const,
          title: `The new prices for ${day} were withdrawn`,
          body: "The prices in force stay.",
        };
  const audience = row.org === null ? { kind: "everyone" as const } : { kind: "organization" as const, org: row.org };
  return recordForAll(tx, ctx, audience, { ...words, subject: row.id, path: "/pricing" });
}

const facts = ({ org, effectiveAt, announcedAt, note }: PriceListRow) => ({
  organization: org,
  effective_date: dayAt(effectiveAt),
  announced: announcedAt !== null,
  note,
});

/**
 * Makes a price list. A raise is announced to everybody whom it concerns, and takes effect 30 days later at the
 * earliest. Administrators only.
 * @throws AppError `invalid_price`, `organization_not_found`, `prices_unchanged`, and those of the date
 */
export async function createPriceList(ctx: Ctx, actor: Actor, given: CreatePriceList): Promise<PriceListView> {
  requireAdmin(actor);
  const { row, messages } = await ctx.write(async (tx) => {
    const now = ctx.clock.now();
    const change = await changeOf(tx, now, given);
    await checkDate(tx, now, given.organization, change);
    const row: PriceListRow = {
      id: newId("priceList"),
      org: given.organization,
      prices: change.prices,
      note: given.note,
      effectiveAt: change.effectiveAt,
      createdBy: actor.userId,
      createdAt: now,
      announcedAt: change.raise ? now : null,
      withdrawnAt: null,
    };
    await tx.insert(priceList).values(row);
    await audit(tx, ctx, actor, "price_list.create", row.id, { ...facts(row), prices: change.prices });
    return { row, messages: change.raise ? [await notify(tx, ctx, row)] : [] };
  });
  changed(ctx, messages);
  return viewOf(ctx, row);
}

/** Drops what was read, and lets notices be sent. */
function changed(ctx: Ctx, messages: readonly BusMessage[]): void {
  laterLists.forget(ctx);
  emitAll(ctx.bus, messages);
}

/**
 * Withdraws a list that is not in force yet. Who was notified of it gets a notice. Administrators only.
 * @throws AppError `price_list_not_found`, `price_list_in_force`, `price_list_before_scheduled`
 */
export async function withdrawPriceList(ctx: Ctx, actor: Actor, id: string): Promise<PriceListView> {
  requireAdmin(actor);
  const { row, messages } = await ctx.write(async (tx) => {
    const found = await rowIn(tx, id);
    const now = ctx.clock.now();
    if (found.withdrawnAt !== null) throw notFound("price_list", id);
    if (found.effectiveAt <= now)
      throw new AppError("conflict", "price_list_in_force", "This price list is in force. Make a new one instead.");
    const [after] = await tx
      .select()
      .from(priceList)
      .where(and(ofScope(found.org), valid, sql`${priceList.effectiveAt} > ${found.effectiveAt}`))
      .limit(1);
    // It was compared with this one: alone it may be a raise that nobody was notified of.
    if (after)
      throw new AppError(
        "conflict",
        "price_list_before_scheduled",
        `Withdraw the list for ${dayAt(after.effectiveAt)} first: it follows this one.`,
      );
    const row = { ...found, withdrawnAt: now };
    await tx.update(priceList).set({ withdrawnAt: now }).where(eq(priceList.id, id));
    await audit(tx, ctx, actor, "price_list.withdraw", id, facts(row));
    return { row, messages: row.announcedAt === null ? [] : [await notify(tx, ctx, row)] };
  });
  changed(ctx, messages);
  return viewOf(ctx, row);
}

async function rowIn(db: Db, id: string): Promise<PriceListRow> {
  const [row] = await db.select().from(priceList).where(eq(priceList.id, id)).limit(1);
  if (!row) throw notFound("price_list", id);
  return row;
}

/** Id of the list of a scope that is in force. */
async function inForce(ctx: Ctx, org: string | null): Promise<string | null> {
  const lists = await listsAt(ctx.db, org ?? "", ctx.clock.now());
  return (org === null ? lists.base : lists.org)?.id ?? null;
}

const viewOf = async (ctx: Ctx, row: PriceListRow) => priceListView(row, await inForce(ctx, row.org), ctx.clock.now());

/** The lists of the installation or of an organization, the newest first. Administrators only. */
export async function listPriceLists(
  ctx: Ctx,
  actor: Actor,
  page: { organization?: string; after?: string; limit: number },
): Promise<PriceListView[]> {
  requireAdmin(actor);
  const org = page.organization ?? null;
  const from = page.after ? await rowIn(ctx.db, page.after) : undefined;
  const rows = await ctx.db
    .select()
    .from(priceList)
    .where(and(ofScope(org), olderThan(priceList, from)))
    .orderBy(desc(priceList.createdAt), desc(priceList.id))
    .limit(page.limit);
  const current = await inForce(ctx, org);
  return rows.map((row) => priceListView(row, current, ctx.clock.now()));
}

/** Ids of the organizations that have prices of their own. Administrators only. */
export async function organizationsWithPrices(ctx: Ctx, actor: Actor): Promise<string[]> {
  requireAdmin(actor);
  const rows = await ctx.db
    .selectDistinct({ org: priceList.org })
    .from(priceList)
    .where(and(valid, isNotNull(priceList.org)));
  return rows.flatMap(({ org }) => org ?? []);
}

/** One list. Administrators only. @throws AppError `price_list_not_found` */
export async function getPriceList(ctx: Ctx, actor: Actor, id: string): Promise<PriceListView> {
  requireAdmin(actor);
  return viewOf(ctx, await rowIn(ctx.db, id));
}

/**
 * The prices of the actor's organization now and those that take effect later; for a visitor those of the
 * installation.
 * @throws AppError `invalid_api_key` for a visitor where the settings do not show prices to everybody
 */
export async function currentPrices(ctx: Ctx, { userId, org }: Pick<Actor, "userId" | "org">): Promise<CurrentPrices> {
  if (!userId && !(await billingSettings(ctx)).public_prices)
    throw new AppError(
      "unauthenticated",
      "invalid_api_key",
      "Prices are for users of this installation. Sign in, or send `Authorization: Bearer ftl-…`.",
    );
  const now = ctx.clock.now();
  const { org: own, base } = await listsAt(ctx.db, org, now);
  const shown = async (list: { id: string } | null) =>
    list && priceListView(await rowIn(ctx.db, list.id), list.id, now);
  return {
    object: "prices",
    currency: "usd",
    list: await shown(base),
    own: await shown(own),
    upcoming: (await upcomingFor(ctx, org)).map((row) => priceListView(row, null, now)),
  };
}
