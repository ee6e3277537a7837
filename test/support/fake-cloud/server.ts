/** The fake cloud over HTTP and as a `fetch` in this process, with connections that break. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type Answer, Disconnected, type FakeCloud } from "./core.ts";

async function answerOf(cloud: FakeCloud, method: string, url: URL, text: string, authorization: string | null) {
  const body = text === "" ? null : (JSON.parse(text) as unknown);
  return cloud.handle({ method, path: url.pathname, query: url.searchParams, body }, authorization);
}

function textOf({ body, broken }: Answer): string | null {
  if (body === undefined) return null;
  const text = JSON.stringify(body);
  return broken ? text.slice(0, text.length / 2) : text;
}

/** A `fetch` that ends in the fake cloud, whatever the host: no socket, for thousands of launches. */
export function fetchOf(cloud: FakeCloud): typeof fetch {
  const go = async (input: string | URL | Request, init?: RequestInit) => {
    const request = new Request(input, init);
    const given = init?.body === undefined || init.body === null ? "" : String(init.body);
    try {
      const authorization = request.headers.get("authorization");
      const answer = await answerOf(cloud, request.method, new URL(request.url), given, authorization);
      const text = textOf(answer);
      return new Response(text, {
        status: answer.status,
        headers: { "content-type": "application/json", ...answer.headers },
      });
    } catch (error) {
      if (error instanceof Disconnected && error.how === "timeout") cloud.advance(30_000);
      throw error;
    }
  };
  return Object.assign(go, { preconnect: () => {} });
}

/** Listens on a free port of this machine. A request that times out is never answered. */
export async function serveCloud(cloud: FakeCloud): Promise<{ url: string; stop(): Promise<void> }> {
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    try {
      const url = new URL(request.url ?? "/", "http://fake");
      const text = Buffer.concat(chunks).toString();
      const answer = await answerOf(cloud, request.method ?? "GET", url, text, request.headers.authorization ?? null);
      response.writeHead(answer.status, { "content-type": "application/json", ...answer.headers });
      response.end(textOf(answer) ?? undefined);
    } catch (error) {
      if (!(error instanceof Disconnected)) throw error;
      if (error.how === "closed") request.socket.destroy();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const timer = setInterval(() => cloud.tick(), 50);
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async stop() {
      clearInterval(timer);
      await cloud.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
