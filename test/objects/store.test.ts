/** One set of cases for every place that keeps objects: a directory, and two S3 servers of different origin. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { diskStore } from "../../src/lib/objects/disk.ts";
import { s3Store } from "../../src/lib/objects/s3.ts";
import type { S3Settings } from "../../src/lib/objects/s3-client.ts";
import type { ObjectStore } from "../../src/lib/objects/store.ts";
import { ACCESS, BUCKET, cloudsMissing, faultyProxy, type S3Server, startS3 } from "../support/s3-servers.ts";

const MiB = 1024 ** 2;
const dir = mkdtempSync(join(tmpdir(), "ftl-objects-"));
const servers = new Map<string, S3Server>();
const sha256 = (bytes: Uint8Array) => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");

/** Bytes without a pattern, so that a part in a wrong place is seen. */
function randomBytes(size: number, seed: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(size / 4));
  let state = seed;
  for (let at = 0; at < words.length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    words[at] = state;
  }
  return new Uint8Array(words.buffer, 0, size);
}

const large = randomBytes(37 * MiB + 11, 7);
const largePath = join(dir, "large.bin");
const exact = { bytes: large.byteLength, sha256: sha256(large) };

function settingsOf(endpoint: string, more: Partial<S3Settings> = {}): S3Settings {
  const settings = { endpoint, region: "us-east-1", bucket: BUCKET, prefix: "lab-1/", pathStyle: true, ca: null };
  return { ...settings, credentials: () => ACCESS, quietMs: 20_000, ...more };
}

const s3Of = (kind: string, more: Partial<S3Settings> = {}) =>
  s3Store(settingsOf(servers.get(kind)?.endpoint ?? "", more), Date.now);

async function* pieces(...texts: string[]) {
  for (const text of texts) yield new TextEncoder().encode(text);
}

async function read(store: ObjectStore, key: string, range?: { from: number; to?: number }): Promise<Buffer> {
  const found: Uint8Array[] = [];
  for await (const piece of store.get(key, range)) found.push(piece);
  return Buffer.concat(found);
}

/** The problem that `work` ends with: its kind and its message. */
async function problemOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "no problem",
    (error) => `${error.kind ?? error.name}: ${error.message}`,
  );
}

beforeAll(async () => {
  await Bun.write(largePath, large);
  if (cloudsMissing) return;
  for (const kind of ["moto", "rclone"] as const) servers.set(kind, await startS3(kind));
});
afterAll(async () => {
  for (const server of servers.values()) await server.stop();
  rmSync(dir, { recursive: true, force: true });
});

const STORES: [name: string, open: () => ObjectStore][] = [
  ["disk", () => diskStore(join(dir, "disk"))],
  ["moto", () => s3Of("moto")],
  ["rclone", () => s3Of("rclone")],
];

describe.each(STORES)("objects in %s", (name, open) => {
  const needed = test.skipIf(name !== "disk" && cloudsMissing !== null);

  needed("are written, read in ranges, listed by prefix and removed", async () => {
    const store = open();
    expect(await store.abortUploads(0)).toBe(0);
    expect(await store.put("a/one", pieces("hello ", "world"))).toEqual({
      bytes: 11,
      sha256: sha256(Buffer.from("hello world")),
    });
    await store.put("a/empty", pieces());
    await store.put("b/two", pieces("2"));
    expect(String(await read(store, "a/one"))).toBe("hello world");
    expect(String(await read(store, "a/one", { from: 6 }))).toBe("world");
    expect(String(await read(store, "a/one", { from: 2, to: 4 }))).toBe("ll");
    expect((await read(store, "a/empty")).byteLength).toBe(0);
    const listed: string[] = [];
    for await (const item of store.list("a/")) listed.push(`${item.key} ${item.bytes}`);
    expect(listed).toEqual(["a/empty 0", "a/one 11"]);
    const found = await store.stat("a/one");
    expect(Math.abs((found?.modifiedAt ?? 0) - Date.now())).toBeLessThan(60_000);
    await store.remove(["a/one", "a/empty", "b/two", "never/there"]);
    expect(await store.stat("a/one")).toBeNull();
    expect(await problemOf(read(store, "a/one"))).toBe("missing: a/one: no such object");
    await store.remove(["a/one"]);
  });

  needed("of several parts keep their bytes, and other bytes than expected leave no object", async () => {
    const store = open();
    expect(await store.put("big", { path: largePath }, exact)).toEqual(exact);
    expect(sha256(await read(store, "big"))).toBe(exact.sha256);
    expect(sha256(await read(store, "big", { from: 16 * MiB - 3, to: 33 * MiB }))).toBe(
      sha256(large.subarray(16 * MiB - 3, 33 * MiB)),
    );
    const other = { ...exact, sha256: "0".repeat(64) };
    expect(await problemOf(store.put("other", { path: largePath }, other))).toContain("damaged");
    expect(await problemOf(store.put("short", pieces("abc"), { bytes: 4, sha256: "" }))).toContain("damaged");
    for (const key of ["other", "short"]) expect(await store.stat(key)).toBeNull();
    await store.remove(["big"]);
  });
});

