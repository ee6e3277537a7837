/** Seeded notices: webhooks with deliveries in every state, and a list of notices. */
import type { Actor, Ctx } from "../../src/ctx.ts";
import { auditForward } from "../../src/db/schema/audit.ts";
import { notice, noticeDelivery } from "../../src/db/schema/notices.ts";
import { createAnnouncement, endAnnouncement } from "../../src/notices/announcements/service.ts";
import { setSyslog } from "../../src/notices/forwarding/service.ts";
import { cancelMaintenance, scheduleMaintenance } from "../../src/notices/maintenance/service.ts";
import { createEndpoint } from "../../src/notices/webhooks/service.ts";

const MINUTE = 60_000;

/** Announcements and maintenance of each state, besides current ones, whose banners would be above every page. */
async function addAnnouncements(ctx: Ctx, actor: Actor): Promise<void> {
  const tomorrow = Math.floor(ctx.clock.now() / 1000) + 86_400;
  const words = { text: "", organizations: [], roles: [], ends_at: null, mail: false };
  const { id } = await createAnnouncement(ctx, actor, {
    ...words,
    title: "New base models this week",
    severity: "info",
    starts_at: null,
  });
  await endAnnouncement(ctx, actor, id);
  await createAnnouncement(ctx, actor, {
    ...words,
    title: "Renew your API keys before the end of the quarter",
    severity: "critical",
    organizations: [actor.org],
    roles: ["owner", "admin"],
    starts_at: tomorrow,
    mail: true,
  });
  const window = await scheduleMaintenance(ctx, actor, {
    starts_at: tomorrow,
    ends_at: tomorrow + 7200,
    reason: "New GPUs in both machines",
    message: "",
    endpoints: "stay",
    trainings: "wait",
    lead_seconds: 3600,
    mail: false,
  });
  await cancelMaintenance(ctx, actor, window.id);
}

/** Two webhooks; the newer one has deliveries: sent, waiting for another attempt, and given up. */
export async function addNotices(ctx: Ctx, actor: Actor): Promise<void> {
  await addAnnouncements(ctx, actor);
  const now = ctx.clock.now();
  await createEndpoint(ctx, actor, {
    name: "#ml-runs",
    url: "https://hooks.slack.example/services/T0/B0/secret",
    event_types: ["fine_tuning.job.succeeded", "fine_tuning.job.failed", "deployment.failed"],
    format: "slack",
  });
  const { row } = await createEndpoint(ctx, actor, {
    name: "Release pipeline of the support team",
    url: "https://ci.example.com/hooks/fine-tuning/finished-runs-of-the-support-team",
    event_types: ["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"],
    format: "openai",
  });
  const base = { org: actor.org, channel: "webhook" as const, destination: row.id, payload: "{}" };
  const ends = [
    { state: "sent", attempts: 1, lastStatus: 200, lastError: null },
    { state: "waiting", attempts: 3, lastStatus: 502, lastError: "It answered 502." },
    { state: "dead", attempts: 15, lastStatus: null, lastError: "The connection was refused." },
    { state: "sent", attempts: 2, lastStatus: 204, lastError: null },
  ] as const;
  const listed = [
    [
      "security.sign_in.new_device",
      "New device signed in to your account",
      "Address: 203.0.113.7\nDevice: Firefox on Linux",
    ],
    ["fine_tuning.job.failed", "Run support-tickets-v3 failed", "The GPU ran out of memory. Lower the batch size."],
    ["fine_tuning.job.succeeded", "Run support-tickets-v2 succeeded", ""],
    [
      "deployment.failed",
      "Endpoint ft:smollm2-135m-instruct:acme:support-tickets-of-the-spring:4f0k failed",
      "The engine exited by itself.",
    ],
    ["dataset.import.succeeded", "Import of conversations-2026.parquet finished", ""],
  ] as const;
  await ctx.write(async (tx) => {
    for (const [n, [type, title, body]] of listed.entries()) {
      const at = now - (n + 1) * 67 * MINUTE;
      const words = { type, title, body, path: "/jobs", createdAt: at, readAt: n < 2 ? null : at };
      await tx
        .insert(notice)
        .values({ id: `ntc_seed${n}`, org: actor.org, userId: actor.userId, eventId: `evt_list${n}`, ...words });
    }
    for (const [n, end] of ends.entries())
      await tx.insert(noticeDelivery).values({
        id: `wh_seed${n}`,
        eventId: `evt_seed${n}`,
        type: n === 2 ? "fine_tuning.job.failed" : "fine_tuning.job.succeeded",
        summary: n === 2 ? "Run support-tickets-v3 failed" : `Run support-tickets-v${n + 4} succeeded`,
        ...base,
        ...end,
        createdAt: now - (n + 1) * 47 * MINUTE,
        nextAt: now + 4 * MINUTE,
        endedAt: end.state === "waiting" ? null : now - (n + 1) * 46 * MINUTE,
      });
  });
  const logs = { host: "logs.example.com", port: 6514, transport: "tls", facility: "audit", ca: null } as const;
  await setSyslog(ctx, actor, { ...logs, enterprise_number: 32_473, from: "beginning" });
  await ctx.write((tx) =>
    tx
      .update(auditForward)
      .set({ attempts: 3, nextAt: now + MINUTE, lastError: "The connection was refused.", lastErrorAt: now - MINUTE }),
  );
}
