/**
 * `quickstart`: the main workflow in one command, from a dataset to a chat with a fine-tuned model; the UI stays
 * running.
 */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { assetPath, isCompiled, unpackAssets } from "../../assets.ts";
import { ensureTrainerEnvironment } from "../../compute/environment/install.ts";
import { loadConfig } from "../../config.ts";
import { AppError } from "../../errors.ts";
import { type Files, openFiles } from "../../lib/disk/files.ts";
import { apiClient } from "../api-client.ts";
import { CONFIG_OPTIONS, configFlags, EXIT, UsageError, type Verb } from "../command.ts";
import { clockText, createProgress, type Progress } from "../progress.ts";
import { scoreTable, sideScore, wrapped } from "./show.ts";
import {
  chat,
  compare,
  deploy,
  type HeldOut,
  heldOutRow,
  makeBaseModel,
  makeDataset,
  type Step,
  train,
  windUp,
} from "./steps.ts";

const BASE_MODEL = "smollm2-135m-instruct";
/** Share of the user's rows in the validation split. */
const HOLDOUT = 0.1;
/** Maximum rows of a test file that both models answer. */
const MAX_TEST_ROWS = 10_000;
/** One epoch over the 360 example rows, eight per step: about two minutes on two cores. */
const STEPS = 45;
const LEARNING_RATE = 1e-3;

/** The example data as a file that other programs can read. */
function exampleFile(files: Files): string {
  if (!isCompiled) return assetPath("examples/support-messages.jsonl");
  const folder = files.path("tmp", "examples");
  unpackAssets("examples", folder);
  return join(folder, "support-messages.jsonl");
}

function wholeNumber(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9]\d{0,6}$/.test(text)) throw new UsageError(`--${name} must be a whole number of at least 1.`);
  return Number(text);
}

/** Ends the current wait when the user presses Ctrl-C. */
function onInterrupt(): { signal: AbortSignal; off(): void } {
  const controller = new AbortController();
  const abort = () =>
    controller.abort(
      new AppError("unavailable", "interrupted", "Stopped. Run the same command to continue: finished steps are kept."),
    );
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, abort);
  return {
    signal: controller.signal,
    off: () => {
      for (const name of ["SIGINT", "SIGTERM"] as const) process.off(name, abort);
    },
  };
}

interface Wish {
  data: string | null;
  test: string | null;
  model: string;
  maxSteps: number | undefined;
  epochs: number | undefined;
}

/** The training request: the example sets a few hyperparameters, the server chooses the rest. */
function trainRequest(wish: Wish, dataset: string): Record<string, unknown> {
  const own = wish.data !== null;
  return {
    model: wish.model,
    training_file: dataset,
    suffix: own ? "quickstart" : "support",
    ...(wish.maxSteps !== undefined ? { max_steps: wish.maxSteps } : own ? {} : { max_steps: STEPS }),
    ...(wish.epochs !== undefined ? { n_epochs: wish.epochs } : {}),
    // Two checkpoints instead of four: generating samples at each takes as long as several steps.
    ...(own ? {} : { batch_size: 8, learning_rate: LEARNING_RATE, save_every: Math.ceil(STEPS / 2) }),
    evaluate_after: true,
  };
}

async function road(step: Step, wish: Wish, files: Files) {
  const { api, progress } = step;
  const began = performance.now();
  const headline = (text: string) => progress.line(`\n${text}`);

  headline("2. Base model");
  const base = await makeBaseModel(step, wish.model);

  headline("3. Your data");
  const dataset = await makeDataset(step, wish.data ?? exampleFile(files), HOLDOUT);
  const sample = await heldOutRow(step, dataset.id);

  headline("4. Training");
  const job = await train(step, trainRequest(wish, dataset.id), (id) =>
    progress.line(`  watch it: ${api.url}/jobs/${id}`),
  );
  const model = String(job.result?.model ?? job.spec.output_model);
  progress.line(`  done in ${clockText((performance.now() - began) / 1000)}: ${model}`);

  headline("5. Before and after, on validation rows");
  const evaluation = await compare(step, job.id);
  progress.line(scoreTable(evaluation));
  const test = wish.test ? await testRows(step, wish.test, model) : null;

  headline("6. Endpoint");
  await deploy(step, model);
  progress.line(`  ${api.url}/v1 serves ${model}`);
  if (sample) await showChat(step, sample, model);

  return {
    base_model: base.id,
    model,
    dataset_id: dataset.id,
    job_id: job.id,
    before: sideScore(evaluation.result?.base ?? null),
    after: sideScore(evaluation.result?.tuned ?? null),
    ...(test ? { test } : {}),
  };
}

/** Evaluates both models on rows of a separate file. */
async function testRows(step: Step, path: string, model: string) {
  step.progress.line(`\n   The rows of ${path}`);
  const dataset = await makeDataset(step, path, 0);
  const made = await step.api.call<{ id: string }>("POST", "/v1/evaluations", {
    model,
    dataset: dataset.id,
    split: "all",
    max_rows: MAX_TEST_ROWS,
  });
  const evaluation = await compare(step, "", made.id);
  step.progress.line(scoreTable(evaluation));
  return { before: sideScore(evaluation.result?.base ?? null), after: sideScore(evaluation.result?.tuned ?? null) };
}

