/** Exchanges a bootstrap token for the token of its attempt: once, within minutes, and bound to the caller's nonce. */
import { eq } from "drizzle-orm";
import * as v from "valibot";
import { audit } from "../../accounts/audit/service.ts";
import { isFinal } from "../../contract/job.ts";
import { type Ctx, systemActor } from "../../ctx.ts";
import { attempt, job } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import { type BusMessage, emitAll } from "../../lib/bus.ts";
import { sha256Hex } from "../../lib/ids.ts";
import { exchangedToken } from "../attempts/tokens.ts";
import { attemptFailed } from "../jobs/transitions.ts";
import { refusal } from "../metrics/ingest.ts";
import { readJson } from "./body.ts";

const Request = v.strictObject({
  nonce: v.pipe(v.string(), v.regex(/^[A-Za-z0-9]{32,128}$/, "must be 32 to 128 letters and digits")),
});

const MAX_BODY = 4096;

const refused = (code: string, message: string) => new AppError("unauthenticated", code, message);

const unknown = () => refused("invalid_bootstrap_token", "Unknown bootstrap token. Exit with code 3.");

type Outcome = { token: string } | { error: AppError; messages: BusMessage[] };

async function exchangeIn(tx: Db, ctx: Ctx, bootstrap: string, nonce: string): Promise<Outcome> {
  const no = (error: AppError, messages: BusMessage[] = []): Outcome => ({ error, messages });
  const [found] = await tx
    .select()
    .from(attempt)
    .innerJoin(job, eq(job.id, attempt.jobId))
    .where(eq(attempt.bootstrapHash, sha256Hex(bootstrap)))
    .limit(1);
  if (!found) return no(unknown());
  const { attempt: mine, job: row } = found;
  if (isFinal(row.state)) return no(refusal("ended"));
  if (mine.state === "ended" || mine.number < row.attempts) return no(refusal("stale"));
  if (mine.bootstrapNonceHash !== null && mine.bootstrapNonceHash !== sha256Hex(nonce)) {
    const actor = { ...systemActor(), org: row.org };
    await audit(tx, ctx, actor, "job.bootstrap_reused", row.id, { attempt: mine.id, provider: mine.provider });
    const messages = await attemptFailed(tx, ctx, row, mine, {
      reason: "bootstrap_reused",
      message: "The bootstrap token of the attempt was used a second time.",
      retry: true,
    });
    return no(
      refused(
        "bootstrap_token_used",
        "This bootstrap token was used already. Its attempt has ended. Exit with code 3.",
      ),
      messages,
    );
  }
  const now = ctx.clock.now();
  if (now > (mine.bootstrapUntil ?? 0))
    return no(refused("bootstrap_token_expired", "This bootstrap token has expired. Exit with code 3."));
  const token = exchangedToken(ctx, mine.id, bootstrap, nonce);
  const nonceHash = sha256Hex(nonce);
  await tx
    .update(attempt)
    .set({ tokenHash: sha256Hex(token), bootstrapNonceHash: nonceHash, contactAt: mine.contactAt ?? now })
    .where(eq(attempt.id, mine.id));
  return { token };
}

/**
 * The token of the attempt. The same nonce gets the same token again, because an answer may be lost. Another nonce
 * means that somebody else has the bootstrap token: it is refused, and the attempt ends with both tokens.
 * @throws AppError `invalid_bootstrap_token`, `bootstrap_token_used`, `bootstrap_token_expired` (401), 409, 410
 */
export async function exchangeBootstrap(ctx: Ctx, request: globalThis.Request): Promise<{ token: string }> {
  const bootstrap = /^Bearer (ftb-\S{16,200})$/i.exec(request.headers.get("authorization") ?? "")?.[1];
  const [known] = bootstrap
    ? await ctx.db
        .select({ id: attempt.id })
        .from(attempt)
        .where(eq(attempt.bootstrapHash, sha256Hex(bootstrap)))
        .limit(1)
    : [];
  // Nothing of a stranger's body is read.
  if (!bootstrap || !known) throw unknown();
  const parsed = v.safeParse(Request, await readJson(request, MAX_BODY));
  if (!parsed.success)
    throw new AppError("invalid", "invalid_value", `Invalid 'nonce': ${parsed.issues[0].message}`, { param: "nonce" });
  const outcome = await ctx.write((tx) => exchangeIn(tx, ctx, bootstrap, parsed.output.nonce));
  if ("token" in outcome) return outcome;
  if (outcome.error.code === "bootstrap_token_used")
    ctx.log("error", "a bootstrap token was used a second time; its attempt was ended", {});
  emitAll(ctx.bus, outcome.messages);
  throw outcome.error;
}
