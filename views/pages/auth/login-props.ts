/** What the pages of a sign-in show of the installation and the account, for every route that shows them. */
import { factorsOf } from "../../../src/accounts/factors/factors.ts";
import { passkeySite } from "../../../src/accounts/factors/passkey-site.ts";
import { signInProviders } from "../../../src/accounts/sso/providers.ts";
import type { Ctx } from "../../../src/ctx.ts";

const passkeysWork = (ctx: Ctx, request: Request) => !("problem" in passkeySite(ctx, new URL(request.url).origin));

/** The sign-in page. */
export async function loginProps(ctx: Ctx, request: Request) {
  return {
    openSignUp: ctx.config.open_sign_up,
    providers: await signInProviders(ctx),
    passkeys: passkeysWork(ctx, request),
  };
}

/** The page of the second step. */
export async function codeProps(ctx: Ctx, request: Request, pending: { id: string; email: string }) {
  const { app, passkeys } = await factorsOf(ctx.db, pending.id);
  return { email: pending.email, app, passkey: passkeys > 0 && passkeysWork(ctx, request) };
}
