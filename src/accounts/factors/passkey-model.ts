/** Passkeys as clients and browsers send and see them. */
import * as v from "valibot";
import type { passkey } from "../../db/schema/auth.ts";
import { seconds } from "../../lib/request-fields.ts";
import { filledName } from "../../lib/text/names.ts";

export type PasskeyRow = typeof passkey.$inferSelect;

const PasskeyName = filledName(100);
export const RenamePasskey = v.strictObject({ name: PasskeyName });

/** A passkey of the caller. Times are Unix seconds. */
export const PasskeyView = v.strictObject({
  object: v.literal("passkey"),
  id: v.string(),
  name: v.string(),
  created_at: v.number(),
  /** Null when it was not used since it was added. */
  last_used_at: v.nullable(v.number()),
  /** How browsers reach it: `internal` (this device), `hybrid` (a phone nearby), `usb`, `nfc`, `ble`. */
  transports: v.array(v.string()),
  /** It is copied between devices, as by a password manager. */
  synced: v.boolean(),
});
export type PasskeyView = v.InferOutput<typeof PasskeyView>;

export const passkeyView = (row: PasskeyRow): PasskeyView => ({
  object: "passkey",
  id: row.id,
  name: row.name,
  created_at: seconds(row.createdAt),
  last_used_at: row.lastUsedAt === null ? null : seconds(row.lastUsedAt),
  transports: row.transports,
  synced: row.synced,
});

/** What a page sends back: the state of the challenge, and the browser's answer as JSON. */
export interface PasskeyAnswer {
  state: string;
  credential: string;
}

const text = (max: number) => v.pipe(v.string(), v.maxLength(max));
const parts = {
  id: text(2000),
  rawId: text(2000),
  type: v.literal("public-key"),
  clientExtensionResults: v.record(v.string(), v.unknown()),
};

/** `PublicKeyCredential.toJSON()` of a new passkey; browsers add fields. */
export const NewCredential = v.object({
  ...parts,
  response: v.object({
    clientDataJSON: text(10_000),
    attestationObject: text(60_000),
    transports: v.optional(v.pipe(v.array(text(30)), v.maxLength(10)), []),
  }),
});

/** The same of a signature with a passkey. */
export const SignedCredential = v.object({
  ...parts,
  response: v.object({
    clientDataJSON: text(10_000),
    authenticatorData: text(10_000),
    signature: text(10_000),
    userHandle: v.nullish(text(1000)),
  }),
});
