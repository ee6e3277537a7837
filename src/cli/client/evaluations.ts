/** `eval …`: list, show and create evaluations of a model next to its base model. */
import type { EvaluationView } from "../../evaluation/model.ts";
import { formatPercent } from "../../lib/text/format.ts";
import { EXIT, type Verb } from "../command.ts";
import { scoreTable } from "../quickstart/show.ts";
import { connect, SERVER_OPTIONS } from "./connection.ts";
import { watchJob } from "./jobs.ts";
import { moment } from "./output.ts";
import { pathOf, type Resource, readVerbs, showOne } from "./resources.ts";

const evaluations: Resource<EvaluationView> = {
  noun: "eval",
  one: "an evaluation with its scores",
  plural: "evaluations",
  path: "/v1/evaluations",
  filters: { job: { value: "ID", help: "only those of this training job" } },
  columns: [
    { title: "ID", value: (one) => one.id },
    { title: "NAME", value: (one) => one.name, flexible: true },
    { title: "STATE", value: (one) => one.status },
    { title: "VERDICT", value: (one) => one.comparison?.verdict.replaceAll("_", " ") ?? null },
    {
      title: "BASE",
      value: ({ result }) => (result?.base ? formatPercent(result.base.exact_match.mean) : null),
      end: true,
      optional: true,
    },
    {
      title: "TUNED",
      value: ({ result }) => (result?.tuned ? formatPercent(result.tuned.exact_match.mean) : null),
      end: true,
      optional: true,
    },
    { title: "CREATED (UTC)", value: (one) => moment(one.created_at), optional: true },
  ],
  fields: (one) => [
    ["ID", one.id],
    ["Name", one.name],
    ["State", one.status],
    ["Error", one.error?.message ?? null],
    ["Base model", one.base_model],
    ["Fine-tuned model", one.tuned_model],
    ["Data", one.dataset_version_id],
    ["Created (UTC)", moment(one.created_at)],
  ],
  details: async (_api, one) => (one.result ? `\n${scoreTable(one)}\n` : ""),
};

const create: Verb = {
  name: "eval create",
  summary: "Evaluates a model on validation rows next to its base model, and waits for the scores.",
  options: {
    job: { value: "ID", help: "a training job: its model on its validation rows" },
    model: { value: "MODEL", help: "a model, together with --data" },
    data: { value: "ID", help: "dataset, version or file with validation rows" },
    "all-rows": { help: "every row of the data instead of its validation split" },
    "max-rows": { value: "N", help: "at most this many rows" },
    name: { value: "NAME", help: "name of the evaluation" },
    "no-wait": { help: "do not wait for the scores" },
    ...SERVER_OPTIONS,
  },
  async run(args) {
    const api = connect(args);
    const most = args.text("max-rows");
    const job = args.text("job");
    const made = await api.call<EvaluationView>("POST", evaluations.path, {
      name: args.text("name"),
      ...(most === undefined ? {} : { max_rows: Number(most) }),
      ...(job
        ? { job }
        : {
            model: args.required("model"),
            dataset: args.required("data"),
            split: args.on("all-rows") ? "all" : "holdout",
          }),
    });
    if (!args.on("no-wait")) await watchJob(api, made.job_id);
    const one = await api.call<EvaluationView>("GET", pathOf(evaluations, made.id));
    await showOne(api, evaluations, one, args.on("json"));
    return one.status === "failed" || one.status === "cancelled" ? EXIT.failed : EXIT.ok;
  },
};

export const EVALUATION_VERBS: Verb[] = [...readVerbs(evaluations), create];