describe.skipIf(cloudsMissing !== null)("an S3 server", () => {
  test.each(["moto", "rclone"])("%s passes the check, which leaves nothing", async (kind) => {
    const store = s3Of(kind);
    await store.check();
    for await (const item of store.list("")) expect(item.key).not.toContain("check/");
  });

  test("gives addresses that work without a key, for their time and length alone", async () => {
    const store = s3Of("rclone");
    await store.put("named", pieces("content"));
    const presented = { filename: "Zürich's *rows*.jsonl", type: "application/jsonl" };
    const address = (await store.presignGet("named", 60, presented)) ?? "";
    const reply = await fetch(address);
    expect(await reply.text()).toBe("content");
    expect(reply.headers.get("content-disposition")).toBe(
      "attachment; filename*=UTF-8''Z%C3%BCrich%27s%20%2Arows%2A.jsonl",
    );
    expect(reply.headers.get("content-type")).toBe("application/jsonl");
    expect((await fetch(address.replace("/named", "/other"))).status).toBe(403);
    expect((await fetch(address, { method: "DELETE" })).status).toBe(403);
    const short = (await store.presignGet("named", 1)) ?? "";
    const target = (await store.presignPut("given", 60, 5)) ?? "";
    expect((await fetch(target, { method: "PUT", body: "longer than agreed" })).status).toBe(403);
    expect((await fetch(target, { method: "PUT", body: "right" })).status).toBe(200);
    expect(String(await read(store, "given"))).toBe("right");
    await Bun.sleep(2100);
    expect((await fetch(short)).status).toBeGreaterThanOrEqual(400);
    await store.remove(["named", "given"]);
  });

  test("says which setting is wrong", async () => {
    const check = (more: Partial<S3Settings>, now = Date.now) =>
      problemOf(s3Store(settingsOf(servers.get("rclone")?.endpoint ?? "", more), now).check());
    expect(await check({ bucket: "absent" })).toMatch(/^setup: The bucket absent does not exist at http/);
    const wrong = { ...ACCESS, secretKey: "not-the-secret-of-it" };
    expect(await check({ credentials: () => wrong })).toContain("Correct s3_secret_key");
    expect(await check({ credentials: () => ({ ...ACCESS, accessKey: "who" }) })).toContain("Correct s3_access_key_id");
    expect(await check({}, () => Date.now() - 600_000)).toContain("differ by 10 minutes. Set the clock");
    expect(await check({ endpoint: "http://127.0.0.1:9" })).toStartWith("unreachable: The object store at");
  });

  test("that is busy or loses connections gets the object all the same", async () => {
    const proxy = await faultyProxy(servers.get("rclone") as S3Server);
    try {
      const store = s3Store(settingsOf(proxy.endpoint), Date.now);
      proxy.faults.slowDown = 2;
      await store.put("busy", pieces("x"));
      expect(proxy.faults.slowDown).toBe(0);
      // In the middle of the second part.
      Object.assign(proxy.faults, { resets: 2, resetAfter: 20 * MiB });
      await store.put("reset", { path: largePath }, exact);
      expect(proxy.faults.resetDownAfter).toBe(0);
      proxy.faults.resets = 0;
      proxy.faults.resetDownAfter = 5 * MiB;
      expect(sha256(await read(store, "reset"))).toBe(exact.sha256);
      expect(proxy.faults.resetDownAfter).toBe(0);
      await store.remove(["busy", "reset"]);
    } finally {
      proxy.stop();
    }
  });

  test("that stops answering is a problem after the time limit", async () => {
    const proxy = await faultyProxy(servers.get("rclone") as S3Server);
    try {
      proxy.faults.stalled = true;
      const store = s3Store(settingsOf(proxy.endpoint, { quietMs: 100 }), Date.now);
      expect(await problemOf(store.stat("x"))).toStartWith("unreachable: ");
    } finally {
      proxy.stop();
    }
  });

  test("continues an upload that a killed process left, and ends one that nobody continues", async () => {
    const store = s3Of("moto");
    const uploader = Bun.spawn(
      [
        process.execPath,
        join(import.meta.dir, "../support/upload-forever.ts"),
        servers.get("moto")?.endpoint ?? "",
        largePath,
      ],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    // It has sent two of three parts, and is killed before the third.
    const { value } = await uploader.stdout.getReader().read();
    expect(String(Buffer.from(value ?? []))).toContain("two parts");
    uploader.kill("SIGKILL");
    await uploader.exited;
    expect(await store.stat("killed")).toBeNull();
    const proxy = await faultyProxy(servers.get("moto") as S3Server);
    try {
      await s3Store(settingsOf(proxy.endpoint), Date.now).put("killed", { path: largePath }, exact);
      // The third part alone.
      expect(proxy.faults.sent).toBeLessThan(8 * MiB);
    } finally {
      proxy.stop();
    }
    expect(sha256(await read(store, "killed"))).toBe(exact.sha256);
    expect(await store.abortUploads(Date.now() + 60_000)).toBe(0);
    const start = new URL(`${servers.get("moto")?.endpoint}/${BUCKET}/lab-1/left?uploads`);
    expect((await fetch(start, { method: "POST" })).status).toBe(200);
    // moto's uploads all began in 2010.
    expect(await store.abortUploads(Date.parse("2010-01-01"))).toBe(0);
    expect(await store.abortUploads(Date.now() + 60_000)).toBe(1);
    await store.remove(["killed"]);
  });
});
