/** The playground: sends one message to several models and streams the answers side by side. */
import { Layout } from "../../layout.tsx";
import { Field, TextField } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty } from "../../parts/notice.tsx";

interface PlaygroundProps {
  /** Available models. */
  models: string[];
  /** Models of the panes, from the address. */
  chosen: string[];
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
      </header>
      <div class="body talk" data-answers aria-live="polite">
        <p class="muted small" data-hint>
          Answers stream here. The first one may take a few seconds while the model loads.
        </p>
      </div>
    </section>
  );
}

function Settings() {
  const fields: [string, string, string, string, string][] = [
    ["temperature", "Temperature", "0", "0", "2"],
    ["max_tokens", "Max tokens", "256", "1", "8192"],
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
            <details class="more">
              <summary>
                <Icon name="right" />
                Tools
              </summary>
              <Field
                id="tools"
                label="Tool definitions"
                hint="A JSON list, as in the tools of a request. The answer may then call them; type the results below it."
                render={(ids) => (
                  <textarea
                    name="tools"
                    class="mono"
                    rows={6}
                    spellcheck={false}
                    placeholder={EXAMPLE_TOOLS}
                    {...ids}
                  />
                )}
              />
              <p class="error-line" role="alert" id="tools-problem" hidden />
            </details>
            <Field
              id="prompt"
              label="Message"
              render={(ids) => (
                <textarea name="prompt" rows={3} required dir="auto" placeholder="Sent to every model above" {...ids}>
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
              <p class="muted">The playground needs JavaScript. Without it, use the API.</p>
            </noscript>
          </div>
        </div>
      </form>
      <SaveRow datasets={props.datasets} />
    </Layout>
  );
}
