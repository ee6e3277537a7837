/** OpenID Connect through the certified client `openid-client`: discovery, PKCE, nonce, state, signed ID tokens. */
import type { ClientAuth, Configuration } from "openid-client";
import { type Ctx, perContext } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { type Lru, lruOf } from "../../lib/lru.ts";
import { askProvider, TIMEOUT_S } from "./connection.ts";
import type { Flow } from "./flow.ts";
import { type Identity, identityOf, isIncomplete } from "./identity.ts";
import { NOT_TESTED, type OidcProvider, type ProviderTest } from "./model.ts";
import { secretOf } from "./providers.ts";

/** How long what a provider says about itself is used. */
const METADATA_MS = 10 * 60_000;
const MAX_CACHED = 50;

interface Known {
  until: number;
  config: Configuration;
}
const knownOf = perContext((): Lru<Known> => lruOf(MAX_CACHED));

/** The library, loaded with the first sign-in. */
const library = () => import("openid-client");

/** What went wrong, for the log and the audit log: the code of the library, or the message. */
export function problemOf(error: unknown): string {
  const { code, error: answered, message, cause } = (error ?? {}) as Record<string, unknown>;
  if (typeof answered === "string") return answered;
  if (cause instanceof AppError) return cause.message;
  return typeof code === "string" ? code : String(message ?? error);
}

/** The provider does not answer, or not as its protocol says. */
function unreachable(provider: OidcProvider, cause: unknown): AppError {
  const { cause: inner } = (cause ?? {}) as { cause?: unknown };
  for (const each of [cause, inner]) if (each instanceof AppError) return each;
  return new AppError(
    "unavailable",
    "sso_unreachable",
    `${provider.name} does not answer as an OpenID provider. Try again, or ask an administrator to test it.`,
    { cause },
  );
}

async function discover(ctx: Ctx, provider: OidcProvider): Promise<Configuration> {
  const client = await library();
  const { issuer, clientId } = provider.settings;
  const secret = secretOf(ctx, provider);
  const authenticate: ClientAuth = (server, metadata, body, headers) => {
    const methods = server.token_endpoint_auth_methods_supported ?? ["client_secret_basic"];
    const method =
      secret === null
        ? client.None()
        : methods.includes("client_secret_basic")
          ? client.ClientSecretBasic(secret)
          : client.ClientSecretPost(secret);
    return method(server, metadata, body, headers);
  };
  try {
    return await client.discovery(new URL(issuer), clientId, undefined, authenticate, {
      [client.customFetch]: (url, sent) => askProvider(ctx, url, sent),
      timeout: TIMEOUT_S,
      // Without this, the library trusts the connection and does not check signatures.
      execute: [client.enableNonRepudiationChecks, ...(/^http:/.test(issuer) ? [client.allowInsecureRequests] : [])],
    });
  } catch (error) {
    ctx.log("warn", "an identity provider could not be used", { provider: provider.id, problem: problemOf(error) });
    throw unreachable(provider, error);
  }
}

async function configurationOf(ctx: Ctx, provider: OidcProvider): Promise<Configuration> {
  const key = `${provider.id} ${provider.updatedAt}`;
  const now = ctx.clock.now();
  const known = knownOf(ctx).get(key);
  if (known && known.until > now) return known.config;
  const config = await discover(ctx, provider);
  knownOf(ctx).set(key, { config, until: now + METADATA_MS });
  return config;
}

/**
 * Begins a sign-in.
 * @param asked.prove a user who proves their identity again, at a new sign-in there
 * @returns where to send the browser, and what to keep until it comes back
 * @throws AppError `sso_unreachable`, `address_refused`, `offline`
 */
export async function beginOidc(
  ctx: Ctx,
  provider: OidcProvider,
  asked: { redirectUri: string; next: string; prove: string | null; email?: string },
): Promise<{ url: string; flow: Omit<Flow, "until"> }> {
  const config = await configurationOf(ctx, provider);
  const client = await library();
  const flow = {
    provider: provider.id,
    state: client.randomState(),
    nonce: client.randomNonce(),
    verifier: client.randomPKCECodeVerifier(),
    redirectUri: asked.redirectUri,
    next: asked.next,
    prove: asked.prove,
  };
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: flow.redirectUri,
    scope: provider.settings.scopes,
    state: flow.state,
    nonce: flow.nonce,
    code_challenge: await client.calculatePKCECodeChallenge(flow.verifier),
    code_challenge_method: "S256",
    ...(asked.email ? { login_hint: asked.email } : {}),
    ...(asked.prove ? { prompt: "login", max_age: "0" } : {}),
  });
  return { url: url.href, flow };
}

/**
 * Reads the answer of a provider and exchanges its code.
 * @param search the query of the callback
 * @throws AppError `sso_denied`, `sso_refused`, `sso_unreachable`
 */
export async function finishOidc(ctx: Ctx, provider: OidcProvider, flow: Flow, search: string): Promise<Identity> {
  const config = await configurationOf(ctx, provider);
  const client = await library();
  const { groupsClaim } = provider.settings;
  try {
    const tokens = await client.authorizationCodeGrant(config, new URL(search, flow.redirectUri), {
      pkceCodeVerifier: flow.verifier,
      expectedNonce: flow.nonce,
      expectedState: flow.state,
      idTokenExpected: true,
    });
    const claims = tokens.claims();
    if (!claims) throw new Error("no ID token");
    const more =
      isIncomplete(claims, groupsClaim) && config.serverMetadata().userinfo_endpoint
        ? await client.fetchUserInfo(config, tokens.access_token, claims.sub)
        : {};
    return identityOf({ ...more, ...claims }, groupsClaim);
  } catch (error) {
    if (error instanceof AppError) throw error;
    if (error instanceof client.AuthorizationResponseError && error.error === "access_denied")
      throw new AppError("forbidden", "sso_denied", `The sign-in was canceled at ${provider.name}.`, { cause: error });
    throw new AppError(
      "forbidden",
      "sso_refused",
      `The answer of ${provider.name} is not valid, so nobody was signed in. Start again; if it happens again, ask an administrator to look into the audit log.`,
      { cause: error },
    );
  }
}

/** Where a browser signs out at the provider; null when the provider has no such page. */
export async function endSessionUrl(ctx: Ctx, provider: OidcProvider, back: string): Promise<string | null> {
  const config = await configurationOf(ctx, provider);
  if (!config.serverMetadata().end_session_endpoint) return null;
  const client = await library();
  return client.buildEndSessionUrl(config, { post_logout_redirect_uri: back }).href;
}

/** Asks a provider about itself, without what is remembered. */
export async function testOidc(ctx: Ctx, provider: OidcProvider): Promise<ProviderTest> {
  try {
    const found = (await discover(ctx, provider)).serverMetadata();
    return {
      ...NOT_TESTED,
      reachable: true,
      authorization_endpoint: found.authorization_endpoint ?? null,
      token_endpoint: found.token_endpoint ?? null,
      end_session_endpoint: found.end_session_endpoint ?? null,
    };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const cause = error.cause === undefined ? "" : ` (${problemOf(error.cause)})`;
    return { ...NOT_TESTED, problem: error.message + cause };
  }
}
