/** `dataset …`: list, show, create from a file, download and delete. */
import { readFileSync, statSync } from "node:fs";
import { basename } from "node:path";
import type { DatasetView } from "../../data/datasets/model.ts";
import type { Report } from "../../data/validation/rows/report.ts";
import { formatBytes, formatInteger, plural } from "../../lib/text/format.ts";
import { type ApiClient, poll } from "../api-client.ts";
import { EXIT, UsageError, type Verb } from "../command.ts";
import { createProgress } from "../progress.ts";
import { connect, SERVER_OPTIONS } from "./connection.ts";
import { DATASET_PII_VERBS } from "./dataset-pii.ts";
import { downloadTo } from "./download.ts";
import { fields, moment, oneLine, print, printJson, say } from "./output.ts";
import { deleteVerb, idOf, pathOf, type Resource, readVerbs } from "./resources.ts";

/** Lines shown of one kind of problem. */
const SAMPLES = 3;

async function reportOf(api: ApiClient, id: string): Promise<Report | null> {
  return (await api.call<{ report: Report | null }>("GET", `${pathOf(datasets, id)}/report`)).report;
}

/** The validation report as text: numbers, then every kind of problem with its first lines. */
function reportText(report: Report): string {
  const { problems, duplicates, characters, turns } = report;
  const numbers = fields([
    ["File", `${report.format ?? "unknown format"}, ${formatBytes(report.bytes)}`],
    ["Bad rows", report.bad_rows ? `${report.bad_rows}${report.bad_rows_left_out ? " (left out)" : ""}` : null],
    ["Turns a row", turns.max ? `${turns.min} to ${turns.max}` : null],
    ["Characters a row", `${characters.min} to ${characters.max}, median ${characters.p50}`],
    ["Duplicate rows", duplicates.rows ? formatInteger(duplicates.rows) : null],
  ]);
  const found = problems.map(({ severity, message, advice, count, samples }) => {
    const where = samples
      .slice(0, SAMPLES)
      .map(
        (one) => `    ${oneLine([`line ${one.line}`, one.path, one.detail || one.sample].filter(Boolean).join(": "))}`,
      );
    return ["", `${severity}: ${oneLine(message)} (${plural(count, "row")})`, ...where, `  ${oneLine(advice)}`, ""];
  });
  return numbers + found.map((texts) => texts.join("\n")).join("");
}

const datasets: Resource<DatasetView> = {
  noun: "dataset",
  one: "a dataset with its validation report",
  plural: "datasets",
  path: "/v1/datasets",
  columns: [
    { title: "ID", value: (one) => one.id },
    { title: "NAME", value: (one) => one.name, flexible: true },
    { title: "STATE", value: (one) => one.version?.status ?? null },
    { title: "TYPE", value: (one) => one.version?.row_type ?? null, optional: true },
    { title: "ROWS", value: (one) => formatInteger(one.version?.rows), end: true },
    { title: "CREATED (UTC)", value: (one) => moment(one.created_at), optional: true },
  ],
  fields: ({ id, name, description, created_at, version }) => [
    ["ID", id],
    ["Name", name],
    ["Description", description],
    ["State", version?.status ?? null],
    ["Error", version?.error ?? null],
    ["Version", version && `${version.number} (${version.id})`],
    ["Type", version?.row_type ?? null],
    [
      "Rows",
      version &&
        `${formatInteger(version.rows)}: ${formatInteger(version.train_rows)} for training, ${formatInteger(version.holdout_rows)} for validation`,
    ],
    ["Created (UTC)", moment(created_at)],
  ],
  async details(api, { id }) {
    const report = await reportOf(api, id);
    return report ? `\n${reportText(report)}` : "";
  },
};

/** Uploads a file as a dataset with progress and waits until it is validated. */
export async function uploadDataset(api: ApiClient, file: string, options: Record<string, string>) {
  const size = statSync(file, { throwIfNoEntry: false })?.size;
  if (size === undefined) throw new UsageError(`There is no file ${file}.`);
  const progress = createProgress(process.stderr);
  const name = basename(file);
  const made = await api.upload<DatasetView>(datasets.path, file, options, (sent) =>
    progress.show(`Uploading ${name}: ${formatBytes(sent)} of ${formatBytes(size)}`, sent / Math.max(1, size)),
  );
  const done = await poll(async () => {
    const one = await api.call<DatasetView>("GET", pathOf(datasets, made.id));
    if (one.version?.status !== "validating") return one;
    progress.show("Validating every row", one.version.progress);
    return null;
  });
  progress.end();
  return done;
}

