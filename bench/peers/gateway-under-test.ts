/**
 * Our gateway in a separate process, with accounts, limit and usage rows enabled, and one deployment that uses the
 * engine. Prints port and key.
 */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "drizzle-orm";
import { createKey } from "../../src/accounts/api-keys/service.ts";
import { createUser } from "../../src/accounts/auth/service.ts";
import { createApp, createCtx } from "../../src/app.ts";
import { loadConfig } from "../../src/config.ts";
import { systemActor } from "../../src/ctx.ts";
import { inference } from "../../src/db/schema/gateway.ts";
import { flushUsage } from "../../src/serving/gateway/usage.ts";
import { deployEngine } from "../../test/support/engine.ts";
import { readyBase } from "../../test/support/models.ts";

const dir = mkdtempSync(join(tmpdir(), "ftl-bench-gateway-"));
const ctx = await createCtx(
  loadConfig({ data_dir: dir, listen: "127.0.0.1:0", log_level: "error", requests_per_minute: 10_000_000 }, {}),
);
const user = await createUser(ctx, systemActor(), {
  email: "bench@example.test",
  password: "a long enough phrase 41",
  role: "admin",
  orgName: "Bench",
});
const { key } = await createKey(ctx, systemActor(), { name: "bench", userId: user.id });
await readyBase(ctx, "tiny");
await deployEngine(ctx, { address: `unix:${process.argv[2]}` }, { org: user.org, model: "tiny" });
const app = createApp(ctx).listen({ port: 0, hostname: "127.0.0.1" });
process.stdout.write(`${JSON.stringify({ port: app.server?.port, key, dir })}\n`);

// On request: the time spent here since the previous request, according to the usage rows.
let after = 0;
for await (const _ of process.stdin) {
  await flushUsage(ctx);
  const rows = await ctx.db.select({ overhead: inference.overheadMs }).from(inference).where(sql`rowid > ${after}`);
  after += rows.length;
  process.stdout.write(`${JSON.stringify(rows.map((row) => row.overhead))}\n`);
}
