/**
 * Migrates a database to this build's schema, with the embedded SQL files and steps in code. Refuses a schema newer
 * than this build.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Client } from "@libsql/client";
import { drizzle } from "drizzle-orm/libsql";
import { migrate as drizzleMigrate } from "drizzle-orm/libsql/migrator";
import { AppError } from "../errors.ts";
import { repairText, skipRepair } from "./repair-text.ts";

interface Journal {
  entries: { when: number; tag: string }[];
}

/**
 * Applies missing migrations, each in one transaction, then repairs invalid text of older builds once.
 * @param folder drizzle's migration folder (embedded in the binary)
 * @returns how many migrations were applied
 * @throws AppError `schema_newer` when the database was written by a newer build
 */
export async function migrate(client: Client, folder: string): Promise<number> {
  const before = await schemaState(client, folder);
  if (before.state === "newer")
    throw new AppError(
      "conflict",
      "schema_newer",
      "This data directory was written by a newer version of Fine-Tune Lab. Start that version, or restore the backup made before the upgrade.",
    );
  await drizzleMigrate(drizzle(client), { migrationsFolder: folder });
  if (before.state === "empty") await skipRepair(client);
  else await repairText(client);
  return before.missing;
}

/** Compares a database with this build, without changes: missing migrations, or a newer build. */
export async function schemaState(
  client: Client,
  folder: string,
): Promise<{ state: "empty" | "current" | "older"; missing: number } | { state: "newer" }> {
  const { entries } = JSON.parse(readFileSync(join(folder, "meta", "_journal.json"), "utf8")) as Journal;
  const newest = Math.max(...entries.map((entry) => entry.when));
  const applied = await appliedMigrations(client);
  if (applied.some((when) => when > newest)) return { state: "newer" };
  const missing = entries.length - applied.length;
  return { state: applied.length === 0 ? "empty" : missing > 0 ? "older" : "current", missing };
}

async function appliedMigrations(client: Client): Promise<number[]> {
  const exists = await client.execute("SELECT 1 FROM sqlite_master WHERE name = '__drizzle_migrations'");
  if (exists.rows.length === 0) return [];
  const rows = await client.execute("SELECT created_at FROM __drizzle_migrations");
  return rows.rows.map((row) => Number(row.created_at));
}
