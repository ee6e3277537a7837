/** The form of requests and answers in the mailbox: one line of JSON, then the body. */
import { createHmac, randomBytes } from "node:crypto";
import * as v from "valibot";
import { MAX_PART_BYTES } from "../../contract/trainer.ts";

/** Longest first line of a request. */
const MAX_HEAD = 16 * 1024;
/** Bytes of files in one request; the server takes them apart. */
const MAX_FILE_PART = 64 * 1024 ** 2;
/** Largest object that is read at all. */
export const MAX_OBJECT = MAX_FILE_PART + MAX_HEAD;

const text = (longest: number) => v.pipe(v.string(), v.maxLength(longest));

const Head = v.strictObject({
  n: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  method: v.picklist(["GET", "POST", "PUT"]),
  path: v.pipe(v.string(), v.regex(/^\/[!-~]{1,2000}$/, "must be a path")),
  headers: v.strictObject({
    authorization: text(400),
    "content-type": v.optional(text(200)),
    range: v.optional(text(100)),
  }),
});
export type Head = v.InferOutput<typeof Head>;

/** A request of a trainer. `slices` are its body, in order, each at most as long as a part of the protocol. */
export interface Envelope {
  head: Head;
  slices: AsyncGenerator<Uint8Array<ArrayBuffer>>;
}

/** The first line of the stream and what follows it; null when there is no such line. */
async function firstLine(stream: AsyncGenerator<Uint8Array>): Promise<{ line: string; rest: Uint8Array } | null> {
  let seen = Buffer.alloc(0);
  for (;;) {
    const next = await stream.next();
    if (next.done) return null;
    seen = Buffer.concat([seen, next.value]);
    const at = seen.indexOf(10);
    if (at >= 0 && at <= MAX_HEAD) return { line: seen.subarray(0, at).toString("utf8"), rest: seen.subarray(at + 1) };
    if (seen.byteLength > MAX_HEAD) return null;
  }
}

async function* slicesOf(
  rest: Uint8Array,
  stream: AsyncGenerator<Uint8Array>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let pieces: Uint8Array[] = [rest];
  let used = rest.byteLength;
  const take = () => {
    const all = Buffer.concat(pieces, used);
    const slice = new Uint8Array(all.subarray(0, MAX_PART_BYTES));
    pieces = [all.subarray(slice.byteLength)];
    used -= slice.byteLength;
    return slice;
  };
  try {
    for (;;) {
      while (used >= MAX_PART_BYTES) yield take();
      const next = await stream.next();
      if (next.done) break;
      pieces.push(next.value);
      used += next.value.byteLength;
    }
    if (used > 0) yield take();
  } finally {
    await stream.return(undefined);
  }
}

/** Reads a request; null for bytes that are none. */
export async function readEnvelope(stream: AsyncGenerator<Uint8Array>): Promise<Envelope | null> {
  const found = await firstLine(stream);
  let value: unknown = null;
  try {
    value = JSON.parse(found?.line ?? "");
  } catch {
    // Not a request.
  }
  const parsed = v.safeParse(Head, value);
  if (found && parsed.success) return { head: parsed.output, slices: slicesOf(found.rest, stream) };
  await stream.return(undefined);
  return null;
}

const KEPT_HEADERS = ["content-type", "location", "retry-after"];

/** An answer as the bytes of its object. @param seal the nonce that hides the body from everybody else */
export async function writeAnswer(n: number, answer: Response, seal: string | null): Promise<Uint8Array> {
  const headers = Object.fromEntries(
    KEPT_HEADERS.flatMap((name) => {
      const value = answer.headers.get(name);
      return value === null ? [] : [[name, value]];
    }),
  );
  const body = Buffer.from(await answer.arrayBuffer());
  const line = `${JSON.stringify({ n, status: answer.status, headers })}\n`;
  return Buffer.concat([Buffer.from(line), seal === null ? body : sealed(seal, body)]);
}

const hmac = (key: string, ...parts: (string | Uint8Array)[]) => {
  const made = createHmac("sha256", key);
  for (const part of parts) made.update(part);
  return made.digest();
};

/** Salt, tag, and the text under a key stream of HMAC-SHA256: Python has no cipher of its own. */
function sealed(key: string, body: Buffer): Buffer {
  const salt = randomBytes(16);
  const hidden = Buffer.from(body);
  for (let at = 0; at < hidden.byteLength; at += 32) {
    const counter = Buffer.alloc(4);
    counter.writeUInt32BE(at / 32);
    const stream = hmac(key, "stream", salt, counter);
    for (let i = 0; i < 32 && at + i < hidden.byteLength; i++)
      hidden[at + i] = (hidden[at + i] as number) ^ (stream[i] as number);
  }
  return Buffer.concat([salt, hmac(key, "tag", salt, hidden), hidden]);
}
