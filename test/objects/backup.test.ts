/** Backups in a bucket of a real S3 server: made, killed in between, verified, damaged, and restored elsewhere. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "../../src/config.ts";
import { storedObject } from "../../src/db/schema/datasets.ts";
import type { AppError } from "../../src/errors.ts";
import { backupsSince, startBackup } from "../../src/insights/installation/backups.ts";
import { type BucketBackupOptions, makeBucketBackup } from "../../src/insights/installation/bucket-backup.ts";
import {
  type BackupBucket,
  backupProblem,
  filesOfBackup,
  findBackup,
  readBucketBackups,
  removeInterrupted,
  verifyBackup,
} from "../../src/insights/installation/bucket-backups.ts";
import { openInBucket, restoreBackup } from "../../src/insights/installation/restore.ts";
import { diskStore } from "../../src/lib/objects/disk.ts";
import { decrypted, encrypted, encryptedBytes } from "../../src/lib/objects/encrypted.ts";
import { s3Store } from "../../src/lib/objects/s3.ts";
import { type ObjectStore, StoreProblem } from "../../src/lib/objects/store.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { chatLines, validated } from "../support/datasets.ts";
import { PROGRAM } from "../support/program.ts";
import { ACCESS, BUCKET, cloudsMissing, type S3Server, startS3 } from "../support/s3-servers.ts";

const KEY = "correct-horse-battery-staple-0123456789";
const MiB = 1024 ** 2;
const DAY = 86_400_000;
const LINES = `${chatLines(30).join("\n")}\n`;
let t: TestApp;
let file: string;
let place: string;
const servers: Partial<Record<"moto" | "rclone", S3Server>> = {};

function storeOf(server: S3Server, prefix = "lab/"): ObjectStore {
  const settings = { endpoint: server.endpoint, region: "us-east-1", bucket: BUCKET, prefix, pathStyle: true };
  return s3Store({ ...settings, ca: null, credentials: () => ACCESS, quietMs: 20_000 }, Date.now);
}

/** Runs the program, without a server. */
async function run(server: S3Server, words: string[], more: Record<string, string> = {}) {
  const env = {
    PATH: process.env.PATH ?? "",
    FTL_S3_ENDPOINT: server.endpoint,
    FTL_S3_BUCKET: BUCKET,
    FTL_S3_PREFIX: "lab/",
    FTL_S3_ACCESS_KEY_ID: ACCESS.accessKey,
    FTL_S3_SECRET_KEY: ACCESS.secretKey,
    FTL_BACKUP_KEY: KEY,
    ...more,
  };
  const child = Bun.spawn([...PROGRAM, ...words], { env, stdio: ["ignore", "pipe", "pipe"] });
  const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code: await child.exited, out, err, signal: child.signalCode };
}

async function keysOf(store: ObjectStore, prefix = "backups/"): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(prefix)) keys.push(key);
  return keys;
}

const rowsOf = (dir: string) => {
  const database = new Database(join(dir, "lab.db"), { readonly: true });
  const rows = ["user", "file", "dataset_version", "api_key", "audit_log"].map((table) =>
    database.query(`select * from "${table}" order by rowid`).all(),
  );
  database.close();
  return JSON.stringify(rows);
};

beforeAll(async () => {
  place = mkdtempSync(join(tmpdir(), "ftl-restored-"));
  if (cloudsMissing) return;
  servers.moto = await startS3("moto");
  servers.rclone = await startS3("rclone");
  t = await createTestApp({ config: { pii_scan: "off" } });
  const { version } = await validated(t, LINES);
  file = version.file_id as string;
  await t.ctx.close();
}, 120_000);
afterAll(async () => {
  for (const dir of [t?.dir, place]) if (dir) rmSync(dir, { recursive: true, force: true });
  await servers.moto?.stop();
  await servers.rclone?.stop();
});

const KINDS = ["moto", "rclone"] as const;
const oneOf = (bytes: Uint8Array) => ({
  pieces: (async function* () {
    yield bytes;
  })(),
  bytes: bytes.length,
});

