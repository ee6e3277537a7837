/** Versions of the documents: which one is in force, which is scheduled, and publishing or withdrawing one. */
import { and, desc, eq, isNull } from "drizzle-orm";
import { type Actor, type Ctx, keptRead, requireAdmin } from "../../ctx.ts";
import { termsVersion } from "../../db/schema/terms.ts";
import { AppError, notFound } from "../../errors.ts";
import { DAY_MS } from "../../lib/clock.ts";
import { newId } from "../../lib/ids.ts";
import { audit } from "../audit/service.ts";
import { DOCUMENTS, type DocumentName, type PublishVersion, TITLES, type VersionRow } from "./model.ts";

/** How long before its effect a material change must be published. */
const NOTICE_DAYS = 30;
/** A date of the past that is only the time it took to send the request. */
const SLACK_MS = 3_600_000;

/** What every request looks at, without the text. */
export type Published = Pick<VersionRow, "id" | "document" | "number" | "material" | "summary" | "effectiveAt">;

/** All versions that were not withdrawn, oldest first; read once and after each change. */
const published = keptRead(async (ctx): Promise<readonly Published[]> => {
  const { id, document, number, material, summary, effectiveAt } = termsVersion;
  return ctx.db
    .select({ id, document, number, material, summary, effectiveAt })
    .from(termsVersion)
    .where(isNull(termsVersion.withdrawnAt))
    .orderBy(termsVersion.document, termsVersion.number);
});
export const publishedVersions = (ctx: Ctx): Promise<readonly Published[]> => published.get(ctx);

/** Documents with a version in force or scheduled, for links of pages; what the last request read. */
export function publishedDocuments(ctx: Ctx): { label: string; href: string }[] {
  const last = published.last(ctx) ?? [];
  return DOCUMENTS.filter((name) => last.some((one) => one.document === name)).map((name) => ({
    label: TITLES[name],
    href: `/${name}`,
  }));
}

/** The version of a document in force at a time. Later numbers never take effect before earlier ones. */
function inForce<T extends Published>(versions: readonly T[], document: DocumentName, at: number) {
  return versions.findLast((one) => one.document === document && one.effectiveAt <= at);
}

/** For each document, the latest material version in force: users must have accepted it or a later one. */
export function requiredAt(versions: readonly Published[], at: number): Published[] {
  return DOCUMENTS.flatMap(
    (name) => versions.findLast((one) => one.document === name && one.material && one.effectiveAt <= at) ?? [],
  );
}

/** Material versions that take effect after a time. */
export const scheduledAfter = (versions: readonly Published[], at: number) =>
  versions.filter((one) => one.material && one.effectiveAt > at);

/** The version to show: in force, else the first one to come; or the one with a number. Null = there is none. */
export async function readVersion(ctx: Ctx, document: DocumentName, number?: number): Promise<VersionRow | null> {
  const versions = await publishedVersions(ctx);
  const found =
    number === undefined
      ? (inForce(versions, document, ctx.clock.now()) ?? versions.find((one) => one.document === document))
      : versions.find((one) => one.document === document && one.number === number);
  if (!found) return null;
  const [row] = await ctx.db.select().from(termsVersion).where(eq(termsVersion.id, found.id)).limit(1);
  return row ?? null;
}

/** The texts of some versions. */
export async function withTexts(ctx: Ctx, versions: readonly Published[]): Promise<VersionRow[]> {
  const rows = await Promise.all(
    versions.map(({ id }) => ctx.db.select().from(termsVersion).where(eq(termsVersion.id, id))),
  );
  return rows.flat();
}

/** Every version, withdrawn ones too, newest first. Administrators only. */
export async function listVersions(ctx: Ctx, actor: Actor, document?: DocumentName): Promise<VersionRow[]> {
  requireAdmin(actor);
  return ctx.db
    .select()
    .from(termsVersion)
    .where(document && eq(termsVersion.document, document))
    .orderBy(desc(termsVersion.createdAt), desc(termsVersion.number))
    .limit(500);
}

const dateOf = (ms: number) => new Date(ms).toISOString().slice(0, 10);

