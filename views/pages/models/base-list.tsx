/** The list of base models: what each needs, whether it fits the machines here, and its next step. */
import { formatBytes, formatCount } from "../../../src/lib/text/format.ts";
import type { FittedModel } from "../../../src/training/plan/fits.ts";
import { usePage } from "../../context.ts";
import { RoleLink } from "../../parts/allowed.tsx";
import { FitBadge } from "../../parts/fit.tsx";
import { ActionButton, FilterSelect, Filters } from "../../parts/form.tsx";
import { Empty } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { type Column, liveOn, RowName, Table } from "../../parts/table.tsx";
import { Progress } from "../../parts/value.tsx";

const modelHref = (id: string) => `/models/${encodeURIComponent(id)}`;

/** Which base models are listed: words of the search, and `ready`, `fits` or all. */
export interface BaseShow {
  q: string;
  which: string;
}

function BaseState({ row }: { row: FittedModel }) {
  if (row.status === "installing")
    return (
      <Progress
        label={`Installing ${row.name}`}
        fraction={row.progress?.fraction ?? null}
        left={row.progress?.message ?? "Starting"}
      />
    );
  if (row.status === "available") return <StateBadge state="not_installed" />;
  return (
    <StateBadge
      state={row.status}
      note={
        row.status === "ready" && row.license.requires_acceptance && !row.license.accepted
          ? "license not accepted"
          : null
      }
    />
  );
}

const needsLicense = ({ license }: FittedModel) => license.requires_acceptance && !license.accepted;

/** The next step of a row: install, accept the license first, or fine-tune. */
function RowAction({ row }: { row: FittedModel }) {
  if (row.status === "installing") return null;
  if (needsLicense(row))
    return (
      <a class="button small" href={`${modelHref(row.id)}#license`}>
        Accept license
      </a>
    );
  if (row.status === "ready")
    return (
      <RoleLink class="button small" href={`/jobs/new?model=${encodeURIComponent(row.id)}`}>
        Fine-tune
      </RoleLink>
    );
  if (row.install_refused) return null;
  return (
    <ActionButton
      action={`${modelHref(row.id)}/install`}
      class="small"
      fields={{ next: "/models?tab=base" }}
      label={`${row.status === "failed" ? "Retry" : "Install"} ${row.name}`}
    >
      {row.status === "failed" ? "Retry" : "Install"}
    </ActionButton>
  );
}

const sizeOf = ({ bytes, download_bytes }: FittedModel) =>
  bytes ? formatBytes(bytes) : download_bytes ? `about ${formatBytes(download_bytes)}` : "–";

/** What the other columns say, for a phone. */
function shortly(row: FittedModel): string {
  if (row.status === "installing") return row.progress?.message ?? "Installing";
  const fit = row.fit && (row.fit.fits ? "Fits" : "Too large");
  const size = row.status === "ready" ? null : sizeOf(row);
  return [fit, size].filter(Boolean).join(" · ");
}

const COLUMNS: Column<FittedModel>[] = [
  {
    key: "name",
    label: "Base model",
    name: true,
    render: (row) => (
      <RowName
        href={modelHref(row.id)}
        name={row.name || row.id}
        sub={
          <>
            <span class="wide">
              {[row.publisher, row.license.name, row.default ? "included" : null].filter(Boolean).join(" · ")}
            </span>
            <span class="narrow">{shortly(row)}</span>
          </>
        }
      />
    ),
  },
  { key: "parameters", label: "Parameters", end: true, wide: true, render: (row) => formatCount(row.parameters) },
  { key: "context", label: "Context", end: true, wide: true, render: (row) => formatCount(row.context_length) },
  {
    key: "size",
    label: "Size",
    end: true,
    wide: true,
    render: (row) => (
      <>
        {sizeOf(row)}
        {row.download_bytes && !row.bytes ? <span class="sub">to download</span> : null}
      </>
    ),
  },
  {
    key: "fit",
    label: "Fine-tuning here",
    tight: true,
    wide: true,
    render: (row) => (row.fit ? <FitBadge fit={row.fit} /> : <span class="muted">–</span>),
  },
  { key: "state", label: "State", wide: true, render: (row) => <BaseState row={row} /> },
  { key: "action", label: "Next step", hideLabel: true, act: true, render: (row) => <RowAction row={row} /> },
];

const WHICH: [string, string][] = [
  ["", "All base models"],
  ["ready", "Installed"],
  ["fits", "Fit the machines here"],
];

export const BaseFilters = () => (
  <Filters fragment="bases" search={{ placeholder: "Search base models" }} kept={["tab"]}>
    <FilterSelect name="show" label="Which base models" options={WHICH} />
  </Filters>
);

/** The rows that a filter selects. */
function chosen(bases: FittedModel[], { q, which }: BaseShow): FittedModel[] {
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  return bases.filter((row) => {
    if (which === "ready" && row.status !== "ready") return false;
    if (which === "fits" && !row.fit?.fits) return false;
    const text = [row.id, row.name, row.publisher, row.hub, row.license.name].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

export function BaseList({ bases, show }: { bases: FittedModel[]; show: BaseShow }) {
  const { url } = usePage();
  const rows = chosen(bases, show);
  return (
    <section id="bases" class="panel" aria-label="Base models" {...liveOn(url, "models")}>
      {rows.length ? (
        <Table label="Base models" columns={COLUMNS} rows={rows} rowId={(row) => row.id} fragment="bases" />
      ) : (
        <Empty
          icon="search"
          title="No matches"
          action={
            <a class="button" href="/models?tab=base">
              Show all
            </a>
          }
        >
          Try fewer words or another filter.
        </Empty>
      )}
    </section>
  );
}

/** The next action for a base model: accept its license, install it, or fine-tune it. */
export function BaseAction({ row }: { row: FittedModel }) {
  if (needsLicense(row))
    return (
      <a class="button primary" href="#license">
        Read and accept the license
      </a>
    );
  if (row.status === "available" || row.status === "failed")
    return (
      <ActionButton action={`${modelHref(row.id)}/install`} class="primary">
        {row.status === "failed" ? "Retry install" : "Install"}
      </ActionButton>
    );
  if (row.status === "installing") return null;
  return (
    <>
      <RoleLink class="button" href={`/playground?models=${encodeURIComponent(row.id)}`}>
        Open in playground
      </RoleLink>
      <RoleLink class="button primary" href={`/jobs/new?model=${encodeURIComponent(row.id)}`}>
        Fine-tune
      </RoleLink>
    </>
  );
}
