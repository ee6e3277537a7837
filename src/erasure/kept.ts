/** What a deletion erases and what it keeps, in words: for the pages, the mail and the report. */
import type { Hold } from "../ctx.ts";

interface Kept {
  what: string;
  why: string;
}

/** What is erased, by who is deleted. */
export const ERASED: Record<Hold["subject"], readonly string[]> = {
  user: [
    "name, e-mail address, password, second factors, sessions and linked sign-ins",
    "API keys, notices, settings and invitations",
    "what the audit log says of the account: addresses, browsers and details",
  ],
  organization: [
    "datasets, files, uploads and imports",
    "models, checkpoints, exports and pushes",
    "jobs, sweeps and evaluations with their logs, metrics, samples and answers",
    "endpoints, stored completions and responses",
    "API keys, webhooks, notices, invitations, limits and memberships",
    "accounts of members who are in no other team",
    "what the audit log says of the team: names, addresses and details",
  ],
};

/** What is kept, and why. */
export const KEPT: readonly Kept[] = [
  {
    what: "Usage records, statements and invoices: times, tokens, GPU hours and prices with ids, without names",
    why: "invoices and accounting",
  },
  {
    what: "Entries of the audit log: time, action, ids and hash, without details",
    why: "the proof that the log is complete",
  },
  {
    what: "Accepted versions of the terms with the time and the id of the account, without address and browser",
    why: "the proof of the agreement",
  },
  { what: "This deletion: when, by whom, and how many objects were erased", why: "the proof of the erasure" },
  {
    what: "Backups of the installation until they are deleted",
    why: "recovery from disasters; a restored backup with this deletion repeats the erasure",
  },
];

/** What happens to objects that a deleted user created in a team. */
export const HANDED_OVER =
  "Datasets, models, jobs and endpoints belong to the team. They are handed over to its oldest other owner; jobs and endpoints that stopped start again.";
