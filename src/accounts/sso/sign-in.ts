/** Single sign-on as pages use it: begin at a provider, come back, prove again, sign out there. */
import type { Actor, Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { noteRefusal } from "../audit/refusals.ts";
import { noteProof } from "../auth/proof.ts";
import type { Client } from "../auth/sign-in.ts";
import { isLinkedTo, signInWith } from "./arrive.ts";
import { endFlow, type Flow, flowCookie, readFlow } from "./flow.ts";
import type { Identity } from "./identity.ts";
import type { Provider } from "./model.ts";
import { beginOidc, endSessionUrl, finishOidc, problemOf } from "./oidc.ts";
import { openProvider } from "./providers.ts";

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
  const redirectUri = `${base}/sso/${id}/callback`;
  const { url, flow } = await beginOidc(ctx, provider, { redirectUri, next, email, prove });
  return { url, cookie: flowCookie(ctx, flow) };
}

/** What comes of an answer: where to go on, and `Set-Cookie` values. */
interface Arrival {
  /** The second factor is still asked for. */
  pending: boolean;
  next: string;
  cookies: string[];
}

/** Reads the answer; a refusal is recorded. */
async function identify(ctx: Ctx, provider: Provider, flow: Flow, search: string, client: Client): Promise<Identity> {
  try {
    return await finishOidc(ctx, provider, flow, search);
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
  const age = identity.authTime === null ? 0 : ctx.clock.now() / 1000 - identity.authTime;
  if (!(await isLinkedTo(ctx, provider, identity.subject, actor.userId)) || age > FRESH_S)
    throw new AppError(
      "forbidden",
      "sso_other_person",
      `Sign in at ${provider.name} again, as yourself: it answered with an older sign-in, or with another person.`,
    );
  await noteProof(ctx, actor, client, "sso");
}

/**
 * Takes the answer of a provider.
 * @param search the query of the request
 * @throws AppError `sso_not_started`, `sso_refused`, `sso_denied` and the refusals of `signInWith`
 */
export async function finishSso(ctx: Ctx, id: string, search: string, actor: Actor, client: Client): Promise<Arrival> {
  const provider = await openProvider(ctx, id);
  const state = new URLSearchParams(search).get("state") ?? "";
  const flow = readFlow(ctx, client.cookies, id, state);
  const identity = await identify(ctx, provider, flow, search, client);
  const done = endFlow(ctx, state);
  if (flow.prove !== null) {
    if (flow.prove !== actor.userId) throw new AppError("conflict", "sso_other_person", "Somebody else is signed in.");
    await prove(ctx, provider, identity, actor, client);
    return { pending: false, next: flow.next, cookies: [done] };
  }
  const { pending, cookies } = await signInWith(ctx, provider, identity, client);
  return { pending, next: flow.next, cookies: [...cookies, done] };
}

/** Where the browser signs out at a provider too; null when it has no such page. */
export async function signOutAddress(ctx: Ctx, id: string, base: string): Promise<string | null> {
  const provider = await openProvider(ctx, id);
  return endSessionUrl(ctx, provider, `${base}/login`);
}
