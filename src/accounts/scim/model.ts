/**
 * Users and groups as SCIM 2.0 (RFC 7643) writes them. Attributes that this server does not have are ignored, as the
 * standard asks.
 */
import * as v from "valibot";
import { seconds } from "../../lib/request-fields.ts";
import { withoutHidden } from "../../lib/text/names.ts";

const URN = "urn:ietf:params:scim:";
export const USER = `${URN}schemas:core:2.0:User`;
export const GROUP = `${URN}schemas:core:2.0:Group`;
export const LIST = `${URN}api:messages:2.0:ListResponse`;
const MAX_MEMBERS = 10_000;

const text = (max: number) =>
  v.pipe(
    v.string(),
    v.transform((value) => withoutHidden(value).trim()),
    v.maxLength(max),
  );
const optionalText = (max: number) =>
  v.optional(
    v.nullable(
      v.pipe(
        text(max),
        v.transform((value) => value || null),
      ),
    ),
  );
/** Entra ID sends the words. */
export const Flag = v.union([
  v.boolean(),
  v.pipe(
    v.string(),
    v.toLowerCase(),
    v.picklist(["true", "false"]),
    v.transform((word) => word === "true"),
  ),
]);
export const Required = v.pipe(text(300), v.minLength(1, "must not be empty"));
export const Emails = v.array(
  v.object({
    value: v.optional(v.nullable(text(320))),
    type: v.optional(v.nullable(text(50))),
    primary: v.optional(Flag),
  }),
);
export type Emails = v.InferOutput<typeof Emails>;
export const Names = v.object({
  formatted: optionalText(200),
  givenName: optionalText(200),
  familyName: optionalText(200),
});
/** `value` of a member is the id of a user. */
export const Members = v.pipe(
  v.array(v.object({ value: v.pipe(v.string(), v.maxLength(100)) })),
  v.maxLength(MAX_MEMBERS),
);
export const OptionalText = optionalText(300);

/** The token of a provider, as administrators see it. Times are Unix seconds. */
export const ConnectionView = v.strictObject({
  object: v.literal("scim_connection"),
  provider: v.string(),
  /** The last characters of the token. */
  token_hint: v.string(),
  created_at: v.number(),
  last_used_at: v.nullable(v.number()),
  /** Path of the SCIM API, for the provider. */
  path: v.string(),
});
/** With the token, which is shown once. */
export const NewConnectionView = v.strictObject({ ...ConnectionView.entries, token: v.string() });

export const connectionView = (row: {
  provider: string;
  tokenHint: string;
  createdAt: number;
  lastUsedAt: number | null;
}): v.InferOutput<typeof ConnectionView> => ({
  object: "scim_connection",
  provider: row.provider,
  token_hint: row.tokenHint,
  created_at: seconds(row.createdAt),
  last_used_at: row.lastUsedAt === null ? null : seconds(row.lastUsedAt),
  path: "/scim/v2",
});

/** A whole user: POST and PUT. */
export const UserBody = v.object({
  userName: Required,
  externalId: OptionalText,
  active: v.optional(Flag),
  displayName: optionalText(200),
  name: v.optional(v.nullable(Names)),
  emails: v.optional(v.nullable(Emails)),
});

/** A whole group: POST and PUT. */
export const GroupBody = v.object({
  displayName: Required,
  externalId: OptionalText,
  members: v.optional(v.nullable(Members)),
});

/** What changes of a user; absent = stays. */
export interface UserChange {
  userName?: string;
  externalId?: string | null;
  active?: boolean;
  displayName?: string | null;
  formatted?: string | null;
  givenName?: string | null;
  familyName?: string | null;
  email?: string | null;
}

/** The primary address, else the one of work, else the first. */
export function addressIn(emails: Emails | null | undefined): string | undefined {
  const list = (emails ?? []).filter(({ value }) => value);
  const found = list.find(({ primary }) => primary) ?? list.find(({ type }) => type === "work") ?? list[0];
  return found?.value ?? undefined;
}

/** The change that a whole user means. */
export function changeOf(body: v.InferOutput<typeof UserBody>): UserChange {
  const { userName, externalId = null, active = true, displayName = null, name, emails } = body;
  const { formatted = null, givenName = null, familyName = null } = name ?? {};
  return {
    userName,
    externalId,
    active,
    displayName,
    formatted,
    givenName,
    familyName,
    email: addressIn(emails) ?? null,
  };
}

/** A user whom a provider manages. Times in milliseconds since 1970. */
export interface UserRow {
  id: string;
  userName: string;
  externalId: string | null;
  givenName: string | null;
  familyName: string | null;
  name: string;
  email: string;
  active: boolean;
  groups: { id: string; name: string }[];
  createdAt: number;
  updatedAt: number;
}

export interface GroupRow {
  id: string;
  displayName: string;
  externalId: string | null;
  /** Null when they were not asked for. */
  members: { id: string; name: string }[] | null;
  createdAt: number;
  updatedAt: number;
}

/** `base` is the address of the API: `https://lab.example.com/scim/v2`. */
const meta = (base: string, kind: "User" | "Group", row: { id: string; createdAt: number; updatedAt: number }) => ({
  resourceType: kind,
  created: new Date(row.createdAt).toISOString(),
  lastModified: new Date(row.updatedAt).toISOString(),
  location: `${base}/${kind}s/${row.id}`,
});

export const userView = (base: string, row: UserRow) => ({
  schemas: [USER],
  id: row.id,
  ...(row.externalId === null ? {} : { externalId: row.externalId }),
  userName: row.userName,
  name: {
    formatted: row.name,
    ...(row.givenName === null ? {} : { givenName: row.givenName }),
    ...(row.familyName === null ? {} : { familyName: row.familyName }),
  },
  displayName: row.name,
  emails: [{ value: row.email, type: "work", primary: true }],
  active: row.active,
  groups: row.groups.map(({ id, name }) => ({ value: id, display: name, $ref: `${base}/Groups/${id}` })),
  meta: meta(base, "User", row),
});

export const groupView = (base: string, row: GroupRow) => ({
  schemas: [GROUP],
  id: row.id,
  ...(row.externalId === null ? {} : { externalId: row.externalId }),
  displayName: row.displayName,
  ...(row.members === null
    ? {}
    : { members: row.members.map(({ id, name }) => ({ value: id, display: name, $ref: `${base}/Users/${id}` })) }),
  meta: meta(base, "Group", row),
});
