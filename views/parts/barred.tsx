/** Says on the page of a dataset, model or endpoint why it may not be used; and offers to report one. */
import type { RestrictionRow } from "../../src/accounts/restrictions/service.ts";
import { usePage } from "../context.ts";
import { RoleLink } from "./allowed.tsx";
import { Notice } from "./notice.tsx";

const TITLES: Record<RestrictionRow["kind"], string> = {
  held: "Held for review",
  checking: "Moderation checks are running",
  restricted: "Restricted by a reviewer",
  removed: "Removed by a reviewer",
};

/** Nothing where there is no restriction. */
export function Barred({ of }: { of: RestrictionRow | null }) {
  if (!of) return null;
  const reason = of.reason.charAt(0).toUpperCase() + of.reason.slice(1);
  return (
    <Notice kind={of.kind === "checking" || !of.caseId ? "info" : "warn"} title={TITLES[of.kind]}>
      <span class="wrap-any" dir="auto">
        {reason}
      </span>{" "}
      {of.caseId ? <a href={`/moderation/${of.caseId}`}>What was found, and how to appeal</a> : null}
    </Notice>
  );
}

/** Nothing while moderation is off. */
export function ReportLink({ type, id }: { type: "model" | "deployment"; id: string }) {
  if (!usePage().reports) return null;
  return (
    <RoleLink class="small" href={`/report?${new URLSearchParams({ type, id })}`}>
      Report this {type === "model" ? "model" : "endpoint"}
    </RoleLink>
  );
}

/** What was removed from a list, with the reason: nothing where there is none. */
export function Removed({ rows }: { rows: RestrictionRow[] }) {
  if (rows.length === 0) return null;
  return (
    <section class="panel" aria-label="Removed by a reviewer">
      <header>
        <h2>Removed by a reviewer</h2>
      </header>
      <ul class="lines-list body">
        {rows.map((row) => (
          <li class="stack tight">
            <div class="row between">
              <a href={`/moderation/${row.caseId ?? ""}`} dir="auto">
                {row.name}
              </a>
              <span class="small muted">{new Date(row.createdAt).toISOString().slice(0, 10)}</span>
            </div>
            <span class="small muted wrap-any" dir="auto">
              {row.reason}
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}
