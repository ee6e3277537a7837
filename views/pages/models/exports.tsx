/** The export section of a fine-tuned model's page: existing exports with their fidelity, and a form for another. */
import { type Fidelity, isFinal } from "../../../src/contract/job.ts";
import { formatBytes, formatPercent } from "../../../src/lib/text/format.ts";
import type { ExportView, Format } from "../../../src/training/exports/model.ts";
import { ConfirmForm } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { KeyValue, Time } from "../../parts/value.tsx";

const ABOUT: Record<Format, [title: string, about: string]> = {
  safetensors: ["Merged safetensors", "the full model for transformers, vLLM and others"],
  "gguf-f16": ["GGUF, 16 bits", "for llama.cpp, Ollama and LM Studio"],
  "gguf-q8_0": ["GGUF, 8 bits (Q8_0)", "half the size, nearly the same answers"],
  "gguf-q6_k": ["GGUF, 6 bits (Q6_K)", "two fifths of the size, similar answers"],
  "gguf-q5_k_m": ["GGUF, 5 bits (Q5_K_M)", "a third of the size, answers sometimes differ"],
  "gguf-q4_k_m": ["GGUF, 4 bits (Q4_K_M)", "under a third of the size, for laptops and phones"],
};
const small = (value: number) => (value === 0 ? "0" : value < 0.001 ? value.toExponential(1) : value.toPrecision(2));

function Report({ fidelity, limits }: { fidelity: Fidelity; limits: ExportView["limits"] }) {
  const same = (value: boolean) => (value ? "identical" : "different");
  return (
    <details class="more">
      <summary>
        <Icon name="right" />
        {`Verified: the export answers like the trained model (${formatPercent(fidelity.top1_same)} same next token, KL ${small(fidelity.kl_mean)})`}
      </summary>
      <KeyValue
        rows={[
          ["Compared on", `${fidelity.prompts} prompts, ${fidelity.positions} positions`],
          ["Same most likely token", formatPercent(fidelity.top1_same), `at least ${formatPercent(limits.top1_same)}`],
          [
            "KL divergence",
            `${small(fidelity.kl_mean)} nats per token, max ${small(fidelity.kl_max)}`,
            `mean of at most ${limits.kl_mean}`,
          ],
          ["Log probability difference", `mean ${small(fidelity.logprob_mean)}, max ${small(fidelity.logprob_max)}`],
          ["Tokenization", same(fidelity.tokens_same)],
          ["Stop tokens", same(fidelity.stop_tokens_same)],
          ["Chat template", same(fidelity.template_same)],
        ]}
      />
    </details>
  );
}

function ExportPanel({ row, path }: { row: ExportView; path: string }) {
  const [title] = ABOUT[row.format];
  const running = !isFinal(row.state);
  return (
    <section class="panel" aria-label={title}>
      <header>
        <h3>{title}</h3>
        <StateBadge state={row.state} />
        {running ? (
          <a class="button small" href={`/jobs/${row.id}`}>
            View job
          </a>
        ) : null}
        {row.state === "succeeded" ? (
          <ConfirmForm
            id={`delete-${row.id}`}
            action={`${path}/exports/${row.id}/delete`}
            label="Delete"
            buttonClass="button small"
            title="Delete these files?"
            lost="The files are deleted from this server. The model and its adapter stay, and you can create the export again."
            verb="Delete files"
          />
        ) : null}
      </header>
      <div class="body stack">
        {row.error ? (
          <Notice kind="bad" title="The export failed">
            {row.error.message} <a href={`/jobs/${row.id}`}>View job</a>
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
          Started <Time at={row.created_at * 1000} />
        </span>
      </div>
    </section>
  );
}

/** `exports`: newest first; `formats`: those that this model can be exported to on this machine. */
export function Exports(props: { model: string; whole: boolean; exports: ExportView[]; formats: readonly Format[] }) {
  const { model, whole, exports, formats } = props;
  const path = `/models/${encodeURIComponent(model)}`;
  const existing = exports.filter((row) => !["failed", "cancelled"].includes(row.state)).map((row) => row.format);
  const available = formats.filter((format) => !existing.includes(format));
  return (
    <section class="stack tight" id="exports" aria-labelledby="exports-title">
      <h2 id="exports-title">Export</h2>
      <p class="muted small">
        {whole
          ? "Full fine-tuning: the files above already load in transformers and vLLM. Exports to other formats are verified against the trained model."
          : "Merges the adapter into its base model. Every export is verified against the trained model."}
      </p>
      <p class="small">
        <a href={`/v1${path}/card`} download="README.md">
          Model card
        </a>
        {" · "}
        <a href={`/v1${path}/passport`} download="passport.json">
          Provenance (signed)
        </a>{" "}
        <span class="muted">(base model, data, settings and file hashes)</span>
      </p>
      {exports.length ? (
        exports.map((row) => <ExportPanel row={row} path={path} />)
      ) : (
        <Empty slim icon="file" title="No exports yet">
          {whole
            ? "Create a GGUF file for llama.cpp and Ollama."
            : "Create safetensors for transformers and vLLM, or a GGUF file for llama.cpp and Ollama."}
        </Empty>
      )}
      {available.length ? (
        <form method="post" action={`${path}/exports`} class="row">
          <select name="format" aria-label="Format">
            {available.map((format) => (
              <option value={format}>{`${ABOUT[format][0]}: ${ABOUT[format][1]}`}</option>
            ))}
          </select>
          <button type="submit" class="button">
            Create export
          </button>
        </form>
      ) : null}
    </section>
  );
}
