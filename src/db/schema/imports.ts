/** Imports of datasets from where data is: hubs, web addresses, buckets and directories. */
import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { jsonText } from "../json.ts";

export const datasetImport = sqliteTable(
  "dataset_import",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    /** Where the data is, without credentials; shape in data/imports/model.ts. */
    source: jsonText("source").$type<unknown>().notNull(),
    /** Encrypted credentials; deleted when the import is done or canceled, or failed a day ago. */
    secret: text("secret"),
    /** Name and settings of the dataset. */
    options: jsonText("options").$type<unknown>().notNull(),
    status: text("status", { enum: ["waiting", "running", "done", "failed", "canceled"] }).notNull(),
    filename: text("filename"),
    bytesTotal: integer("bytes_total"),
    bytesDone: integer("bytes_done").notNull().default(0),
    error: text("error"),
    datasetId: text("dataset_id"),
    createdBy: text("created_by").notNull(),
    createdAt: integer("created_at").notNull(),
    finishedAt: integer("finished_at"),
  },
  (t) => [
    index("dataset_import_org").on(t.org, t.createdAt, t.id),
    index("dataset_import_status").on(t.status, t.createdAt),
  ],
);
