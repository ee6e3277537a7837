/** `model …`: fine-tuned and base models; installing a base model, downloading a fine-tuned one. */
import { join } from "node:path";
import { AppError } from "../../errors.ts";
import { formatBytes, formatCount } from "../../lib/text/format.ts";
import type { BaseModelView } from "../../models/base/model.ts";
import type { LineageView } from "../../models/tuned/model.ts";
import type { ExportView } from "../../training/exports/model.ts";
import { type ApiClient, poll } from "../api-client.ts";
import { EXIT, type Verb } from "../command.ts";
import { createProgress } from "../progress.ts";
import { connect, SERVER_OPTIONS } from "./connection.ts";
import { downloadTo } from "./download.ts";
import { moment, printJson } from "./output.ts";
import { deleteVerb, idOf, pathOf, type Resource, readVerbs, showOne } from "./resources.ts";

interface Model {
  id: string;
  created: number;
  owned_by: string;
}

const models: Resource<Model> = {
  noun: "model",
  one: "a model",
  plural: "models",
  path: "/v1/models",
  whole: true,
  columns: [
    { title: "ID", value: (one) => one.id },
    { title: "OWNER", value: (one) => one.owned_by, flexible: true },
    { title: "CREATED (UTC)", value: (one) => moment(one.created), optional: true },
  ],
  fields: (one) => [
    ["ID", one.id],
    ["Owner", one.owned_by],
    ["Created (UTC)", moment(one.created)],
  ],
  async details(api, { id }) {
    if (!id.startsWith("ft:")) return "";
    const line = await api.call<LineageView>("GET", `${pathOf(models, id)}/lineage`);
    const steps = line.checkpoints.map((one) => `  ${one.model}\n`);
    return [
      `Base model: ${line.base_model.id}\n`,
      line.dataset ? `Data: ${line.dataset.name} (${line.dataset.version_id})\n` : "",
      line.job ? `Job: ${line.job.id}\n` : "",
      steps.length > 0 ? `Checkpoints:\n${steps.join("")}` : "",
    ].join("");
  },
};

const bases: Resource<BaseModelView> = {
  noun: "base-model",
  one: "a base model",
  plural: "base models",
  path: "/v1/base_models",
  whole: true,
  columns: [
    { title: "ID", value: (one) => one.id },
    { title: "STATE", value: (one) => one.status },
    { title: "PARAMETERS", value: (one) => formatCount(one.parameters), end: true },
    { title: "CONTEXT", value: (one) => formatCount(one.context_length), end: true },
    {
      title: "LICENSE",
      value: ({ license }) => `${license.name}${license.accepted ? "" : " (not accepted)"}`,
      flexible: true,
    },
  ],
  fields: (one) => [
    ["ID", one.id],
    ["State", one.status],
    ["Progress", one.progress?.message ?? null],
    ["Error", one.error],
    ["Parameters", formatCount(one.parameters)],
    ["Context", formatCount(one.context_length)],
    ["License", `${one.license.name}${one.license.accepted ? "" : " (has to be accepted first)"}`],
    ["Hub", one.hub],
    ["Size", one.bytes === null ? null : formatBytes(one.bytes)],
  ],
};

const install: Verb = {
  name: "base-model install",
  summary: "Installs a base model of the catalog and waits until it is ready.",
  words: "ID",
  options: SERVER_OPTIONS,
  async run(args) {
    const api = connect(args);
    const id = idOf(args, "base model");
    await api.call("POST", `${pathOf(bases, id)}/install`);
    const progress = createProgress(process.stderr);
    const done = await poll(async () => {
      const one = await api.call<BaseModelView>("GET", pathOf(bases, id));
      if (one.status !== "installing") return one;
      progress.show(one.progress?.message ?? "Installing", one.progress?.fraction ?? null);
      return null;
    });
    progress.end();
    await showOne(api, bases, done, args.on("json"));
    return done.status === "ready" ? EXIT.ok : EXIT.failed;
  },
};

interface Download {
  files: { path: string; size: number; url: string }[];
}

/** The files of a fine-tuned model: its adapter or full model, a checkpoint, or an export in `format`. */
async function filesOf(api: ApiClient, id: string, format: string | undefined): Promise<Download> {
  if (format) {
    const { data } = await api.call<{ data: ExportView[] }>("GET", `${pathOf(models, id)}/exports`);
    const found = data.find((one) => one.format === format && one.state === "succeeded");
    if (found) return found;
    const message = `${id} has no finished export as ${format}. Create it with POST /v1/models/{id}/exports, or on the model's page.`;
    throw new AppError("not_found", "export_not_found", message);
  }
  const line = await api.call<LineageView>("GET", `${pathOf(models, id)}/lineage`);
  const checkpoint = line.checkpoints.find((one) => one.model === id);
  const artifact = line.artifacts.find((one) =>
    checkpoint ? one.id === checkpoint.artifact_id : one.kind === "adapter" || one.kind === "model",
  );
  if (!artifact) throw new AppError("not_found", "artifact_not_found", `${id} has no files.`);
  const url = (path: string) => `/v1/artifacts/${artifact.id}/content/${path}`;
  return { files: artifact.files.map((file) => ({ ...file, url: url(file.path) })) };
}

const download: Verb = {
  name: "model download",
  summary: "Downloads the files of a fine-tuned model or checkpoint into a directory.",
  words: "ID",
  options: {
    output: { value: "DIR", short: "o", help: "directory (default: the id with dashes)" },
    format: { value: "FORMAT", help: "an export instead, such as safetensors or gguf-q8_0" },
    ...SERVER_OPTIONS,
  },
  async run(args) {
    const api = connect(args);
    const id = idOf(args, "model");
    const { files } = await filesOf(api, id, args.text("format"));
    const directory = args.text("output") ?? id.replace(/[^A-Za-z0-9._-]+/g, "-");
    const saved = files.map((file) => ({ ...file, target: join(directory, file.path) }));
    for (const { url, target, size } of saved) await downloadTo(api, url, target, size);
    if (args.on("json")) printJson({ model: id, files: saved.map(({ target, size }) => ({ path: target, size })) });
    return EXIT.ok;
  },
};

export const MODEL_VERBS: Verb[] = [
  ...readVerbs(models),
  download,
  deleteVerb(models, "Deletes a fine-tuned model."),
  ...readVerbs(bases),
  install,
];
