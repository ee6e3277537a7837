/** Webhook endpoints: create, change, rotate the secret, test, delete. */
import { and, desc, eq } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { olderThan } from "../../db/paging.ts";
import { noticeDelivery, webhookEndpoint } from "../../db/schema/notices.ts";
import { sealedIn } from "../../db/sealed-columns.ts";
import { AppError, notFound } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { seal } from "../../lib/sealed.ts";
import { isSecurity } from "../events/types.ts";
import type { ChangeEndpoint, CreateEndpoint, DeliveryRow, EndpointRow } from "./model.ts";
import { bodyOf, sampleEvent } from "./payload.ts";
import { checkUrl, postWebhook } from "./post.ts";
import { newSigningSecret, secretHint } from "./signature.ts";

const MAX_ENDPOINTS = 50;
const OLD_SECRET_MS = 24 * 3_600_000;

/** Events about accounts go only where an administrator sends them. */
function requireMay(actor: Actor, types: readonly string[]): void {
  if (types.some(isSecurity)) requireAdmin(actor);
}

/** The sealed address, and what of it is shown: the path of a Slack webhook is its password, as a query can be. */
function urlColumns(ctx: Ctx, id: string, text: string, format: EndpointRow["format"]) {
  const url = new URL(text);
  if (url.username || url.password)
    throw new AppError("invalid", "invalid_value", "'url' must not contain a user or a password.", { param: "url" });
  checkUrl(ctx, url);
  const query = url.search ? "?…" : "";
  const shownUrl = format === "slack" ? `${url.origin}/…` : `${url.origin}${url.pathname}${query}`;
  return { url: seal(ctx.secret, sealedIn("webhook_url", id), url.href), shownUrl };
}

function secretColumns(ctx: Ctx, id: string, secret: string) {
  return { secret: seal(ctx.secret, sealedIn("webhook_secret", id), secret), secretHint: secretHint(secret) };
}

/** @throws AppError `webhook_endpoint_not_found` */
export async function getEndpoint(ctx: Ctx, actor: Actor, id: string): Promise<EndpointRow> {
  const [row] = await ctx.db
    .select()
    .from(webhookEndpoint)
    .where(and(eq(webhookEndpoint.id, id), eq(webhookEndpoint.org, actor.org)));
  if (!row) throw notFound("webhook_endpoint", id);
  return row;
}

/** Endpoints of the organization, newest first; at most `limit + 1`. */
export async function listEndpoints(
  ctx: Ctx,
  actor: Actor,
  page: { after?: string; limit: number },
): Promise<EndpointRow[]> {
  const from = page.after ? await getEndpoint(ctx, actor, page.after) : undefined;
  return ctx.db
    .select()
    .from(webhookEndpoint)
    .where(and(eq(webhookEndpoint.org, actor.org), from && olderThan(webhookEndpoint, from)))
    .orderBy(desc(webhookEndpoint.createdAt), desc(webhookEndpoint.id))
    .limit(page.limit + 1);
}

/**
 * Creates an endpoint.
 * @returns the secret, which is shown only once
 * @throws AppError `address_refused`, `offline`, `admin_only`, `too_many_endpoints`
 */
export async function createEndpoint(
  ctx: Ctx,
  actor: Actor,
  given: CreateEndpoint,
): Promise<{ row: EndpointRow; secret: string }> {
  requireMay(actor, given.event_types);
  const secret = newSigningSecret();
  const now = ctx.clock.now();
  const id = newId("webhookEndpoint");
  const row: EndpointRow = {
    id,
    org: actor.org,
    name: given.name,
    format: given.format,
    ...urlColumns(ctx, id, given.url, given.format),
    eventTypes: [...new Set(given.event_types)],
    ...secretColumns(ctx, id, secret),
    oldSecret: null,
    oldSecretUntil: null,
    createdBy: actor.userId,
    createdAt: now,
    updatedAt: now,
  };
  await ctx.write(async (tx) => {
    const full = await tx
      .select({ id: webhookEndpoint.id })
      .from(webhookEndpoint)
      .where(eq(webhookEndpoint.org, actor.org))
      .limit(MAX_ENDPOINTS);
    if (full.length >= MAX_ENDPOINTS)
      throw new AppError("conflict", "too_many_endpoints", `There are ${MAX_ENDPOINTS} endpoints. Delete unused ones.`);
    await tx.insert(webhookEndpoint).values(row);
    await audit(tx, ctx, actor, "webhook.create", row.id, { name: row.name, url: row.shownUrl });
  });
  return { row, secret };
}

