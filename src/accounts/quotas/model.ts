/** What an organization may store and have waiting: the names of its limits, and how they are shown. */

export const LIMITS = ["bytes", "files", "datasets", "pending_uploads", "waiting_jobs"] as const;
export type LimitName = (typeof LIMITS)[number];

/** `limit` is null where there is none. */
export interface LimitUse {
  limit: number | null;
  used: number;
}

export type LimitsView = { object: "limits" } & Record<LimitName, LimitUse>;

const one = (description: string) => ({
  type: "object",
  description,
  properties: { limit: { type: ["integer", "null"], description: "Null = no limit." }, used: { type: "integer" } },
  required: ["limit", "used"],
});

/** JSON Schema of the answer, for the API's own documentation. */
export const LIMITS_SCHEMA = {
  type: "object",
  properties: {
    object: { const: "limits" },
    bytes: one("Bytes of files, pending uploads (as declared), rows of datasets, checkpoints and models."),
    files: one("Files."),
    datasets: one("Datasets."),
    pending_uploads: one("Uploads in parts that are neither complete nor over."),
    waiting_jobs: one("Jobs that wait to start, and waiting trials of sweeps."),
  },
  required: ["object", ...LIMITS],
};