async function showChat(step: Step, sample: HeldOut, model: string): Promise<void> {
  const asked = sample.prompt.findLast((message) => message.role === "user")?.content ?? "";
  step.progress.show("Asking the fine-tuned model", null);
  const answer = await chat(step, model, sample.prompt);
  step.progress.line(`  asked     ${wrapped(asked)}`);
  step.progress.line(`  answered  ${wrapped(answer)}`);
  step.progress.line(`  expected  ${wrapped(sample.expected)}`);
}

export const quickstart: Verb = {
  name: "quickstart",
  summary: "Fine-tunes a small model on example data, evaluates and serves it, and leaves the UI running.",
  options: {
    data: {
      value: "FILE",
      help: "your own data instead of the example (chat JSONL, prompt/completion, Alpaca, ShareGPT, CSV)",
    },
    test: { value: "FILE", help: "additional rows to evaluate both models on, in the format of the data" },
    model: { value: "ID", help: `base model (default ${BASE_MODEL})` },
    "max-steps": {
      value: "N",
      help: "training steps (default: 45 for the example, by size for your own data)",
    },
    epochs: { value: "N", help: "epochs over your own data" },
    email: { value: "EMAIL", help: "account to create and use (default admin@finetune.lab)" },
    json: { help: "progress on standard error; the last line of standard output is one JSON object" },
    "no-keep": { help: "stop the server at the end, instead of leaving the UI running until Ctrl-C" },
    "data-dir": CONFIG_OPTIONS.data,
    listen: CONFIG_OPTIONS.listen,
    python: CONFIG_OPTIONS.python,
    torch: CONFIG_OPTIONS.torch,
  },
  notes: `The first run installs the trainer (1.6 GB) and a model of 135M parameters; later runs use them again and start
training within seconds. All data is in the data directory. Uses the server of that directory when one runs.`,
  async run(args) {
    const wish: Wish = {
      data: args.text("data") ? resolve(args.required("data")) : null,
      test: args.text("test") ? resolve(args.required("test")) : null,
      model: args.text("model") ?? BASE_MODEL,
      maxSteps: wholeNumber(args.text("max-steps"), "max-steps"),
      epochs: wholeNumber(args.text("epochs"), "epochs"),
    };
    for (const path of [wish.data, wish.test])
      if (path && !existsSync(path)) throw new UsageError(`There is no file ${path}.`);
    const dataDir = args.text("data-dir");
    const config = loadConfig({ ...configFlags(args, ["data"]), ...(dataDir ? { data_dir: dataDir } : {}) });
    return walk(wish, config, args.text("email") ?? "admin@finetune.lab", {
      json: args.on("json"),
      keep: !args.on("no-keep"),
      listenGiven: args.text("listen") !== undefined,
    });
  },
};

async function walk(
  wish: Wish,
  config: ReturnType<typeof loadConfig>,
  email: string,
  mode: { json: boolean; keep: boolean; listenGiven: boolean },
): Promise<number> {
  const began = performance.now();
  const progress: Progress = createProgress(mode.json ? process.stderr : process.stdout);
  const files = openFiles(config.data_dir);
  const interrupt = onInterrupt();
  progress.line(`Fine-Tune Lab quickstart. All its data is in ${files.root}`);
  progress.line("\n1. Trainer environment (1.6 GB, created once)");
  const environment = await ensureTrainerEnvironment(config, files, progress.show, interrupt.signal);
  progress.line(`  ${environment.python}`);

  // Checked first, so that a wrong option or a missing Python is reported at once.
  const { openAccount, openLab } = await import("./server.ts");
  const { untilSignal } = await import("../run-server.ts");
  const server = await openLab(config, files, mode.listenGiven);
  const undo: Step["undo"] = [];
  let key: string | null = null;
  try {
    const person = await openAccount(files, email);
    key = person.key;
    const api = apiClient(server.url, key, interrupt.signal);
    const made = await road({ api, progress, signal: interrupt.signal, undo }, wish, files);
    const seconds = Math.round((performance.now() - began) / 1000);
    const page = `${server.url}/jobs/${made.job_id}`;
    progress.line(`\nDone in ${clockText(seconds)}.`);
    progress.line(`  page      ${page}`);
    progress.line(
      `  sign in   ${person.email}  ${person.password ? `password ${person.password}` : "with its password"}`,
    );
    progress.line(`  API       ${server.url}/v1  key ${key}`);
    const result = { base_url: `${server.url}/v1`, page_url: page, api_key: key, ...made, seconds };
    if (mode.json) process.stdout.write(`${JSON.stringify(result)}\n`);
    interrupt.off();
    if (mode.keep && server.foreign) undo.length = 0;
    else if (mode.keep) {
      progress.line(
        `\nThe server keeps running. Stop it with Ctrl-C; start it later with: finetune-lab serve --data ${files.root}`,
      );
      await untilSignal();
      progress.line("\nStopping.");
    }
    return EXIT.ok;
  } catch (error) {
    progress.end();
    if (server.logPath) progress.line(`The server's log: ${server.logPath}`);
    throw interrupt.signal.aborted ? interrupt.signal.reason : error;
  } finally {
    if (key) await windUp(undo, apiClient(server.url, key));
    await server.stop();
  }
}
