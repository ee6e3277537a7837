/**
 * The share weight and limits of each organization in the queue. Without a row, the weight is 1 and there is no limit.
 */
import { integer, real, sqliteTable, text } from "drizzle-orm/sqlite-core";

export const teamShare = sqliteTable("team_share", {
  org: text("org").primaryKey(),
  /** A team of weight 2 gets twice the share of a team of weight 1. */
  weight: real("weight").notNull().default(1),
  /** Concurrent GPUs, and GPU-hours per calendar month (UTC); null = no limit. */
  maxGpus: integer("max_gpus"),
  monthGpuHours: real("month_gpu_hours"),
  updatedAt: integer("updated_at").notNull(),
});
