/** Sign-in: counters of failed attempts. */
import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

/** Failed attempts within a window. The key is a keyed hash: people type passwords into the address field. */
export const failedAttempt = sqliteTable(
  "failed_attempt",
  {
    key: text("key").primaryKey(),
    failures: integer("failures").notNull(),
    /** End of the window, in milliseconds since 1970. */
    until: integer("until").notNull(),
  },
  (t) => [index("failed_attempt_until").on(t.until)],
);
