/**
 * The object-store mailbox of trainers elsewhere, for sites without inbound connections: names of its objects, and
 * presigned addresses that reach exactly those.
 */
import { createHash, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Ctx } from "../../ctx.ts";
import { type ObjectStore, StoreProblem } from "../../lib/objects/store.ts";

/** Everything of an attempt is below `mailbox/<attempt>/`; files of base models are shared, by their hash. */
export const MAILBOX = "mailbox/";
export const MAILBOX_BASES = "mailbox-base/";
/** Requests of one trainer that may be on their way at the same time. */
export const LANES = 8;
/** How long the addresses of a trainer are valid; they are renewed at half of that time. */
export const ADDRESSES_S = 2 * 3600;
/** How long the address of the renewed ones is valid: a trainer gives up after a day without contact. */
const RENEW_S = 25 * 3600;
/** How long the two addresses of a launch are valid beyond what its machine may take to begin. */
const BOOT_S = 2 * 3600;
const CHECK_MS = 15_000;

const CERTIFICATES = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** Whether trainers elsewhere use the mailbox. */
export const usesMailbox = ({ config }: Ctx): boolean => config.trainer_channel === "mailbox";

export const mailboxOf = (attemptId: string) => `${MAILBOX}${attemptId}/`;
export const addressesKey = (attemptId: string) => `${mailboxOf(attemptId)}addresses`;

function bucketOf(ctx: Ctx): ObjectStore {
  if (!ctx.bucket) throw new Error("the mailbox has no bucket");
  return ctx.bucket;
}

/** A presigned address. @throws Error for a store that has none */
async function signed(address: Promise<string | null>): Promise<string> {
  const found = await address;
  if (found === null) throw new Error("the object store has no presigned addresses");
  return found;
}

export const readAddress = (ctx: Ctx, key: string, seconds = ADDRESSES_S): Promise<string> =>
  signed(bucketOf(ctx).presignGet(key, seconds));

const pairOf = async (ctx: Ctx, attemptId: string, name: string, seconds: number) => ({
  put: await signed(bucketOf(ctx).presignPut(`${mailboxOf(attemptId)}in/${name}`, seconds, null)),
  get: await readAddress(ctx, `${mailboxOf(attemptId)}out/${name}`, seconds),
});

/**
 * What a machine is started with: the two addresses at which its bootstrap token is exchanged, and nothing else.
 * @param startsInS how long the machine may take until it runs
 */
export async function mailboxUrl(ctx: Ctx, attemptId: string, startsInS: number): Promise<string> {
  const { put, get } = await pairOf(ctx, attemptId, "boot", startsInS + ctx.config.first_contact_s + BOOT_S);
  return `mailbox:${Buffer.from(JSON.stringify([put, get])).toString("base64url")}`;
}

/** Writes the addresses of a trainer, which replace those that expire. @returns the address where they are */
export async function writeAddresses(ctx: Ctx, attemptId: string): Promise<string> {
  const lanes: { put: string[]; get: string[] }[] = [];
  for (let lane = 0; lane < LANES; lane++) {
    const [even, odd] = [
      await pairOf(ctx, attemptId, `${lane}-0`, ADDRESSES_S),
      await pairOf(ctx, attemptId, `${lane}-1`, ADDRESSES_S),
    ];
    lanes.push({ put: [even.put, odd.put], get: [even.get, odd.get] });
  }
  const renew = await readAddress(ctx, addressesKey(attemptId), RENEW_S);
  const bytes = new TextEncoder().encode(JSON.stringify({ version: 1, valid_s: ADDRESSES_S, renew, lanes }));
  await bucketOf(ctx).put(addressesKey(attemptId), onePiece(bytes), undefined, ctx.signal);
  return renew;
}

/** Bytes as a source of the object store. */
export async function* onePiece(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** Fingerprints of the bucket's own certificate authorities, which trainers then trust; null = public ones. */
export function mailboxFingerprint({ config: { s3_ca: file } }: Ctx): string | null {
  if (file === null) return null;
  const found = readFileSync(file, "utf8").match(CERTIFICATES) ?? [];
  const hashes = found.map((pem) => createHash("sha256").update(new X509Certificate(pem).raw).digest("hex"));
  return hashes.length > 0 ? hashes.join(",") : null;
}

/** Why trainers could not use the mailbox, and what to do; null when the bucket takes and returns objects. */
export async function mailboxProblem(ctx: Ctx): Promise<{ message: string; remedy: string } | null> {
  const remedy = "Correct the settings of the bucket (docs/object-storage.md).";
  if (!ctx.bucket) return { message: "The mailbox of trainers elsewhere has no bucket.", remedy };
  try {
    await ctx.bucket.check(AbortSignal.any([ctx.signal, AbortSignal.timeout(CHECK_MS)]));
    return null;
  } catch (error) {
    const message = error instanceof StoreProblem ? error.message : "The bucket of the mailbox does not answer.";
    return { message, remedy: error instanceof StoreProblem && error.kind !== "setup" ? "It is tried again." : remedy };
  }
}
