/** Archives in a bucket of a real S3 server: written, downloaded by those who may, moved both ways, and deleted. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { createApp, createCtx } from "../../src/app.ts";
import { type ConfigInput, loadConfig } from "../../src/config.ts";
import type { Ctx } from "../../src/ctx.ts";
import { expireArchives } from "../../src/custody/archives/run.ts";
import { storedObject } from "../../src/db/schema/datasets.ts";
import { eraseUser } from "../../src/erasure/user.ts";
import { StoreProblem } from "../../src/lib/objects/store.ts";
import { removeDue } from "../../src/objects/keep.ts";
import { migrationStep } from "../../src/objects/migrate.ts";
import { compareObjects } from "../../src/objects/sweep.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";
import { until } from "../support/live.ts";
import { ACCESS, BUCKET, cloudsMissing, type S3Server, startS3 } from "../support/s3-servers.ts";

const DAY = 86_400_000;
const servers: Partial<Record<"moto" | "rclone", S3Server>> = {};
interface View {
  id: string;
  status: string;
  bytes: number;
  sha256: string;
}
type Who = "admin" | "member" | "other";

const settings = (server: S3Server, prefix = "one/"): ConfigInput => ({
  s3_endpoint: server.endpoint,
  s3_bucket: BUCKET,
  s3_prefix: prefix,
  s3_access_key_id: ACCESS.accessKey,
  s3_secret_key: ACCESS.secretKey,
});
const sha256 = (bytes: ArrayBuffer) => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");

async function keysOf(ctx: Ctx): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of ctx.bucket?.list("teams/") ?? []) if (key.includes("/archives/")) keys.push(key);
  return keys;
}

async function archived(app: TestApp, as: Who = "admin", scope = "user"): Promise<View> {
  const { id } = await app.json<View>("POST", "/v1/archives", { as, body: { scope } });
  return until("the archive", async () => {
    const now = await app.json<View>("GET", `/v1/archives/${id}`, { as });
    return now.status !== "waiting" && now.status !== "running" && now;
  });
}

beforeAll(async () => {
  if (cloudsMissing) return;
  servers.moto = await startS3("moto");
  servers.rclone = await startS3("rclone");
}, 60_000);
afterAll(async () => {
  await servers.moto?.stop();
  await servers.rclone?.stop();
});

for (const kind of ["moto", "rclone"] as const)
  test.skipIf(cloudsMissing !== null)(
    `${kind}: an archive is in the bucket alone, and is deleted with its row`,
    async () => {
      const server = servers[kind] as S3Server;
      const clock: FakeClock = fakeClock(Date.now());
      const app = await createTestApp({ config: { artifact_store: "s3", ...settings(server) }, ctx: { clock } });
      const { ctx } = app;
      const view = await archived(app, "admin", "organization");
      expect(view.status).toBe("done");
      expect(readdirSync(ctx.files.path("archives"))).toEqual([]);
      expect(await keysOf(ctx)).toEqual([`teams/${app.orgs.a}/archives/${view.id}/${view.sha256}`]);

      // The address of the bucket is given after the check of access, and to nobody else.
      const path = `/v1/archives/${view.id}/content`;
      for (const as of ["member", "other"] as const) expect((await app.request("GET", path, { as })).status).toBe(404);
      const answer = await app.request("GET", path);
      expect(answer.status).toBe(302);
      const file = await fetch(answer.headers.get("location") ?? "");
      expect(file.headers.get("content-disposition")).toMatch(
        /^attachment; filename\*=UTF-8''fine-tune-lab-organization-/,
      );
      expect(sha256(await file.arrayBuffer())).toBe(view.sha256);

      // The comparison knows it, and finds nothing to remove.
      clock.advance(2 * DAY);
      expect(await compareObjects(ctx)).toMatchObject({ strays: 0, orphans: 0, missing: [] });
      const deleted = await archived(app);
      expect(await keysOf(ctx)).toHaveLength(2);
      await app.json("DELETE", `/v1/archives/${deleted.id}`);
      expect(await keysOf(ctx)).toHaveLength(1);
      clock.advance(5 * DAY + 1000);
      await expireArchives(ctx);
      expect((await app.json<View>("GET", `/v1/archives/${view.id}`)).status).toBe("expired");
      expect(await keysOf(ctx)).toEqual([]);
      expect((await app.request("GET", path)).status).toBe(409);
      await app.close();
    },
  );

test.skipIf(cloudsMissing !== null)("archives move to the bucket and back, and go with their account", async () => {
  const server = servers.rclone as S3Server;
  const app = await createTestApp();
  const view = await archived(app, "member");
  const other = await archived(app, "other");
  await app.ctx.close();
  const reopen = async (config: ConfigInput) => {
    const given = { data_dir: app.dir, listen: "127.0.0.1:0", log_level: "error" as const, ...config };
    const ctx = await createCtx(loadConfig(given, {}), { log: () => {} });
    const served = createApp(ctx);
    const content = (id: string, as: Who) =>
      served.handle(
        new Request(`http://localhost/v1/archives/${id}/content`, {
          headers: { authorization: `Bearer ${app.keys[as]}` },
        }),
      );
    return { ctx, content };
  };
  const inBucket = await reopen({ artifact_store: "s3", ...settings(server, "two/") });
  await Bun.write(inBucket.ctx.files.path("archives", other.id), "damaged");
  const step = await migrationStep(inBucket.ctx, { to: "s3", dryRun: false, after: "" });
  expect(step).toMatchObject({ units: 2, moved: 1, failed: [{ unit: `archives/${other.id}` }] });
  expect(await keysOf(inBucket.ctx)).toEqual([`teams/${app.orgs.a}/archives/${view.id}/${view.sha256}`]);
  rmSync(inBucket.ctx.files.path("archives", view.id));
  expect((await inBucket.content(view.id, "member")).status).toBe(302);
  expect((await inBucket.content(view.id, "other")).status).toBe(404);
  await inBucket.ctx.close();

  const onDisk = await reopen({ artifact_store: "disk", ...settings(server, "two/") });
  expect(await migrationStep(onDisk.ctx, { to: "disk", dryRun: false, after: "" })).toMatchObject({
    moved: 1,
    failed: [],
  });
  expect(await keysOf(onDisk.ctx)).toEqual([]);
  expect(sha256(await (await onDisk.content(view.id, "member")).arrayBuffer())).toBe(view.sha256);
  await onDisk.ctx.close();

  // An account counts as erased only when the bucket has confirmed that its archives are gone.
  const last = await reopen({ artifact_store: "s3", ...settings(server, "two/") });
  await migrationStep(last.ctx, { to: "s3", dryRun: false, after: "" });
  const { bucket } = last.ctx;
  if (!bucket) throw new Error("no bucket");
  const { remove } = bucket;
  bucket.remove = async () => {
    throw new StoreProblem("unreachable", "the bucket does not answer");
  };
  await expect(eraseUser(last.ctx, app.users.member)).rejects.toMatchObject({ code: "object_store_unavailable" });
  bucket.remove = remove;
  const keys = await keysOf(last.ctx);
  expect(keys).toHaveLength(1);
  await last.ctx.db.run("update object_deletion set retry_at = 0");
  await removeDue(last.ctx);
  await eraseUser(last.ctx, app.users.member);
  expect(await keysOf(last.ctx)).toEqual([]);
  expect(await last.ctx.db.$count(storedObject)).toBe(0);
  expect(existsSync(last.ctx.files.path("archives", view.id))).toBe(false);
  await last.ctx.close();
  rmSync(app.dir, { recursive: true, force: true });
});
