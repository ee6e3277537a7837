/** Opens the bucket that the settings name, and checks it at the start. */
import { readFileSync } from "node:fs";
import type { Config } from "../config.ts";
import type { Ctx } from "../ctx.ts";
import { AppError } from "../errors.ts";
import { s3Store } from "../lib/objects/s3.ts";
import { type ObjectStore, StoreProblem } from "../lib/objects/store.ts";

/** Time without a byte until a request to the bucket counts as lost, in milliseconds. */
const QUIET_MS = 30_000;
const CHECK_MS = 15_000;

/**
 * The bucket of the settings; null without `s3_bucket`. It stays open with `artifact_store: disk`, so that what is in
 * it can be read and taken back.
 * @param config read at every request: a secret that changes counts at once
 * @throws AppError `config_invalid` when `s3_ca` cannot be read
 */
export function openBucket(config: () => Config, now: () => number): ObjectStore | null {
  const { s3_endpoint, s3_region, s3_bucket, s3_prefix, s3_path_style, s3_ca } = config();
  if (s3_bucket === null) return null;
  let ca: string | null = null;
  try {
    ca = s3_ca === null ? null : readFileSync(s3_ca, "utf8");
  } catch (cause) {
    throw new AppError("invalid", "config_invalid", `Setting "s3_ca": ${s3_ca} cannot be read.`, {
      param: "s3_ca",
      cause,
    });
  }
  return s3Store(
    {
      endpoint: s3_endpoint ?? `https://s3.${s3_region}.amazonaws.com`,
      region: s3_region,
      bucket: s3_bucket,
      prefix: s3_prefix,
      pathStyle: s3_path_style ?? s3_endpoint !== null,
      ca,
      credentials: () => ({ accessKey: config().s3_access_key_id ?? "", secretKey: config().s3_secret_key ?? "" }),
      quietMs: QUIET_MS,
    },
    now,
  );
}

/**
 * Checks the bucket before the server starts. One that does not answer is logged: the server starts without it.
 * @throws AppError `object_store_setup` when a setting or a right is wrong
 */
export async function requireBucket(ctx: Ctx): Promise<void> {
  const { artifact_store: store, backup_store: backups, trainer_channel: channel } = ctx.config;
  if (!ctx.bucket || (store !== "s3" && backups !== "s3" && channel !== "mailbox")) return;
  try {
    await ctx.bucket.check(AbortSignal.timeout(CHECK_MS));
  } catch (error) {
    if (error instanceof StoreProblem && error.kind === "setup")
      throw new AppError("invalid", "object_store_setup", `The object store cannot be used: ${error.message}`, {
        cause: error,
      });
    ctx.log("error", "the object store does not answer; uploads and downloads fail until it does", { cause: error });
  }
}

/** A problem of the bucket as an error for users: what they asked for may work later. */
export function storeFailure(error: unknown): unknown {
  if (!(error instanceof StoreProblem)) return error;
  if (error.kind === "missing" || error.kind === "damaged")
    return new AppError(
      "gone",
      "bytes_missing",
      "The bytes of this file are damaged or no longer in the object store. Restore them from a backup, or create the file again.",
      { cause: error },
    );
  return new AppError(
    "unavailable",
    "object_store_unavailable",
    "The object store of this installation does not answer. Try again in a minute; if it lasts, ask the administrator.",
    { cause: error, retryAfterS: 30 },
  );
}
