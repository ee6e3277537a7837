/** The export section of a fine-tuned model's page: existing exports with their fidelity, and a form for another. */
import { type ExportView, type Format, QUANTIZED, QUANTIZER } from "../../../src/training/exports/model.ts";
import { usePage } from "../../context.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { ConfirmForm } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { liveOn } from "../../parts/table.tsx";
import { Time } from "../../parts/value.tsx";
import { ExportResult, FORMAT_NAMES } from "./export-files.tsx";

function ExportPanel({ row, path }: { row: ExportView; path: string }) {
  const [title] = FORMAT_NAMES[row.format];
  return (
    <section class="export stack tight" aria-label={title}>
      <div class="row">
        <h3 class="grow">{title}</h3>
        <StateBadge state={row.state} />
        <a class="button small" href={`/jobs/${row.id}`}>
          View job
        </a>
        {row.state === "succeeded" ? (
          <ConfirmForm
            id={`delete-${row.id}`}
            action={`${path}/exports/${row.id}/delete`}
            owner={row.created_by}
            label="Delete"
            buttonClass="button small"
            title="Delete these files?"
            lost="The files are deleted from this server. The model and its adapter stay, and you can create the export again."
            verb="Delete files"
          />
        ) : null}
      </div>
      {row.error ? (
        <Notice kind="bad" title="The export failed">
          {row.error.message} <a href={`/jobs/${row.id}`}>View job</a>
        </Notice>
      ) : null}
      <ExportResult row={row} />
      <span class="xs muted">
        Started <Time at={row.created_at * 1000} />
      </span>
    </section>
  );
}

/** `exports`: newest first; `formats`: those that this model can be exported to on this machine. */
export function Exports(props: { model: string; whole: boolean; exports: ExportView[]; formats: readonly Format[] }) {
  const { model, whole, exports, formats } = props;
  const { url } = usePage();
  const path = `/models/${encodeURIComponent(model)}`;
  const existing = exports.filter((row) => !["failed", "cancelled"].includes(row.state)).map((row) => row.format);
  const available = formats.filter((format) => !existing.includes(format));
  return (
    <section class="panel" id="exports" aria-labelledby="exports-title" {...liveOn(new URL(path, url), "jobs")}>
      <header>
        <h2 id="exports-title">Export and download</h2>
      </header>
      <div class="body stack">
        <p class="muted small">
          {whole
            ? "Full fine-tuning: the model files already load in transformers and vLLM. Exports to other formats are verified against the trained model."
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
          <PostForm action={`${path}/exports`} class="row" id="new-export" hx-morph-skip>
            <select name="format" aria-label="Format">
              {available.map((format) => (
                <option value={format}>{`${FORMAT_NAMES[format][0]}: ${FORMAT_NAMES[format][1]}`}</option>
              ))}
            </select>
            <button type="submit" class="button">
              Create export
            </button>
          </PostForm>
        ) : null}
        {QUANTIZED.some((format) => formats.includes(format)) ? null : (
          <p class="small muted">
            GGUF with 6, 5 and 4 bits (Q6_K, Q5_K_M, Q4_K_M) appears here when the program <code>{QUANTIZER}</code> of
            llama.cpp is installed on the server.
          </p>
        )}
      </div>
    </section>
  );
}
