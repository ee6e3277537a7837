/** Sign-in: counters of failed attempts, and codes that were used. */
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

/** Codes of authenticator apps that were used: each is accepted once. The key is a keyed hash of user and code. */
export const usedCode = sqliteTable(
  "used_code",
  {
    key: text("key").primaryKey(),
    /** When the code is no longer valid anyway, in milliseconds since 1970. */
    until: integer("until").notNull(),
  },
  (t) => [index("used_code_until").on(t.until)],
);
