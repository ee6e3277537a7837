/** The type of a database or transaction. */
import type { ResultSet } from "@libsql/client";
import type { BaseSQLiteDatabase } from "drizzle-orm/sqlite-core";

/** A drizzle database or an open transaction; both have the same interface. */
export type Db = BaseSQLiteDatabase<"async", ResultSet, Record<string, never>>;