async function update(
  ctx: Ctx,
  actor: Actor,
  row: EndpointRow,
  action: string,
  values: Partial<EndpointRow>,
): Promise<EndpointRow> {
  return ctx.write(async (tx) => {
    const [changed] = await tx
      .update(webhookEndpoint)
      .set({ ...values, updatedAt: ctx.clock.now() })
      .where(eq(webhookEndpoint.id, row.id))
      .returning();
    if (!changed) throw notFound("webhook_endpoint", row.id);
    await audit(tx, ctx, actor, action, row.id, { name: changed.name, url: changed.shownUrl });
    return changed;
  });
}

/** @throws AppError as `createEndpoint` */
export async function changeEndpoint(ctx: Ctx, actor: Actor, id: string, given: ChangeEndpoint): Promise<EndpointRow> {
  const row = await getEndpoint(ctx, actor, id);
  requireMay(actor, [...row.eventTypes, ...(given.event_types ?? [])]);
  return update(ctx, actor, row, "webhook.change", {
    ...(given.name === undefined ? {} : { name: given.name }),
    ...(given.url === undefined ? {} : urlColumns(ctx, row.id, given.url, row.format)),
    ...(given.event_types === undefined ? {} : { eventTypes: [...new Set(given.event_types)] }),
  });
}

/**
 * Replaces the secret.
 * @param keepOld the previous one signs as well for 24 hours
 */
export async function rotateSecret(
  ctx: Ctx,
  actor: Actor,
  id: string,
  keepOld: boolean,
): Promise<{ row: EndpointRow; secret: string }> {
  const found = await getEndpoint(ctx, actor, id);
  requireMay(actor, found.eventTypes);
  const secret = newSigningSecret();
  const row = await update(ctx, actor, found, "webhook.rotate", {
    ...secretColumns(ctx, found.id, secret),
    oldSecret: keepOld ? found.secret : null,
    oldSecretUntil: keepOld ? ctx.clock.now() + OLD_SECRET_MS : null,
  });
  return { row, secret };
}

/** Deletes an endpoint and what waits for it. */
export async function deleteEndpoint(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  const row = await getEndpoint(ctx, actor, id);
  requireMay(actor, row.eventTypes);
  await ctx.write(async (tx) => {
    await tx.delete(noticeDelivery).where(eq(noticeDelivery.destination, row.id));
    await tx.delete(webhookEndpoint).where(eq(webhookEndpoint.id, row.id));
    await audit(tx, ctx, actor, "webhook.delete", row.id, { name: row.name, url: row.shownUrl });
  });
}

/**
 * Sends a sample event now, outside the outbox.
 * @returns the status that the endpoint answered
 * @throws AppError `webhook_unreachable` without an answer
 */
export async function testEndpoint(ctx: Ctx, actor: Actor, id: string, type: string): Promise<number> {
  const row = await getEndpoint(ctx, actor, id);
  requireMay(actor, row.eventTypes);
  const sample = sampleEvent(ctx, type);
  const { status, error } = await postWebhook(ctx, row, newId("delivery"), bodyOf(ctx, row.format, sample));
  if (status === null)
    throw new AppError("unavailable", "webhook_unreachable", `${row.shownUrl} did not answer. ${error}`);
  return status;
}

/** Deliveries of one endpoint, newest first; at most `limit + 1`. */
export async function listDeliveriesOf(
  ctx: Ctx,
  actor: Actor,
  id: string,
  page: { after?: string; limit: number },
): Promise<DeliveryRow[]> {
  const { id: destination } = await getEndpoint(ctx, actor, id);
  const of = eq(noticeDelivery.destination, destination);
  const [from] = page.after
    ? await ctx.db
        .select()
        .from(noticeDelivery)
        .where(and(of, eq(noticeDelivery.id, page.after)))
    : [];
  if (page.after && !from) throw notFound("delivery", page.after);
  return ctx.db
    .select()
    .from(noticeDelivery)
    .where(and(of, olderThan(noticeDelivery, from)))
    .orderBy(desc(noticeDelivery.createdAt), desc(noticeDelivery.id))
    .limit(page.limit + 1);
}
