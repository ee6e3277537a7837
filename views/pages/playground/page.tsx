/** The playground: the same message to one or more models, answers streaming side by side. */
import { Layout } from "../../layout.tsx";
import { Field, TextField } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty } from "../../parts/notice.tsx";

interface PlaygroundProps {
  /** Models that can be asked. */
  models: string[];
  /** Models of the panes, from the address. */
  chosen: string[];
  system: string;
  prompt: string;
  baseUrl: string;
  /** Where answers can be saved to: the newest datasets that have rows. */
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
      </header>
      <div class="body talk" data-answers aria-live="polite">
        <p class="muted small" data-hint>
          Answers appear here as they are written. The first one may take some seconds while the model is loaded.
        </p>
      </div>
    </section>
  );
}

function Settings() {
  const fields: [string, string, string, string, string][] = [
    ["temperature", "Temperature", "0", "0", "2"],
    ["max_tokens", "At most tokens", "256", "1", "8192"],
    ["top_p", "Top p", "1", "0", "1"],
    ["seed", "Seed", "", "0", "2147483647"],
  ];
  return (
    <details class="more">
      <summary>
        <Icon name="right" />
        Settings
      </summary>
      <div class="fields">
        {fields.map(([name, label, value, min, max]) => (
          <Field
            id={`set-${name}`}
            label={label}
            render={(ids) => <input type="number" step="any" name={name} value={value} min={min} max={max} {...ids} />}
          />
        ))}
      </div>
    </details>
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

/** Makes a training row of a conversation; filled and sent by save-row.js. */
function SaveRow({ datasets }: Pick<PlaygroundProps, "datasets">) {
  return (
    <dialog id="save-row" class="sheet" aria-labelledby="save-row-title">
      <form class="form" data-save-row>
        <h2 id="save-row-title">Save to dataset</h2>
        <p class="small muted">
          The conversation up to this answer becomes a training row. Correct the answer first if it is not yet the one
          you want: the model learns what stands here.
        </p>
        <section class="before" data-before tabindex={0} aria-label="The conversation before the answer" />
        <Field
          id="save-answer"
          label="Answer to learn"
          render={(ids) => <textarea name="answer" rows={4} required dir="auto" {...ids} />}
        />
        <label class="check" data-earlier hidden>
          <input type="checkbox" name="earlier" />
          Learn from the earlier answers too
        </label>
        <div class="fields">
          <Field
            id="save-dataset"
            label="Dataset"
            hint="A new version is made; earlier ones stay as they are."
            render={(ids) => (
              <select name="dataset" {...ids}>
                {datasets.map((row) => (
                  <option value={row.id}>{row.name}</option>
                ))}
                <option value="">A new dataset</option>
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

export function PlaygroundPage(props: PlaygroundProps) {
  if (props.models.length === 0)
    return (
      <Layout title="Playground">
        <div class="panel">
          <Empty
            icon="chat"
            title="No model to talk to yet"
            action={
              <a class="button primary" href="/models?tab=base">
                Install a base model
              </a>
            }
          >
            Install a base model or fine-tune one; then compare them here, streaming side by side.
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
            Model
          </button>
          <button type="button" class="button" data-clear>
            Clear
          </button>
        </>
      }
    >
      <form id="playground" class="stack" data-playground data-base-url={props.baseUrl}>
        <div class="panes" data-panes>
          {props.chosen.map((chosen, n) => (
            <Pane models={props.models} chosen={chosen} n={n} />
          ))}
        </div>
        <div class="panel">
          <div class="body form">
            <details class="more" open={Boolean(props.system)}>
              <summary>
                <Icon name="right" />
                System message
              </summary>
              <textarea name="system" rows={3} aria-label="System message" dir="auto">
                {props.system}
              </textarea>
            </details>
            <Field
              id="prompt"
              label="Message"
              render={(ids) => (
                <textarea
                  name="prompt"
                  rows={3}
                  required
                  dir="auto"
                  placeholder="Ask every model above the same"
                  {...ids}
                >
                  {props.prompt}
                </textarea>
              )}
            />
            <div class="row between">
              <Settings />
              <div class="row">
                <button type="button" class="button" data-stop hidden>
                  <Icon name="stop" />
                  Stop
                </button>
                <button type="submit" class="button primary">
                  Send <kbd>Ctrl ↵</kbd>
                </button>
              </div>
            </div>
            <Code />
            <noscript>
              <p class="muted">The playground streams answers with a script; with scripts off, use the API instead.</p>
            </noscript>
          </div>
        </div>
      </form>
      <SaveRow datasets={props.datasets} />
    </Layout>
  );
}
