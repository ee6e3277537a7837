/**
 * Signing up without an invitation, where the setting `open_sign_up` allows it: limited, and with the same answer
 * whether or not the address has an account.
 */
import { eq } from "drizzle-orm";
import { type Ctx, type Source, systemActor } from "../../ctx.ts";
import { user } from "../../db/schema/auth.ts";
import { AppError } from "../../errors.ts";
import { noteRefusal } from "../audit/refusals.ts";
import { audit } from "../audit/service.ts";
import { checkPassword } from "../auth/password-rules.ts";
import { hashPassword } from "../auth/passwords.ts";
import { insertUser, normalEmail } from "../auth/service.ts";
import { attempt } from "../auth/throttle.ts";
import { requireOtherDomain } from "../domains/service.ts";
import { type Consent, checkConsent, recordConsent } from "../terms/acceptance.ts";
import { checkEmail } from "./invitations.ts";

/**
 * Creates an account with an organization of its own; does nothing when the address has an account. The address is not
 * verified.
 * @throws AppError `sign_up_closed`, `invalid_email`, `sso_required`, `weak_password`, `too_many_attempts`,
 *   `terms_not_accepted`, `adult_needed`
 */
export async function signUp(
  ctx: Ctx,
  input: { email: string; password: string; name?: string; consent: Consent },
  source: Source,
): Promise<void> {
  if (!ctx.config.open_sign_up)
    throw new AppError("forbidden", "sign_up_closed", "Accounts here are created by invitation. Ask an administrator.");
  const email = normalEmail(input.email);
  checkEmail(email);
  await requireOtherDomain(ctx, email);
  await checkConsent(ctx, input.consent);
  await checkPassword(ctx, input.password, { email, name: input.name });
  // Never taken back: each sign-up of a network counts.
  await attempt(ctx, { account: "sign-up", address: source.address });
  const passwordHash = await hashPassword(ctx, input.password);
  const taken = await ctx.write(async (tx) => {
    const [found] = await tx.select({ id: user.id }).from(user).where(eq(user.email, email)).limit(1);
    if (found) return true;
    const made = await insertUser(tx, ctx, {
      email,
      name: input.name,
      org: null,
      orgName: email,
      passwordHash,
      emailVerified: false,
    });
    const actor = { ...systemActor(made.org), userId: made.id };
    await audit(tx, ctx, actor, "user.sign_up", made.id, { email, address: source.address });
    await recordConsent(tx, ctx, actor, { userId: made.id, email, source }, "sign_up");
    return false;
  });
  if (taken)
    await noteRefusal(ctx, {
      action: "session.fail",
      account: null,
      target: "none",
      source,
      reason: "sign_up_taken",
      detail: { email },
    });
}
