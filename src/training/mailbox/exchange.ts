/** Answers one request of the mailbox with the handlers that every other trainer has. */
import { eq, or } from "drizzle-orm";
import { mailboxOf, onePiece, writeAddresses } from "../../compute/providers/mailbox.ts";
import { type Ctx, perContext } from "../../ctx.ts";
import { attempt } from "../../db/schema/jobs.ts";
import { sha256Hex } from "../../lib/ids.ts";
import { StoreProblem } from "../../lib/objects/store.ts";
import { type Envelope, type Head, MAX_OBJECT, readEnvelope, writeAnswer } from "./envelope.ts";

/** The HTTP application of this process. */
export type Handle = (request: Request) => Response | Promise<Response>;

/** A request object: `mailbox/<attempt>/in/<name>`. */
export interface Incoming {
  key: string;
  bytes: number;
  attemptId: string;
  /** `boot`, or lane and slot as `3-1`. */
  name: string;
}

/** How long the bucket may take for a list or a small object: a connection that was lost is noticed early. */
const SOON_MS = 10_000;
const SMALL = 1024 ** 2;

/** Aborts with the server, or when the bucket takes too long. */
export const soon = (ctx: Ctx): AbortSignal => AbortSignal.any([ctx.signal, AbortSignal.timeout(SOON_MS)]);

const requests = perContext(() => new WeakSet<Request>());

/** Whether a request came through the mailbox: its answer may be an address in the bucket. */
export const cameThroughMailbox = (ctx: Ctx, request: Request): boolean => requests(ctx).has(request);

const error = (status: number, code: string, message: string) =>
  Response.json({ error: { message, type: "invalid_request_error", param: null, code } }, { status });

/** Whether the token is the one of the attempt whose mailbox this is. Unknown ones are refused by the handlers. */
async function isForeign(ctx: Ctx, attemptId: string, { headers }: Head): Promise<boolean> {
  const token = /^Bearer (\S{16,200})$/i.exec(headers.authorization)?.[1];
  if (!token) return false;
  const hash = sha256Hex(token);
  const [row] = await ctx.db
    .select({ id: attempt.id })
    .from(attempt)
    .where(or(eq(attempt.tokenHash, hash), eq(attempt.bootstrapHash, hash)))
    .limit(1);
  return row !== undefined && row.id !== attemptId;
}

async function ask(ctx: Ctx, handle: Handle, head: Head, path: string, body: Uint8Array<ArrayBuffer> | null) {
  const { method, headers } = head;
  const sent = new Headers(headers);
  const request = new Request(`http://localhost/trainer/v1${path}`, {
    method,
    headers: sent,
    ...(method === "GET" ? {} : { body: body ?? new Uint8Array() }),
  });
  requests(ctx).add(request);
  return handle(request);
}

/** The path of the slice that begins `more` bytes later. */
function laterPath(path: string, more: number): string {
  const url = new URL(`http://localhost${path}`);
  url.searchParams.set("offset", String(Number(url.searchParams.get("offset")) + more));
  return url.pathname + url.search;
}

/** Hands the body to the handler: whole, or for a part of an artifact in slices that the protocol allows. */
async function answerTo(ctx: Ctx, handle: Handle, { head, slices }: Envelope): Promise<Response> {
  const first = await slices.next();
  const body = first.done ? null : first.value;
  let answer = await ask(ctx, handle, head, head.path, body);
  let done = body?.byteLength ?? 0;
  const isPart = head.method === "PUT" && head.path.startsWith("/artifacts/");
  for (let next = await slices.next(); !next.done; next = await slices.next()) {
    if (!isPart) return error(413, "body_too_large", "The body is too large.");
    if (!answer.ok) break;
    answer = await ask(ctx, handle, head, laterPath(head.path, done), next.value);
    done += next.value.byteLength;
  }
  return answer;
}

/** The answer of a bootstrap exchange with the address of the mailbox; only the holder of the nonce can read it. */
async function bootAnswer(ctx: Ctx, handle: Handle, attemptId: string, envelope: Envelope) {
  const { head } = envelope;
  if (head.method !== "POST" || head.path !== "/bootstrap")
    return { answer: error(404, "unknown_url", "Only the bootstrap token is exchanged here."), seal: null };
  const first = await envelope.slices.next();
  const answer = await ask(ctx, handle, head, head.path, first.done ? null : first.value);
  if (!answer.ok || first.done) return { answer, seal: null };
  const { nonce } = JSON.parse(new TextDecoder().decode(first.value)) as { nonce: string };
  const { token } = (await answer.json()) as { token: string };
  const addresses = await writeAddresses(ctx, attemptId);
  return { answer: Response.json({ token, addresses }), seal: nonce };
}

/**
 * Reads a request, answers it and removes it, in this order: after a crash in between it is answered again, which does
 * no harm. What is too large, or no request, is removed.
 * @returns whether there was one
 * @throws StoreProblem when the bucket does not answer; the request is then still there
 */
export async function answerRequest(ctx: Ctx, handle: Handle, { key, bytes, attemptId, name }: Incoming) {
  const { bucket } = ctx;
  if (!bucket) return false;
  if (bytes > MAX_OBJECT) {
    ctx.log("warn", "a request in the mailbox was too large; it was removed", { attempt: attemptId, bytes });
    await bucket.remove([key]);
    return false;
  }
  let envelope: Envelope | null;
  try {
    envelope = await readEnvelope(bucket.get(key, undefined, bytes <= SMALL ? soon(ctx) : ctx.signal));
  } catch (problem) {
    // The list was read before the answer removed it.
    if (problem instanceof StoreProblem && problem.kind === "missing") return false;
    throw problem;
  }
  if (!envelope) {
    await bucket.remove([key]);
    return false;
  }
  try {
    const foreign = await isForeign(ctx, attemptId, envelope.head);
    const isBoot = name === "boot";
    const { answer, seal } = foreign
      ? { answer: error(401, "invalid_attempt_token", "This is the mailbox of another attempt."), seal: null }
      : isBoot
        ? await bootAnswer(ctx, handle, attemptId, envelope)
        : envelope.head.path === "/bootstrap"
          ? { answer: error(404, "unknown_url", "The bootstrap token has its own address."), seal: null }
          : { answer: await answerTo(ctx, handle, envelope), seal: null };
    ctx.failPoint("mailbox.handled");
    const written = await writeAnswer(envelope.head.n, answer, seal);
    await bucket.put(`${mailboxOf(attemptId)}out/${name}`, onePiece(written), undefined, soon(ctx));
  } finally {
    await envelope.slices.return(undefined);
  }
  ctx.failPoint("mailbox.answered");
  await bucket.remove([key]);
  return true;
}