/** The text of a mapping file. */
function readMapping(path: string): string {
  if (statSync(path, { throwIfNoEntry: false }) === undefined) throw new UsageError(`There is no file ${path}.`);
  return readFileSync(path, "utf8");
}

const create: Verb = {
  name: "dataset create",
  summary: "Uploads a file as a dataset, waits until it is validated, and shows the report.",
  words: "FILE",
  options: {
    name: { value: "NAME", help: "name of the dataset (default: the file's name)" },
    validation: { value: "SHARE", help: "share of rows for validation, such as 0.1 (default 0.1; 0 = none)" },
    map: { value: "PART=FIELD", many: true, help: "what a field is used for: prompt=…, completion=…, label=…" },
    mapping: { value: "FILE", help: "mapping as JSON, as GET /v1/datasets/{id}/mapping returns it" },
    "mapping-from": { value: "ID", help: "dataset or version whose mapping is used" },
    "skip-bad": { help: "leave out bad rows instead of refusing the file, unless most rows are bad" },
    "skip-most": { help: "leave out bad rows even when most rows are bad" },
    ...SERVER_OPTIONS,
  },
  notes: "Exit code 1 when the file cannot be used for training; the report says why, with line numbers.",
  async run(args) {
    const file = idOf(args, "file");
    const options: Record<string, string> = { name: args.text("name") ?? basename(file) };
    const share = args.text("validation");
    if (share !== undefined) options.holdout_fraction = share;
    if (args.on("skip-bad")) options.skip_bad = "true";
    if (args.on("skip-most")) options.skip_bad = "any";
    for (const pair of args.all("map")) {
      const [field = "", column] = pair.split(/=(.*)/s);
      if (!column) throw new UsageError(`--map ${pair} is not PART=FIELD.`);
      options[`mapping[${field}]`] = column;
    }
    const [mapping, from] = [args.text("mapping"), args.text("mapping-from")];
    if ([mapping, from, args.all("map")[0]].filter((given) => given !== undefined).length > 1)
      throw new UsageError("Give one of --map, --mapping and --mapping-from.");
    if (mapping !== undefined) options.mapping = readMapping(mapping);
    if (from !== undefined) options.mapping_from = from;
    const api = connect(args);
    const one = await uploadDataset(api, file, options);
    if (args.on("json")) printJson(one);
    else print(fields(datasets.fields(one)) + ((await datasets.details?.(api, one)) ?? ""));
    if (one.version?.status === "needs_mapping")
      say("The fields of this file are not mapped: repeat with --map PART=FIELD, --mapping or --mapping-from.");
    return one.version?.status === "ready" ? EXIT.ok : EXIT.failed;
  },
};

const download: Verb = {
  name: "dataset download",
  summary: "Downloads the file of a dataset's newest version.",
  words: "ID",
  options: { output: { value: "FILE", short: "o", help: "where to (default: the dataset's name)" }, ...SERVER_OPTIONS },
  async run(args) {
    const api = connect(args);
    const one = await api.call<DatasetView>("GET", pathOf(datasets, idOf(args, "dataset")));
    const fileId = one.version?.file_id;
    if (!fileId) throw new UsageError(`${one.id} has no file: its rows were added one by one.`);
    const target = args.text("output") ?? basename(one.name);
    await downloadTo(api, `/v1/files/${fileId}/content`, target);
    if (args.on("json")) printJson({ dataset: one.id, file_id: fileId, path: target });
    return EXIT.ok;
  },
};

export const DATASET_VERBS: Verb[] = [
  ...readVerbs(datasets),
  create,
  download,
  ...DATASET_PII_VERBS,
  deleteVerb(datasets, "Deletes a dataset, its rows and its file."),
];
