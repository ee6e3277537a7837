/** Settings and backups of the installation as clients see them. Times are Unix seconds. */
import * as v from "valibot";
import { seconds } from "../../lib/request-fields.ts";
import type { BackupRow } from "./backups.ts";

export const SettingView = v.strictObject({
  object: v.literal("setting"),
  name: v.string(),
  /** As text; null = not set. Secrets are masked. */
  value: v.nullable(v.string()),
  source: v.picklist(["default", "file", "environment", "flag", "secret_file", "page"]),
  /** The environment variable that sets it. */
  variable: v.string(),
});

export const BackupView = v.strictObject({
  object: v.literal("backup"),
  id: v.string(),
  /** `disk`: a directory of the data directory; `s3`: in the bucket. */
  store: v.picklist(["disk", "s3"]),
  path: v.string(),
  version: v.string(),
  created_at: v.number(),
  files: v.number(),
  bytes: v.number(),
});

/** A backup that was started and runs on. */
export const StartedBackup = v.strictObject({
  object: v.literal("backup"),
  id: v.string(),
  status: v.literal("running"),
});

export function backupView(row: BackupRow): v.InferOutput<typeof BackupView> {
  const { name, store, path, version, files, bytes } = row;
  return { object: "backup", id: name, store, path, version, created_at: seconds(row.madeAt), files, bytes };
}
