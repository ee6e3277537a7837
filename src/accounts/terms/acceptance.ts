/** Who accepted which version: what a user has still to accept, and the record of each acceptance. */
import { eq } from "drizzle-orm";
import { type Actor, type Ctx, perContext, type Source } from "../../ctx.ts";
import { termsAcceptance } from "../../db/schema/terms.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { type Lru, lruOf } from "../../lib/lru.ts";
import { audit } from "../audit/service.ts";
import { type AcceptanceRow, type AcceptTerms, TITLES } from "./model.ts";
import { type Published, publishedVersions, requiredAt, scheduledAfter } from "./versions.ts";

const CACHE_SIZE = 10_000;
const MAX_AGENT = 500;
const LOCAL: Source = { address: "local", userAgent: "" };

/** What a user accepted so far. */
interface Accepted {
  /** The highest number by document. */
  numbers: ReadonlyMap<string, number>;
  adult: boolean;
}
interface Cache {
  users: Lru<Accepted>;
  /** Counts acceptances: an answer that was read before one is not cached after it. */
  epoch: number;
}
const cacheOf = perContext((): Cache => ({ users: lruOf(CACHE_SIZE), epoch: 0 }));

/** Drops what is cached of accounts: after an acceptance was stored. */
export function forgetAccepted(ctx: Ctx): void {
  const cache = cacheOf(ctx);
  cache.epoch++;
  cache.users.clear();
}

async function acceptedBy(ctx: Ctx, userId: string): Promise<Accepted> {
  const cache = cacheOf(ctx);
  const cached = cache.users.get(userId);
  if (cached) return cached;
  const { epoch } = cache;
  const rows = await ctx.db.select().from(termsAcceptance).where(eq(termsAcceptance.userId, userId));
  const numbers = new Map<string, number>();
  for (const { document, number } of rows) numbers.set(document, Math.max(number, numbers.get(document) ?? 0));
  const found = { numbers, adult: rows.some((row) => row.adult) };
  if (epoch === cache.epoch) cache.users.set(userId, found);
  return found;
}

/** What a user has still to accept. */
interface Pending {
  /** In force: without them the user may not continue. */
  due: Published[];
  upcoming: Published[];
  adultNeeded: boolean;
}
const NOTHING: Pending = { due: [], upcoming: [], adultNeeded: false };

/** What a user has still to accept; nothing as long as no document is published. */
export async function pendingFor(ctx: Ctx, userId: string): Promise<Pending> {
  const versions = await publishedVersions(ctx);
  if (versions.length === 0) return NOTHING;
  const { numbers, adult } = await acceptedBy(ctx, userId);
  const missing = (one: Published) => (numbers.get(one.document) ?? 0) < one.number;
  const now = ctx.clock.now();
  return {
    due: requiredAt(versions, now).filter(missing),
    upcoming: scheduledAfter(versions, now).filter(missing),
    adultNeeded: !adult,
  };
}

interface Person {
  userId: string;
  email: string;
  source: Source | undefined;
}

/** Stores acceptances in the caller's transaction; what is cached of a known user must be dropped afterwards. */
async function store(
  tx: Db,
  ctx: Ctx,
  actor: Actor,
  { userId, email, source = LOCAL }: Person,
  versions: readonly Published[],
  given: { how: AcceptanceRow["how"]; adult: boolean },
): Promise<void> {
  const { how, adult } = given;
  const { address } = source;
  for (const { id, document, number } of versions) {
    const [row] = await tx
      .insert(termsAcceptance)
      .values({
        id: newId("termsAcceptance"),
        userId,
        email,
        versionId: id,
        document,
        number,
        how,
        adult,
        address,
        userAgent: source.userAgent.slice(0, MAX_AGENT),
        createdAt: ctx.clock.now(),
      })
      .onConflictDoNothing()
      .returning({ id: termsAcceptance.id });
    if (row) await audit(tx, ctx, actor, "terms.accept", id, { document, version: number, how, adult, address });
  }
}

const namesOf = (versions: readonly Published[]) => versions.map(({ document }) => TITLES[document]).join(", ");

const adultNeeded = () =>
  new AppError(
    "invalid",
    "adult_needed",
    "Confirm that you are 18 or older and have legal capacity. Others may not use this installation.",
    { param: "adult" },
  );

/**
 * Accepts versions in the name of a person in a browser.
 * @throws AppError `person_needed` for an API key, `adult_needed`, `terms_changed` for a version that is not pending
 */
export async function acceptTerms(ctx: Ctx, actor: Actor, given: AcceptTerms, how: "page" | "api"): Promise<void> {
  if (actor.via === "key")
    throw new AppError("forbidden", "person_needed", "Terms are accepted by a person who is signed in, not by a key.");
  const { due, upcoming, adultNeeded: needed } = await pendingFor(ctx, actor.userId);
  const versions = [...due, ...upcoming].filter(({ id }) => given.versions.includes(id));
  if (versions.length < new Set(given.versions).size)
    throw new AppError(
      "conflict",
      "terms_changed",
      "A newer version was published, or you accepted this one already. Load the page again and read it.",
      { param: "versions" },
    );
  if (needed && !given.adult) throw adultNeeded();
  const person = { userId: actor.userId, email: actor.email ?? "", source: actor.source };
  await ctx.write((tx) => store(tx, ctx, actor, person, versions, { how, adult: given.adult }));
  forgetAccepted(ctx);
}

/** Records that a user continued to use the installation, where the setting says that this is an acceptance. */
export async function acceptByUse(ctx: Ctx, actor: Actor, versions: readonly Published[]): Promise<void> {
  const person = { userId: actor.userId, email: actor.email ?? "", source: actor.source };
  await ctx.write((tx) => store(tx, ctx, actor, person, versions, { how: "continued_use", adult: false }));
  forgetAccepted(ctx);
}

/** What the form of a new account says. */
export interface Consent {
  terms: boolean;
  adult: boolean;
}

/** What a new account accepts: the versions in force. Empty = nothing has to be asked. */
export async function consentNeeded(ctx: Ctx): Promise<Published[]> {
  return requiredAt(await publishedVersions(ctx), ctx.clock.now());
}

/** @throws AppError `terms_not_accepted`, `adult_needed` */
export async function checkConsent(ctx: Ctx, consent: Consent): Promise<void> {
  const versions = await consentNeeded(ctx);
  if (versions.length === 0) return;
  if (!consent.terms)
    throw new AppError("invalid", "terms_not_accepted", `Accept the documents to continue: ${namesOf(versions)}.`, {
      param: "accept_terms",
    });
  if (!consent.adult) throw adultNeeded();
}

/** Records the consent of a new account, in the transaction that creates it. */
export async function recordConsent(
  tx: Db,
  ctx: Ctx,
  actor: Actor,
  person: Person,
  how: "sign_up" | "invitation",
): Promise<void> {
  await store(tx, ctx, actor, person, await consentNeeded(ctx), { how, adult: true });
}
