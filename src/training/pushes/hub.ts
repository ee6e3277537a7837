/** Requests of a push: to checked addresses only, repeated while the other side is busy, with errors for people. */
import type { Readable } from "node:stream";
import * as v from "valibot";
import type { Ctx } from "../../ctx.ts";
import { importGuard } from "../../data/imports/remote.ts";
import { AppError } from "../../errors.ts";
import { readUpTo } from "../../lib/body.ts";
import { guardedReply } from "../../lib/net/guarded.ts";
import { withoutHidden } from "../../lib/text/names.ts";
import { clean } from "../../lib/text/redact.ts";
import { hubAddress } from "./model.ts";

const MOST_TRIES = 5;
const FIRST_WAIT_MS = 1000;
/** The longest wait that a server can ask for. */
const MAX_WAIT_MS = 120_000;
/** A hub needs a while to put parts of a large file together. */
const IDLE_MS = 300_000;
const MAX_ANSWER = 16 * 1024 ** 2;
const MAX_SENTENCE = 300;

/** Statuses of a server that is busy or restarting. */
const TEMPORARY = new Set([408, 425, 429, 500, 502, 503, 504]);
/** Statuses with which a server says that it has done nothing. */
const NOTHING_DONE = new Set([429, 503]);

/** A repository on a hub, and who writes to it. */
export interface Target {
  hub: string;
  repo: string;
  branch: string;
  token: string;
  signal: AbortSignal;
}

interface Sent {
  method: "GET" | "POST" | "PUT";
  url: URL;
  headers?: Record<string, string>;
  body?: string;
  /** A stream of `size` bytes, opened again for each try. */
  stream?: { size: number; open(): Readable };
  /** False for a request that may only be sent again when nothing was done. */
  repeat?: boolean;
}

interface Answer {
  status: number;
  header(name: string): string | null;
  text: string;
}

const unreachable = (url: URL, cause: unknown) =>
  new AppError(
    "unavailable",
    "hub_unreachable",
    `${url.host} cannot be reached, or the connection broke. Push again later: files that arrived are not sent again.`,
    { cause },
  );

/** Milliseconds to wait by the header `retry-after`, in seconds or as a date; null without one. */
function askedWait(ctx: Ctx, header: string | null): number | null {
  if (header === null) return null;
  const ms = /^\d{1,9}$/.test(header) ? Number(header) * 1000 : Date.parse(header) - ctx.clock.now();
  return Number.isFinite(ms) ? Math.min(Math.max(0, ms), MAX_WAIT_MS) : null;
}

async function once(ctx: Ctx, target: Target, sent: Sent): Promise<Answer> {
  const { method, url, stream } = sent;
  const own = url.origin === new URL(target.hub).origin;
  const body = stream?.open() ?? sent.body;
  const headers: Record<string, string> = { ...sent.headers };
  if (stream) headers["content-length"] = String(stream.size);
  // The token is for the hub alone; addresses of its storage are signed.
  else if (own) headers.authorization = `Bearer ${target.token}`;
  const guard = { ...importGuard(ctx), refusal: "not sent to" };
  try {
    const reply = await guardedReply(url, guard, { method, headers, body, signal: target.signal, idleMs: IDLE_MS });
    const { bytes, truncated } = await readUpTo(reply.body, MAX_ANSWER);
    if (truncated) throw new AppError("unavailable", "hub_unreachable", `${url.host} sent an answer that is too long.`);
    return { status: reply.status, header: reply.header, text: new TextDecoder().decode(bytes) };
  } finally {
    if (typeof body === "object") body.destroy();
  }
}

/**
 * One request, repeated while the other side is busy or the connection breaks. Redirects are not followed.
 * @throws AppError `address_refused`, `hub_unreachable`
 */
export async function ask(ctx: Ctx, target: Target, sent: Sent): Promise<Answer> {
  for (let tries = 1; ; tries++) {
    target.signal.throwIfAborted();
    let wait: number | null = null;
    try {
      const answer = await once(ctx, target, sent);
      const again = sent.repeat === false ? NOTHING_DONE : TEMPORARY;
      if (!again.has(answer.status) || tries >= MOST_TRIES) return answer;
      wait = askedWait(ctx, answer.header("retry-after"));
    } catch (cause) {
      target.signal.throwIfAborted();
      if (cause instanceof AppError) throw cause;
      if (sent.repeat === false || tries >= MOST_TRIES) throw unreachable(sent.url, cause);
    }
    await ctx.clock.sleep(wait ?? FIRST_WAIT_MS * 2 ** (tries - 1), target.signal);
  }
}

/** What the hub says about a refusal, in one line without secrets. */
function sentenceOf(target: Target, answer: Answer): string {
  let said = answer.header("x-error-message") ?? "";
  try {
    const parsed = v.safeParse(v.object({ error: v.string() }), JSON.parse(answer.text));
    if (parsed.success) said = parsed.output.error;
  } catch {
    // Not JSON: a page of a proxy, which says nothing to people.
  }
  const line = withoutHidden(clean(said.replaceAll(target.token, "…"), MAX_SENTENCE)).trim();
  return line ? ` It says: ${line}` : "";
}

/** The error for an answer of the hub that refuses. */
export function refusal(target: Target, answer: Answer): AppError {
  const { host } = new URL(target.hub);
  const { repo } = target;
  const said = sentenceOf(target, answer);
  const error = (kind: AppError["kind"], code: string, message: string) => new AppError(kind, code, message + said);
  switch (answer.status) {
    case 401:
      return error("forbidden", "hub_token_refused", `${host} does not accept the token. Push again with a valid one.`);
    case 403:
      return error(
        "forbidden",
        "hub_denied",
        `${host} denies writing to ${repo}. Push with a token that has write access to it.`,
      );
    case 404:
      return error("not_found", "hub_not_found", `${host} does not have ${repo}, or hides it from this token.`);
    case 409:
      return error("conflict", "hub_conflict", `${host} reports a conflict in ${repo}. Push again.`);
    case 413:
      return error("too_large", "hub_too_large", `${host} refuses the files of ${repo} as too large.`);
    default:
      if (answer.status >= 300 && answer.status < 400)
        return error("conflict", "hub_moved", `${host} redirects ${repo}: it was renamed. Push to its current name.`);
      if (TEMPORARY.has(answer.status))
        return error("unavailable", "hub_busy", `${host} answered ${answer.status} several times. Push again later.`);
      return error("invalid", "hub_refused", `${host} refused the request (${answer.status}).`);
  }
}

/** The JSON of an answer. @throws AppError when it is another one than the API documents */
export function parsed<S extends v.GenericSchema>(target: Target, schema: S, answer: Answer): v.InferOutput<S> {
  let value: unknown = null;
  try {
    value = JSON.parse(answer.text);
  } catch {
    // Reported below.
  }
  const found = v.safeParse(schema, value);
  if (found.success) return found.output;
  const { host } = new URL(target.hub);
  throw new AppError(
    "invalid",
    "hub_answer",
    `${host} sent an answer that is not one of the hub's API. Check hub_url.`,
  );
}

/** A JSON request to the API of the hub; the answer may be a refusal. */
export function askHub(
  ctx: Ctx,
  target: Target,
  method: "GET" | "POST",
  path: string,
  body?: unknown,
): Promise<Answer> {
  return ask(ctx, target, {
    method,
    url: hubAddress(target.hub, path),
    headers: { accept: "application/json", ...(body === undefined ? {} : { "content-type": "application/json" }) },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
}
