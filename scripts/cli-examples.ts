/**
 * `bun scripts/cli-examples.ts`: runs an example of every client verb on a fresh server with the tests' tiny model, and
 * records what it prints for docs/cli.md (then: `bun run docs:cli`).
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { startLive } from "../test/support/live.ts";
import { startTracking } from "../test/support/mlflow.ts";
import { importTinyModel, SMOLLM2_MODEL, trainingLines } from "../test/support/tiny.ts";

/** Where the recording is; `scripts/cli-docs.ts` reads it. */
const RECORDING = join(import.meta.dir, "cli-examples.json");
const MAIN = join(import.meta.dir, "../src/main.ts");
const QUICK = "--set max_steps=2 --set eval_every=2 --set save_every=2 --set evaluate_after=false";

const dir = mkdtempSync(join(tmpdir(), "ftl-examples-"));
const live = await startLive({ env: { FTL_PREPARED_MODELS: dirname(SMOLLM2_MODEL) } });
const tracking = startTracking();
const recording: { verb: string; command: string; output: string }[] = [];

/** A text with the usual addresses instead of those of this recording. */
const usual = (text: string) =>
  text.replaceAll(live.url, "http://127.0.0.1:3900").replaceAll(tracking.url, "http://127.0.0.1:5000");

/** Runs one example and records standard error and standard output, without the addresses of this machine. */
async function example(verb: string, line: string): Promise<string> {
  const words = [...line.matchAll(/"([^"]*)"|(\S+)/g)].map((match) => match[1] ?? match[2] ?? "");
  const child = Bun.spawn([process.execPath, MAIN, ...words], {
    cwd: dir,
    env: { PATH: process.env.PATH ?? "", HOME: dir, FTL_URL: live.url, FTL_API_KEY: live.key },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  if ((await child.exited) !== 0) throw new Error(`${line}: ${err}${out}`);
  const shown = usual(`${err}${out}`.trimEnd()).replaceAll(dir, "~");
  const lines = shown.split("\n");
  const output = lines.length > 40 ? [...lines.slice(0, 40), `… ${lines.length - 40} more lines`].join("\n") : shown;
  recording.push({ verb, command: `finetune-lab ${usual(line)}`, output });
  process.stderr.write(`${verb}\n`);
  return out;
}
const find = (pattern: RegExp, text: string) => pattern.exec(text)?.[0] ?? "";

try {
  await importTinyModel(live);
  writeFileSync(join(dir, "support.jsonl"), trainingLines(40));
  writeFileSync(join(dir, "key"), `${live.key}\n`);
  await example("login", `login --url ${live.url} --key-file key`);
  const data = find(/ds_\w+/, await example("dataset create", "dataset create support.jsonl"));
  await example("dataset list", "dataset list");
  await example("dataset show", `dataset show ${data}`);
  await example("dataset download", `dataset download ${data} -o copy.jsonl`);
  const create = `job create --model tiny --data ${data} --suffix support ${QUICK}`;
  await example("job create", `${create} --max-cost-usd 5 --dry-run`);
  const job = (
    await live.call<{ id: string }>("POST", "/v1/jobs", {
      model: "tiny",
      training_file: data,
      suffix: "support",
      max_steps: 2,
      eval_every: 2,
      save_every: 2,
      evaluate_after: false,
    })
  ).id;
  const model = find(/ft:tiny:\S+/, await example("job watch", `job watch ${job}`));
  await example("job mlflow", `job mlflow ${job} --tracking ${tracking.url}`);
  await example("job list", "job list --kind train");
  await example("job show", `job show ${job}`);
  await example("logs", `logs ${job}`);
  await example("model list", "model list");
  await example("model show", `model show ${model}`);
  await example("model download", `model download ${model} -o adapter`);
  await example("base-model list", "base-model list");
  await example("base-model show", "base-model show tiny");
  await example("base-model install", "base-model install smollm2-135m-instruct");
  const deployment = find(/dep_\w+/, await example("deployment create", `deployment create ${model}`));
  await example("deployment list", "deployment list");
  await example("chat", `chat ${model} -m "My card was stolen" --max-tokens 8 --temperature 0`);
  await example("deployment stop", `deployment stop ${deployment}`);
  await example("deployment show", `deployment show ${deployment}`);
  await example("deployment start", `deployment start ${deployment}`);
  await example("deployment delete", `deployment delete ${deployment} --yes`);
  const evaluation = find(
    /eval_\w+/,
    await example("eval create", `eval create --model ${model} --data ${data} --max-rows 2`),
  );
  await example("eval list", "eval list");
  await example("eval show", `eval show ${evaluation}`);
  const again = find(/ftjob-\w+/, await example("job rerun", `job rerun ${job}`));
  await example("job pause", `job pause ${again}`);
  await example("job resume", `job resume ${again}`);
  await example("job cancel", `job cancel ${again}`);
  writeFileSync(
    join(dir, "people.jsonl"),
    ["My address is jane.doe@example.com", "Where is my card?", "Pay to DE89 3704 0044 0532 0130 00"]
      .map((content) =>
        JSON.stringify({
          messages: [
            { role: "user", content },
            { role: "assistant", content: "Done." },
          ],
        }),
      )
      .join("\n"),
  );
  const people = find(/ds_\w+/, await example("dataset create people", "dataset create people.jsonl"));
  recording.pop();
  for (let status = ""; status !== "done"; await Bun.sleep(100))
    status = (await live.call<{ status: string }>("GET", `/v1/datasets/${people}/pii`)).status;
  await example("dataset pii", `dataset pii ${people}`);
  await example("dataset pii-decide", `dataset pii-decide ${people} mask --kind email --kind iban`);
  await example("team burst", "team burst burst:wait=30m,cost=20");
  await example("usage", "usage --by kind");
  await example("usage export", "usage export --format csv");
  await example("model delete", `model delete ${model} --yes`);
  await example("job delete", `job delete ${job} --yes`);
  await example("dataset delete", `dataset delete ${data} --yes`);
  await example("logout", "logout");
} finally {
  tracking.stop();
  await live.close();
  rmSync(dir, { recursive: true, force: true });
}
await Bun.write(RECORDING, `${JSON.stringify(recording, null, 2)}\n`);
