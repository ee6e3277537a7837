/** Imports over HTTP from a local hub, a web server, an S3 bucket and a directory; what is refused; and a restart. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import { startImports } from "../../src/data/imports/run.ts";
import { datasetImport } from "../../src/db/schema/imports.ts";
import { isPublicAddress } from "../../src/lib/net/guarded.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { ACCESS_KEY, type Buckets, HUB_TOKEN, startBuckets } from "../support/buckets.ts";
import { chatLines, settled } from "../support/datasets.ts";

interface ImportObject {
  id: string;
  status: string;
  source: Record<string, string>;
  filename: string | null;
  bytes: number | null;
  bytes_done: number;
  error: string | null;
  dataset_id: string | null;
}

const content = Buffer.from(`${chatLines(20).join("\n")}\n`);
const root = mkdtempSync(join(tmpdir(), "ftl-import-"));
let place: Buckets;
let lab: TestApp;
let closed: TestApp;

beforeAll(async () => {
  place = startBuckets();
  const roots = { dataset_roots: [join(root, "open")], hub_url: place.url };
  lab = await createTestApp({ config: { ...roots, import_hosts: [place.host], max_upload_bytes: 1e6 } });
  closed = await createTestApp({ config: { offline: true } });
  mkdirSync(join(root, "open"));
  mkdirSync(join(root, "closed"));
  writeFileSync(join(root, "open/train.jsonl"), content);
  writeFileSync(join(root, "closed/train.jsonl"), content);
  symlinkSync(join(root, "closed/train.jsonl"), join(root, "open/link.jsonl"));
});
afterAll(async () => {
  place.stop();
  await Promise.all([lab.close(), closed.close()]);
  rmSync(root, { recursive: true });
});
beforeEach(() => {
  place.files.clear();
  place.log.length = 0;
  place.files.set("/plain/train.jsonl", content);
  place.files.set("/plain/100%/train%.jsonl", content);
  place.files.set("/bucket/dir/my train.jsonl", content);
  for (const repo of ["lab/chats", "gated/chats"]) {
    place.files.set(`${repo}/README.md`, Buffer.from("# Chats"));
    place.files.set(`${repo}/data/train-00000-of-00001.jsonl`, content);
    place.files.set(`${repo}/data/test.jsonl`, content.subarray(0, content.indexOf(10) + 1));
  }
});

const create = (source: object, more: object = {}, app = lab) =>
  app.request("POST", "/v1/datasets/import", { body: { source, ...more } });
async function ended(id: string): Promise<ImportObject> {
  for (let i = 0; i < 600; i++) {
    const found = await lab.json<ImportObject>("GET", `/v1/datasets/imports/${id}`);
    if (!["waiting", "running"].includes(found.status)) return found;
    await Bun.sleep(20);
  }
  throw new Error(`import ${id} does not end`);
}

async function imported(source: object, more: object = {}): Promise<ImportObject> {
  const answer = await create(source, more);
  expect(answer.status, await answer.clone().text()).toBe(200);
  return ended(((await answer.json()) as ImportObject).id);
}

const s3 = (more: object = {}) => ({
  type: "s3",
  endpoint: place.url,
  bucket: "bucket",
  key: "dir/my train.jsonl",
  access_key_id: ACCESS_KEY.id,
  secret_access_key: ACCESS_KEY.secret,
  ...more,
});

describe("data is copied from where it is", () => {
  const sources: { name: string; source: () => object; filename: string; rows?: number }[] = [
    {
      name: "a web address",
      source: () => ({ type: "url", url: `${place.url}/plain/train.jsonl?token=1` }),
      filename: "train.jsonl",
    },
    {
      name: "a redirect",
      source: () => ({ type: "url", url: `${place.url}/redirect/${place.url}/plain/train.jsonl` }),
      filename: "train.jsonl",
    },
    {
      name: "a web address with a broken escape",
      source: () => ({ type: "url", url: `${place.url}/plain/100%/train%.jsonl` }),
      filename: "train%.jsonl",
    },
    { name: "an S3 bucket", source: s3, filename: "my train.jsonl" },
    {
      name: "a directory",
      source: () => ({ type: "path", path: join(root, "open/train.jsonl") }),
      filename: "train.jsonl",
    },
    {
      name: "the hub, by default its training split",
      source: () => ({ type: "huggingface", repo: "lab/chats" }),
      filename: "train-00000-of-00001.jsonl",
    },
    {
      name: "the hub, a split",
      source: () => ({ type: "huggingface", repo: "lab/chats", split: "test" }),
      filename: "test.jsonl",
      rows: 1,
    },
    {
      name: "the hub, a gated dataset with a token",
      source: () => ({ type: "huggingface", repo: "gated/chats", file: "data/test.jsonl", token: HUB_TOKEN }),
      filename: "test.jsonl",
      rows: 1,
    },
  ];
  for (const { name, source, filename, rows = 20 } of sources)
    test(name, async () => {
      const done = await imported(source(), { name: "imported", holdout_fraction: 0 });
      expect(done).toMatchObject({ status: "done", filename, error: null });
      expect(done.bytes_done).toBe(done.bytes ?? -1);
      const dataset = await settled(lab, done.dataset_id ?? "");
      expect(dataset).toMatchObject({ name: "imported", version: { status: "ready", rows, train_rows: rows } });
    });

  test("the hub, a split in several files", async () => {
    for (const n of [0, 1]) place.files.set(`lab/parts/data/train-0000${n}-of-00002.jsonl`, content);
    const done = await imported({ type: "huggingface", repo: "lab/parts" }, { holdout_fraction: 0 });
    expect(done).toMatchObject({ status: "done", filename: "train.zip", error: null });
    const { version } = await settled(lab, done.dataset_id ?? "");
    expect(version).toMatchObject({ status: "ready", rows: 40, part: "*" });
  });

  test("credentials are never shown, are encrypted at rest, and are gone at the end", async () => {
    place.hold = new Promise((resolve) => setTimeout(resolve, 150));
    const answer = await create(s3());
    const { id, source } = (await answer.json()) as ImportObject;
    expect(Object.keys(source).sort()).toEqual(["bucket", "endpoint", "key", "type"]);
    const row = () => lab.ctx.db.select().from(datasetImport).where(eq(datasetImport.id, id));
    const [stored] = await row();
    expect(JSON.stringify(stored)).not.toContain(ACCESS_KEY.secret);
    expect(stored?.secret).toBeString();
    place.hold = null;
    expect(await ended(id)).toMatchObject({ status: "done" });
    expect((await row())[0]?.secret).toBeNull();
  });

  test("a connection that breaks is continued where it ended, not begun again", async () => {
    place.breakAfter.push(100, 200);
    const done = await imported({ type: "url", url: `${place.url}/plain/train.jsonl` });
    expect(done.status).toBe("done");
    expect(place.log).toEqual([
      "GET /plain/train.jsonl",
      "GET /plain/train.jsonl bytes=100-",
      "GET /plain/train.jsonl bytes=300-",
    ]);
    const file = await lab.json<{ version: { file_id: string } }>("GET", `/v1/datasets/${done.dataset_id}`);
    const bytes = await (await lab.request("GET", `/v1/files/${file.version.file_id}/content`)).bytes();
    expect(Buffer.from(bytes).equals(content)).toBe(true);
  });

  test("a file that changed in between is copied from its beginning", async () => {
    place.breakAfter.push(100);
    const changed = Buffer.from(`${chatLines(30).join("\n")}\n`);
    setTimeout(() => place.files.set("/plain/train.jsonl", changed), 5);
    const done = await imported({ type: "url", url: `${place.url}/plain/train.jsonl` });
    expect(done).toMatchObject({ status: "done", bytes: changed.length });
  });

  test("an import that a stop of the server interrupted continues from its bytes", async () => {
    const id = "imp_interrupted";
    const folder = lab.ctx.files.path("tmp", `import-${id}`);
    mkdirSync(folder);
    writeFileSync(join(folder, "file"), content.subarray(0, 50));
    const answer = await fetch(`${place.url}/plain/train.jsonl`);
    await answer.bytes();
    writeFileSync(join(folder, "file.mark"), answer.headers.get("etag") ?? "");
    const actor = lab.actor("admin");
    await lab.ctx.write((tx) =>
      tx.insert(datasetImport).values({
        id,
        org: actor.org,
        source: { type: "url", url: `${place.url}/plain/train.jsonl` },
        options: {},
        status: "running",
        createdBy: actor.userId,
        createdAt: lab.ctx.clock.now(),
      }),
    );
    place.log.length = 0;
    startImports(lab.ctx);
    expect(await ended(id)).toMatchObject({ status: "done", bytes: content.length });
    expect(place.log).toEqual(["GET /plain/train.jsonl bytes=50-"]);
    expect(existsSync(join(folder, "file"))).toBe(false);
  });

  test("a canceled import stops and leaves nothing", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    place.hold = promise;
    const { id } = (await (
      await create({ type: "url", url: `${place.url}/plain/train.jsonl` })
    ).json()) as ImportObject;
    const canceled = await lab.json<ImportObject>("POST", `/v1/datasets/imports/${id}/cancel`);
    expect(canceled.status).toBe("canceled");
    place.hold = null;
    resolve();
    expect((await lab.request("POST", `/v1/datasets/imports/${id}/cancel`)).status).toBe(409);
    expect(await ended(id)).toMatchObject({ status: "canceled", dataset_id: null });
    expect((await lab.json<{ data: unknown[] }>("GET", "/v1/datasets/imports?limit=1")).data).toHaveLength(1);
  });
});

describe("what is refused", () => {
  const refused: { name: string; source: () => object; code: string; says: RegExp; app?: () => TestApp }[] = [
    {
      name: "a private address",
      source: () => ({ type: "url", url: "https://10.0.0.1/a.jsonl" }),
      code: "address_refused",
      says: /10\.0\.0\.1 is not imported from: its address is private.*import_hosts/,
    },
    {
      name: "a private address of IPv6",
      source: () => ({ type: "url", url: "https://[::ffff:127.0.0.1]/a" }),
      code: "address_refused",
      says: /private/,
    },
    {
      name: "the address of cloud metadata",
      source: () => s3({ endpoint: "http://169.254.169.254" }),
      code: "address_refused",
      says: /not HTTPS/,
    },
    {
      name: "an address without TLS",
      source: () => ({ type: "url", url: "http://example.com/a" }),
      code: "address_refused",
      says: /not HTTPS/,
    },
    {
      name: "a file address",
      source: () => ({ type: "url", url: "file:///etc/passwd" }),
      code: "address_refused",
      says: /only HTTPS/,
    },
    {
      name: "a path outside",
      source: () => ({ type: "path", path: join(root, "closed/train.jsonl") }),
      code: "path_refused",
      says: /not below/,
    },
    {
      name: "a path that climbs out",
      source: () => ({ type: "path", path: `${join(root, "open")}/../closed/train.jsonl` }),
      code: "path_refused",
      says: /not below/,
    },
    {
      name: "a link that leads out",
      source: () => ({ type: "path", path: join(root, "open/link.jsonl") }),
      code: "path_refused",
      says: /not below/,
    },
    {
      name: "an installation without directories",
      source: () => ({ type: "path", path: "/a" }),
      code: "path_refused",
      says: /dataset_roots/,
      app: () => closed,
    },
    {
      name: "an installation that is offline",
      source: () => ({ type: "huggingface", repo: "lab/chats" }),
      code: "offline",
      says: /makes no connections to other servers/,
      app: () => closed,
    },
    {
      name: "a field of another source",
      source: () => ({ type: "url", url: "https://example.com", bucket: "b" }),
      code: "invalid_type",
      says: /./,
    },
    {
      name: "an unknown field",
      source: () => ({ type: "url", url: "https://example.com", auth: "b" }),
      code: "unknown_parameter",
      says: /source\.auth/,
    },
  ];
  for (const { name, source, code, says, app } of refused)
    test(`${name}: ${code}`, async () => {
      const answer = await create(source(), {}, app?.());
      const { error } = (await answer.json()) as { error: { code: string; message: string } };
      expect(error.code).toBe(code);
      expect(error.message).toMatch(says);
    });

  const failing: { name: string; source: () => object; says: RegExp; prepare?: () => void }[] = [
    {
      name: "a name that leads to a private address",
      source: () => ({ type: "url", url: "https://localhost/a" }),
      says: /its name leads to a private address\./,
    },
    {
      name: "a redirect to a private address",
      source: () => ({ type: "url", url: `${place.url}/redirect/https://192.168.1.1/a` }),
      says: /192\.168\.1\.1 is not imported from/,
    },
    {
      name: "a host that does not exist",
      source: () => ({ type: "url", url: "https://nowhere.invalid/a" }),
      says: /cannot be reached from this server/,
    },
    { name: "a wrong S3 secret", source: () => s3({ secret_access_key: "wrong" }), says: /denies access \(403\)/ },
    {
      name: "a missing file",
      source: () => ({ type: "url", url: `${place.url}/plain/none` }),
      says: /does not have this file/,
    },
    {
      name: "a gated dataset without a token",
      source: () => ({ type: "huggingface", repo: "gated/chats" }),
      says: /Request access.*token/,
    },
    {
      name: "a dataset that does not exist",
      source: () => ({ type: "huggingface", repo: "lab/none" }),
      says: /does not have the dataset lab\/none at main/,
    },
    {
      name: "a split that does not exist",
      source: () => ({ type: "huggingface", repo: "lab/chats", split: "dev" }),
      says: /no file for the split "dev".*data\/test\.jsonl/,
    },
    {
      name: "a file over the limit",
      source: () => ({ type: "url", url: `${place.url}/plain/large` }),
      says: /exceeds the limit/,
      prepare: () => place.files.set("/plain/large", Buffer.alloc(1e6 + 1)),
    },
    {
      name: "an empty file",
      source: () => ({ type: "url", url: `${place.url}/plain/empty.jsonl` }),
      says: /^empty\.jsonl is empty \(0 bytes\)/,
      prepare: () => place.files.set("/plain/empty.jsonl", new Uint8Array()),
    },
  ];
  for (const { name, source, says, prepare } of failing)
    test(`${name} fails the import with a sentence`, async () => {
      prepare?.();
      const failed = await imported(source());
      expect(failed).toMatchObject({ status: "failed", dataset_id: null });
      expect(failed.error).toMatch(says);
    }, 60_000);

  test("imports of another organization are not found", async () => {
    const { id } = await imported({ type: "path", path: join(root, "open/train.jsonl") });
    expect((await lab.request("GET", `/v1/datasets/imports/${id}`, { as: "other" })).status).toBe(404);
  });

  test("addresses of the Internet are public, all others are not", () => {
    for (const address of ["8.8.8.8", "2606:4700::1111", "172.32.0.1"])
      expect(isPublicAddress(address), address).toBe(true);
    for (const address of [
      "127.0.0.1",
      "0.0.0.0",
      "10.1.2.3",
      "172.16.0.1",
      "192.168.0.1",
      "100.64.0.1",
      "169.254.169.254",
      "224.0.0.1",
      "255.255.255.255",
      "::1",
      "::",
      "fe80::1",
      "fd00::1",
      "::ffff:10.0.0.1",
      "64:ff9b::a00:1",
      "2002:a00:1::",
      "x",
    ])
      expect(isPublicAddress(address), address).toBe(false);
  });
});
