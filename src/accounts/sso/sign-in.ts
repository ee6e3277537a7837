/** Single sign-on as pages use it: begin at a provider, come back, prove again, sign out there. */
import type { Actor, Ctx } from "../../ctx.ts";
import { AppError, notFound } from "../../errors.ts";
import { noteRefusal } from "../audit/refusals.ts";
import type { Client } from "../auth/sign-in.ts";
import { noteProof } from "../factors/proof.ts";
import { isLinkedTo, signInWith } from "./arrive.ts";
import { endFlow, type Flow, flowCookie, notStarted, readFlow } from "./flow.ts";
import type { Identity } from "./identity.ts";
import type { Provider, ProviderTest, SamlProvider } from "./model.ts";
import { beginOidc, endSessionUrl, finishOidc, problemOf, testOidc } from "./oidc.ts";
import { openProvider } from "./providers.ts";
import { beginSaml, holdAnswer, refusedAnswer, serviceMetadata, takeAnswer, testSaml } from "./saml.ts";
import { SamlProblem } from "./saml-xml.ts";
import { useOnce } from "./used.ts";

/** A proof must be newer than this. */
const FRESH_S = 10 * 60;

/**
 * Begins a sign-in, or a proof of the person who is signed in.
 * @param asked.base address of this server as browsers use it, without a slash at the end
 * @returns where to send the browser, and the `Set-Cookie` value that remembers the sign-in
 * @throws AppError `sso_provider_not_found`, `sso_unreachable`, `address_refused`, `offline`
 */
export async function startSso(
  ctx: Ctx,
  id: string,
  asked: { base: string; next: string; email?: string; prove: Actor | null },
): Promise<{ url: string; cookie: string }> {
  const provider = await openProvider(ctx, id);
  const { base, next, email } = asked;
  const prove = asked.prove?.userId || null;
  const { url, flow } =
    provider.type === "saml"
      ? await beginSaml(ctx, provider, { base, next, email, prove })
      : await beginOidc(ctx, provider, { redirectUri: `${base}/sso/${id}/callback`, next, email, prove });
  return { url, cookie: flowCookie(ctx, flow) };
}

/** What comes of an answer: where to go on, and `Set-Cookie` values. */
interface Arrival {
  /** The second factor is still asked for. */
  pending: boolean;
  next: string;
  cookies: string[];
}

/** Runs a part of a sign-in whose refusals are recorded. */
async function recorded<T>(ctx: Ctx, provider: Provider, client: Client, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof AppError)
      await noteRefusal(ctx, {
        action: "session.fail",
        account: null,
        target: provider.id,
        source: client,
        reason: error.code,
        detail: { provider: provider.id, problem: problemOf(error.cause ?? error) },
      });
    throw error;
  }
}

async function prove(ctx: Ctx, provider: Provider, identity: Identity, actor: Actor, client: Client): Promise<void> {
  // SAML always says when. OpenID Connect may not, and was asked for a new sign-in.
  const unknown = provider.type === "saml" ? Number.POSITIVE_INFINITY : 0;
  const age = identity.authTime === null ? unknown : ctx.clock.now() / 1000 - identity.authTime;
  if (!(await isLinkedTo(ctx, provider, identity.subject, actor.userId)) || age > FRESH_S)
    throw new AppError(
      "forbidden",
      "sso_other_person",
      `Sign in at ${provider.name} again, as yourself: it answered with an older sign-in, or with another person.`,
    );
  await noteProof(ctx, actor, client, "sso");
}

/** Signs in, or proves who is signed in, as the sign-in began. */
async function arrive(
  ctx: Ctx,
  provider: Provider,
  came: { identity: Identity; flow: Pick<Flow, "prove" | "next">; actor: Actor; client: Client; cookies: string[] },
): Promise<Arrival> {
  const { identity, flow, actor, client } = came;
  if (flow.prove !== null) {
    if (flow.prove !== actor.userId) throw new AppError("conflict", "sso_other_person", "Somebody else is signed in.");
    await prove(ctx, provider, identity, actor, client);
    return { pending: false, next: flow.next, cookies: came.cookies };
  }
  const { pending, cookies } = await signInWith(ctx, provider, identity, client);
  return { pending, next: flow.next, cookies: [...cookies, ...came.cookies] };
}

