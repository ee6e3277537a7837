/** A process that sends two parts of a file to an S3 server, says so, and then waits to be killed. */
import { s3Store } from "../../src/lib/objects/s3.ts";
import { ACCESS, BUCKET, faultyProxy } from "./s3-servers.ts";

const [endpoint = "", path = ""] = process.argv.slice(2);
const size = Bun.file(path).size;
const port = Number(new URL(endpoint).port);
const proxy = await faultyProxy({ endpoint, port, stop: async () => {} });
const settings = { endpoint: proxy.endpoint, region: "us-east-1", bucket: BUCKET, prefix: "lab-1/", pathStyle: true };
const store = s3Store({ ...settings, ca: null, credentials: () => ACCESS, quietMs: 60_000 }, Date.now);
const PART = 16 * 1024 ** 2;

/** The file, until its last part; then nothing more comes. */
async function* untilTheLast(): AsyncGenerator<Uint8Array> {
  for (let at = 0; at + PART < size; at += PART)
    yield await Bun.file(path)
      .slice(at, at + PART)
      .bytes();
  // Both parts are sent when the third is asked for.
  setTimeout(() => process.stdout.write("two parts\n"), 1500);
  await new Promise(() => {});
}

await store.put("killed", untilTheLast(), { bytes: size, sha256: "" });
