/** Passkeys of a user's own account: list, add, rename, remove. */
import { and, asc, eq } from "drizzle-orm";
import * as v from "valibot";
import { type Actor, type Ctx, perContext } from "../../ctx.ts";
import { passkey, user } from "../../db/schema/auth.ts";
import { AppError, notFound } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { audit } from "../audit/service.ts";
import { announceSecurity } from "../auth/events.ts";
import type { Client } from "../auth/sign-in.ts";
import { changeFactors, factorsOf, ownSession, replaceCodes } from "./factors.ts";
import { newChallenge, takeChallenge } from "./passkey-challenge.ts";
import { NewCredential, type PasskeyAnswer, type PasskeyRow } from "./passkey-model.ts";
import { requirePasskeySite } from "./passkey-site.ts";

/** The library that checks WebAuthn, loaded on first use. */
export const webauthn = perContext(async () => {
  // A package below the library needs it first; the order of the bundle in the binary is another one.
  await import("reflect-metadata");
  return import("@simplewebauthn/server");
});

const MAX = 20;
const TIMEOUT_MS = 5 * 60_000;
/** RSA of Windows Hello, Ed25519, and P-256. */
const ALGORITHMS = [-8, -7, -257];

/** Passkeys of the actor, the oldest first. */
export function listPasskeys(ctx: Ctx, actor: Actor): Promise<PasskeyRow[]> {
  return ctx.db
    .select()
    .from(passkey)
    .where(eq(passkey.userId, actor.userId))
    .orderBy(asc(passkey.createdAt), asc(passkey.id))
    .limit(MAX);
}

/** What browsers need to create a passkey, and what the page sends back. */
interface Asked {
  publicKey: object;
  state: string;
}

/**
 * Asks the browser for a new passkey.
 * @param origin of the request
 * @throws AppError `session_required`, `passkeys_unavailable`, `too_many_passkeys`
 */
export async function askForNewPasskey(ctx: Ctx, actor: Actor, client: Client, origin: string): Promise<Asked> {
  ownSession(ctx, actor, client);
  const site = requirePasskeySite(ctx, origin);
  const own = await listPasskeys(ctx, actor);
  if (own.length >= MAX)
    throw new AppError("conflict", "too_many_passkeys", `An account has at most ${MAX} passkeys. Remove one first.`);
  const { challenge, state } = newChallenge(ctx, "enroll", actor.userId, client.cookies);
  const [{ name } = { name: "" }] = await ctx.db
    .select({ name: user.name })
    .from(user)
    .where(eq(user.id, actor.userId));
  const email = actor.email ?? actor.userId;
  const { generateRegistrationOptions } = await webauthn(ctx);
  const publicKey = await generateRegistrationOptions({
    rpName: "Fine-Tune Lab",
    rpID: site.id,
    userName: email,
    userDisplayName: name || email,
    userID: new TextEncoder().encode(actor.userId),
    challenge: Buffer.from(challenge, "base64url"),
    timeout: TIMEOUT_MS,
    attestationType: "none",
    supportedAlgorithmIDs: ALGORITHMS,
    excludeCredentials: own.map(({ credentialId }) => ({ id: credentialId })),
    // Without them it could not sign in alone.
    authenticatorSelection: { residentKey: "required", userVerification: "required" },
  });
  return { publicKey, state };
}

const refused = (cause: unknown) =>
  new AppError(
    "invalid",
    "wrong_passkey",
    "The passkey was not accepted: the answer of the browser is not valid for this site. Try again.",
    { param: "credential", cause },
  );

/** The browser's answer in a checked form. @throws AppError `wrong_passkey` */
export function readCredential<S extends v.GenericSchema>(schema: S, text: string): v.InferOutput<S> {
  try {
    return v.parse(schema, JSON.parse(text));
  } catch (cause) {
    throw refused(cause);
  }
}

