/**
 * Hosts, their GPUs, allocations and samples; providers: their limits, pauses, errors, rented machines and orphans.
 */
import { sql } from "drizzle-orm";
import { index, integer, primaryKey, real, sqliteTable, text, uniqueIndex } from "drizzle-orm/sqlite-core";
import { jsonText } from "../json.ts";

export const host = sqliteTable("host", {
  /** `<provider>.<the provider's own id>`. */
  id: text("id").primaryKey(),
  provider: text("provider").notNull(),
  name: text("name").notNull(),
  /** A name that an administrator chose; null = the provider's. */
  label: text("label"),
  /** Whether it is the server's own machine; null = as its provider's capability says. */
  local: integer("local", { mode: "boolean" }),
  /** `cordoned` accepts no new work; `draining` also lets its training jobs save and stop. */
  state: text("state", { enum: ["ready", "cordoned", "draining"] })
    .notNull()
    .default("ready"),
  note: text("note"),
  /** A maintenance window: the host is drained at its start and ready again at its end. */
  maintenanceFrom: integer("maintenance_from"),
  maintenanceUntil: integer("maintenance_until"),
  cpus: integer("cpus").notNull(),
  memoryMb: integer("memory_mb").notNull(),
  memoryFreeMb: integer("memory_free_mb"),
  load: real("load"),
  diskMb: integer("disk_mb"),
  diskFreeMb: integer("disk_free_mb"),
  driver: text("driver"),
  cuda: text("cuda"),
  /** What is wrong with it, and what to do; null when healthy. */
  problem: text("problem"),
  remedy: text("remedy"),
  createdAt: integer("created_at").notNull(),
  seenAt: integer("seen_at").notNull(),
});

export const gpu = sqliteTable(
  "gpu",
  {
    /** `GPU-…` or `MIG-…`. */
    uuid: text("uuid").primaryKey(),
    hostId: text("host_id")
      .notNull()
      .references(() => host.id),
    position: integer("position").notNull(),
    model: text("model").notNull(),
    memoryMb: integer("memory_mb").notNull(),
    /** The GPU of a MIG slice, and the profile of the slice. */
    parent: text("parent"),
    profile: text("profile"),
    /** How many jobs may use it at once; more than one only when an administrator set it. */
    shares: integer("shares").notNull().default(1),
    memoryUsedMb: integer("memory_used_mb"),
    utilization: real("utilization"),
    temperatureC: real("temperature_c"),
    powerW: real("power_w"),
    powerLimitW: real("power_limit_w"),
    eccErrors: integer("ecc_errors"),
    createdAt: integer("created_at").notNull(),
    seenAt: integer("seen_at").notNull(),
    /** Time since which the host no longer reports it. */
    lostAt: integer("lost_at"),
  },
  (t) => [index("gpu_host").on(t.hostId, t.position)],
);

/** One share of one GPU held by one attempt; the primary key prevents two jobs on one share. */
export const gpuAllocation = sqliteTable(
  "gpu_allocation",
  {
    gpuUuid: text("gpu_uuid").notNull(),
    share: integer("share").notNull(),
    attemptId: text("attempt_id").notNull(),
    jobId: text("job_id").notNull(),
    createdAt: integer("created_at").notNull(),
  },
  (t) => [primaryKey({ columns: [t.gpuUuid, t.share] }), index("gpu_allocation_attempt").on(t.attemptId)],
);

/** A utilization sample of a host (by id) or a GPU (by uuid). */
export const hostSample = sqliteTable(
  "host_sample",
  {
    source: text("source").notNull(),
    at: integer("at").notNull(),
    /** Percent: of a GPU's time, or of a host's CPU cores. */
    utilization: real("utilization"),
    memoryUsedMb: integer("memory_used_mb"),
    temperatureC: real("temperature_c"),
    powerW: real("power_w"),
  },
  (t) => [primaryKey({ columns: [t.source, t.at] }), index("host_sample_at").on(t.at)],
);

