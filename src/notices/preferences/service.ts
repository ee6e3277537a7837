/** What reaches a user where: the defaults, and what each user chose instead. */
import { and, eq } from "drizzle-orm";
import * as v from "valibot";
import type { Actor, Ctx } from "../../ctx.ts";
import { noticePreference } from "../../db/schema/notices.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import { TOPICS, type Topic } from "../events/types.ts";

const CHANNELS = ["page", "mail"] as const;
type Channel = (typeof CHANNELS)[number];

const Choice = v.strictObject({ page: v.boolean(), mail: v.boolean() });
/** By topic: whether notices appear in the page, and whether they are mailed. */
export const Preferences = v.strictObject({
  jobs: Choice,
  deployments: Choice,
  datasets: Choice,
  announcements: Choice,
  incidents: Choice,
  /** Cases that wait in the moderation queue; only reviewers and administrators of the installation get them. */
  reviews: Choice,
  billing: Choice,
  security: Choice,
});
export type Preferences = v.InferOutput<typeof Preferences>;

const Change = v.strictObject({ page: v.optional(v.boolean()), mail: v.optional(v.boolean()) });
export const ChangePreferences = v.strictObject({
  jobs: v.optional(Change),
  deployments: v.optional(Change),
  datasets: v.optional(Change),
  announcements: v.optional(Change),
  incidents: v.optional(Change),
  reviews: v.optional(Change),
  billing: v.optional(Change),
  security: v.optional(Change),
});
export type ChangePreferences = v.InferOutput<typeof ChangePreferences>;

const DEFAULTS: Preferences = {
  jobs: { page: true, mail: true },
  deployments: { page: true, mail: true },
  datasets: { page: true, mail: false },
  announcements: { page: true, mail: true },
  incidents: { page: true, mail: false },
  reviews: { page: true, mail: true },
  billing: { page: true, mail: true },
  security: { page: true, mail: true },
};

async function read(db: Db, userId: string): Promise<Preferences> {
  const found = structuredClone(DEFAULTS);
  const rows = await db.select().from(noticePreference).where(eq(noticePreference.userId, userId));
  for (const row of rows) {
    const topic = TOPICS.find((one) => one === row.topic);
    const channel = CHANNELS.find((one) => one === row.channel);
    if (topic && channel && topic !== "security") found[topic][channel] = row.wanted;
  }
  return found;
}

/** Whether a user wants notices of a topic on a channel, in the caller's transaction. */
export async function wantedBy(tx: Db, userId: string, topic: Topic): Promise<Record<Channel, boolean>> {
  return (await read(tx, userId))[topic];
}

/** The choices of the actor, with the defaults where nothing was chosen. */
export function getPreferences(ctx: Ctx, actor: Actor): Promise<Preferences> {
  return read(ctx.db, actor.userId);
}

/** @throws AppError `security_notices_stay` when a security notice would be switched off */
export async function changePreferences(ctx: Ctx, actor: Actor, given: ChangePreferences): Promise<Preferences> {
  if (given.security?.page === false || given.security?.mail === false)
    throw new AppError(
      "invalid",
      "security_notices_stay",
      "Notices about the security of your account cannot be switched off.",
      { param: "security" },
    );
  await ctx.write(async (tx) => {
    for (const topic of TOPICS)
      for (const channel of CHANNELS) {
        const wanted = given[topic]?.[channel];
        if (wanted === undefined || topic === "security") continue;
        const key = { userId: actor.userId, topic, channel };
        await tx
          .delete(noticePreference)
          .where(
            and(
              eq(noticePreference.userId, key.userId),
              eq(noticePreference.topic, topic),
              eq(noticePreference.channel, channel),
            ),
          );
        if (wanted !== DEFAULTS[topic][channel]) await tx.insert(noticePreference).values({ ...key, wanted });
      }
  });
  return getPreferences(ctx, actor);
}