for (const kind of KINDS)
  describe.skipIf(cloudsMissing !== null)(kind, () => {
    let server: S3Server;
    let bucket: BackupBucket;
    beforeAll(() => {
      server = servers[kind] as S3Server;
      bucket = { store: storeOf(server), address: "s3://lab/lab/", key: KEY, now: Date.now };
    });
    const backUp = (name: string, more: Partial<BucketBackupOptions> = {}) =>
      makeBucketBackup(t.dir, bucket, { name, withModels: true, remote: null, reserve: 0, keep: 0, ...more });
    const restoredAt = (to: string) => join(place, `${kind}-${to}`);
    const restore = async (name: string, to: string, key = KEY) =>
      restoreBackup(await openInBucket({ ...bucket, key }, name), restoredAt(to), false);
    const codeOf = (work: Promise<unknown>) =>
      work.then(
        () => "done",
        (error: unknown) => (backupProblem(error) as AppError).code,
      );

    test("one that was killed is never taken for a whole one, and the next one removes it with its parts", async () => {
      const big = join(t.dir, "uploads", "up_big");
      mkdirSync(big, { recursive: true });
      writeFileSync(join(big, "part"), Buffer.alloc(36 * MiB, 7));
      const words = ["backup", "--to", "s3", "--name", "killed", "--data", t.dir];
      const killed = await run(server, words, { FTL_FAIL_POINTS: "backup.piece@35" });
      expect(killed.signal).toBe("SIGKILL");
      expect(existsSync(join(t.dir, "tmp", "backup-killed"))).toBe(true);
      rmSync(big, { recursive: true });
      expect(await readBucketBackups(bucket, null)).toMatchObject([{ name: "killed", summary: null }]);
      expect(await codeOf(restore("killed", "killed"))).toBe("backup_incomplete");
      expect(existsSync(join(restoredAt("killed"), "lab.db"))).toBe(false);

      // Another machine's, which may be at work, stays; after a day it counts as interrupted.
      const elsewhere = { ...bucket, now: () => Date.now() + DAY + 1000 };
      const folder = `backups/${(await readBucketBackups(bucket, null))[0]?.installation}/elsewhere`;
      const begun = Buffer.from(JSON.stringify({ at: Date.now(), place: "another" }));
      await bucket.store.put(`${folder}/begun.json`, oneOf(begun));
      expect(await backUp("whole")).toMatchObject({ interrupted: 1, gone: [] });
      expect(existsSync(join(t.dir, "tmp", "backup-killed"))).toBe(false);
      expect((await readBucketBackups(bucket, null)).map(({ name }) => name)).toEqual(["whole", "elsewhere"]);
      expect(await bucket.store.abortUploads(Number.POSITIVE_INFINITY)).toBe(0);
      expect((await keysOf(bucket.store)).filter((key) => key.includes("/killed/"))).toEqual([]);
      expect(await removeInterrupted(elsewhere, folder.split("/")[1] ?? "", "here")).toBe(1);

      // One that ends with an error removes what it sent.
      const fail = () => {
        throw new Error("stopped here");
      };
      await expect(backUp("stopped", { failPoint: fail })).rejects.toThrow();
      expect((await keysOf(bucket.store)).filter((key) => key.includes("/stopped/"))).toEqual([]);
    });

    test("one is verified, and restored with the same rows and files, by whoever has the key", async () => {
      const verified = await verifyBackup(bucket, await findBackup(bucket, "whole"));
      expect(verified).toMatchObject({ problems: [] });
      expect(verified.files).toBeGreaterThanOrEqual(5);
      expect(await codeOf(restore("whole", "other", KEY.toUpperCase()))).toBe("backup_key_wrong");
      expect(await codeOf(restore("none", "other"))).toBe("backup_not_found");
      await restore("whole", "whole");
      expect(rowsOf(restoredAt("whole"))).toBe(rowsOf(t.dir));
      expect(readFileSync(join(restoredAt("whole"), "files", file), "utf8")).toBe(LINES);
      for (const name of ["secret", "config.json"].filter((one) => existsSync(join(t.dir, one))))
        expect(readFileSync(join(restoredAt("whole"), name), "utf8")).toBe(readFileSync(join(t.dir, name), "utf8"));
    });

    test("nothing in the bucket can be read without the key, and names reveal nothing", async () => {
      const secret = readFileSync(join(t.dir, "secret"), "utf8").trim();
      for (const key of await keysOf(bucket.store)) {
        expect(key).toMatch(/^backups\/[^/]+\/whole\/(backup\.json|begun\.json|files|data\/\d+)$/);
        const content = Buffer.concat(await Array.fromAsync(bucket.store.get(key)));
        for (const word of [secret, "SQLite format", "question", t.emails.admin, file])
          expect(content.includes(word)).toBe(false);
      }
    });

    test("a damaged or missing object is found by verify, and refused by restore", async () => {
      const [first = "", second = ""] = (await keysOf(bucket.store)).filter((key) => key.includes("/data/"));
      const whole = new Map<string, Buffer>();
      for (const key of [first, second]) whole.set(key, Buffer.concat(await Array.fromAsync(bucket.store.get(key))));
      const changed = Buffer.from(whole.get(first) ?? "");
      changed[changed.length - 20] = (changed.at(-20) ?? 0) ^ 1;
      await bucket.store.put(first, oneOf(changed));
      await bucket.store.remove([second]);
      const { problems } = await verifyBackup(bucket, await findBackup(bucket, "whole"));
      expect(problems.map((one) => one.replace(/.*: /, "")).sort()).toEqual(["its content changed", "missing"]);
      expect(await codeOf(restore("whole", "damaged"))).toBe("backup_damaged");
      expect(existsSync(join(restoredAt("damaged"), "lab.db"))).toBe(false);
      for (const [key, bytes] of whole) await bucket.store.put(key, oneOf(bytes));
    });

    test("a newer format is refused, and never removed nor counted when few are kept", async () => {
      const [folder = ""] = (await keysOf(bucket.store)).map((key) => key.slice(0, key.indexOf("/whole/")));
      const newer = Buffer.from(JSON.stringify({ format: 2, version: "9.0.0", made_at: "2000-01-01T00:00:00.000Z" }));
      await bucket.store.put(`${folder}/newer/backup.json`, oneOf(newer));
      expect(await codeOf(restore("newer", "newer"))).toBe("backup_newer");
      expect(await codeOf(backUp("whole"))).toBe("backup_exists");
      expect(await backUp("next", { keep: 2 })).toMatchObject({ interrupted: 0, removed: [] });
      const names = (await readBucketBackups(bucket, null)).map(({ name }) => name);
      expect(names).toEqual(["next", "whole", "newer"]);
      await bucket.store.remove([`${folder}/newer/backup.json`]);
    });
  });

