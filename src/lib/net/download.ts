/** Downloads over HTTP: redirects are checked one by one, and a file continues where an earlier try ended. */
import { open } from "node:fs/promises";

/** The answer to one GET request; its body is read at most once. */
export interface Reply {
  status: number;
  header(name: string): string | null;
  body: AsyncIterable<Uint8Array>;
  /** Closes the connection without reading the body. */
  discard(): Promise<void>;
}

type Ask = (url: URL) => Promise<Reply>;

const MAX_REDIRECTS = 5;

/** One GET with `fetch`; redirects are answered, not followed. */
export async function fetchReply(url: URL, headers: Record<string, string>, signal: AbortSignal): Promise<Reply> {
  const reply = await fetch(url, { headers, redirect: "manual", signal });
  return {
    status: reply.status,
    header: (name) => reply.headers.get(name),
    body: reply.body ?? (async function* () {})(),
    discard: async () => reply.body?.cancel(),
  };
}

/**
 * @param ask sends one request
 * @param refuse throws unless the address (null: not a valid one) may be followed; `undefined` means too many redirects
 */
export async function followRedirects(
  start: URL,
  ask: Ask,
  refuse: (next: URL | null | undefined) => void,
): Promise<Reply> {
  let url = start;
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    const reply = await ask(url);
    const location = reply.header("location");
    if (reply.status < 300 || reply.status >= 400 || !location) return reply;
    await reply.discard();
    const next = URL.parse(location, url);
    refuse(next);
    if (next) url = next;
  }
  refuse(undefined);
  throw new Error("too many redirects");
}

/**
 * Appends a body to the file at `path`.
 * @param from bytes of the file that the body continues; 0 replaces the file
 * @param before called with the size of each chunk and the bytes after it, before it is written; throws to stop
 */
export async function saveBody(
  reply: Reply,
  path: string,
  from: number,
  before: (chunk: number, received: number) => void,
): Promise<void> {
  const out = await open(path, from > 0 ? "a" : "w", 0o600);
  let received = from;
  try {
    for await (const chunk of reply.body) {
      received += chunk.length;
      before(chunk.length, received);
      await out.write(chunk);
    }
  } finally {
    await out.close();
  }
}
