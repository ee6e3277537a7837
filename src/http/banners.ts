/** The messages above every page: maintenance, open incidents, announcements, and new terms that take effect soon. */
import type { Banner } from "../../views/context.ts";
import { moderationSettings } from "../accounts/restrictions/requests.ts";
import { pendingFor } from "../accounts/terms/acceptance.ts";
import { pathOf, TITLES } from "../accounts/terms/model.ts";
import type { Published } from "../accounts/terms/versions.ts";
import { publishedVersions } from "../accounts/terms/versions.ts";
import { lateTeam } from "../billing/late/state.ts";
import type { PriceListRow } from "../billing/prices/model.ts";
import { announcedFor } from "../billing/prices/upcoming.ts";
import type { Actor, Ctx, Hold } from "../ctx.ts";
import { openIncidents } from "../insights/status/incidents.ts";
import type { IncidentView } from "../insights/status/model.ts";
import { formatExact } from "../lib/text/format.ts";
import { currentFor } from "../notices/announcements/current.ts";
import { type AnnouncementRow, isDismissible } from "../notices/announcements/model.ts";
import { maintenanceFor } from "../notices/maintenance/current.ts";
import { type MaintenanceRow, spanText } from "../notices/maintenance/model.ts";
import { mayCall } from "./access.ts";

/** Whether a request may be answered with a whole page. */
export const showsPage = (method: string, path: string) =>
  method !== "HEAD" && !path.startsWith("/v1/") && !path.startsWith("/assets/");

const dateOf = (ms: number) => new Date(ms).toISOString().slice(0, 10);

function termsBanner(ctx: Ctx, { document, number, effectiveAt, summary }: Published): Banner {
  const byUse = ctx.config.terms_acceptance === "continued_use";
  return {
    kind: "info",
    title: `${TITLES[document]}: a new version takes effect on ${dateOf(effectiveAt)}.`,
    text: summary,
    markdown: null,
    link: byUse
      ? { label: "Read the new version", href: pathOf(document, number) }
      : { label: "Read and accept", href: "/accept-terms" },
    dismiss: null,
  };
}

const KINDS = { info: "info", warning: "warn", critical: "bad" } as const;

function announcementBanner(row: AnnouncementRow): Banner {
  const { id, title, text, severity } = row;
  const dismiss = isDismissible(row) ? `/announcements/${id}/dismiss` : null;
  return { kind: KINDS[severity], title, text: "", markdown: text || null, link: null, dismiss };
}

const INCIDENT_KINDS = { none: "info", minor: "warn", major: "bad" } as const;

const incidentBanner = (ctx: Ctx, { impact, title, status }: IncidentView): Banner => ({
  kind: INCIDENT_KINDS[impact],
  title: `Incident: ${title}`,
  text: `Status: ${status}.`,
  markdown: null,
  link: ctx.config.status_page === "off" ? null : { label: "Read more", href: "/status" },
  dismiss: null,
});

/** What is about to be deleted, until when it can be canceled, and where. */
function deletionBanner({ subject, until, reason }: Hold, actor: Actor): Banner {
  const own = subject === "user";
  const path = own ? "/settings/delete" : "/team/delete";
  return {
    kind: "warn",
    title: `Your ${own ? "account" : "team"} will be deleted on ${dateOf(until ?? 0)}.`,
    text: `Data can be read and exported until then, and no new work starts.${reason ? ` Reason: ${reason}` : ""}`,
    markdown: null,
    link: mayCall(actor, "GET", path) ? { label: "Details", href: path } : null,
    dismiss: null,
  };
}

function maintenanceBanner(row: MaintenanceRow, now: number): Banner {
  const { id, startsAt, endsAt, reason, message } = row;
  const running = startsAt <= now;
  return {
    kind: "warn",
    title: `${running ? "Maintenance until" : "Maintenance from"} ${running ? `${formatExact(endsAt).slice(0, 16)} UTC` : spanText(startsAt, endsAt)}: ${reason}`,
    text: "",
    markdown: message || null,
    link: {
      label: running ? "Jobs wait in the queue and resume by themselves" : "What it means for jobs",
      href: "/queue",
    },
    dismiss: running ? null : `/maintenance/${id}/hide`,
  };
}

/** What is unpaid and what follows: for everybody once new work waits, before that for those who can pay. */
async function lateBanner(ctx: Ctx, actor: Actor): Promise<Banner[]> {
  const late = await lateTeam(ctx, actor.org);
  const pays = mayCall(actor, "GET", "/billing/payment");
  if (!late || (late.step === "notice" && !pays)) return [];
  const link = pays ? { label: "Pay under Billing", href: "/billing" } : null;
  return [{ kind: "bad", title: `${late.title}.`, text: late.text, markdown: null, link, dismiss: null }];
}

const pricesBanner = ({ id, effectiveAt, note }: PriceListRow): Banner => ({
  kind: "info",
  title: `New prices take effect on ${dateOf(effectiveAt)}.`,
  text: note,
  markdown: null,
  link: { label: "See the new prices", href: "/pricing" },
  dismiss: `/pricing/${id}/hide`,
});

/**
 * What a page shows to a viewer. The documents, and whether moderation is on, are read for visitors too: pages link to
 * them.
 */
export async function bannersFor(ctx: Ctx, actor: Actor | null): Promise<Banner[]> {
  await publishedVersions(ctx);
  await moderationSettings(ctx);
  if (!actor) return [];
  const announced = (await currentFor(ctx, actor)).filter(({ dismissed }) => !dismissed);
  const { upcoming } = await pendingFor(ctx, actor.userId);
  const held = actor.hold?.kind === "deletion" ? [deletionBanner(actor.hold, actor)] : [];
  const now = ctx.clock.now();
  const maintenance = (await maintenanceFor(ctx, actor)).map((row) => maintenanceBanner(row, now));
  return [
    ...held,
    ...(await lateBanner(ctx, actor)),
    ...maintenance,
    ...(await openIncidents(ctx)).map((one) => incidentBanner(ctx, one)),
    ...announced.map(({ row }) => announcementBanner(row)),
    ...upcoming.map((one) => termsBanner(ctx, one)),
    ...(await announcedFor(ctx, actor)).map(pricesBanner),
  ];
}
