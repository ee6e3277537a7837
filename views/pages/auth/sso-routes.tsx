/** Page routes of single sign-on: to a provider, back from it, and signing out there. */
import { Elysia } from "elysia";
import * as v from "valibot";
import {
  finishSaml,
  finishSso,
  samlMetadata,
  signOutAddress,
  startSso,
  takeSaml,
} from "../../../src/accounts/sso/sign-in.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect, safePath } from "../../../src/http/html.ts";
import { clientOf } from "../../../src/http/request-state.ts";
import { session } from "../../../src/http/session.ts";
import { LoginPage } from "./login.tsx";
import { loginProps } from "./login-props.ts";

const field = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const Start = v.object({ next: field(2000), email: field(254), prove: field(1) });
/** Base64 of an answer; its XML has a limit of its own. */
const Posted = v.object({ SAMLResponse: v.pipe(v.string(), v.maxLength(500_000)), RelayState: field(2000) });
const Arrive = v.object({ answer: field(100) });

interface Visit {
  request: Request;
  actor: Actor;
  params: v.InferOutput<typeof Id>;
}

/** The address of this server as browsers use it. */
const baseOf = (ctx: Ctx, request: Request) =>
  (ctx.config.public_url ?? new URL(request.url).origin).replace(/\/$/, "");

/** Sends the browser to another site. */
function leave(url: string, cookies: string[] = []): Response {
  const headers = new Headers({ location: url, "cache-control": "no-store", "referrer-policy": "no-referrer" });
  for (const cookie of cookies) headers.append("set-cookie", cookie);
  return new Response(null, { status: 303, headers });
}

/** The sign-in page with the reason of a refusal. */
async function refuse(ctx: Ctx, request: Request, error: unknown, next: string): Promise<Response> {
  if (!(error instanceof AppError) || error.kind === "internal") throw error;
  const page = <LoginPage {...(await loginProps(ctx, request))} next={next} error={error.message} />;
  // A 401 would send the browser to the sign-in page.
  return html(pageOf(ctx, request, null), page, { status: ERROR_TABLE[error.kind].status });
}

async function start(ctx: Ctx, { request, actor, params }: Visit, query: v.InferOutput<typeof Start>) {
  const next = safePath(query.next);
  const base = baseOf(ctx, request);
  const prove = query.prove === "1" ? actor : null;
  try {
    const { url, cookie } = await startSso(ctx, params.id, { base, next, email: query.email || undefined, prove });
    return leave(url, [cookie]);
  } catch (error) {
    return refuse(ctx, request, error, next);
  }
}

/** Sends the browser where it goes after a sign-in. */
function arrived(request: Request, { pending, next, cookies }: Awaited<ReturnType<typeof finishSso>>): Response {
  const answer = redirect(request, pending ? `/login/code?${new URLSearchParams({ next })}` : next);
  for (const cookie of cookies) answer.headers.append("set-cookie", cookie);
  return answer;
}

async function callback(ctx: Ctx, { request, actor, params }: Visit) {
  try {
    const { search } = new URL(request.url);
    return arrived(request, await finishSso(ctx, params.id, search, actor, clientOf(request)));
  } catch (error) {
    return refuse(ctx, request, error, "/");
  }
}

/** The assertion consumer service: a post from the provider's site, so it comes without cookies. */
async function consume(ctx: Ctx, { request, params }: Visit, posted: v.InferOutput<typeof Posted>) {
  try {
    const { SAMLResponse: encoded, RelayState } = posted;
    const given = { encoded, path: safePath(RelayState), base: baseOf(ctx, request), client: clientOf(request) };
    const answer = await takeSaml(ctx, params.id, given);
    return redirect(request, `/sso/${params.id}/arrive?${new URLSearchParams({ answer })}`);
  } catch (error) {
    return refuse(ctx, request, error, "/");
  }
}

/** The next request of the same browser, with its cookies. */
async function arrive(ctx: Ctx, { request, actor, params }: Visit, { answer }: v.InferOutput<typeof Arrive>) {
  try {
    return arrived(request, await finishSaml(ctx, params.id, answer, actor, clientOf(request)));
  } catch (error) {
    return refuse(ctx, request, error, "/");
  }
}

async function metadata(ctx: Ctx, { request, params }: Visit) {
  const xml = await samlMetadata(ctx, params.id, baseOf(ctx, request));
  return new Response(xml, { headers: { "content-type": "application/samlmetadata+xml; charset=utf-8" } });
}

async function signOutThere(ctx: Ctx, { request, params }: Visit) {
  const url = await signOutAddress(ctx, params.id, baseOf(ctx, request)).catch(() => null);
  return url ? leave(url) : redirect(request, "/login");
}

export const ssoPages = (ctx: Ctx) =>
  new Elysia({ name: "sso.pages", prefix: "/sso/:id", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/start", (visit) => start(ctx, visit, visit.query), { params: Id, query: Start })
    .get("/callback", (visit) => callback(ctx, visit), { params: Id })
    .post("/acs", (visit) => consume(ctx, visit, visit.body), { params: Id, body: Posted })
    .get("/arrive", (visit) => arrive(ctx, visit, visit.query), { params: Id, query: Arrive })
    .get("/metadata", (visit) => metadata(ctx, visit), { params: Id })
    .get("/logout", (visit) => signOutThere(ctx, visit), { params: Id });
