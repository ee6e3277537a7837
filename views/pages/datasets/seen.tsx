/** What the model sees: rows as tokens, and what of them is learned, only read, or cut. */

import { formatInteger, plural } from "../../../src/lib/text/format.ts";
import type { Seen } from "../../../src/models/inspection/service.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { FilterSelect, Filters, Tabs } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { Pager } from "../../parts/table.tsx";

export interface SeenProps {
  dataset: { id: string; name: string };
  bases: { id: string; name: string }[];
  form: { base: string; version: string; split: string; length: string; loss: string };
  seen: Seen | null;
  problem: string | null;
}

type Sequence = Seen["rows"][number]["sequences"][number];
const STATES = { t: "trains", c: "context", x: "cut" } as const;
type State = keyof typeof STATES;

const NAMES: Record<string, string> = {
  chosen: "With the better answer",
  rejected: "With the worse answer",
  good: "Marked good",
  bad: "Marked bad",
};

/** Runs of tokens of one state, in order. */
function runsOf({ pieces, states }: Sequence): { state: State; pieces: string[] }[] {
  const runs: { state: State; pieces: string[] }[] = [];
  for (const [index, piece] of pieces.entries()) {
    const state = (states[index] ?? "c") as State;
    const last = runs.at(-1);
    if (last?.state === state) last.pieces.push(piece);
    else runs.push({ state, pieces: [piece] });
  }
  return runs;
}

/** A line break is shown as one, and by a sign: it is a token too. */
const shown = (piece: string) => piece.replaceAll("\n", "↵\n");

function Tokens({ sequence }: { sequence: Sequence }) {
  return (
    <div class="seen" dir="auto">
      {runsOf(sequence).map(({ state, pieces }) => {
        const tokens = pieces.map((piece) => <span>{shown(piece)}</span>);
        return state === "t" ? (
          <mark>{tokens}</mark>
        ) : state === "x" ? (
          <del title="Beyond the longest row">{tokens}</del>
        ) : (
          <span class="context">{tokens}</span>
        );
      })}
    </div>
  );
}

function Counts({ sequence }: { sequence: Sequence }) {
  const { trains, context, cut } = sequence;
  return (
    <span class="small muted">
      {plural(trains, "token")} trained on, {formatInteger(context)} only read
      {cut ? `, ${formatInteger(cut)} cut` : ""}
    </span>
  );
}

export function SeenList({ seen, problem }: SeenProps) {
  return (
    <section id="seen" class="stack">
      {problem ? (
        <Notice kind="warn" title="These rows cannot be shown">
          {problem}
        </Notice>
      ) : null}
      {seen && seen.rows.length === 0 ? (
        <Empty slim icon="search" title="No rows here">
          Nothing was held out.
        </Empty>
      ) : null}
      {seen?.rows.map((row) => (
        <section class="panel" id={`row-${row.row_id}`}>
          {row.sequences.map((sequence) => (
            <>
              <header class="slim">
                <h2 class="small">
                  Row {row.row_id}
                  {NAMES[sequence.name] ? `: ${NAMES[sequence.name]?.toLowerCase()}` : ""}
                </h2>
                <Counts sequence={sequence} />
              </header>
              <div class="body stack">
                {sequence.name === "prompt" && !sequence.cut ? (
                  <p class="small muted">
                    The model writes answers to this while it trains; what it writes is learned.
                  </p>
                ) : sequence.trains === 0 ? (
                  <Notice kind="warn">Nothing of this row is learned: it is left out of the training.</Notice>
                ) : null}
                {sequence.warnings?.map((warning) => (
                  <Notice kind="warn">{warning}</Notice>
                ))}
                <Tokens sequence={sequence} />
              </div>
            </>
          ))}
        </section>
      ))}
      {seen ? (
        <Pager
          shown={seen.rows.length}
          hasMore={seen.next !== null}
          last={seen.next === null ? null : String(seen.next)}
          fragment="seen"
          order="data"
        />
      ) : null}
    </section>
  );
}

export function SeenPage(props: SeenProps) {
  const { dataset, bases, form, seen } = props;
  const { url } = usePage();
  // The one that was taken stands first, so that it is shown as chosen when the address names none.
  const ordered = bases.toSorted((a, b) => Number(b.id === seen?.baseModel) - Number(a.id === seen?.baseModel));
  return (
    <Layout
      title="What the model sees"
      crumbs={[
        { label: "Datasets", href: "/datasets" },
        { label: dataset.name, href: `/datasets/${dataset.id}` },
      ]}
    >
      <div class="stack loose">
        <p class="muted">
          Rows as the trainer hands them to the model: by its tokenizer, its chat template and the trainer's own code.{" "}
          <span class="seen legend">
            <mark>
              <span>learned</span>
            </mark>{" "}
            <span class="context">
              <span>only read</span>
            </span>{" "}
            <del>
              <span>cut</span>
            </del>
          </span>
        </p>
        <Tabs
          label="Which part"
          name="split"
          fragment="seen"
          tabs={[
            { key: "train", label: "Training rows" },
            { key: "holdout", label: "Held out" },
          ]}
        />
        <Filters fragment="seen">
          {url.searchParams.get("split") === "holdout" ? <input type="hidden" name="split" value="holdout" /> : null}
          <FilterSelect name="base" label="Base model" options={ordered.map(({ id, name }) => [id, name])} />
          {seen?.rowType === "chat" || !seen ? (
            <FilterSelect
              name="loss"
              label="Loss on"
              options={[
                ["completion", "answers only"],
                ["all", "every token"],
              ]}
            />
          ) : null}
          <label class="field">
            <span class="small muted">Longest row, in tokens</span>
            <input
              name="length"
              inputmode="numeric"
              size={7}
              value={form.length || String(seen?.maxLength ?? "")}
              autocomplete="off"
            />
          </label>
        </Filters>
        <SeenList {...props} />
      </div>
    </Layout>
  );
}
