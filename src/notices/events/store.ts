/**
 * Stores events. Who changes something writes its event in the same transaction, as it writes the audit log: nobody
 * hears of a change that was rolled back, and a killed server forgets none.
 */
import { type AnyColumn, type SQL, sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { isPerson } from "../../db/accounts.ts";
import { sqlJson } from "../../db/json.ts";
import { member, user } from "../../db/schema/auth.ts";
import { noticeEvent } from "../../db/schema/notices.ts";
import type { Db } from "../../db/types.ts";
import type { BusMessage } from "../../lib/bus.ts";
import { newId } from "../../lib/ids.ts";
import { withoutHidden } from "../../lib/text/names.ts";
import { clean } from "../../lib/text/redact.ts";
import type { EventType } from "./types.ts";

const MAX_TITLE = 200;
const MAX_BODY = 1000;

interface NewEvent {
  org: string;
  type: EventType;
  /** Id of the object, which receivers of webhooks get. */
  subject: string;
  /** The user to notify; null = webhooks only. */
  userId: string | null;
  /** A second e-mail address. */
  alsoTo?: string;
  /** One sentence without a period. */
  title: string;
  /** What happened and what to do; may be empty. */
  body: string;
  /** Page of this site, from `/`. */
  path: string;
}

/** Text for people, without secrets and control characters. */
const shown = (text: string, limit: number) => withoutHidden(clean(text, limit));

const shownLines = (body: string) =>
  body
    .split("\n")
    .map((line) => shown(line, MAX_BODY))
    .join("\n")
    .slice(0, MAX_BODY);

/**
 * Stores one event in the caller's transaction.
 * @returns the message to emit after the commit; without it the event is sent a little later
 */
export async function recordEvent(tx: Db, ctx: Ctx, event: NewEvent): Promise<BusMessage> {
  const { title, body, alsoTo, ...rest } = event;
  await tx.insert(noticeEvent).values({
    id: newId("noticeEvent"),
    ...rest,
    alsoTo: alsoTo ?? null,
    title: shown(title, MAX_TITLE),
    body: shownLines(body),
    createdAt: ctx.clock.now(),
  });
  return { name: "notice.stored", event: { org: event.org } };
}

/** Whose accounts get an event of the installation. */
type Audience =
  | { kind: "everyone" }
  | { kind: "administrators" }
  /** Who may decide cases of moderation. */
  | { kind: "reviewers" }
  | { kind: "organization"; org: string }
  /** Organizations by id and roles (`installation` = administrators of it); an empty list = all. */
  | { kind: "some"; orgs: string[]; roles: string[] };

const oneOf = (column: SQL | AnyColumn, values: string[]) =>
  sql`${column} in (select value from json_each(${sqlJson(values)}))`;

/** The condition that selects the accounts of an audience. */
function whoOf(audience: Audience): SQL {
  if (audience.kind === "everyone") return sql`1`;
  if (audience.kind === "administrators") return sql`${user.role} = 'admin'`;
  if (audience.kind === "reviewers") return sql`${user.role} in ('admin', 'reviewer')`;
  if (audience.kind === "organization") return sql`${member.organizationId} = ${audience.org}`;
  const { orgs, roles } = audience;
  const inOrgs = orgs.length > 0 ? oneOf(member.organizationId, orgs) : sql`1`;
  const administers = roles.includes("installation") ? sql`${user.role} = 'admin'` : sql`0`;
  const inRoles = roles.length > 0 ? sql`(${oneOf(member.role, roles)} or ${administers})` : sql`1`;
  return sql`${inOrgs} and ${inRoles}`;
}

/**
 * Stores an event for each account of an audience in the caller's transaction, disabled accounts excepted. One
 * statement, however many they are.
 */
export async function recordForAll(
  tx: Db,
  ctx: Ctx,
  audience: Audience,
  event: Pick<NewEvent, "type" | "subject" | "title" | "body" | "path">,
): Promise<BusMessage> {
  const { type, subject, title, body, path } = event;
  const who = whoOf(audience);
  await tx.run(sql`
    insert into notice_event (id, org, type, subject, user_id, title, body, path, created_at)
    select 'evt_' || lower(hex(randomblob(10))), min(${member.organizationId}), ${type}, ${subject}, ${user.id},
      ${shown(title, MAX_TITLE)}, ${shownLines(body)}, ${path}, ${ctx.clock.now()}
    from ${user} join ${member} on ${member.userId} = ${user.id}
    where ${user.banned} = 0 and ${isPerson} and ${who}
    group by ${user.id}`);
  return { name: "notice.stored", event: { org: "" } };
}