/**
 * Adds a passkey. All other sessions of the user end.
 * @returns the passkey, and recovery codes when it is the first second factor
 * @throws AppError `session_required`, `passkeys_unavailable`, `passkey_expired`, `wrong_passkey`, `passkey_taken`
 */
export async function addPasskey(
  ctx: Ctx,
  actor: Actor,
  client: Client,
  given: PasskeyAnswer & { name: string; origin: string },
): Promise<{ passkey: PasskeyRow; codes: string[] | null }> {
  const keep = ownSession(ctx, actor, client);
  const site = requirePasskeySite(ctx, given.origin);
  const response = readCredential(NewCredential, given.credential);
  const bound = { purpose: "enroll", user: actor.userId, cookies: client.cookies } as const;
  const expectedChallenge = await takeChallenge(ctx, given.state, bound);
  const { verifyRegistrationResponse } = await webauthn(ctx);
  const { registrationInfo } = await verifyRegistrationResponse({
    response: response as Parameters<typeof verifyRegistrationResponse>[0]["response"],
    expectedChallenge,
    expectedOrigin: site.origin,
    expectedRPID: site.id,
    requireUserVerification: true,
    supportedAlgorithmIDs: ALGORITHMS,
  }).catch((cause: unknown) => {
    throw refused(cause);
  });
  if (!registrationInfo) throw refused(new Error("the attestation is not valid"));
  const { credential, credentialBackedUp } = registrationInfo;
  const isFirst = (await factorsOf(ctx.db, actor.userId)).codesLeft === 0;
  const row: PasskeyRow = {
    id: newId("passkey"),
    userId: actor.userId,
    name: given.name,
    credentialId: credential.id,
    publicKey: Buffer.from(credential.publicKey).toString("base64url"),
    counter: credential.counter,
    transports: response.response.transports.filter((each) => /^[a-z-]+$/.test(each)),
    synced: credentialBackedUp,
    createdAt: ctx.clock.now(),
    lastUsedAt: null,
  };
  await changeFactors(ctx, actor.userId, keep, async (tx) => {
    const [stored] = await tx.insert(passkey).values(row).onConflictDoNothing().returning({ id: passkey.id });
    if (!stored) throw new AppError("conflict", "passkey_taken", "This passkey was added already.");
    const { id, name, transports } = row;
    await audit(tx, ctx, actor, "passkey.add", actor.userId, { passkey: id, name, transports });
  });
  announceSecurity(ctx, actor, "passkey.added", client, row.name);
  return { passkey: row, codes: isFirst ? await replaceCodes(ctx, actor.userId) : null };
}

const mine = (actor: Actor, id: string) => and(eq(passkey.id, id), eq(passkey.userId, actor.userId));

/** @throws AppError `passkey_not_found` */
export async function renamePasskey(ctx: Ctx, actor: Actor, id: string, name: string): Promise<PasskeyRow> {
  return ctx.write(async (tx) => {
    const [row] = await tx.update(passkey).set({ name }).where(mine(actor, id)).returning();
    if (!row) throw notFound("passkey", id);
    await audit(tx, ctx, actor, "passkey.rename", actor.userId, { passkey: id, name });
    return row;
  });
}

/**
 * Removes a passkey. All other sessions of the user end.
 * @throws AppError `session_required`, `passkey_not_found`, `two_factor_required`
 */
export async function removePasskey(ctx: Ctx, actor: Actor, client: Client, id: string): Promise<void> {
  const [found] = await ctx.db.select({ name: passkey.name }).from(passkey).where(mine(actor, id)).limit(1);
  if (!found) throw notFound("passkey", id);
  const { name } = found;
  const keep = ownSession(ctx, actor, client);
  await changeFactors(ctx, actor.userId, keep, async (tx) => {
    const [row] = await tx.delete(passkey).where(mine(actor, id)).returning({ id: passkey.id });
    if (!row) throw notFound("passkey", id);
    await audit(tx, ctx, actor, "passkey.remove", actor.userId, { passkey: id, name });
  });
  announceSecurity(ctx, actor, "passkey.removed", client, name);
}
