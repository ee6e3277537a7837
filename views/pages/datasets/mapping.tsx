/** The mapping dialog: the type of the rows, what each field is used for, and a preview of the first rows. */
import type { Preview } from "../../../src/data/validation/mapping/preview.ts";
import { Layout } from "../../layout.tsx";
import { PostForm } from "../../parts/allowed.tsx";
import { Field } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Notice } from "../../parts/notice.tsx";
import { type FormColumn, labelOf, type MappingChoices } from "./mapping-form.ts";
import { RowContent, type RowItem } from "./row-type.tsx";

export interface MappingProps {
  dataset: { id: string; name: string };
  versionId: string;
  /** Why the user is asked; empty when the file was read. */
  reason: string;
  columns: FormColumn[];
  choices: MappingChoices;
  preview: Preview;
  /** Why the mapping cannot be used yet. */
  error: string | null;
  /** Show the error, because the user has sent the form. */
  sent: boolean;
  /** Other datasets with a mapping. */
  others: { id: string; name: string }[];
}

const TYPES: [MappingChoices["type"], string, string][] = [
  ["chat", "Chat", "A prompt, or a conversation, with the answer to learn"],
  ["preference", "Preference", "A prompt with a better and a worse answer"],
  ["unpaired", "Labeled preference", "An answer that is marked as good or bad"],
  ["prompt", "Prompts", "A prompt for a grader, without an answer"],
  ["text", "Plain text", "A text for continued pre-training"],
];

const GROUPS: [string, [string, string][]][] = [
  [
    "Conversation",
    [
      ["prompt", "Prompt"],
      ["completion", "Completion (the answer to learn)"],
      ["messages", "Messages (a whole conversation)"],
      ["system", "System message"],
      ["context", "Context, added to the prompt"],
      ["history", "Earlier turns"],
      ["reasoning", "Reasoning of the answer"],
      ["tools", "Tool definitions"],
    ],
  ],
  [
    "Preference",
    [
      ["chosen", "Chosen answer"],
      ["rejected", "Rejected answer"],
      ["score_chosen", "Score of the chosen answer"],
      ["score_rejected", "Score of the rejected answer"],
      ["responses", "List of answers"],
      ["scores", "Scores of the list"],
    ],
  ],
  [
    "Other types",
    [
      ["label", "Label: good or bad answer"],
      ["item", "Field for the grader"],
      ["text", "Text"],
    ],
  ],
  [
    "Conversations over several rows",
    [
      ["id", "Row id"],
      ["parent_id", "Id of the row before"],
      ["role", "Role of the speaker"],
    ],
  ],
];

const KINDS: Record<FormColumn["kind"], string> = {
  text: "text",
  number: "number",
  boolean: "true or false",
  turns: "list of turns",
  list: "list",
  object: "object",
  empty: "empty",
};

function about({ kind, filled, length, values }: FormColumn): string {
  const size = kind === "text" && !values ? `, about ${length} characters` : "";
  const distinct = values ? `, ${values.length} ${values.length === 1 ? "value" : "values"}` : "";
  if (filled === 0 && kind !== "empty") return `${KINDS[kind]}, in later rows only`;
  const share = filled < 1 && kind !== "empty" ? `, in ${Math.round(filled * 100)}% of the rows` : "";
  return KINDS[kind] + size + distinct + share;
}

function UseSelect({ index, use }: { index: number; use: string }) {
  return (
    <select name={`use_${index}`} id={`use-${index}`}>
      {use === "" ? (
        <option value="" selected>
          Choose…
        </option>
      ) : null}
      <option value="unused" selected={use === "unused"}>
        Not used
      </option>
      {GROUPS.map(([label, options]) => (
        <optgroup label={label}>
          {options.map(([value, words]) => (
            <option value={value} selected={use === value}>
              {words}
            </option>
          ))}
        </optgroup>
      ))}
    </select>
  );
}

/** A field with samples, and the choice of its use. */
function FieldUse({ column, index, use }: { index: number; column: FormColumn; use: string }) {
  return (
    <li>
      <label for={`use-${index}`} class="wrap-any" dir="auto">
        {column.name}
        <span class="sub">{about(column)}</span>
      </label>
      <div class="stack tight">
        {column.samples.map((sample) => (
          <span class="clip small muted" dir="auto" title={sample}>
            {sample}
          </span>
        ))}
      </div>
      <UseSelect index={index} use={use} />
    </li>
  );
}

