/** The playground: sends one message to several models and streams the answers side by side. */
import type { ComponentChildren } from "preact";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { Field, TextField } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";

interface PlaygroundProps {
  /** Available models. */
  models: string[];
  /** Models of the panes, from the address. */
  chosen: string[];
  /** Models of the address that do not exist. */
  gone: string[];
  system: string;
  prompt: string;
  baseUrl: string;
  /** Datasets that answers can be saved to. */
  datasets: { id: string; name: string }[];
}

function Pane({ models, chosen, n }: { models: string[]; chosen: string; n: number }) {
  return (
    <section class="panel pane" data-pane aria-label={`Answers of model ${n + 1}`}>
      <header>
        <select name="model" aria-label={`Model ${n + 1}`} data-model>
          {models.map((model) => (
            <option value={model} selected={model === chosen}>
              {model}
            </option>
          ))}
        </select>
        <span class="small muted num" data-numbers role="status" />
        <button type="button" class="button plain icon-only small" data-remove-pane title="Remove this model">
          <Icon name="x" />
          <span class="visually-hidden">Remove this model</span>
        </button>
      </header>
      <div class="body talk" data-answers aria-live="polite">
        <p class="muted small" data-hint>
          Answers stream here. The first one may take a few seconds while the model loads.
        </p>
      </div>
    </section>
  );
}

/** A folded setting. */
function Fold({ title, open, children }: { title: string; open?: boolean; children: ComponentChildren }) {
  return (
    <details class="more" open={open}>
      <summary>
        <Icon name="right" />
        {title}
      </summary>
      <div class="stack tight">{children}</div>
    </details>
  );
}

function JsonField(props: { id: string; name: string; label: string; hint: string; placeholder: string }) {
  return (
    <>
      <Field
        id={props.id}
        label={props.label}
        hint={props.hint}
        render={(ids) => (
          <textarea
            name={props.name}
            class="mono"
            rows={6}
            spellcheck={false}
            placeholder={props.placeholder}
            {...ids}
          />
        )}
      />
      <p class="error-line" role="alert" id={`${props.id}-problem`} hidden />
    </>
  );
}

/** What is sent with every message: the right column. */
function Settings({ system }: { system: string }) {
  const numbers: [string, string, string, string, string][] = [
    ["temperature", "Temperature", "0", "0", "2"],
    ["max_tokens", "Max tokens", "256", "1", "8192"],
    ["top_p", "Top p", "1", "0", "1"],
    ["seed", "Seed", "", "0", "2147483647"],
  ];
  return (
    <aside class="panel playground-settings" aria-label="Settings">
      <div class="body form">
        <Fold title="System message" open>
          <textarea name="system" rows={4} aria-label="System message" dir="auto">
            {system}
          </textarea>
          <p class="xs muted" data-system-note hidden />
        </Fold>
        <div class="fields pair">
          {numbers.map(([name, label, value, min, max]) => (
            <Field
              id={`set-${name}`}
              label={label}
              render={(ids) => (
                <input type="number" step="any" name={name} value={value} min={min} max={max} {...ids} />
              )}
            />
          ))}
        </div>
        <Field
          id="set-stop"
          label="Stop sequences"
          hint="One per line, at most 4"
          render={(ids) => <textarea name="stop" rows={1} class="mono" spellcheck={false} {...ids} />}
        />
        <Fold title="Structured output">
          <JsonField
            id="schema"
            name="schema"
            label="JSON schema"
            hint="The answer is JSON that fits it."
            placeholder={EXAMPLE_SCHEMA}
          />
        </Fold>
        <Fold title="Tools">
          <JsonField
            id="tools"
            name="tools"
            label="Tool definitions"
            hint="A JSON list, as in the tools of a request. The answer may then call them; type the results below it."
            placeholder={EXAMPLE_TOOLS}
          />
        </Fold>
        <label class="check">
          <input type="checkbox" data-enter checked />
          <span>
            Enter sends <span class="xs muted">(Shift Enter: new line)</span>
          </span>
        </label>
        <Code />
      </div>
    </aside>
  );
}

function Composer({ prompt }: { prompt: string }) {
  return (
    <div class="panel composer">
      <label class="visually-hidden" for="prompt">
        Message
      </label>
      <textarea
        id="prompt"
        name="prompt"
        rows={2}
        required
        dir="auto"
        placeholder="Message, sent to every model above"
        class="grow"
      >
        {prompt}
      </textarea>
      <div class="row">
        <button type="button" class="button" data-try-row hidden>
          Try a validation row
        </button>
        <span class="grow" />
        <button type="button" class="button" data-stop hidden>
          <Icon name="stop" />
          Stop
        </button>
        <button type="submit" class="button primary">
          Send
        </button>
      </div>
      <noscript>
        <p class="muted">The playground needs JavaScript. Without it, use the API.</p>
      </noscript>
    </div>
  );
}

