/** The order of the areas and rooms of src: the import rules and the page about the architecture use it. */

/** The folders of src in their order: a file imports only its own folder and those before it, types included. */
export const AREAS = [
  "lib",
  "contract",
  "db",
  "accounts",
  "notices",
  "billing",
  "compute",
  "data",
  "models",
  "graders",
  "training",
  "evaluation",
  "serving",
  "insights",
  "http",
  "api",
  "cli",
];
/** The rooms of an area in their order: the same rule. */
export const ROOMS: Record<string, string[]> = {
  accounts: ["audit", "terms", "quotas", "holds", "keys", "domains", "auth", "suspension", "organizations", "sso"],
  notices: ["events", "preferences", "inbox", "mail", "webhooks", "announcements", "delivery", "security"],
  billing: ["ledger"],
  compute: ["images", "environment", "providers", "hosts"],
  data: ["storage", "pii", "validation", "files", "uploads", "datasets", "imports"],
  models: ["base", "tuned", "inspection"],
  training: [
    "metrics",
    "scheduler",
    "jobs",
    "plan",
    "results",
    "attempts",
    "queue",
    "sweeps",
    "exports",
    "pushes",
    "trainer-protocol",
  ],
  serving: ["deployments", "gateway", "stored", "responses", "moderation"],
  insights: ["analytics", "home", "installation", "status"],
};
