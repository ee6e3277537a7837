/** A sign-in that is under way at an identity provider: kept sealed in a cookie of the browser that began it. */
import * as v from "valibot";
import type { Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { cookieName, readCookie, writeCookie } from "../../lib/cookies.ts";
import { seal, unseal } from "../../lib/sealed.ts";
import { isHttps } from "../auth/better.ts";

const FLOW_S = 600;

const Flow = v.strictObject({
  provider: v.string(),
  /**
   * Repeated by the provider; for SAML, the id of the request. The name of the cookie has its beginning, so that tabs
   * do not disturb each other.
   */
  state: v.string(),
  /** Of OpenID Connect; empty for SAML. */
  nonce: v.string(),
  /** The verifier of PKCE; empty for SAML. */
  verifier: v.string(),
  redirectUri: v.string(),
  /** Path to open afterwards. */
  next: v.string(),
  /** The user who proves their identity again; null for a sign-in. */
  prove: v.nullable(v.string()),
  until: v.number(),
});
export type Flow = v.InferOutput<typeof Flow>;

const nameOf = (ctx: Ctx, state: string) =>
  `ftl-sso-${ctx.installation.slice(0, 6)}-${state.replace(/[^\w-]/g, "").slice(0, 8)}`;

const placeOf = (state: string) => ({ kind: "sso_flow", row: state });

/** The refusal of an answer that this browser did not ask for. */
export const notStarted = () =>
  new AppError(
    "invalid",
    "sso_not_started",
    "This sign-in was not started in this browser, took longer than 10 minutes, or was completed already. Start again.",
  );

/** The `Set-Cookie` value that keeps a sign-in for ten minutes. */
export function flowCookie(ctx: Ctx, flow: Omit<Flow, "until">): string {
  const text = JSON.stringify({ ...flow, until: ctx.clock.now() + FLOW_S * 1000 });
  const value = seal(ctx.secret, placeOf(flow.state), text);
  return writeCookie(nameOf(ctx, flow.state), value, { secure: isHttps(ctx), maxAgeS: FLOW_S });
}

/** The `Set-Cookie` value that removes it. */
export const endFlow = (ctx: Ctx, state: string) =>
  writeCookie(nameOf(ctx, state), "", { secure: isHttps(ctx), maxAgeS: 0 });

/**
 * The sign-in that an answer belongs to.
 * @throws AppError `sso_not_started`
 */
export function readFlow(ctx: Ctx, cookies: string | null, provider: string, state: string): Flow {
  const value = readCookie(cookies, cookieName(nameOf(ctx, state), isHttps(ctx)));
  if (!value) throw notStarted();
  let text: string;
  try {
    text = unseal(ctx.secret, placeOf(state), value);
  } catch {
    throw notStarted();
  }
  const flow = v.parse(Flow, JSON.parse(text));
  if (flow.provider !== provider || flow.state !== state || flow.until <= ctx.clock.now()) throw notStarted();
  return flow;
}
