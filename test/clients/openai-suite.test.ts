/**
 * The test suite of OpenAI's Python client, as its source package has it, against a real server and engine. A proxy
 * replaces its example ids. Each resource's strict tests of the synchronous client run; the others repeat them.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { clientsMissing, compareWithList, OPENAI_SOURCE, runSuite } from "../support/clients.ts";
import { type Live, startLive, trainerMissing, until } from "../support/live.ts";
import { importTinyModel } from "../support/tiny.ts";
import { createObjects, startProxy } from "./proxy.ts";

const RESOURCES = [
  "test_files.py",
  "test_uploads.py",
  "uploads",
  "test_models.py",
  "fine_tuning",
  "test_completions.py",
  "chat",
  "test_embeddings.py",
  "test_moderations.py",
  "test_responses.py",
  "responses",
];
const skip = trainerMissing ?? clientsMissing;
let live: Live;
let proxy: ReturnType<typeof startProxy>;

beforeAll(async () => {
  if (skip !== null) return;
  live = await startLive({ env: { FTL_MODERATION_RULES: JSON.stringify({ violence: ["kill"] }) } });
  await importTinyModel(live);
  const objects = await createObjects(live, "tiny");
  await live.call("POST", "/v1/deployments", { model: "tiny" });
  const messages = [{ role: "user", content: "Hello" }];
  const ask = () => live.call("POST", "/v1/chat/completions", { model: "tiny", messages, max_tokens: 1 });
  await until("the endpoint to answer", () => ask().catch(() => null), 120_000, 500);
  proxy = startProxy(live, objects);
}, 400_000);
afterAll(async () => {
  await proxy?.stop();
  await live?.close();
});

test.skipIf(skip !== null)(
  `the tests of the openai package pass, except those on the list${skip ? ` (skipped: ${skip})` : ""}`,
  async () => {
    const { outcomes, output } = await runSuite(
      ["-k", "strict and not Async", ...RESOURCES.map((name) => `tests/api_resources/${name}`)],
      { cwd: OPENAI_SOURCE, env: { TEST_API_BASE_URL: proxy.url }, report: join(live.dir, "openai-suite.xml") },
    );
    expect(outcomes.size).toBeGreaterThan(150);
    expect(compareWithList(outcomes, join(import.meta.dir, "openai-suite-failures.json")), output.slice(-6000)).toEqual(
      {
        unexpected: [],
        passing: [],
      },
    );
    expect(proxy.accepted).toEqual([]);
  },
  600_000,
);
