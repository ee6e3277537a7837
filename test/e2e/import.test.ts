/** Import from a local S3 server in a real browser: the form, the progress, a refusal, and the finished dataset. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createTestApp, type TestApp } from "../support/app.ts";
import { hasBrowser, openBrowser, type TestBrowser } from "../support/browser.ts";
import { ACCESS_KEY, type Buckets, startBuckets } from "../support/buckets.ts";
import { chatLines } from "../support/datasets.ts";

describe.skipIf(!hasBrowser)("importing a dataset", () => {
  let t: TestApp;
  let b: TestBrowser;
  let place: Buckets;
  beforeAll(async () => {
    place = startBuckets();
    place.files.set("/bucket/data/train.jsonl", Buffer.from(chatLines(20).join("\n")));
    t = await createTestApp({ config: { import_hosts: [place.host] } });
    b = await openBrowser(t);
  });
  afterAll(async () => {
    await b?.close();
    await t?.close();
    place?.stop();
  });

  async function start(endpoint: string) {
    await b.page.goto(`${b.base}/datasets`);
    await b.page.getByRole("button", { name: "Import", exact: true }).click();
    const dialog = b.page.getByRole("dialog", { name: "Import a dataset" });
    expect(await dialog.getByLabel("Bucket").isVisible()).toBe(false);
    await dialog.getByLabel("Where the data is").selectOption("s3");
    expect(await dialog.getByLabel("Access token").isVisible()).toBe(false);
    await dialog.getByLabel("Endpoint").fill(endpoint);
    await dialog.getByLabel("Bucket").fill("bucket");
    await dialog.getByLabel("Key", { exact: true }).fill("data/train.jsonl");
    await dialog.getByLabel("Access key").fill(ACCESS_KEY.id);
    await dialog.getByLabel("Secret key").fill(ACCESS_KEY.secret);
    await dialog.getByLabel("Name of the dataset").fill("from the bucket");
    await dialog.getByRole("button", { name: "Import" }).click();
  }

  test("from an S3 bucket, with its progress, to a dataset that is ready", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    place.hold = promise;
    await start(place.url);
    const row = b.page.getByRole("region", { name: "Imports" });
    await row.getByText("bucket/data/train.jsonl").waitFor();
    await row.getByRole("button", { name: "Cancel" }).waitFor();
    place.hold = null;
    resolve();
    await b.page.getByRole("link", { name: "from the bucket" }).click();
    await b.page.getByText("18 training rows").first().waitFor();
    expect(b.troubles).toEqual([]);
  });

  test("a private address is refused with the reason", async () => {
    await start("https://10.0.0.1");
    await b.page.getByText("10.0.0.1 is not imported from: its address is private.").waitFor();
  });
});
