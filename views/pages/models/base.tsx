/** The page of a base model: status, architecture, origin and license. */
import { formatBytes, formatCount, formatInteger } from "../../../src/lib/text/format.ts";
import { PACKAGE } from "../../../src/models/base/catalogue.ts";
import type { FittedModel } from "../../../src/training/plan/fits.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { PostForm } from "../../parts/allowed.tsx";
import { fitWords } from "../../parts/fit.tsx";
import { Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { liveOn } from "../../parts/table.tsx";
import { CopyId, KeyValue, Progress, Stat, Stats, Time } from "../../parts/value.tsx";
import { BaseAction } from "./base-list.tsx";
import { ModelStaysBadge } from "./stays-local.tsx";

function License({ row }: { row: FittedModel }) {
  const { license } = row;
  return (
    <section class="panel padded stack tight" id="license">
      <h2>License</h2>
      <p>
        {license.name}
        {license.url ? (
          <>
            {" · "}
            <a href={license.url} rel="noreferrer">
              Read the license
            </a>
          </>
        ) : null}
      </p>
      {!license.requires_acceptance ? (
        <p class="muted small">This license does not have to be accepted.</p>
      ) : license.accepted ? (
        <p class="muted small">
          Accepted by {license.accepted_by} <Time at={license.accepted_at ? license.accepted_at * 1000 : null} />, as
          recorded in the audit log.
        </p>
      ) : (
        <PostForm class="form" action={`/models/${encodeURIComponent(row.id)}/license`}>
          <label class="check">
            <input type="checkbox" name="accept" value="yes" required />
            <span>
              I have read the license and accept it for my organization. My account and the time are recorded.
            </span>
          </label>
          <div class="row">
            <button type="submit" class="button primary">
              Accept the license
            </button>
          </div>
        </PostForm>
      )}
    </section>
  );
}

export function BaseModelState({ row }: { row: FittedModel }) {
  const { url } = usePage();
  return (
    <div id="state" class="stack" {...liveOn(url, "models")}>
      {row.status === "failed" ? (
        <Notice kind="bad" title="The model could not be installed">
          <span class="wrap-any">{row.error}</span>
        </Notice>
      ) : null}
      {row.status === "installing" ? (
        <div class="panel padded">
          <Progress
            label={`Installing ${row.name}`}
            fraction={row.progress?.fraction ?? null}
            left={row.progress?.message ?? "Starting"}
            right="Continues when you leave this page"
          />
        </div>
      ) : null}
      <Stats>
        <Stat label="Parameters" big>
          {formatCount(row.parameters)}
        </Stat>
        <Stat label="Context length" note="tokens">
          {formatInteger(row.context_length)}
        </Stat>
        {row.download_bytes ? (
          <Stat label="Download">about {formatBytes(row.download_bytes)}</Stat>
        ) : (
          <Stat label="Size on disk">{row.bytes ? formatBytes(row.bytes) : "–"}</Stat>
        )}
        {row.fit ? (
          <Stat label="Fine-tuning here" note={fitWords(row.fit).short}>
            {row.fit.fits ? "Fits" : "Too large"}
          </Stat>
        ) : null}
        <Stat label="Fine-tuned models">
          <a href={`/models?q=${encodeURIComponent(`ft:${row.id}:`)}`}>Show</a>
        </Stat>
      </Stats>
    </div>
  );
}

/** The next action; it changes when the installation ends. */
export function BaseNext({ row }: { row: FittedModel }) {
  const { url } = usePage();
  return (
    <div id="next" class="row" {...liveOn(url, "models")}>
      <BaseAction row={row} />
    </div>
  );
}

const LABELS: Record<string, string> = {
  architecture: "Architecture",
  layers: "Layers",
  hidden_size: "Hidden size",
  intermediate_size: "Intermediate size",
  attention_heads: "Attention heads",
  key_value_heads: "Key/value heads",
  head_dim: "Head size",
  vocab_size: "Vocabulary",
  tied_embeddings: "Tied embeddings",
};

/** What to do about a default model that an earlier version converted. */
function OldConversion({ row, admin }: { row: FittedModel; admin: boolean }) {
  if (row.source?.kind !== "package" || row.source.revision === PACKAGE.revision) return null;
  return (
    <Notice kind="warn" title="Numbers are tokenized otherwise than the model was trained">
      <p>
        An earlier version of this program converted these files. Spaces and line breaks before digits become tokens
        that the model seldom saw. Models fine-tuned on it work as before. For new ones use another conversion, which is
        installed beside this one.
      </p>
      {admin ? (
        <PostForm action="/models/import">
          <input type="hidden" name="source" value="package" />
          <button type="submit" class="button">
            Convert again
          </button>
        </PostForm>
      ) : null}
    </Notice>
  );
}

export function BaseModelPage({ row, admin }: { row: FittedModel; admin: boolean }) {
  const numbers = Object.entries(LABELS).flatMap(([key, label]): [string, string][] => {
    const value = row.architecture[key];
    if (value === undefined || value === null) return [];
    return [
      [
        label,
        typeof value === "number"
          ? formatInteger(value)
          : typeof value === "boolean"
            ? value
              ? "yes"
              : "no"
            : String(value),
      ],
    ];
  });
  return (
    <Layout
      title={row.name || row.id}
      crumbs={[{ label: "Models", href: "/models?tab=base" }]}
      beside={
        <>
          <StateBadge state={row.status === "available" ? "not_installed" : row.status} />
          <ModelStaysBadge stays={row.stays_local} />
        </>
      }
      actions={<BaseNext row={row} />}
      live={{ topics: ["models"] }}
    >
      <div class="stack">
        <BaseModelState row={row} />
        <OldConversion row={row} admin={admin} />
        <div class="columns">
          <section class="panel padded stack tight">
            <h2>Architecture</h2>
            <KeyValue rows={[...numbers, ["Chat template", row.template ?? "from the tokenizer"]]} />
            {row.source_url ? (
              <p class="small">
                <a href={row.source_url} rel="noreferrer">
                  Source of these numbers
                </a>
              </p>
            ) : null}
          </section>
          <section class="panel padded stack tight">
            <h2>Source</h2>
            <KeyValue
              rows={[
                ["ID", <CopyId id={row.id} full />, "The value of “model” in requests"],
                row.hub ? ["Alias", row.hub] : null,
                row.source ? ["Source", `${row.source.kind}: ${row.source.reference}`] : ["Source", "not installed"],
                row.source ? ["Revision", <CopyId id={row.source.revision} />] : null,
                row.hash ? ["Manifest hash", <CopyId id={row.hash} />] : null,
              ]}
            />
          </section>
          <License row={row} />
        </div>
      </div>
    </Layout>
  );
}