/** The first day (UTC) on which a material change published now may take effect, as `2026-11-30`. */
export const earliestDate = (now: number) => dateOf(Math.ceil((now + NOTICE_DAYS * DAY_MS) / DAY_MS) * DAY_MS);

/** @throws AppError `terms_too_soon`, `terms_in_the_past`, `terms_before_scheduled` */
function checkDate(ctx: Ctx, at: number, material: boolean, before: VersionRow | undefined): void {
  const now = ctx.clock.now();
  const refuse = (code: string, message: string) => new AppError("invalid", code, message, { param: "effective_at" });
  if (at < now - SLACK_MS)
    throw refuse("terms_in_the_past", "A version cannot take effect in the past. Choose today or a later date.");
  if (!before) return;
  if (material && at < now + NOTICE_DAYS * DAY_MS)
    throw refuse(
      "terms_too_soon",
      `A material change takes effect ${NOTICE_DAYS} days after it is published or later: ${earliestDate(now)} at the earliest.`,
    );
  if (at < before.effectiveAt)
    throw refuse(
      "terms_before_scheduled",
      `Version ${before.number} takes effect on ${dateOf(before.effectiveAt)}. Choose that date or a later one, or withdraw version ${before.number} first.`,
    );
}

/** Drops what was read, and lets later areas send the notices. */
function changed(ctx: Ctx): void {
  published.forget(ctx);
  ctx.bus.emit("terms.changed", {});
}

/**
 * Publishes a version of a document. Administrators only.
 * @throws AppError `terms_too_soon`, `terms_in_the_past`, `terms_before_scheduled`, `terms_unchanged`
 */
export async function publishVersion(ctx: Ctx, actor: Actor, given: PublishVersion): Promise<VersionRow> {
  requireAdmin(actor);
  const { document, text, summary } = given;
  const row = await ctx.write(async (tx) => {
    const all = await tx
      .select()
      .from(termsVersion)
      .where(eq(termsVersion.document, document))
      .orderBy(termsVersion.number);
    const before = all.findLast((one) => one.withdrawnAt === null);
    if (before?.text === text)
      throw new AppError("invalid", "terms_unchanged", `The text is the same as that of version ${before.number}.`, {
        param: "text",
      });
    const now = ctx.clock.now();
    const effectiveAt = given.effective_at == null ? now : given.effective_at * 1000;
    const material = given.material || !before;
    checkDate(ctx, effectiveAt, material, before);
    const values = {
      id: newId("termsVersion"),
      document,
      number: (all.at(-1)?.number ?? 0) + 1,
      text,
      summary,
      material,
      effectiveAt,
      createdAt: now,
      createdBy: actor.userId,
      noticedAt: null,
      withdrawnAt: null,
    };
    await tx.insert(termsVersion).values(values);
    await audit(tx, ctx, actor, "terms.publish", values.id, {
      document,
      version: values.number,
      material,
      effective_at: new Date(effectiveAt).toISOString(),
    });
    return values;
  });
  changed(ctx);
  return row;
}

/**
 * Withdraws a version that is not in force yet. Administrators only.
 * @throws AppError `terms_version_not_found`, `terms_in_force`
 */
export async function withdrawVersion(ctx: Ctx, actor: Actor, id: string): Promise<VersionRow> {
  requireAdmin(actor);
  const row = await ctx.write(async (tx) => {
    const [found] = await tx
      .select()
      .from(termsVersion)
      .where(and(eq(termsVersion.id, id), isNull(termsVersion.withdrawnAt)))
      .limit(1);
    if (!found) throw notFound("terms_version", id);
    const now = ctx.clock.now();
    if (found.effectiveAt <= now)
      throw new AppError("conflict", "terms_in_force", "This version is in force. Publish a newer one instead.");
    // The notice about the withdrawal is due when the version itself was announced.
    const values = { withdrawnAt: now, noticedAt: found.noticedAt === null ? now : null };
    await tx.update(termsVersion).set(values).where(eq(termsVersion.id, id));
    await audit(tx, ctx, actor, "terms.withdraw", id, { document: found.document, version: found.number });
    return { ...found, ...values };
  });
  changed(ctx);
  return row;
}
