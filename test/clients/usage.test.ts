/** OpenAI's Python client reads usage and costs with its own methods and types, through all pages. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { inference } from "../../src/db/schema/gateway.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { CLIENTS, clientsMissing } from "../support/clients.ts";
import { fakeClock } from "../support/clock.ts";
import { addUse, NOW, on } from "../support/metered.ts";

let t: TestApp;
beforeAll(async () => {
  t = await createTestApp({ ctx: { clock: fakeClock(NOW) } });
  await addUse(t);
  const { org, userId, keyId } = t.actor("member");
  const shared = { org, userId, keyId, status: 200, streamed: false, totalMs: 1, model: "tiny" };
  await t.ctx.write((tx) =>
    tx.insert(inference).values([
      { id: "r1", ...shared, at: on(11, 1), promptTokens: 10, completionTokens: 5 },
      { id: "r2", ...shared, at: on(18, 2), promptTokens: 100, completionTokens: 1 },
    ]),
  );
  t.app.listen({ port: 0, hostname: "127.0.0.1" });
});
afterAll(async () => {
  await t.app.stop(true);
  await t.close();
});

test.skipIf(clientsMissing !== null)("usage and costs of ten days, in pages of the client's types", async () => {
  const argv = [join(CLIENTS, "bin/python"), join(import.meta.dir, "usage_client.py")];
  const url = `http://127.0.0.1:${t.app.server?.port}/v1`;
  const child = Bun.spawn([...argv, url, t.keys.admin, String(on(10) / 1000), String(on(20) / 1000)], {
    env: { PATH: process.env.PATH ?? "" },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, problem] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  expect([await child.exited, problem]).toEqual([0, ""]);
  expect(JSON.parse(out)).toEqual({
    kinds: ["DataResultOrganizationCostsResult", "DataResultOrganizationUsageCompletionsResult"],
    starts: Array.from({ length: 10 }, (_, day) => on(10 + day) / 1000),
    tokens: [
      ["tiny", t.users.member, 10, 5, 1],
      ["tiny", t.users.member, 100, 1, 1],
    ],
    costs: [
      ["gpu_seconds", "usd", 3.6],
      ["gpu_seconds", "usd", 3.6],
      ["input_tokens", "usd", 2],
      ["output_tokens", "usd", 2],
    ],
    others: new Array(5).fill(10),
  });
});