test.skipIf(cloudsMissing !== null)("the command line makes, lists, verifies and restores one", async () => {
  const server = servers.rclone as S3Server;
  const given = ["--data", t.dir];
  const made = await run(server, ["backup", "--name", "nightly", "--keep", "1", ...given], { FTL_BACKUP_STORE: "s3" });
  expect([made.code, made.out]).toEqual([
    0,
    expect.stringMatching(
      /^s3:\/\/lab\/lab\/backups\/\S+\/nightly\/: \d+ files, .*, encrypted, read back and compared\.\n/,
    ),
  ]);
  expect(made.out).toContain("Removed whole: 1 are kept.");
  const list = await run(server, ["backup", "list", ...given]);
  expect(list.out).toMatch(/^\S+Z {2}s3 {4}complete .* \S+\/nightly\n$/);
  const verified = await run(server, ["backup", "verify", "nightly", ...given]);
  expect([verified.code, verified.out]).toEqual([0, expect.stringMatching(/^Intact: \d+ files, /)]);
  const to = join(place, "by-command");
  expect(await run(server, ["restore", "--from", "s3", "nightly", "--data", to])).toMatchObject({ code: 0, err: "" });
  expect(rowsOf(to)).toBe(rowsOf(t.dir));
  const audit = await run(server, ["audit", "verify", "--data", to]);
  expect([audit.code, audit.out]).toEqual([0, expect.stringContaining("Intact")]);
});