/**
 * Takes the answer of an OpenID provider.
 * @param search the query of the request
 * @throws AppError `sso_not_started`, `sso_refused`, `sso_denied` and the refusals of `signInWith`
 */
export async function finishSso(ctx: Ctx, id: string, search: string, actor: Actor, client: Client): Promise<Arrival> {
  const provider = await openProvider(ctx, id);
  if (provider.type !== "oidc") throw notFound("sso_provider", id);
  const state = new URLSearchParams(search).get("state") ?? "";
  const flow = readFlow(ctx, client.cookies, id, state);
  const identity = await recorded(ctx, provider, client, () => finishOidc(ctx, provider, flow, search));
  return arrive(ctx, provider, { identity, flow, actor, client, cookies: [endFlow(ctx, state)] });
}

/** A SAML provider that is switched on. @throws AppError `sso_provider_not_found` */
async function openSaml(ctx: Ctx, id: string): Promise<SamlProvider> {
  const provider = await openProvider(ctx, id);
  if (provider.type !== "saml") throw notFound("sso_provider", id);
  return provider;
}

/**
 * Takes the answer that a SAML provider lets the browser post. The browser sends no cookies with a post from another
 * site; it fetches the checked answer with its next request, which has them.
 * @param given.path where to go on when the person began at the provider: a safe local path
 * @param given.base address of this server as browsers use it
 * @returns the token of the answer, for `finishSaml`
 * @throws AppError `sso_provider_not_found`, `sso_refused`, `sso_denied`, `sso_unreachable`
 */
export async function takeSaml(
  ctx: Ctx,
  id: string,
  given: { encoded: string; path: string; base: string; client: Client },
): Promise<string> {
  const provider = await openSaml(ctx, id);
  return recorded(ctx, provider, given.client, () => holdAnswer(ctx, provider, given));
}

/**
 * Ends a SAML sign-in in the browser that began it. The request counts once.
 * @throws AppError `sso_not_started`, `sso_refused` and the refusals of `signInWith`
 */
export async function finishSaml(ctx: Ctx, id: string, token: string, actor: Actor, client: Client): Promise<Arrival> {
  const provider = await openSaml(ctx, id);
  const held = takeAnswer(ctx, id, token);
  if (!held) throw notStarted();
  const { identity, inResponseTo: state } = held.answer;
  if (state === null) {
    const flow = { prove: null, next: held.path };
    return arrive(ctx, provider, { identity, flow, actor, client, cookies: [] });
  }
  const flow = await recorded(ctx, provider, client, async () => {
    const found = readFlow(ctx, client.cookies, id, state);
    if (await useOnce(ctx, id, state, found.until)) return found;
    throw refusedAnswer(provider, new SamlProblem("saml_in_response_to", "the request was answered before"));
  });
  return arrive(ctx, provider, { identity, flow, actor, client, cookies: [endFlow(ctx, state)] });
}

/** This server's metadata for a SAML provider, as XML. @throws AppError `sso_provider_not_found` */
export async function samlMetadata(ctx: Ctx, id: string, base: string): Promise<string> {
  return serviceMetadata(ctx, await openSaml(ctx, id), base);
}

/** Asks a provider about itself now. */
export const testProvider = (ctx: Ctx, provider: Provider): Promise<ProviderTest> =>
  provider.type === "saml" ? testSaml(ctx, provider) : testOidc(ctx, provider);

/** Where the browser signs out at a provider too; null when it has no such page. */
export async function signOutAddress(ctx: Ctx, id: string, base: string): Promise<string | null> {
  const provider = await openProvider(ctx, id);
  return provider.type === "saml" ? null : endSessionUrl(ctx, provider, `${base}/login`);
}
