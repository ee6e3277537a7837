/** The bucket of backups, as the command line opens it: with or without a running server. */
import { Database } from "bun:sqlite";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Config } from "../../config.ts";
import { sealedIn } from "../../db/sealed-columns.ts";
import { AppError } from "../../errors.ts";
import type { BackupBucket } from "../../insights/installation/bucket-backups.ts";
import { unseal } from "../../lib/sealed.ts";
import { openBucket } from "../../objects/bucket.ts";

/** The secret key that is stored encrypted in the database of this machine; null when it is not, or does not open. */
function storedSecretKey(dataDir: string): string | null {
  const [path, secret] = [join(dataDir, "lab.db"), join(dataDir, "secret")];
  if (!existsSync(path) || !existsSync(secret)) return null;
  const database = new Database(path, { readonly: true });
  try {
    const row = database.query("select value from secret_setting where name = 's3_secret_key'").get();
    const sealed = (row as { value: string } | null)?.value;
    if (!sealed) return null;
    return unseal(readFileSync(secret, "utf8").trim(), sealedIn("setting", "s3_secret_key"), sealed);
  } catch {
    return null;
  } finally {
    database.close();
  }
}

/** @throws AppError `no_bucket`, `config_invalid` */
export function openBackups(config: Config): BackupBucket {
  const now = () => Date.now();
  const secret = config.s3_secret_key ?? storedSecretKey(config.data_dir);
  if (config.s3_bucket !== null && secret === null)
    throw new AppError(
      "invalid",
      "no_bucket",
      "The bucket needs s3_secret_key or s3_secret_key_file in this configuration.",
      { param: "s3_secret_key" },
    );
  const store = openBucket(() => ({ ...config, s3_secret_key: secret }), now);
  if (!store)
    throw new AppError("invalid", "no_bucket", "No bucket is set. Set s3_bucket and its access key.", {
      param: "s3_bucket",
    });
  return { store, address: `s3://${config.s3_bucket}/${config.s3_prefix}`, key: config.backup_key, now };
}
