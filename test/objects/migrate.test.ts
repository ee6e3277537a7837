/** `storage migrate` with a real S3 server: to the bucket and back, killed in between, and beside a damaged file. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, rmSync } from "node:fs";
import { createApp, createCtx } from "../../src/app.ts";
import { type ConfigInput, loadConfig } from "../../src/config.ts";
import { storedObject } from "../../src/db/schema/datasets.ts";
import { trimCache } from "../../src/objects/local.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { checkpointFiles, upload } from "../support/artifacts.ts";
import { makeTrainer } from "../support/attempt.ts";
import { chatLines, validated } from "../support/datasets.ts";
import { PROGRAM } from "../support/program.ts";
import { ACCESS, BUCKET, cloudsMissing, type S3Server, startS3 } from "../support/s3-servers.ts";

let server: S3Server;
let t: TestApp;
const settings = () => ({
  s3_endpoint: server.endpoint,
  s3_bucket: BUCKET,
  s3_prefix: "migrated/",
  s3_access_key_id: ACCESS.accessKey,
  s3_secret_key: ACCESS.secretKey,
});

/** Runs the program on the data directory, without a server. */
async function migrate(store: "disk" | "s3", to: string, options: string[] = [], failPoints = "") {
  const env: Record<string, string> = { PATH: process.env.PATH ?? "", FTL_ARTIFACT_STORE: store };
  for (const [name, value] of Object.entries(settings())) env[`FTL_${name.toUpperCase()}`] = value;
  if (failPoints) env.FTL_FAIL_POINTS = failPoints;
  const child = Bun.spawn([...PROGRAM, "storage", "migrate", "--to", to, "--data", t.dir, ...options], {
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code: await child.exited, out, err, signal: child.signalCode };
}

/** The same data directory with other settings. */
async function reopen(config: ConfigInput) {
  const given = { data_dir: t.dir, listen: "127.0.0.1:0", log_level: "error", pii_scan: "off", ...config } as const;
  const ctx = await createCtx(loadConfig(given, {}), { log: () => {} });
  const app = createApp(ctx);
  const request = (path: string, as: "admin" | "other" = "admin"): Promise<Response> =>
    app.handle(new Request(`http://localhost${path}`, { headers: { authorization: `Bearer ${t.keys[as]}` } }));
  return { ctx, request };
}

beforeAll(async () => {
  if (cloudsMissing) return;
  server = await startS3("rclone");
  t = await createTestApp({ config: { pii_scan: "off" } });
});
afterAll(async () => {
  if (t) rmSync(t.dir, { recursive: true, force: true });
  await server?.stop();
});

test.skipIf(cloudsMissing !== null)("moves everything, continues after a kill, and moves it back", async () => {
  const lines = `${chatLines(40).join("\n")}\n`;
  const { dataset, version } = await validated(t, lines);
  const { version: damaged } = await validated(t, lines.replaceAll("question", "other"));
  const trainer = await makeTrainer(t);
  const { artifact_id: artifactId } = await upload(trainer, checkpointFiles(3));
  await t.ctx.close();
  const damagedPath = t.ctx.files.path("files", damaged.file_id as string);
  await Bun.write(damagedPath, "something else");

  const refused = await migrate("disk", "s3");
  expect([refused.code, refused.err]).toEqual([3, expect.stringContaining("Set artifact_store to s3, restart")]);
  expect((await migrate("s3", "s3", ["--dry-run"])).out).toMatch(/^Would move 5 units, [\d.]+ KB, to s3\.\n$/);

  // Killed when the first unit is in the bucket, and its rows are not.
  const killed = await migrate("s3", "s3", [], "objects.sent");
  expect(killed.signal).toBe("SIGKILL");
  expect((await migrate("s3", "s3", ["--dry-run"])).out).toContain("Would move 5 units");
  const done = await migrate("s3", "s3");
  expect(done.out).toMatch(/^Moved 4 units, [\d.]+ KB, to s3\. Not moved: 1\.\n$/);
  expect([done.code, done.err]).toEqual([1, expect.stringContaining(`not moved: files/${damaged.file_id}`)]);

  // Everything but the damaged file is read from the bucket, without any copy.
  const again = await reopen({ artifact_store: "s3", ...settings() });
  expect(await trimCache(again.ctx, 0)).toBe(0);
  expect(existsSync(again.ctx.files.path("artifacts", artifactId, "adapter_config.json"))).toBe(false);
  const download = await again.request(`/v1/files/${version.file_id}/content`);
  expect(download.status).toBe(302);
  const address = download.headers.get("location") ?? "";
  expect(new URL(address).pathname).toContain(`/${BUCKET}/migrated/teams/${t.orgs.a}/files/${version.file_id}/`);
  const direct = await fetch(address);
  expect(await direct.text()).toBe(lines);
  expect(direct.headers.get("content-disposition")).toBe("attachment; filename*=UTF-8''train.jsonl");
  expect((await again.request(`/v1/files/${version.file_id}/content`, "other")).status).toBe(404);
  const rows = (await (await again.request(`/v1/datasets/${dataset.id}/rows?limit=3`)).json()) as { data: unknown[] };
  expect(rows.data).toHaveLength(3);
  await again.ctx.close();

  const back = await migrate("disk", "disk");
  expect([back.code, back.out]).toEqual([
    0,
    expect.stringMatching(/^Moved 4 units, [\d.]+ KB, to disk\. Not moved: 0\.\n$/),
  ]);
  for await (const { key } of again.ctx.bucket?.list("") ?? []) throw new Error(`left in the bucket: ${key}`);
  const last = await reopen({});
  expect(await last.ctx.db.$count(storedObject)).toBe(0);
  expect(await (await last.request(`/v1/files/${version.file_id}/content`)).text()).toBe(lines);
  await last.ctx.close();
});
