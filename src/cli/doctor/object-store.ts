/** The check of `doctor` for the object store: lists, writes, reads and removes a small object. */
import type { Config } from "../../config.ts";
import { openBucket } from "../../objects/bucket.ts";
import { type Check, check, messageOf } from "./check.ts";

const CHECK_MS = 15_000;

/** Nothing without a bucket. */
export async function objectStore(config: Config): Promise<Check[]> {
  const { s3_bucket: name, artifact_store: store } = config;
  if (name === null) return [];
  const where = `bucket ${name} at ${config.s3_endpoint ?? `AWS, ${config.s3_region}`}`;
  if (config.s3_secret_key === null)
    return [
      check(
        "Object store",
        "gap",
        `${where}: no s3_secret_key in this configuration`,
        "Set s3_secret_key or s3_secret_key_file. One that is stored encrypted is read by the running server: start it, then run doctor again.",
      ),
    ];
  try {
    const bucket = openBucket(
      () => config,
      () => Date.now(),
    );
    await bucket?.check(AbortSignal.timeout(CHECK_MS));
    return [
      check("Object store", "ok", `${where}${store === "s3" ? "" : "; new files stay on the disk (artifact_store)"}`),
    ];
  } catch (error) {
    return [check("Object store", store === "s3" ? "missing" : "gap", where, messageOf(error))];
  }
}
