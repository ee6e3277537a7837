/**
 * What each organization is due in the queue: its weight and its quotas. One without a row has weight 1 and no quota.
 */
import { integer, real, sqliteTable, text } from "drizzle-orm/sqlite-core";

export const teamShare = sqliteTable("team_share", {
  org: text("org").primaryKey(),
  /** A team of weight 2 is due twice as much as one of weight 1. */
  weight: real("weight").notNull().default(1),
  /** GPUs at once, and GPU-hours in a calendar month (UTC); null = as many as there are. */
  maxGpus: integer("max_gpus"),
  monthGpuHours: real("month_gpu_hours"),
  updatedAt: integer("updated_at").notNull(),
});
