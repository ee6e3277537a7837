/** Asks for a signature of a passkey; checks challenge, origin, domain, user verification, signature and counter. */
import { and, asc, eq, lt } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { member, passkey, user } from "../../db/schema/auth.ts";
import { AppError } from "../../errors.ts";
import { withoutHidden } from "../../lib/text/names.ts";
import { noteRefusal } from "../audit/refusals.ts";
import { knownDevice } from "../auth/devices.ts";
import { announceSecurity } from "../auth/events.ts";
import type { Client } from "../auth/sign-in.ts";
import { attempt } from "../auth/throttle.ts";
import { factorsOf } from "./factors.ts";
import { newChallenge, type PasskeyPurpose, takeChallenge } from "./passkey-challenge.ts";
import { type PasskeyAnswer, SignedCredential } from "./passkey-model.ts";
import { type PasskeySite, passkeySite, requirePasskeySite } from "./passkey-site.ts";
import { readCredential, webauthn } from "./passkeys.ts";

const TIMEOUT_MS = 5 * 60_000;

/** What a signature is asked for, and whose. */
interface Wanted {
  purpose: Exclude<PasskeyPurpose, "enroll">;
  /** Null: whoever the passkey belongs to. */
  userId: string | null;
  /** Origin of the request. */
  origin: string;
}

/** What the browser needs, what the page sends back, and `Set-Cookie` values. */
interface AskedSignature {
  publicKey: object;
  state: string;
  cookies: string[];
}

/** @throws AppError `passkeys_unavailable`, `no_passkey`, `passkey_expired` */
export async function askForPasskey(ctx: Ctx, wanted: Wanted, client: Client): Promise<AskedSignature> {
  const { purpose, userId, origin } = wanted;
  const site = requirePasskeySite(ctx, origin);
  const own = userId
    ? await ctx.db
        .select({ id: passkey.credentialId, transports: passkey.transports })
        .from(passkey)
        .where(eq(passkey.userId, userId))
        .orderBy(asc(passkey.createdAt))
        .limit(100)
    : [];
  if (userId && own.length === 0)
    throw new AppError(
      "conflict",
      "no_passkey",
      "This account has no passkey. Use another way to prove that it is you.",
    );
  const { challenge, state, cookies } = newChallenge(ctx, purpose, userId, client.cookies);
  const { generateAuthenticationOptions } = await webauthn(ctx);
  const publicKey = await generateAuthenticationOptions({
    rpID: site.id,
    challenge: Buffer.from(challenge, "base64url"),
    timeout: TIMEOUT_MS,
    userVerification: "required",
    allowCredentials: own.map(({ id, transports }) => ({
      id,
      transports: transports as ("internal" | "usb" | "nfc" | "ble" | "hybrid")[],
    })),
  });
  return { publicKey, state, cookies };
}

/** Whether a person has a passkey, and this address allows to use it. */
export async function hasUsablePasskey(ctx: Ctx, { userId }: Pick<Actor, "userId">, origin: string): Promise<boolean> {
  if ("problem" in passkeySite(ctx, origin)) return false;
  return (await factorsOf(ctx.db, userId)).passkeys > 0;
}

/** The account of a passkey. */
export interface PasskeyOwner {
  id: string;
  org: string;
  email: string;
  banned: boolean;
}

async function find(ctx: Ctx, credentialId: string) {
  const [row] = await ctx.db
    .select({ key: passkey, id: user.id, email: user.email, banned: user.banned, org: member.organizationId })
    .from(passkey)
    .innerJoin(user, eq(user.id, passkey.userId))
    .leftJoin(member, eq(member.userId, user.id))
    .where(eq(passkey.credentialId, credentialId))
    .limit(1);
  return row ? { key: row.key, owner: { id: row.id, email: row.email, banned: row.banned, org: row.org ?? "" } } : null;
}
type Found = NonNullable<Awaited<ReturnType<typeof find>>>;

const wrong = (message: string) => new AppError("forbidden", "wrong_passkey", message, { param: "credential" });
const UNKNOWN =
  "This passkey is not known here, or belongs to another account. It may have been removed: delete it where you keep your passkeys, and sign in another way.";
