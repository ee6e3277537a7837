/** A web server that takes webhooks, records them, and answers as a test says. */

interface Taken {
  path: string;
  headers: Headers;
  body: string;
}

export interface Receiver {
  url: string;
  /** `127.0.0.1:PORT`, for the setting `webhook_hosts`. */
  host: string;
  taken: Taken[];
  /** The status of the next answers, in order; 200 when there is none. */
  statuses: number[];
  /** Resolves with the `n`-th request, counted from 1. */
  request(n: number): Promise<Taken>;
  stop(): void;
}

export function startReceiver(): Receiver {
  const taken: Taken[] = [];
  const statuses: number[] = [];
  const waiting: { n: number; resolve: (taken: Taken) => void }[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      const body = await request.text();
      taken.push({ path: new URL(request.url).pathname, headers: request.headers, body });
      for (const { n, resolve } of waiting) if (taken[n - 1]) resolve(taken[n - 1] as Taken);
      const status = statuses.shift() ?? 200;
      return new Response(null, { status, headers: status === 302 ? { location: "/elsewhere" } : {} });
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    host: `127.0.0.1:${server.port}`,
    taken,
    statuses,
    request(n) {
      const { promise, resolve, reject } = Promise.withResolvers<Taken>();
      const found = taken[n - 1];
      if (found) return Promise.resolve(found);
      waiting.push({ n, resolve });
      setTimeout(() => reject(new Error(`request ${n} did not come; ${taken.length} came`)), 45_000).unref();
      return promise;
    },
    stop: () => void server.stop(true),
  };
}
