/** A reverse proxy that ends TLS, as nginx or Caddy do in front of the server. */
import { readFileSync } from "node:fs";
import type { Certificates } from "./certificates.ts";

interface TlsProxy {
  url: string;
  /** Requests passed on so far: method, path, and the range that was asked for. */
  readonly seen: string[];
  /** Breaks the connection of the next answer to this path after the first thousand bytes. */
  breakNext(path: string): void;
  stop(): void;
}

/** Passes every request on to `target`, with the address of its caller in X-Forwarded-For. */
export function tlsProxy(target: string, certificates: Certificates): TlsProxy {
  const seen: string[] = [];
  const breaks = new Set<string>();
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    tls: { cert: readFileSync(certificates.chainFile, "utf8"), key: readFileSync(certificates.keyFile, "utf8") },
    async fetch(request, own) {
      const { pathname, search } = new URL(request.url);
      seen.push([request.method, pathname, request.headers.get("range")].filter(Boolean).join(" "));
      const headers = new Headers(request.headers);
      headers.set("x-forwarded-for", own.requestIP(request)?.address ?? "");
      const body = request.method === "GET" ? undefined : await request.arrayBuffer();
      const answer = await fetch(target + pathname + search, {
        method: request.method,
        headers,
        body,
        redirect: "manual",
      });
      if (!breaks.delete(pathname)) return answer;
      const bytes = new Uint8Array(await answer.arrayBuffer());
      let sent = false;
      const cut = new ReadableStream({
        async pull(controller) {
          if (sent) {
            // The first bytes reach the client before the connection breaks.
            await Bun.sleep(50);
            return controller.error(new Error("the connection breaks"));
          }
          sent = true;
          controller.enqueue(bytes.subarray(0, 1000));
        },
      });
      return new Response(cut, { status: answer.status, headers: answer.headers });
    },
    error: () => new Response(null, { status: 502 }),
  });
  return {
    url: `https://127.0.0.1:${server.port}`,
    seen,
    breakNext: (path) => void breaks.add(path),
    stop: () => void server.stop(true),
  };
}