const INVALID = "The passkey was not accepted: the answer of the browser is not valid for this site. Try again.";
const COPIED =
  "This passkey was refused because its counter went back: a copy of it may be in use. Sign in another way, remove it in Settings, and add a new one.";

/** Why a signature is refused: for the audit log, and for people. */
class Refused extends Error {
  constructor(
    readonly reason: "passkey" | "passkey_unknown" | "passkey_counter",
    readonly text: string,
    readonly problem: string,
  ) {
    super(problem);
  }
}

/** Checks a signature and stores its counter. */
async function verify(
  ctx: Ctx,
  site: PasskeySite,
  found: Found,
  response: ReturnType<typeof readCredential<typeof SignedCredential>>,
  expectedChallenge: string,
): Promise<void> {
  const { key } = found;
  const { verifyAuthenticationResponse } = await webauthn(ctx);
  const { verified, authenticationInfo } = await verifyAuthenticationResponse({
    response: response as Parameters<typeof verifyAuthenticationResponse>[0]["response"],
    expectedChallenge,
    expectedOrigin: site.origin,
    expectedRPID: site.id,
    requireUserVerification: true,
    // The counter is compared below, where it is stored.
    credential: { id: key.credentialId, publicKey: Buffer.from(key.publicKey, "base64url"), counter: 0 },
  }).catch((error: unknown) => {
    throw new Refused("passkey", INVALID, error instanceof Error ? error.message : "not valid");
  });
  if (!verified) throw new Refused("passkey", INVALID, "the signature is wrong");
  const counter = authenticationInfo.newCounter;
  // Authenticators that do not count send 0 each time.
  const grew = counter === 0 ? eq(passkey.counter, 0) : lt(passkey.counter, counter);
  const [stored] = await ctx.write((tx) =>
    tx
      .update(passkey)
      .set({ counter, lastUsedAt: ctx.clock.now(), synced: authenticationInfo.credentialBackedUp })
      .where(and(eq(passkey.id, key.id), grew))
      .returning({ id: passkey.id }),
  );
  if (!stored) throw new Refused("passkey_counter", COPIED, `counter ${counter} after ${key.counter}`);
}

/**
 * Checks a signature, with the limits of signing in; a refusal is recorded.
 * @returns the owner of the passkey
 * @throws AppError `passkeys_unavailable`, `passkey_expired`, `wrong_passkey`, `too_many_attempts`
 */
export async function checkPasskey(
  ctx: Ctx,
  wanted: Wanted,
  answer: PasskeyAnswer,
  client: Client,
): Promise<PasskeyOwner> {
  const { purpose, userId, origin } = wanted;
  const site = requirePasskeySite(ctx, origin);
  const response = readCredential(SignedCredential, answer.credential);
  const found = await find(ctx, response.id);
  const owner = found?.owner ?? null;
  const who = userId ?? owner?.id ?? null;
  const account = owner && (userId === null || userId === owner.id) ? { userId: owner.id, org: owner.org } : null;
  const refusal = { account, target: who ?? "none", source: client };
  const device = who && knownDevice(ctx, client.cookies, who);
  const tries = await attempt(ctx, { account: `passkey ${who}`, address: client.address, device }).catch(
    async (error) => {
      await noteRefusal(ctx, { ...refusal, action: "session.lock", reason: "too_many_attempts" });
      throw error;
    },
  );
  try {
    const challenge = await takeChallenge(ctx, answer.state, { purpose, user: userId, cookies: client.cookies });
    const handle = response.response.userHandle;
    if (!found || !account || (handle && Buffer.from(handle, "base64url").toString() !== found.owner.id))
      throw new Refused("passkey_unknown", UNKNOWN, "no such passkey of this account");
    await verify(ctx, site, found, response, challenge);
    await tries.success();
    return found.owner;
  } catch (error) {
    if (!(error instanceof Refused) && !(error instanceof AppError)) throw error;
    const reason = error instanceof Refused ? error.reason : error.code;
    const problem = withoutHidden(error.message).slice(0, 200);
    const detail = { problem, ...(found ? { passkey: found.key.id } : {}) };
    await noteRefusal(ctx, { ...refusal, action: "session.fail", reason, detail });
    if (tries.last && account) announceSecurity(ctx, account, "account.locked", client);
    throw error instanceof Refused ? wrong(error.text) : error;
  }
}
