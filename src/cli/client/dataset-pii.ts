/** `dataset pii` and `dataset pii-decide`: personal data found in a dataset, and what is decided about it. */
import type { FoundRowList, PiiView } from "../../data/privacy/model.ts";
import { formatInteger, plural } from "../../lib/text/format.ts";
import { EXIT, UsageError, type Verb } from "../command.ts";
import { connect, SERVER_OPTIONS } from "./connection.ts";
import { fields, oneLine, print, printJson, table } from "./output.ts";
import { idOf } from "./resources.ts";

const ROWS = 50;
const DECISIONS = ["accept", "mask", "leave-out"];

const pathOf = (id: string) => `/v1/datasets/${encodeURIComponent(id)}/pii`;

function summary({ status, error, rows, rows_with_findings: found, counts, decision }: PiiView): string {
  return fields([
    ["State", status],
    ["Error", error],
    ["Rows", `${formatInteger(found)} of ${plural(rows, "row")} with findings`],
    ["Found", counts.map(({ name, count }) => `${name} (${formatInteger(count)})`).join(", ") || null],
    [
      "Decision",
      decision &&
        `${decision.decision.replace("_", " ")} by ${decision.by_name}${decision.reason && `: ${decision.reason}`}`,
    ],
    ["Next version", decision?.next_version_id ?? null],
  ]);
}

const show: Verb = {
  name: "dataset pii",
  summary: "Shows what was found of personal data and secrets in a dataset; values are masked.",
  words: "ID",
  options: { kind: { value: "KIND", help: "only rows with this kind, such as email" }, ...SERVER_OPTIONS },
  async run(args) {
    const api = connect(args);
    const path = pathOf(idOf(args, "dataset"));
    const kind = args.text("kind");
    const pii = await api.call<PiiView>("GET", path);
    const query = `?limit=${ROWS}${kind ? `&kind=${encodeURIComponent(kind)}` : ""}`;
    const list = await api.call<FoundRowList>("GET", `${path}/rows${query}`);
    if (args.on("json")) {
      printJson({ ...pii, rows_found: list.data });
      return EXIT.ok;
    }
    const found = list.data.flatMap(({ id, findings }) => findings.map((one) => ({ id, ...one })));
    const columns = [
      { title: "LINE", value: (one: (typeof found)[number]) => formatInteger(one.id), end: true },
      { title: "KIND", value: (one: (typeof found)[number]) => one.kind },
      { title: "VALUE", value: (one: (typeof found)[number]) => oneLine(one.value), flexible: true },
      { title: "FIELD", value: (one: (typeof found)[number]) => one.path, optional: true },
    ];
    print(summary(pii) + (found.length > 0 ? `\n${table(columns, found)}` : ""));
    return EXIT.ok;
  },
};

const decide: Verb = {
  name: "dataset pii-decide",
  summary: "Decides about personal data in a dataset: accept it, mask the values, or leave the rows out.",
  words: `ID ${DECISIONS.join("|")}`,
  options: {
    reason: { value: "TEXT", help: "why; needed to accept, and recorded" },
    kind: { value: "KIND", many: true, help: "only this kind, such as email (default: all)" },
    partial: { help: "keep a part of the masked values: j***@e***.com instead of [EMAIL]" },
    ...SERVER_OPTIONS,
  },
  notes: "To mask values or leave rows out creates the next version.",
  async run(args) {
    const [id, decision, ...rest] = args.words;
    if (!id || !decision || rest.length > 0 || !DECISIONS.includes(decision))
      throw new UsageError(`Give a dataset and one of ${DECISIONS.join(", ")}.`);
    const kinds = args.all("kind");
    const pii = await connect(args).call<PiiView>("POST", pathOf(id), {
      decision: decision.replace("-", "_"),
      reason: args.text("reason") ?? "",
      style: args.on("partial") ? "partial" : "mark",
      ...(kinds.length > 0 ? { kinds } : {}),
    });
    if (args.on("json")) printJson(pii);
    else print(summary(pii));
    return EXIT.ok;
  },
};

export const DATASET_PII_VERBS: Verb[] = [show, decide];
