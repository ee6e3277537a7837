/** A tuned model as files of other formats: what there is, how faithful it is, and making another. */
import { type Fidelity, isFinal } from "../../../src/contract/job.ts";
import { formatBytes, formatPercent } from "../../../src/lib/text/format.ts";
import type { ExportView, Format } from "../../../src/training/exports/model.ts";
import { ConfirmForm } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { KeyValue, Time } from "../../parts/value.tsx";

const ABOUT: Record<Format, [title: string, about: string]> = {
  safetensors: ["Merged safetensors", "One whole model for transformers, vLLM and others, without an adapter"],
  "gguf-f16": ["GGUF, 16 bits", "One file for llama.cpp, Ollama and LM Studio"],
  "gguf-q8_0": ["GGUF, 8 bits (Q8_0)", "Half the size, nearly the same answers"],
  "gguf-q6_k": ["GGUF, 6 bits (Q6_K)", "Two fifths of the size, close to the same answers"],
  "gguf-q5_k_m": ["GGUF, 5 bits (Q5_K_M)", "A third of the size, answers differ now and then"],
  "gguf-q4_k_m": ["GGUF, 4 bits (Q4_K_M)", "Under a third of the size, for laptops and phones"],
};
const small = (value: number) => (value === 0 ? "0" : value < 0.001 ? value.toExponential(1) : value.toPrecision(2));

function Report({ fidelity, limits }: { fidelity: Fidelity; limits: ExportView["limits"] }) {
  const same = (value: boolean) => (value ? "the same" : "other than trained");
  return (
    <details class="more">
      <summary>
        <Icon name="right" />
        {`Compared with the trained model: ${formatPercent(fidelity.top1_same)} the same word, ${small(fidelity.kl_mean)} nats apart`}
      </summary>
      <KeyValue
        rows={[
          ["Read by both", `${fidelity.prompts} prompts, ${fidelity.positions} positions`],
          ["Same likeliest token", formatPercent(fidelity.top1_same), `at least ${formatPercent(limits.top1_same)}`],
          [
            "Divergence",
            `${small(fidelity.kl_mean)} nats a token, ${small(fidelity.kl_max)} at most`,
            `mean of at most ${limits.kl_mean}`,
          ],
          [
            "Log-probability of that token",
            `${small(fidelity.logprob_mean)} apart, ${small(fidelity.logprob_max)} at most`,
          ],
          ["Tokens of a text", same(fidelity.tokens_same)],
          ["Tokens that end an answer", same(fidelity.stop_tokens_same)],
          ["Chat template", same(fidelity.template_same)],
        ]}
      />
    </details>
  );
}

function One({ row, path }: { row: ExportView; path: string }) {
  const [title] = ABOUT[row.format];
  const under = !isFinal(row.state);
  return (
    <section class="panel" aria-label={title}>
      <header>
        <h3>{title}</h3>
        <StateBadge state={row.state} />
        {under ? (
          <a class="button small" href={`/jobs/${row.id}`}>
            Watch it
          </a>
        ) : null}
        {row.state === "succeeded" ? (
          <ConfirmForm
            id={`delete-${row.id}`}
            action={`${path}/exports/${row.id}/delete`}
            label="Delete"
            buttonClass="button small"
            title="Delete these files?"
            lost="The files are removed from this server. The model and its adapter stay, and they can be made again."
            verb="Delete the files"
          />
        ) : null}
      </header>
      <div class="body stack">
        {row.error ? (
          <Notice kind="bad" title="Nothing was published">
            {row.error.message} <a href={`/jobs/${row.id}`}>See the job</a>
          </Notice>
        ) : null}
        {row.files.length ? (
          <ul class="lines-list">
            {row.files.map((file) => (
              <li>
                <Icon name="file" />
                <a class="grow clip" href={file.url} download>
                  {file.path}
                </a>
                <code class="xs muted" title={`sha256 ${file.sha256}`}>
                  {file.sha256.slice(0, 12)}
                </code>
                <span class="num muted">{formatBytes(file.size)}</span>
              </li>
            ))}
          </ul>
        ) : null}
        {row.fidelity ? <Report fidelity={row.fidelity} limits={row.limits} /> : null}
        <span class="xs muted">
          Begun <Time at={row.created_at * 1000} />
        </span>
      </div>
    </section>
  );
}

/** `exports` newest first; `formats` are those that can be made here of this model. */
export function Exports(props: { model: string; whole: boolean; exports: ExportView[]; formats: readonly Format[] }) {
  const { model, whole, exports, formats } = props;
  const path = `/models/${encodeURIComponent(model)}`;
  const there = exports.filter((row) => !["failed", "cancelled"].includes(row.state)).map((row) => row.format);
  const left = formats.filter((format) => !there.includes(format));
  return (
    <section class="stack tight" id="exports" aria-labelledby="exports-title">
      <h2 id="exports-title">Take it elsewhere</h2>
      <p class="muted small">
        {whole
          ? "Every weight was trained: the files above are a whole model for transformers and vLLM already. Other forms of it are read back and must answer as it does before they count."
          : "The adapter merged into its base. The files are read back and must answer as the trained model does before they count."}
      </p>
      <p class="small">
        <a href={`/v1${path}/card`} download="README.md">
          Model card
        </a>
        {" · "}
        <a href={`/v1${path}/passport`} download="passport.json">
          Run passport
        </a>{" "}
        <span class="muted">(what it is made of and how, signed by this installation)</span>
      </p>
      {exports.length ? (
        exports.map((row) => <One row={row} path={path} />)
      ) : (
        <Empty slim icon="file" title="No files yet">
          {whole
            ? "Make one GGUF file for llama.cpp and Ollama."
            : "Make them for transformers and vLLM, or as one GGUF file for llama.cpp and Ollama."}
        </Empty>
      )}
      {left.length ? (
        <form method="post" action={`${path}/exports`} class="row">
          <select name="format" aria-label="Format">
            {left.map((format) => (
              <option value={format}>{`${ABOUT[format][0]}: ${ABOUT[format][1]}`}</option>
            ))}
          </select>
          <button type="submit" class="button">
            Make the files
          </button>
        </form>
      ) : null}
    </section>
  );
}
