/** Tokens of attempts: one for a trainer of this machine, and one that is exchanged once on another. */
import { createHmac, hkdfSync } from "node:crypto";
import type { Ctx } from "../../ctx.ts";
import { newSecret, sha256Hex } from "../../lib/ids.ts";

/** How long a machine may take until it runs, beyond what its offer says. */
export const PROVISION_MS = 45 * 60_000;

export interface AttemptToken {
  /** What the provider is given. */
  token: string;
  stored: { tokenHash: string; bootstrapHash: string | null; bootstrapUntil: number | null };
}

/** A new token of an attempt; on another machine it is valid once, and only until its trainer must have called home. */
export function newToken(ctx: Ctx, elsewhere: boolean, startsInS: number): AttemptToken {
  if (!elsewhere) {
    const token = newSecret("fta-");
    return { token, stored: { tokenHash: sha256Hex(token), bootstrapHash: null, bootstrapUntil: null } };
  }
  const token = newSecret("ftb-");
  return {
    token,
    stored: {
      // Nobody has the token of this hash: the exchange replaces it.
      tokenHash: sha256Hex(newSecret("fta-")),
      bootstrapHash: sha256Hex(token),
      bootstrapUntil: ctx.clock.now() + startsInS * 1000 + PROVISION_MS,
    },
  };
}

/** The token of an attempt for a bootstrap token and a nonce of the trainer: the same whenever it asks again. */
export function exchangedToken(ctx: Ctx, attemptId: string, bootstrap: string, nonce: string): string {
  const key = Buffer.from(hkdfSync("sha256", ctx.secret, "", "attempt token", 32));
  return `fta-${createHmac("sha256", key).update(`${attemptId} ${bootstrap} ${nonce}`).digest("hex")}`;
}
