/** A failed import runs again over HTTP and from the page: as it was given, with other credentials, and a day later. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { expireCredentials } from "../../src/data/imports/run.ts";
import { datasetImport } from "../../src/db/schema/imports.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { ACCESS_KEY, type Buckets, startBuckets } from "../support/buckets.ts";
import { chatLines, settled } from "../support/datasets.ts";
import { until } from "../support/live.ts";

interface ImportObject {
  id: string;
  status: string;
  filename: string | null;
  error: string | null;
  dataset_id: string | null;
  missing_credentials: string[];
}

const content = Buffer.from(`${chatLines(20).join("\n")}\n`);
let place: Buckets;
let lab: TestApp;
beforeAll(async () => {
  place = startBuckets();
  place.files.set("/bucket/train.jsonl", content);
  lab = await createTestApp({ config: { import_hosts: [place.host], hub_url: place.url } });
});
afterAll(async () => {
  place.stop();
  await lab.close();
});

const ended = (id: string) =>
  until(`import ${id}`, async () => {
    const found = await lab.json<ImportObject>("GET", `/v1/datasets/imports/${id}`);
    return ["waiting", "running"].includes(found.status) ? null : found;
  });

async function imported(source: object, more: object = {}): Promise<ImportObject> {
  return ended((await lab.json<ImportObject>("POST", "/v1/datasets/import", { body: { source, ...more } })).id);
}

const s3 = (more: object = {}) => ({
  type: "s3",
  endpoint: place.url,
  bucket: "bucket",
  key: "train.jsonl",
  access_key_id: ACCESS_KEY.id,
  secret_access_key: ACCESS_KEY.secret,
  ...more,
});

describe("a failed import runs again", () => {
  const retry = (id: string, body?: object, as: "admin" | "other" = "admin") =>
    lab.request("POST", `/v1/datasets/imports/${id}/retry`, { as, body });
  const errorOf = async (answer: Response) =>
    ((await answer.json()) as { error: { code: string; param: string; message: string } }).error;
  const stored = async (id: string) =>
    (await lab.ctx.db.select().from(datasetImport).where(eq(datasetImport.id, id)))[0];

  test("as it was given, with its credentials", async () => {
    const failed = await imported(s3({ key: "late.jsonl" }), { name: "late", holdout_fraction: 0 });
    expect(failed).toMatchObject({ status: "failed", missing_credentials: [] });
    expect(JSON.stringify(await stored(failed.id))).not.toContain(ACCESS_KEY.secret);
    place.files.set("/bucket/late.jsonl", content);
    expect((await retry(failed.id)).status).toBe(200);
    const done = await ended(failed.id);
    expect(done).toMatchObject({ id: failed.id, status: "done", error: null, filename: "late.jsonl" });
    expect((await stored(failed.id))?.secret).toBeNull();
    const dataset = await settled(lab, done.dataset_id ?? "");
    expect(dataset).toMatchObject({ name: "late", version: { train_rows: 20 } });
    // One that is done is not run again.
    expect(await errorOf(await retry(failed.id))).toMatchObject({ code: "import_not_failed" });
  });

  test("with other credentials", async () => {
    const failed = await imported(s3({ secret_access_key: "wrong" }));
    expect(failed.status).toBe("failed");
    expect((await retry(failed.id, { secret_access_key: ACCESS_KEY.secret })).status).toBe(200);
    expect(await ended(failed.id)).toMatchObject({ status: "done" });
  });

  test("after a day its credentials are gone and have to be given again", async () => {
    const { id } = await imported({ type: "url", url: `${place.url}/plain/later?key=1` });
    await lab.ctx.write((tx) => tx.update(datasetImport).set({ finishedAt: 1 }).where(eq(datasetImport.id, id)));
    await expireCredentials(lab.ctx);
    expect((await stored(id))?.secret).toBeNull();
    const now = await lab.json<ImportObject>("GET", `/v1/datasets/imports/${id}`);
    expect(now.missing_credentials).toEqual(["url"]);
    expect(await errorOf(await retry(id))).toMatchObject({ code: "credentials_needed", param: "url" });
    const other = await errorOf(await retry(id, { url: `${place.url}/plain/other?key=1` }));
    expect(other).toMatchObject({ code: "invalid_value", param: "url" });
    place.files.set("/plain/later", content);
    expect((await retry(id, { url: `${place.url}/plain/later?key=1` })).status).toBe(200);
    expect(await ended(id)).toMatchObject({ status: "done" });
  });

  test("not with fields of another source, and not for another organization", async () => {
    const { id } = await imported({ type: "url", url: `${place.url}/plain/none` });
    expect(await errorOf(await retry(id, { token: "a" }))).toMatchObject({ code: "invalid_value", param: "token" });
    expect(await errorOf(await retry(id, { bucket: "a" }))).toMatchObject({ code: "unknown_parameter" });
    expect((await retry(id, undefined, "other")).status).toBe(404);
  });

  test("from the page, with a button", async () => {
    const { id } = await imported({ type: "url", url: `${place.url}/plain/soon` });
    const page = await (await lab.request("GET", "/datasets", { headers: { accept: "text/html" } })).text();
    expect(page).toContain(`action="/datasets/imports/${id}/retry"`);
    const post = (form: Record<string, string>) => lab.request("POST", `/datasets/imports/${id}/retry`, { form });
    // A field that is no credential of this import is named in the message.
    const wrong = await post({ token: "a" });
    const flash = /flash=([^;]+)/.exec(wrong.headers.get("set-cookie") ?? "")?.[1] ?? "";
    expect(Buffer.from(flash, "base64url").toString()).toContain("'token' does not belong");
    place.files.set("/plain/soon", content);
    expect((await post({})).status).toBe(303);
    expect(await ended(id)).toMatchObject({ status: "done" });
  });
});

test("a source that does not exist is refused by the page, also under a name that every object has", async () => {
  for (const type of ["", "ftp", "toString", "__proto__"]) {
    const answer = await lab.request("POST", "/datasets/imports", { form: { type } });
    expect([type, answer.status]).toEqual([type, 303]);
  }
});