function Code() {
  return (
    <details class="more" data-code>
      <summary>
        <Icon name="right" />
        Copy as code
      </summary>
      <div class="stack tight">
        <div class="segments">
          {["curl", "Python", "TypeScript", "Training row"].map((name, index) => (
            <button type="button" data-language={name} aria-pressed={index === 0 ? "true" : "false"}>
              {name}
            </button>
          ))}
        </div>
        <div class="snippet">
          <section tabindex={0} aria-label="Code for this request">
            <pre data-code-text />
          </section>
          <button type="button" class="button plain icon-only small" data-copy="" data-code-copy title="Copy">
            <Icon name="copy" />
            <span class="visually-hidden">Copy</span>
          </button>
        </div>
      </div>
    </details>
  );
}

/** Saves a conversation as a training row; filled and sent by save-row.js. */
function SaveRow({ datasets }: Pick<PlaygroundProps, "datasets">) {
  return (
    <dialog id="save-row" class="sheet" aria-labelledby="save-row-title">
      <form class="form" data-save-row>
        <h2 id="save-row-title">Save to dataset</h2>
        <p class="small muted">
          The conversation up to this answer becomes a training row. Edit the answer to what the model should learn.
        </p>
        <section class="before" data-before tabindex={0} aria-label="The conversation before the answer" />
        <Field
          id="save-answer"
          label="Answer"
          render={(ids) => <textarea name="answer" rows={4} required dir="auto" {...ids} />}
        />
        <div data-calls hidden>
          <Field
            id="save-calls"
            label="Tool calls"
            hint="A JSON list of functions with name and arguments."
            render={(ids) => <textarea name="calls" class="mono" rows={4} spellcheck={false} {...ids} />}
          />
        </div>
        <label class="check" data-earlier hidden>
          <input type="checkbox" name="earlier" />
          Train on the earlier answers too
        </label>
        <div class="fields">
          <Field
            id="save-dataset"
            label="Dataset"
            hint="Saving creates a new version; earlier versions are kept."
            render={(ids) => (
              <select name="dataset" {...ids}>
                {datasets.map((row) => (
                  <option value={row.id}>{row.name}</option>
                ))}
                <option value="">New dataset</option>
              </select>
            )}
          />
          <div data-new-name hidden={datasets.length > 0}>
            <TextField name="name" label="Name" value="playground" maxlength={100} />
          </div>
        </div>
        <p class="error-line" role="alert" data-save-error hidden />
        <div class="row end">
          <button type="button" class="button" data-close>
            Cancel
          </button>
          <button type="submit" class="button primary">
            Save row
          </button>
        </div>
      </form>
    </dialog>
  );
}

const EXAMPLE_SCHEMA = `{"type": "object", "properties": {"label": {"type": "string"}},
  "required": ["label"]}`;
const EXAMPLE_TOOLS = `[{"type": "function", "function": {"name": "get_weather",
  "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]`;

export function PlaygroundPage(props: PlaygroundProps) {
  if (props.models.length === 0)
    return (
      <Layout title="Playground">
        <div class="panel">
          <Empty
            icon="chat"
            title="No models available"
            action={
              <a class="button primary" href="/models?tab=base">
                Install a base model
              </a>
            }
          >
            Install or fine-tune a model, then compare answers here side by side.
          </Empty>
        </div>
      </Layout>
    );
  return (
    <Layout
      title="Playground"
      wide
      actions={
        <>
          <button type="button" class="button" data-add-pane>
            <Icon name="plus" />
            Add model
          </button>
          <button type="button" class="button" data-share title="Copy a link to this conversation and its settings">
            <Icon name="copy" />
            Copy link
          </button>
          <button type="button" class="button" data-clear>
            Clear
          </button>
        </>
      }
    >
      <script src={`${usePage().assets}playground.js`} type="module" />
      <form id="playground" class="playground" data-playground data-base-url={props.baseUrl}>
        <div class="playground-main">
          <div class="panes" data-panes>
            {props.chosen.map((chosen, n) => (
              <Pane models={props.models} chosen={chosen} n={n} />
            ))}
          </div>
          {props.gone.length ? (
            <Notice kind="warn" title="Not shown">
              {props.gone.join(", ")} {props.gone.length === 1 ? "does not exist" : "do not exist"} any more, or{" "}
              {props.gone.length === 1 ? "is" : "are"} not yours.
            </Notice>
          ) : null}
          <Composer prompt={props.prompt} />
        </div>
        <Settings system={props.system} />
      </form>
      <SaveRow datasets={props.datasets} />
    </Layout>
  );
}