function LabelValues({ choices, columns }: Pick<MappingProps, "choices" | "columns">) {
  const label = labelOf(choices, columns);
  if (!label || choices.type !== "unpaired") return null;
  if (!label.values)
    return (
      <Notice kind="info" title={`"${label.name}" has many values`}>
        Only true and false can be read. Choose a field with a few values otherwise.
      </Notice>
    );
  return (
    <fieldset class="field">
      <legend>Which values of {label.name} mean a good answer?</legend>
      <input type="hidden" name="label" value={label.name} />
      <div class="fields">
        {label.values.map((value, index) => (
          <label class="check">
            <input
              type="checkbox"
              name={`value_${index}`}
              id={`value-${index}`}
              value="good"
              checked={choices.good.includes(value)}
            />
            <span class="clip" dir="auto">
              {value}
            </span>
          </label>
        ))}
      </div>
      <div class="hint">The other values mean a bad answer.</div>
    </fieldset>
  );
}

/** The parts of the form that depend on the choices: the values of the label, and the preview. */
export function MappingLive({ choices, columns, preview, error, sent }: MappingProps) {
  const problem = error ?? preview.error;
  return (
    <div id="mapping-live" class="stack loose">
      <LabelValues choices={choices} columns={columns} />
      {problem ? (
        <Notice kind={sent ? "bad" : "info"} alert={sent}>
          {problem}
        </Notice>
      ) : null}
      {preview.rows.length > 0 ? (
        <section class="stack" aria-label="Preview">
          <h3>Preview of the first rows</h3>
          <ul class="stack">
            {preview.rows.map(({ number, row, problems }) => (
              <li class="panel">
                <header class="slim">
                  <h4 class="small muted">Row {number}</h4>
                </header>
                <div class="body stack">
                  {row ? <RowContent row={{ id: number, ...row } as unknown as RowItem} /> : null}
                  {problems.map((text) => (
                    <p class={row ? "small muted wrap-any" : "error wrap-any"}>
                      <Icon name={row ? "info" : "warn"} /> <span>{text}</span>
                    </p>
                  ))}
                </div>
              </li>
            ))}
          </ul>
        </section>
      ) : null}
    </div>
  );
}

function Reuse({ dataset, others, versionId }: Pick<MappingProps, "dataset" | "others" | "versionId">) {
  const usable = others.filter(({ id }) => id !== dataset.id);
  if (usable.length === 0) return null;
  return (
    <details class="more body">
      <summary>
        <Icon name="right" />
        Use the mapping of another dataset
      </summary>
      <form class="form" method="get" action={`/datasets/${dataset.id}/mapping`}>
        <input type="hidden" name="version" value={versionId} />
        <Field
          id="mapping-from"
          label="Dataset"
          render={(ids) => (
            <select name="from" {...ids}>
              {usable.map(({ id, name }) => (
                <option value={id}>{name}</option>
              ))}
            </select>
          )}
        />
        <div class="row">
          <button type="submit" class="button">
            Fill in its mapping
          </button>
        </div>
      </form>
    </details>
  );
}

/** The form as a panel: on the page of a dataset that waits for it, and on its own page. */
export function MappingPanel(props: MappingProps) {
  const { dataset, columns, choices, versionId } = props;
  const path = `/datasets/${dataset.id}/mapping`;
  return (
    <section class="panel" id="mapping">
      <header>
        <h2>Fields</h2>
      </header>
      <PostForm
        class="body form wide"
        action={path}
        hx-post={`${path}/preview`}
        hx-trigger="change"
        hx-target="#mapping-live"
        hx-swap="outerMorph"
        hx-sync="this:replace"
      >
        <input type="hidden" name="version" value={versionId} />
        {choices.repeated ? <input type="hidden" name="repeated" value={choices.repeated} /> : null}
        <fieldset class="field">
          <legend>A row is</legend>
          <div class="choices two">
            {TYPES.map(([value, title, words]) => (
              <label class="choice">
                <input type="radio" name="type" value={value} checked={choices.type === value} required />
                <span>
                  <strong>{title}</strong>
                  <span class="xs muted">{words}</span>
                </span>
              </label>
            ))}
          </div>
        </fieldset>
        <ul class="map-fields" aria-label="Fields of the file">
          {columns.map((column, index) => (
            <FieldUse column={column} index={index} use={choices.uses[index] ?? ""} />
          ))}
        </ul>
        <MappingLive {...props} />
        <div class="row">
          <button type="submit" class="button only-without-script" formaction={`${path}/preview`}>
            Update the preview
          </button>
          <button type="submit" class="button primary">
            Read the rows
          </button>
        </div>
      </PostForm>
      <Reuse {...props} />
    </section>
  );
}

export function MappingPage(props: MappingProps) {
  const { dataset } = props;
  return (
    <Layout
      title="Map the fields"
      crumbs={[
        { label: "Datasets", href: "/datasets" },
        { label: dataset.name, href: `/datasets/${dataset.id}` },
      ]}
    >
      <div class="stack loose">
        {props.reason ? <Notice kind="warn">{props.reason}</Notice> : null}
        <MappingPanel {...props} />
      </div>
    </Layout>
  );
}
