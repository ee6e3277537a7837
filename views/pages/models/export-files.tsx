/** The result of an export, on the model's and on the export's own page: verdict, files, and how to run them. */
import type { Fidelity } from "../../../src/contract/job.ts";
import type { FileEntry } from "../../../src/contract/spec.ts";
import { formatBytes, formatPercent } from "../../../src/lib/text/format.ts";
import type { ExportView, Format } from "../../../src/training/exports/model.ts";
import { Icon } from "../../parts/icons.tsx";
import { KeyValue, Snippet } from "../../parts/value.tsx";

export const FORMAT_NAMES: Record<Format, [title: string, about: string]> = {
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

/** The files of an artifact as links with their sizes, and all of them as one archive. */
export function ArtifactFiles({ id, files }: { id: string; files: readonly Omit<FileEntry, "url">[] }) {
  const bytes = files.reduce((sum, file) => sum + file.size, 0);
  return (
    <div class="stack tight">
      <ul class="lines-list files">
        {files.map((file) => (
          <li>
            <Icon name="file" />
            <a class="grow clip" href={`/v1/artifacts/${id}/content/${file.path}`} download>
              {file.path}
            </a>
            <code class="xs muted" title={`sha256 ${file.sha256}`}>
              {file.sha256.slice(0, 12)}
            </code>
            <span class="num muted">{formatBytes(file.size)}</span>
          </li>
        ))}
      </ul>
      <div>
        <a class="button small" href={`/v1/artifacts/${id}/archive`} download>
          <Icon name="download" />
          Download all (.tar, {formatBytes(bytes)})
        </a>
      </div>
    </div>
  );
}

/** A name that Ollama and vLLM accept, from a model's id. */
const runName = (model: string) =>
  (model.split(":").slice(3).join("-") || model).toLowerCase().replace(/[^a-z0-9._-]+/g, "-");

/** Where the archive of an export unpacks to. */
const folderOf = (row: ExportView) => `${row.format === "safetensors" ? "merged" : "gguf"}-${row.artifact_id}`;

/** Commands that run the files of an export in the folder of its archive. */
function commandsOf(row: ExportView): [program: string, command: string][] {
  const [name, folder] = [runName(row.model), folderOf(row)];
  const gguf = row.files.find((file) => file.path.endsWith(".gguf"));
  if (!gguf) return [["vLLM", `vllm serve ./${folder} --served-model-name ${name}`]];
  const file = `printf 'FROM ./${gguf.path}\\n' > Modelfile`;
  return [
    ["Ollama", `cd ${folder} && ${file} && ollama create ${name} -f Modelfile && ollama run ${name}`],
    ["llama.cpp", `llama-server -m ${folder}/${gguf.path} --alias ${name} --port 8080`],
  ];
}

/** Files, verdict and commands of an export that succeeded. */
export function ExportResult({ row }: { row: ExportView }) {
  if (!row.artifact_id) return null;
  const commands = commandsOf(row);
  return (
    <>
      {row.fidelity ? <Report fidelity={row.fidelity} limits={row.limits} /> : null}
      <ArtifactFiles id={row.artifact_id} files={row.files} />
      <details class="more">
        <summary>
          <Icon name="right" />
          {`Run it with ${commands.map(([program]) => program).join(" or ")}`}
        </summary>
        <div class="stack tight">
          {[["Unpack", `tar -xf ${folderOf(row)}.tar`] as [string, string], ...commands].map(([label, command]) => (
            <div class="stack tight">
              <span class="small">{label}</span>
              <Snippet label={label} text={command} />
            </div>
          ))}
          <p class="xs muted">
            {row.format === "safetensors"
              ? "For Ollama and llama.cpp, create an export as GGUF."
              : "For vLLM, create an export as merged safetensors."}
          </p>
        </div>
      </details>
    </>
  );
}
