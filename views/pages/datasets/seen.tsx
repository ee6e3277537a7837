/** What the model sees: rows as tokens that are in the loss, context only, or truncated. */

import { formatInteger, plural } from "../../../src/lib/text/format.ts";
import type { Seen } from "../../../src/models/inspection/service.ts";
import { usePage, withQuery } from "../../context.ts";
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
  /** The rows come later, and the page asks for them by itself. */
  waiting?: boolean;
}

type Sequence = Seen["rows"][number]["sequences"][number];
const STATES = { t: "in the loss", c: "context only", x: "truncated" } as const;
type State = keyof typeof STATES;

const NAMES: Record<string, string> = {
  chosen: "Chosen answer",
  rejected: "Rejected answer",
  good: "Labeled good",
  bad: "Labeled bad",
};

/** `, sequence 1 of 2` for one of several sequences of the same name. */
function partOf(sequences: Sequence[], sequence: Sequence): string {
  const alike = sequences.filter(({ name }) => name === sequence.name);
  return alike.length > 1 ? `, sequence ${alike.indexOf(sequence) + 1} of ${alike.length}` : "";
}

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

const sentence = (words: string) => `${words.charAt(0).toUpperCase()}${words.slice(1)}.`;

/** Line breaks are tokens too, so they are shown with a sign. */
const shown = (piece: string) => piece.replaceAll("\n", "↵\n");

function Tokens({ sequence }: { sequence: Sequence }) {
  return (
    <div class="seen" dir="auto">
      {runsOf(sequence).map(({ state, pieces }) => {
        const tokens = pieces.map((piece) => <span>{shown(piece)}</span>);
        return state === "t" ? (
          <mark>{tokens}</mark>
        ) : state === "x" ? (
          <del title="Beyond the max sequence length">{tokens}</del>
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
      {plural(trains, "token")} in the loss, {formatInteger(context)} context only
      {cut ? `, ${formatInteger(cut)} truncated` : ""}
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
        <Empty slim icon="search" title="No rows">
          This version has no validation split.
        </Empty>
      ) : null}
      {seen?.rows.map((row) => (
        <section class="panel" id={`row-${row.row_id}`}>
          {row.error === undefined ? null : (
            <>
              <header class="slim">
                <h2 class="small">Row {row.row_id}</h2>
              </header>
              <div class="body">
                <Notice kind="bad" title="This row cannot be trained on">
                  {sentence(row.error)}
                </Notice>
              </div>
            </>
          )}
          {row.sequences.map((sequence) => (
            <>
              <header class="slim">
                <h2 class="small">
                  Row {row.row_id}
                  {NAMES[sequence.name] ? `: ${NAMES[sequence.name]?.toLowerCase()}` : ""}
                  {partOf(row.sequences, sequence)}
                </h2>
                <Counts sequence={sequence} />
              </header>
              <div class="body stack">
                {sequence.name === "prompt" && !sequence.cut ? (
                  <p class="small muted">
                    The model generates answers to this prompt during training. The generated tokens are in the loss.
                  </p>
                ) : sequence.trains === 0 ? (
                  <Notice kind="warn">No token of this row contributes to the loss, so training skips it.</Notice>
                ) : null}
                {sequence.warnings?.map((warning) => (
                  <Notice kind="warn">{sentence(warning)}</Notice>
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

/** Filters and rows; while the rows are not read yet, a message that they are. */
export function SeenView(props: SeenProps) {
  const { bases, form, seen, waiting } = props;
  const { url } = usePage();
  // The base model in use comes first, so that it is selected when the URL does not name one.
  const ordered = bases.toSorted((a, b) => Number(b.id === seen?.baseModel) - Number(a.id === seen?.baseModel));
  if (waiting) {
    const address = withQuery(url, { rows: "yes", after: url.searchParams.get("after") });
    return (
      <div id="seen-view" hx-get={address} hx-trigger="load" hx-target="this" hx-swap="outerMorph">
        <Notice kind="info" title="Reading the rows">
          The first time, the trainer's code is started, which takes a few seconds.{" "}
          <a class="only-without-script" href={address}>
            Show the rows
          </a>
        </Notice>
      </div>
    );
  }
  return (
    <div id="seen-view" class="stack loose">
      <Tabs
        label="Split"
        name="split"
        fragment="seen"
        tabs={[
          { key: "train", label: "Training rows" },
          { key: "holdout", label: "Validation rows" },
        ]}
      />
      <Filters fragment="seen">
        {url.searchParams.get("split") === "holdout" ? <input type="hidden" name="split" value="holdout" /> : null}
        <FilterSelect name="base" label="Base model" options={ordered.map(({ id, name }) => [id, name])} />
        {seen?.rowType === "chat" || !seen ? (
          <FilterSelect
            name="loss"
            label="Train on"
            options={[
              ["completion", "assistant turns"],
              ["all", "all tokens"],
            ]}
          />
        ) : null}
        <FilterSelect
          name="special"
          label="Special tokens in texts"
          options={[
            ["", "special tokens: auto"],
            ["escape", "special tokens: plain text"],
            ["strip", "special tokens: removed"],
            ["keep", "special tokens: control tokens"],
          ]}
        />
        {seen?.rowType === "text" || seen?.rowType === "prompt" ? null : (
          <FilterSelect
            name="reasoning"
            label="Reasoning of answers"
            options={[
              ["", "reasoning: in the loss"],
              ["mask", "reasoning: context only"],
            ]}
          />
        )}
        <label class="field">
          <span class="small muted">Max sequence length (tokens)</span>
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
  );
}

export function SeenPage(props: SeenProps) {
  const { dataset, bases } = props;
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
          Rows as the model sees them in training, from the trainer's own code with the model's tokenizer and chat
          template.{" "}
          <span class="seen legend">
            <mark>
              <span>in the loss</span>
            </mark>{" "}
            <span class="context">
              <span>context only (masked)</span>
            </span>{" "}
            <del>
              <span>truncated</span>
            </del>
          </span>
        </p>
        {bases.length === 0 ? (
          <Empty
            icon="models"
            title="No base model is installed"
            action={
              <a class="button primary" href="/models?tab=base">
                Install a base model
              </a>
            }
          >
            The tokenizer and the chat template of a base model show what it sees of each row.
          </Empty>
        ) : (
          <SeenView {...props} />
        )}
      </div>
    </Layout>
  );
}
