/** SAML 2.0 as a service provider: signed requests, our metadata, and answers that wait for their browser. */
import { X509Certificate } from "node:crypto";
import { type Ctx, perContext } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { newSecret, randomChars } from "../../lib/ids.ts";
import { type Lru, lruOf } from "../../lib/lru.ts";
import type { Flow } from "./flow.ts";
import { NOT_TESTED, type ProviderTest, type SamlProvider } from "./model.ts";
import { secretOf } from "./providers.ts";
import { readAnswer, type SamlAnswer, type ServiceAddress } from "./saml-answer.ts";
import { metadataOf } from "./saml-metadata.ts";
import { SamlProblem } from "./saml-xml.ts";
import { useOnce } from "./used.ts";

/** How long a checked answer waits for the next request of the browser. */
const HELD_MS = 2 * 60_000;
const MAX_HELD = 500;

/** A checked answer. */
interface Held {
  provider: string;
  answer: SamlAnswer;
  /** The path that the provider sent with it. */
  path: string;
  until: number;
}
const heldOf = perContext((): Lru<Held> => lruOf(MAX_HELD));

/** @param base address of this server as browsers use it */
const serviceOf = (provider: SamlProvider, base: string): ServiceAddress => ({
  entityId: `${base}/sso/${provider.id}/metadata`,
  acs: `${base}/sso/${provider.id}/acs`,
});

function keyOf(ctx: Ctx, provider: SamlProvider): string {
  const key = secretOf(ctx, provider);
  if (key === null) throw new Error(`the provider ${provider.id} has no key`);
  return key;
}

/**
 * Begins a sign-in with a signed request.
 * @param asked.prove a user who proves their identity again, at a new sign-in there (ForceAuthn)
 * @returns where to send the browser, and what to keep until it comes back
 * @throws AppError `sso_unreachable`, `address_refused`, `offline`
 */
export async function beginSaml(
  ctx: Ctx,
  provider: SamlProvider,
  asked: { base: string; next: string; prove: string | null; email?: string },
): Promise<{ url: string; flow: Omit<Flow, "until"> }> {
  const { SAML } = await import("@node-saml/node-saml");
  const metadata = await metadataOf(ctx, provider);
  const { entityId, acs } = serviceOf(provider, asked.base);
  const state = `_${randomChars(32)}`;
  const saml = new SAML({
    callbackUrl: acs,
    issuer: entityId,
    entryPoint: metadata.signInUrl,
    idpCert: metadata.certificates,
    privateKey: keyOf(ctx, provider),
    signatureAlgorithm: "sha256",
    forceAuthn: asked.prove !== null,
    // How people sign in, and which kind of NameID they have, is the provider's choice.
    disableRequestedAuthnContext: true,
    identifierFormat: null,
    generateUniqueId: () => state,
  });
  const additionalParams = asked.email ? { login_hint: asked.email } : undefined;
  // No RelayState: the path is in the cookie, and providers may cut it after 80 bytes.
  const url = await saml.getAuthorizeUrlAsync("", undefined, { additionalParams });
  const { next, prove } = asked;
  return { url, flow: { provider: provider.id, state, nonce: "", verifier: "", redirectUri: acs, next, prove } };
}

/** What this server is, for the provider: entity id, address for answers, and its certificate. */
export async function serviceMetadata(ctx: Ctx, provider: SamlProvider, base: string): Promise<string> {
  const { generateServiceProviderMetadata } = await import("@node-saml/node-saml");
  const { entityId, acs } = serviceOf(provider, base);
  const { certificate } = provider.settings;
  const key = keyOf(ctx, provider);
  return generateServiceProviderMetadata({
    issuer: entityId,
    callbackUrl: acs,
    identifierFormat: null,
    wantAssertionsSigned: true,
    privateKey: key,
    publicCerts: certificate,
    decryptionPvk: key,
    decryptionCert: certificate,
    generateUniqueId: () => `_${provider.id}`,
  });
}

/** The refusal that people see; the audit log has the code of the problem. */
export function refusedAnswer(provider: SamlProvider, cause: SamlProblem): AppError {
  if (cause.code === "saml_status")
    return new AppError("forbidden", "sso_denied", `${provider.name} did not sign you in: ${cause.message}.`, {
      cause,
    });
  return new AppError(
    "forbidden",
    "sso_refused",
    `The answer of ${provider.name} is not valid, so nobody was signed in. Start again; if it happens again, ask an administrator to look into the audit log.`,
    { cause },
  );
}

/**
 * Takes an answer as a browser posts it from the provider's page, without cookies. It counts once.
 * @returns a token with which the browser fetches it within two minutes, with its cookies
 * @throws AppError `sso_refused`, `sso_denied`, `sso_unreachable`
 */
export async function holdAnswer(
  ctx: Ctx,
  provider: SamlProvider,
  given: { encoded: string; path: string; base: string },
): Promise<string> {
  const metadata = await metadataOf(ctx, provider);
  const service = serviceOf(provider, given.base);
  let answer: SamlAnswer;
  try {
    answer = await readAnswer(ctx, provider, { encoded: given.encoded, metadata, service, key: keyOf(ctx, provider) });
    if (!(await useOnce(ctx, provider.id, answer.assertion, answer.until)))
      throw new SamlProblem("saml_replayed", "the assertion was used before");
  } catch (error) {
    throw error instanceof SamlProblem ? refusedAnswer(provider, error) : error;
  }
  const token = newSecret("");
  const until = ctx.clock.now() + HELD_MS;
  heldOf(ctx).set(token, { provider: provider.id, answer, path: given.path, until });
  return token;
}

/** The answer behind a token, once; null when there is none. */
export function takeAnswer(ctx: Ctx, provider: string, token: string): Held | null {
  const held = heldOf(ctx).get(token);
  if (held?.provider !== provider) return null;
  heldOf(ctx).delete(token);
  return held.until > ctx.clock.now() ? held : null;
}

/** Reads the metadata of a provider, without what is remembered. */
export async function testSaml(ctx: Ctx, provider: SamlProvider): Promise<ProviderTest> {
  try {
    const { entityId, signInUrl, certificates } = await metadataOf(ctx, provider, true);
    return {
      ...NOT_TESTED,
      reachable: true,
      authorization_endpoint: signInUrl,
      entity_id: entityId,
      certificates: certificates.map((pem) => {
        const { fingerprint256, validTo } = new X509Certificate(pem);
        return { sha256: fingerprint256, expires_at: Math.floor(Date.parse(validTo) / 1000) };
      }),
    };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const cause = error.cause instanceof Error ? ` (${error.cause.message})` : "";
    return { ...NOT_TESTED, problem: error.message + cause };
  }
}
