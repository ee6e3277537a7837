/** An application whose model `tiny` is served by the test engine, and OpenAI's client for it. */
import OpenAI from "openai";
import { createTestApp, type TestApp, type TestAppOptions } from "./app.ts";
import { deployEngine, startEngine, type TestEngine } from "./engine.ts";
import { readyBase } from "./models.ts";

export interface Served {
  app: TestApp;
  engine: TestEngine;
  client: OpenAI;
  /** The body of the last request to the engine. */
  sent(): Record<string, unknown> & { messages: object[] };
  /** The engine answers as at first, and its list of requests is empty. */
  reset(): void;
  close(): Promise<void>;
}

export async function createServed(options: TestAppOptions = {}): Promise<Served> {
  const app = await createTestApp(options);
  const engine = startEngine();
  await readyBase(app.ctx, "tiny");
  await deployEngine(app.ctx, engine, { org: app.orgs.a, model: "tiny" });
  const fetch = ((input: RequestInfo | URL, init?: RequestInit) =>
    app.app.handle(new Request(input, init))) as typeof globalThis.fetch;
  return {
    app,
    engine,
    client: new OpenAI({ apiKey: app.keys.member, baseURL: "http://localhost/v1", maxRetries: 0, fetch }),
    sent: () => engine.requests.at(-1)?.body as Record<string, unknown> & { messages: object[] },
    reset() {
      Object.assign(engine, { instead: null, fail: null, calls: [], words: ["Hel", "lo", " wor", "ld"], pace: 0 });
      engine.requests.length = 0;
    },
    async close() {
      await engine.stop();
      await app.close();
    },
  };
}
