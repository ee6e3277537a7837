/** Requests and answers of announcements: what an administrator writes, and what its readers get. */
import * as v from "valibot";
import type { announcement } from "../../db/schema/announcements.ts";
import { id, seconds } from "../../lib/request-fields.ts";

export type AnnouncementRow = typeof announcement.$inferSelect;

export const SEVERITIES = ["info", "warning", "critical"] as const;
export type Severity = (typeof SEVERITIES)[number];

/** Owners and administrators of teams, and administrators of the installation. */
export const AUDIENCE_ROLES = ["owner", "admin", "installation"] as const;
type AudienceRole = (typeof AUDIENCE_ROLES)[number];
export const AUDIENCE_ROLE_NAMES: Record<AudienceRole, string> = {
  owner: "Owners of teams",
  admin: "Administrators of teams",
  installation: "Administrators of the installation",
};

const MESSAGE_MAX = 1000;
const moment = v.pipe(
  v.number("must be a number"),
  v.integer("must be whole seconds"),
  v.minValue(0),
  v.maxValue(1e11),
);
const fields = {
  title: v.pipe(v.string(), v.trim(), v.minLength(1, "must not be empty"), v.maxLength(150)),
  /** Markdown. It is what a mail says too, so it is short; link to the rest. */
  text: v.pipe(v.string(), v.trim(), v.maxLength(MESSAGE_MAX)),
  severity: v.picklist(SEVERITIES),
  /** Ids of organizations; empty = all. */
  organizations: v.pipe(v.array(id), v.maxLength(1000)),
  /** Empty = everybody in the organizations. */
  roles: v.array(v.picklist(AUDIENCE_ROLES)),
  /** In seconds since 1970; now when null. */
  starts_at: v.nullable(moment),
  /** In seconds since 1970; null = until it is ended. */
  ends_at: v.nullable(moment),
  /** Sends it as a notice and by mail when it starts, once to each account. */
  mail: v.boolean(),
};

export const CreateAnnouncement = v.strictObject({
  title: fields.title,
  text: v.optional(fields.text, ""),
  severity: v.optional(fields.severity, "info"),
  organizations: v.optional(fields.organizations, []),
  roles: v.optional(fields.roles, []),
  starts_at: v.optional(fields.starts_at, null),
  ends_at: v.optional(fields.ends_at, null),
  mail: v.optional(fields.mail, false),
});
export type CreateAnnouncement = v.InferOutput<typeof CreateAnnouncement>;

/** Fields that are not given stay. */
export const ChangeAnnouncement = v.partial(v.strictObject(fields));
export type ChangeAnnouncement = v.InferOutput<typeof ChangeAnnouncement>;

const shared = {
  object: v.literal("announcement"),
  id: v.string(),
  title: v.string(),
  /** Markdown. */
  text: v.string(),
  severity: v.picklist(SEVERITIES),
  starts_at: v.number(),
  ends_at: v.nullable(v.number()),
};

/** An announcement as its readers get it. Times in seconds since 1970. */
export const AnnouncementView = v.strictObject({
  ...shared,
  /** The reader may hide the banner. Critical ones stay. */
  dismissible: v.boolean(),
  dismissed: v.boolean(),
});
export type AnnouncementView = v.InferOutput<typeof AnnouncementView>;

/** An announcement as administrators get it. */
export const AdminAnnouncementView = v.strictObject({
  ...shared,
  state: v.picklist(["scheduled", "current", "ended"]),
  organizations: v.array(v.string()),
  roles: v.array(v.picklist(AUDIENCE_ROLES)),
  mail: v.boolean(),
  /** When its notices were stored. */
  mailed_at: v.nullable(v.number()),
  /** Readers who hid the banner. */
  dismissals: v.number(),
  created_at: v.number(),
  created_by: v.string(),
});
export type AdminAnnouncementView = v.InferOutput<typeof AdminAnnouncementView>;

const at = (ms: number | null) => (ms === null ? null : seconds(ms));

function sharedView(row: AnnouncementRow) {
  const { title, text, severity, startsAt, endsAt } = row;
  const object = "announcement" as const;
  return { object, id: row.id, title, text, severity, starts_at: seconds(startsAt), ends_at: at(endsAt) };
}

/** Whether readers may hide it. */
export const isDismissible = ({ severity }: Pick<AnnouncementRow, "severity">) => severity !== "critical";

export function announcementView(row: AnnouncementRow, dismissed: boolean): AnnouncementView {
  return { ...sharedView(row), dismissible: isDismissible(row), dismissed };
}

export function adminAnnouncementView(row: AnnouncementRow, now: number, dismissals: number): AdminAnnouncementView {
  return {
    ...sharedView(row),
    state: row.startsAt > now ? "scheduled" : row.endsAt !== null && row.endsAt <= now ? "ended" : "current",
    organizations: row.orgs,
    roles: AUDIENCE_ROLES.filter((role) => row.roles.includes(role)),
    mail: row.mail,
    mailed_at: at(row.mailedAt),
    dismissals,
    created_at: seconds(row.createdAt),
    created_by: row.createdBy,
  };
}
