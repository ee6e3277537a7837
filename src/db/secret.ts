/** The secret of an installation: its file, whether it belongs to the database, and a new one in its place. */
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import { AppError } from "../errors.ts";
import { newSecret } from "../lib/ids.ts";
import { secretId } from "../lib/sealed.ts";
import { type Resealed, resealAll } from "./reseal.ts";
import { installation } from "./schema/audit.ts";
import type { Db } from "./types.ts";
import type { Writer } from "./write.ts";

/** The row of `installation` with the id of the secret that everything is sealed with. */
export const SECRET_ID = "secret_id";

const currentPath = (root: string) => join(root, "secret");
/** A rotation writes the new secret here before anything is sealed with it, and renames it afterwards. */
const nextPath = (root: string) => join(root, "secret.next");

const read = (path: string) => (existsSync(path) ? readFileSync(path, "utf8").trim() || null : null);

function flush(path: string): void {
  const handle = openSync(path, "r");
  fsyncSync(handle);
  closeSync(handle);
}

/** Writes a new secret so that a crash leaves either all of it or nothing. */
function create(root: string, path: string): string {
  const secret = newSecret("");
  writeFileSync(`${path}.tmp`, secret, { mode: 0o600 });
  flush(`${path}.tmp`);
  renameSync(`${path}.tmp`, path);
  flush(root);
  return secret;
}

/** The new secret of a rotation: the one of an interrupted rotation, or a new one. It is on disk. */
export const prepareSecret = (root: string): string => read(nextPath(root)) ?? create(root, nextPath(root));

/** Puts the new secret in place, after everything was sealed with it. */
export function acceptSecret(root: string): void {
  renameSync(nextPath(root), currentPath(root));
  flush(root);
}

/** Records which secret everything is sealed with, in the transaction that seals it. */
export async function storeSecretId(tx: Db, secret: string): Promise<void> {
  const value = secretId(secret);
  await tx
    .insert(installation)
    .values({ key: SECRET_ID, value })
    .onConflictDoUpdate({ target: installation.key, set: { value } });
}

const wrong = (root: string, why: string) =>
  new AppError(
    "conflict",
    "wrong_secret",
    `The file ${currentPath(root)} does not belong to this database: ${why}. Copy the file "secret" from the backup of this data directory. Nothing was changed.`,
  );

/**
 * The secret of the database. The first start creates it. A rotation that was interrupted is completed or forgotten.
 * @param tools `convert`: converts values of earlier versions that only an area can; it may run again
 * @throws AppError `wrong_secret` when the file is missing or of another installation
 */
export async function openSecret(
  root: string,
  tools: {
    db: Db;
    write: Writer;
    convert(secret: string): Promise<Resealed>;
    unreadable(failed: string[]): void;
  },
): Promise<string> {
  const [stored] = await tools.db.select().from(installation).where(eq(installation.key, SECRET_ID));
  const secret = read(currentPath(root));
  if (stored) {
    const next = read(nextPath(root));
    if (next && secretId(next) === stored.value) {
      acceptSecret(root);
      return next;
    }
    if (!secret) throw wrong(root, "it is missing or empty");
    if (secretId(secret) !== stored.value)
      throw wrong(root, `its id is ${secretId(secret)}, and everything is encrypted with ${stored.value}`);
    rmSync(nextPath(root), { force: true });
    return secret;
  }
  // A new installation, or one of an earlier version.
  const first = secret ?? create(root, currentPath(root));
  const converted = await tools.convert(first);
  await tools.write(async (tx) => {
    const { opened, failed } = await resealAll(tx, first, first);
    const all = [...converted.failed, ...failed];
    if (all.length > 0 && opened + converted.opened === 0)
      throw wrong(root, `it opens none of the ${all.length} encrypted values`);
    if (all.length > 0) tools.unreadable(all);
    await storeSecretId(tx, first);
  });
  return first;
}
