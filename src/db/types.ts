/** The type of everything that reads and writes the database. */
import type { ResultSet } from "@libsql/client";
import type { BaseSQLiteDatabase } from "drizzle-orm/sqlite-core";

/** A drizzle database or an open transaction: both read and write the same way. */
export type Db = BaseSQLiteDatabase<"async", ResultSet, Record<string, never>>;
