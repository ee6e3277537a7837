/** Failed sign-ins in the audit log, limited so that an attacker cannot flood it. */
import * as v from "valibot";
import { type Actor, type Ctx, perContext } from "../../ctx.ts";
import { audit } from "../audit/service.ts";

const Address = v.pipe(v.string(), v.maxLength(254), v.email());
const WINDOW_MS = 15 * 60_000;
/** Entries of one window; further failures are counted, and the next entry has their number. */
const MAX_ENTRIES = 100;

interface Window {
  until: number;
  entries: number;
  skipped: number;
}
const windowOf = perContext((): Window => ({ until: 0, entries: 0, skipped: 0 }));

/**
 * Writes one entry `session.fail`.
 * @param input.email as typed; text that is no address is left out, because people type passwords into the wrong field
 * @param input.userId the account, null when there is none
 */
export async function noteFailure(
  ctx: Ctx,
  input: {
    email: string;
    address: string;
    userId: string | null;
    org: string | null;
    reason: "unknown" | "disabled" | "password";
  },
): Promise<void> {
  const window = windowOf(ctx);
  const now = ctx.clock.now();
  if (now >= window.until) {
    window.until = now + WINDOW_MS;
    window.entries = 0;
  }
  if (window.entries >= MAX_ENTRIES) {
    window.skipped++;
    return;
  }
  window.entries++;
  const { skipped } = window;
  window.skipped = 0;
  const { userId, org, address, reason } = input;
  const actor: Actor = {
    userId: userId ?? "anonymous",
    org: org ?? "",
    role: "member",
    via: "session",
    keyId: null,
    email: null,
  };
  const detail = {
    ...(v.is(Address, input.email) ? { email: input.email } : {}),
    address,
    reason,
    ...(skipped ? { not_recorded: skipped } : {}),
  };
  await ctx.write((tx) => audit(tx, ctx, actor, "session.fail", userId ?? "none", detail));
}