test.skipIf(cloudsMissing !== null)(
  "an administrator makes one, sees it, and deletes it; a bucket that is away is named",
  async () => {
    const server = servers.rclone as S3Server;
    const key = join(place, "backup-key");
    writeFileSync(key, `${KEY}\n`, { mode: 0o600 });
    const app = await createTestApp({
      config: {
        pii_scan: "off",
        artifact_store: "s3",
        backup_store: "s3",
        backup_key_file: key,
        s3_endpoint: server.endpoint,
        s3_bucket: BUCKET,
        s3_prefix: "of-server/",
        s3_access_key_id: ACCESS.accessKey,
        s3_secret_key: ACCESS.secretKey,
      },
    });
    const { version } = await validated(app, LINES);
    const { name, done } = await startBackup(app.ctx, app.actor("admin"));
    await done;
    // What artifact_store has in the bucket is counted, and not sent again, although this machine has a copy.
    expect(existsSync(app.ctx.files.path("files", version.file_id as string))).toBe(true);
    const opened = { store: storeOf(server, "of-server/"), address: "", key: KEY, now: Date.now };
    const found = await findBackup(opened, name);
    const objects = await app.ctx.db.$count(storedObject);
    expect(objects).toBeGreaterThanOrEqual(2);
    expect(found.summary.not_copied.objects).toBe(objects);
    const paths = (await filesOfBackup(opened, found)).map(({ path }) => path);
    expect(paths).toContain("secret");
    expect(paths.filter((path) => /^(files|datasets|artifacts|archives)\//.test(path))).toEqual([]);
    const list = () => app.json<{ data: { id: string; store: string; path: string }[] }>("GET", "/v1/admin/backups");
    expect((await list()).data).toMatchObject([
      { id: name, store: "s3", path: `s3://lab/of-server/backups/${app.ctx.installation}/${name}/` },
    ]);
    expect(await backupsSince(app.ctx, 0)).toEqual([name]);
    const page = await app.request("GET", "/admin/backups", { headers: { accept: "text/html" } });
    expect([page.status, await page.text()]).toEqual([200, expect.stringContaining("Back up to the bucket")]);
    expect((await app.request("DELETE", `/v1/admin/backups/${name}`, { as: "member" })).status).toBe(403);

    const { bucket } = app.ctx;
    if (!bucket) throw new Error("no bucket");
    const { folders } = bucket;
    bucket.folders = async () => {
      throw new StoreProblem("unreachable", "the bucket is away");
    };
    expect((await app.request("GET", "/v1/admin/backups")).status).toBe(503);
    const without = await app.request("GET", "/admin/backups", { headers: { accept: "text/html" } });
    expect([without.status, await without.text()]).toEqual([200, expect.stringContaining("the bucket is away")]);
    expect(await backupsSince(app.ctx, 0)).toEqual([]);
    bucket.folders = folders;
    await app.json("DELETE", `/v1/admin/backups/${name}`);
    expect((await list()).data).toEqual([]);
    expect((await Array.fromAsync(bucket.list("backups/"))).length).toBe(0);
    await app.close();
  },
);

test("a key is required, and must not be short", async () => {
  const config = { data_dir: place, s3_bucket: "lab", s3_access_key_id: "key", s3_secret_key: "secret" } as const;
  expect(() => loadConfig({ ...config, backup_store: "s3" }, {})).toThrow("backups in the bucket are encrypted");
  expect(() => loadConfig({ ...config, backup_key: "short" }, {})).toThrow("32 characters or more");
  expect(() => loadConfig({ data_dir: place, backup_store: "s3", backup_key: KEY }, {})).toThrow("s3_bucket");
  const bucket = { store: diskStore(place), address: "", key: null, now: Date.now };
  const options = { name: "none", withModels: true, remote: null, reserve: 0, keep: 0 };
  await expect(makeBucketBackup(place, bucket, options)).rejects.toMatchObject({ code: "backup_key_missing" });
});

test("an encrypted stream opens only whole, in order, under its name and with its key", async () => {
  const pieces = async function* (bytes: Uint8Array, size = 300_000) {
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
  };
  const all = async (source: AsyncIterable<Uint8Array>) => Buffer.concat(await Array.fromAsync(source));
  for (const size of [0, 1, MiB - 1, MiB, MiB + 1, 2 * MiB, 2 * MiB + 5]) {
    const plain = new Uint8Array(size).map((_, at) => (at * 31) % 251);
    const secret = await all(encrypted(KEY, "a/b", pieces(plain)));
    expect(secret.length).toBe(encryptedBytes(size));
    expect((await all(decrypted(KEY, "a/b", pieces(secret, 70_001)))).equals(Buffer.from(plain))).toBe(true);
    if (size > MiB + 1) continue;
    const piece = MiB + 16;
    const wrong: [string, string, Buffer][] = [
      [KEY, "a/c", secret],
      [`${KEY}x`, "a/b", secret],
      [KEY, "a/b", secret.subarray(0, -1)],
      [KEY, "a/b", Buffer.concat([secret, secret.subarray(20)])],
      [KEY, "a/b", secret.subarray(0, 10)],
      // Cut at the end of a piece.
      ...(size > MiB ? ([[KEY, "a/b", secret.subarray(0, 20 + piece)]] as [string, string, Buffer][]) : []),
    ];
    for (const [key, name, bytes] of wrong)
      await expect(all(decrypted(key, name, pieces(bytes)))).rejects.toMatchObject({ kind: "damaged" });
  }
});