/** What the installation allows a provider; without a row, no limit. */
export const providerLimit = sqliteTable("provider_limit", {
  provider: text("provider").primaryKey(),
  /** The vendor's names; an empty list = all. */
  regions: jsonText("regions").$type<string[]>().notNull(),
  machineTypes: jsonText("machine_types").$type<string[]>().notNull(),
  /** In US dollars, for the whole machine; null = no limit. */
  maxPricePerHour: real("max_price_per_hour"),
  /** Machines at the same time; null = no limit. */
  maxMachines: integer("max_machines"),
  /** US dollars that it may charge in a calendar month (UTC); null = no limit. */
  monthUsd: real("month_usd"),
  /** What an hour of one of its GPUs costs the installation, in US dollars, for own machines; null = nothing. */
  costPerGpuHour: real("cost_per_gpu_hour"),
  /** Whether its machines may download base models from the hub; null = as the setting `models_from_hub` says. */
  modelsFromHub: integer("models_from_hub", { mode: "boolean" }),
  /** When an administrator stopped everything there; null = it may be used. */
  stoppedAt: integer("stopped_at"),
  stoppedBy: text("stopped_by"),
  /** Why, for those whose work it stops; empty = not said. */
  stopReason: text("stop_reason"),
  updatedAt: integer("updated_at").notNull(),
});

/** A provider that refused a request and is not asked until a time, a change of its settings, or a test that passes. */
export const providerPause = sqliteTable("provider_pause", {
  provider: text("provider").primaryKey(),
  /** A kind of provider error: `auth`, `quota` or `rate_limited`. */
  kind: text("kind").notNull(),
  message: text("message").notNull(),
  vendorCode: text("vendor_code"),
  since: integer("since").notNull(),
  until: integer("until").notNull(),
});

/** The newest errors of a provider; equal ones in a row are one. */
export const providerError = sqliteTable(
  "provider_error",
  {
    n: integer("n").primaryKey(),
    provider: text("provider").notNull(),
    /** What was asked of it: `offers`, `launch`, `describe`, `terminate` or `sweep`. */
    request: text("request").notNull(),
    kind: text("kind").notNull(),
    message: text("message").notNull(),
    vendorCode: text("vendor_code"),
    times: integer("times").notNull().default(1),
    at: integer("at").notNull(),
  },
  (t) => [index("provider_error_provider").on(t.provider, t.n)],
);

/**
 * A machine at a vendor, from the first minute that it charges until it is gone. What is metered of it is in
 * `meter_interval`, whose sources begin with its id.
 */
export const rentedMachine = sqliteTable(
  "rented_machine",
  {
    id: text("id").primaryKey(),
    provider: text("provider").notNull(),
    /** The vendor's id of the machine; the launch key where the vendor has none. */
    machine: text("machine").notNull(),
    key: text("key").notNull(),
    /** Null = no attempt that the database has: its cost is the installation's. */
    attemptId: text("attempt_id"),
    gpuModel: text("gpu_model"),
    /** It was in a list of its vendor: a list without it means that it is gone. */
    listed: integer("listed", { mode: "boolean" }).notNull().default(false),
    /** US dollars now. */
    pricePerHour: real("price_per_hour").notNull(),
    /** Since and until when the vendor charges it, in milliseconds since 1970; null = it still does. */
    chargedFrom: integer("charged_from").notNull(),
    endedAt: integer("ended_at"),
    /** How far it is metered, in milliseconds since `chargedFrom`: the clock of the server may be set. */
    meteredMs: integer("metered_ms").notNull().default(0),
  },
  (t) => [
    uniqueIndex("rented_machine_open").on(t.provider, t.machine).where(sql`ended_at is null`),
    index("rented_machine_attempt").on(t.attemptId),
    index("rented_machine_known").on(t.provider, t.machine, t.endedAt),
  ],
);

/** Something of this installation at a vendor that belonged to no live attempt. */
export const providerOrphan = sqliteTable(
  "provider_orphan",
  {
    provider: text("provider").notNull(),
    /** `machine`, `volume`, `address`, … */
    resource: text("resource").notNull(),
    key: text("key").notNull(),
    foundAt: integer("found_at").notNull(),
    /** How often it was asked to go, and when it was no longer there; null = it is still listed. */
    tries: integer("tries").notNull().default(0),
    removedAt: integer("removed_at"),
    error: text("error"),
  },
  (t) => [primaryKey({ columns: [t.provider, t.resource, t.key] }), index("provider_orphan_found").on(t.foundAt)],
);
