/** A reverse proxy that ends TLS, as nginx or Caddy do in front of the server. */
import { readFileSync } from "node:fs";
import type { Certificates } from "./certificates.ts";

interface TlsProxy {
  url: string;
  /** Requests passed on so far. */
  readonly requests: number;
  stop(): void;
}

/** Passes every request on to `target`, with the address of its caller in X-Forwarded-For. */
export function tlsProxy(target: string, certificates: Certificates): TlsProxy {
  let requests = 0;
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    tls: { cert: readFileSync(certificates.chainFile, "utf8"), key: readFileSync(certificates.keyFile, "utf8") },
    async fetch(request, own) {
      requests++;
      const { pathname, search } = new URL(request.url);
      const headers = new Headers(request.headers);
      headers.set("x-forwarded-for", own.requestIP(request)?.address ?? "");
      const body = request.method === "GET" ? undefined : await request.arrayBuffer();
      return fetch(target + pathname + search, { method: request.method, headers, body, redirect: "manual" });
    },
  });
  return {
    url: `https://127.0.0.1:${server.port}`,
    get requests() {
      return requests;
    },
    stop: () => void server.stop(true),
  };
}
