/** What Stripe's API does with every request: bracketed forms, idempotency keys, error envelopes, pages of lists. */

type Value = string | Values;
export interface Values {
  [name: string]: Value;
}

/** A request as it arrived. */
export interface Seen {
  method: string;
  path: string;
  form: Values;
  /** Of idempotency. */
  key: string | null;
}

/** An answer with an error, as Stripe's envelope. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly body: { type?: string; code?: string; message: string; param?: string },
  ) {
    super(body.message);
  }
}

export const missing = (what: string, id: string) =>
  new Refused(404, {
    type: "invalid_request_error",
    code: "resource_missing",
    message: `No such ${what}: '${id}'`,
    param: "id",
  });

/** `metadata[org]=a&expand[0]=b` as `{metadata: {org: "a"}, expand: {"0": "b"}}`. */
function formOf(text: string): Values {
  const out: Values = {};
  for (const [name, value] of new URLSearchParams(text)) {
    const steps = name.replaceAll("]", "").split("[");
    let at = out;
    for (const step of steps.slice(0, -1)) {
      const next = at[step];
      at[step] = typeof next === "object" ? next : {};
      at = at[step] as Values;
    }
    at[steps.at(-1) ?? ""] = value;
  }
  return out;
}

/** The same form again, for the server behind this one. */
export function textOf(values: Values): string {
  const out = new URLSearchParams();
  const add = (prefix: string, value: Value) => {
    if (typeof value === "string") out.append(prefix, value);
    else for (const [name, inner] of Object.entries(value)) add(`${prefix}[${name}]`, inner);
  };
  for (const [name, value] of Object.entries(values)) add(name, value);
  return out.toString();
}

export const word = (values: Values, name: string): string | null =>
  typeof values[name] === "string" ? values[name] : null;
export const wordsOf = (value: Value | undefined): Record<string, string> =>
  Object.fromEntries(Object.entries(typeof value === "object" ? value : {}).map(([k, v]) => [k, String(v)]));
export const expands = (values: Values, field: string) =>
  Object.values(wordsOf(values.expand)).some((each) => each === field || each === `data.${field}`);

/** One page of a list, newest first. */
export function pageOf<T extends { id: string; created?: number }>(rows: readonly T[], query: Values, url: string) {
  const at = word(query, "starting_after");
  const since = Number(wordsOf(query.created).gte ?? 0);
  const fitting = [...rows].reverse().filter((row) => (row.created ?? 0) >= since);
  const from = at ? fitting.findIndex(({ id }) => id === at) + 1 : 0;
  const limit = Number(word(query, "limit") ?? 10);
  const data = fitting.slice(from, from + limit);
  return { object: "list", url, data, has_more: from + limit < fitting.length };
}

/** Answers stored by idempotency key: the same key with the same request gets the same answer. */
export function idempotent() {
  const kept = new Map<string, { request: string; answer: unknown }>();
  return {
    async once(key: string | null, request: string, act: () => Promise<unknown>): Promise<unknown> {
      const known = key ? kept.get(key) : undefined;
      if (known && known.request !== request)
        throw new Refused(400, {
          type: "idempotency_error",
          message: `Keys for idempotent requests can only be used with the same parameters: ${key}`,
        });
      if (known) return structuredClone(known.answer);
      const answer = await act();
      if (key) kept.set(key, { request, answer: structuredClone(answer) });
      return answer;
    },
    /** What Stripe does after 24 hours at the earliest. */
    forget: () => kept.clear(),
  };
}

/** Answers requests of Stripe's client on a free port of this machine. */
export function serveStripe(secretKey: string, answer: (seen: Seen) => Promise<unknown>) {
  const seen: Seen[] = [];
  const failures: { path: RegExp; how: "before" | "after" | Refused }[] = [];
  const broken = new Refused(500, { type: "api_error", message: "An error occurred." });

  async function respond(request: Request, asked: Seen): Promise<unknown> {
    const given = request.headers.get("authorization")?.slice("Bearer ".length);
    if (given !== secretKey)
      throw new Refused(401, { type: "invalid_request_error", message: `Invalid API Key provided: ${given}` });
    const at = failures.findIndex(({ path }) => path.test(`${asked.method} ${asked.path}`));
    const [failure] = at < 0 ? [] : failures.splice(at, 1);
    if (failure?.how === "before") throw broken;
    if (failure?.how instanceof Refused) throw failure.how;
    const body = await answer(asked);
    if (failure?.how === "after") throw broken;
    return body;
  }

  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const { method } = request;
      const url = new URL(request.url);
      const form = formOf(method === "POST" ? await request.text() : url.search.slice(1));
      const asked = { method, path: url.pathname, form, key: request.headers.get("idempotency-key") };
      seen.push(asked);
      try {
        return Response.json(await respond(request, asked));
      } catch (cause) {
        const refused = cause instanceof Refused ? cause : new Refused(500, { message: String(cause) });
        return Response.json({ error: refused.body }, { status: refused.status });
      }
    },
  });
  return {
    url: server.url.origin,
    /** Requests, in the order in which they arrived. */
    seen,
    /** The next request that fits fails: before it is carried out, after it, or with this answer. */
    failNext: (path: RegExp, how: "before" | "after" | Refused) => void failures.push({ path, how }),
    /** Takes back failures that did not happen yet. */
    failNoMore: () => void failures.splice(0),
    stop: () => server.stop(true),
  };
}
