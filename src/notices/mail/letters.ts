/** What a notice says as a mail: which button it has, and why its reader gets it. */
import type { Ctx } from "../../ctx.ts";
import type { noticeEvent } from "../../db/schema/notices.ts";
import { alertToken } from "../events/alert.ts";
import { isSecurity, reachesAll, topicOf } from "../events/types.ts";
import type { Letter } from "./template.ts";

type EventRow = typeof noticeEvent.$inferSelect;

const ACTIONS = {
  security: "Review your account",
  jobs: "Open it",
  deployments: "Open the endpoint",
  datasets: "Open the dataset",
  announcements: "Read it",
  incidents: "Open the status page",
  reviews: "Open the queue",
  billing: "Read it",
} as const;

/** Label of the button, and why the reader gets the mail. */
function wordsFor(type: string): { action: string; reason: string } {
  if (isSecurity(type))
    return { action: "Review your account", reason: "You get this because it concerns the security of your account." };
  if (type.startsWith("terms.") || type.startsWith("billing.prices_") || type === "announcement.critical")
    return { action: "Read it", reason: "You get this because you have an account on this installation." };
  if (type.startsWith("moderation."))
    return { action: "Read the decision", reason: "You get this because it concerns something that you created." };
  if (type.startsWith("provider."))
    return { action: "Open the providers", reason: "You get this because you administer this installation." };
  if (reachesAll(type))
    return { action: ACTIONS[topicOf(type)], reason: "You get this because you manage how your team pays." };
  return {
    action: ACTIONS[topicOf(type)],
    reason: "You get this because of your settings; change them under Settings, Notifications.",
  };
}

/** The letter of an event. One about security has the link for "this was not me". */
export function letterOf(ctx: Ctx, event: EventRow): Letter {
  const security = isSecurity(event.type);
  return {
    title: event.title,
    body: event.body,
    path: event.path,
    ...wordsFor(event.type),
    ...(security
      ? {
          alert: {
            path: `/not-me?token=${alertToken(ctx, event.id, event.createdAt)}`,
            label: "This was not me: secure my account",
          },
        }
      : {}),
  };
}
