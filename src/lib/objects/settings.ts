/** Settings of the object store. */
import * as v from "valibot";
import { absolutePath, flag, integer } from "../text/setting-fields.ts";

const text = (pattern: RegExp, message: string) =>
  v.optional(v.nullable(v.pipe(v.string(), v.regex(pattern, message))), null);

/** The settings, as entries of the schema of all settings. */
export const objectStoreSettings = {
  /** Where files, rows of datasets, checkpoints, models, exports and archives are kept: this disk, or an S3 bucket. */
  artifact_store: v.optional(v.picklist(["disk", "s3"]), "disk"),
  /** Address of an S3-compatible server, such as https://minio.example.com; null = AWS in s3_region. */
  s3_endpoint: text(/^https?:\/\/[^/?#@]+(\/[^?#]*)?$/, "must be an address such as https://minio.example.com"),
  s3_region: v.optional(
    v.pipe(v.string(), v.regex(/^[a-z0-9-]{1,64}$/, "must be a region such as eu-central-1")),
    "us-east-1",
  ),
  s3_bucket: text(/^[a-zA-Z0-9][a-zA-Z0-9._-]{1,62}$/, "must be the name of a bucket"),
  /** Before the name of every object, with a slash at its end, for a bucket that others use too. */
  s3_prefix: v.optional(
    v.pipe(v.string(), v.regex(/^([A-Za-z0-9._-]+\/)*$/, "must end with a slash, such as finetune-lab/")),
    "",
  ),
  /** The bucket in the path instead of the host name; null = for every s3_endpoint but AWS. */
  s3_path_style: v.optional(v.nullable(flag), null),
  s3_access_key_id: text(/^\S{1,200}$/, "must have no spaces"),
  /** The secret of the access key. */
  s3_secret_key: text(/^\S{1,500}$/, "must have no spaces"),
  /** File with the s3_secret_key. */
  s3_secret_key_file: v.optional(v.nullable(absolutePath), null),
  /** A PEM file with the certificate authority of the server, when it is not a public one. */
  s3_ca: v.optional(v.nullable(absolutePath), null),
  /**
   * How files are downloaded: `presigned` sends clients to the bucket with an address that is valid for minutes,
   * `proxied` through this server, for clients that do not reach the bucket.
   */
  s3_downloads: v.optional(v.picklist(["presigned", "proxied"]), "presigned"),
  /** Where *Back up now* and `backup` without a directory put backups: the data directory, or the bucket. */
  backup_store: v.optional(v.picklist(["disk", "s3"]), "disk"),
  /** Encrypts backups in the bucket, which have the secret of the installation. Whoever restores one needs it. */
  backup_key: text(/^\S{32,500}$/, "must have 32 characters or more, and no spaces"),
  /** File with the backup_key. */
  backup_key_file: v.optional(v.nullable(absolutePath), null),
  /** Backups of this installation that stay in the bucket when another one is complete; 0 = all. */
  backup_keep: v.optional(integer(0, 10_000), 0),
  /** Most bytes of copies on this machine of what is in the bucket (default 100 GiB). */
  s3_cache_bytes: v.optional(integer(0, Number.MAX_SAFE_INTEGER), 100 * 1024 ** 3),
};

/** What is missing of a bucket's settings: the setting and why; null when nothing is. */
export function objectStoreProblem(given: {
  artifact_store: "disk" | "s3";
  backup_store: "disk" | "s3";
  backup_key: string | null;
  s3_bucket: string | null;
  s3_access_key_id: string | null;
}): [name: string, why: string] | null {
  if (given.backup_store === "s3" && given.s3_bucket === null)
    return ["s3_bucket", "backup_store is s3, which needs the name of a bucket."];
  if (given.backup_store === "s3" && given.backup_key === null)
    return ["backup_key", "backups in the bucket are encrypted. Set backup_key_file: openssl rand -hex 32 > FILE"];
  if (given.artifact_store === "s3" && given.s3_bucket === null)
    return ["s3_bucket", "artifact_store is s3, which needs the name of a bucket."];
  if (given.s3_bucket !== null && given.s3_access_key_id === null)
    return ["s3_access_key_id", "a bucket needs an access key, and its secret in s3_secret_key."];
  return null;
}
