/** The client's verbs against a real server: pipes, JSON, exit codes, login, and the workflow from data to chat. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import examples from "../../scripts/cli-examples.json";
import { plainLines } from "../../src/cli/client/output.ts";
import { VERB_GROUPS } from "../../src/cli/verbs.ts";
import { createLab, type Lab } from "../support/lab.ts";
import { type Live, startLive, trainerMissing, until } from "../support/live.ts";
import { PROGRAM } from "../support/program.ts";
import { importTinyModel, trainingLines } from "../support/tiny.ts";

const ESCAPE = "\x1b";
let live: Live;
let dir: string;

interface Ran {
  code: number;
  out: string;
  err: string;
}

/** Runs a verb without a terminal; address and key of the server are in the environment unless `env` replaces it. */
async function run(
  args: string[],
  { env, input = "" }: { env?: Record<string, string>; input?: string } = {},
): Promise<Ran> {
  const child = Bun.spawn([...PROGRAM, ...args], {
    cwd: dir,
    env: { PATH: process.env.PATH ?? "", HOME: dir, ...(env ?? { FTL_URL: live.url, FTL_API_KEY: live.key }) },
    stdin: new Blob([input]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code: await child.exited, out, err };
}
const json = async <T>(...args: string[]): Promise<T> => {
  const ran = await run([...args, "--json"]);
  expect(ran.code, ran.err).toBe(0);
  return JSON.parse(ran.out) as T;
};

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "ftl-client-"));
  live = await startLive();
  if (!trainerMissing) await importTinyModel(live);
  writeFileSync(join(dir, "rows.jsonl"), trainingLines(40));
  writeFileSync(join(dir, "bad.jsonl"), `${trainingLines(3)}{"messages": 7}\n`);
}, 120_000);
afterAll(async () => {
  await live?.close();
  rmSync(dir, { recursive: true, force: true });
}, 60_000);

test("docs/cli.md has an example of every verb that uses a server", () => {
  const own = VERB_GROUPS.find(({ title }) => title.includes("any server"))?.verbs.map((verb) => verb.name) ?? [];
  const recorded = examples.map((one) => one.verb);
  expect(own.length).toBeGreaterThan(30);
  expect(own.filter((name) => !recorded.includes(name) && name !== "completion")).toEqual([]);
});

describe("login", () => {
  test("is checked, saved readable only by the user, used by other verbs, and removed", async () => {
    const env = { XDG_CONFIG_HOME: join(dir, "config") };
    const path = join(dir, "config/finetune-lab/login.json");
    const wrong = await run(["login", "--url", live.url, "--key-file", "-"], { env, input: "ftl-wrong\n" });
    expect([wrong.code, existsSync(path)]).toEqual([3, false]);
    const made = await run(["login", "--url", `${live.url}/`, "--key-file", "-"], { env, input: `${live.key}\n` });
    expect(made).toMatchObject({ code: 0, out: "" });
    expect(made.err).toContain(`Logged in to ${live.url} as ${live.email}`);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(JSON.parse(readFileSync(path, "utf8"))).toEqual({ url: live.url, key: live.key });
    expect(await run(["dataset", "list"], { env })).toMatchObject({ code: 0 });
    // The saved key is not sent to another address.
    const other = await run(["dataset", "list", "--url", "http://127.0.0.1:1"], { env });
    expect([other.code, other.err]).toEqual([3, expect.stringContaining("There is no API key for http://127.0.0.1:1")]);
    expect(await run(["logout"], { env })).toMatchObject({ code: 0 });
    expect((await run(["dataset", "list", "--url", live.url], { env })).code).toBe(3);
  }, 60_000);
});

describe("exit codes and messages without a terminal", () => {
  const cases: [string, string[], number, RegExp][] = [
    ["an id that does not exist", ["job", "show", "ftjob-none"], 4, /^No such job: ftjob-none\n$/],
    ["a model that does not exist", ["chat", "ft:none:x:y:z", "-m", "hello"], 4, /does not exist|No such|no model/i],
    ["a missing id", ["job", "show"], 2, /Give the id of one job/],
    ["an unknown option", ["job", "list", "--frob"], 2, /--frob/],
    ["a filter that the API refuses", ["job", "list", "--state", "asleep"], 1, /state/],
    ["a wrong key", ["job", "list", "--key", "ftl-wrong"], 3, /key/i],
    ["no server", ["job", "list", "--url", "http://127.0.0.1:1"], 1, /127\.0\.0\.1:1 does not answer.*--url/],
    ["an address that is none", ["job", "list", "--url", "nowhere"], 2, /not an address/],
    ["a file that is not there", ["dataset", "create", "none.jsonl"], 2, /There is no file none\.jsonl/],
    ["deleting without a terminal and --yes", ["dataset", "delete", "ds_x"], 2, /add --yes/],
    [
      "data that is neither id nor file",
      ["job", "create", "--model", "tiny", "--data", "nothing"],
      2,
      /neither the id/,
    ],
    [
      "a setting that is no pair",
      ["job", "create", "--model", "m", "--data", "ds_x", "--set", "lora_r"],
      2,
      /KEY=VALUE/,
    ],
    ["a message that is empty", ["chat", "tiny"], 2, /Give a message/],
    ["a shell without completion", ["completion", "powershell"], 2, /bash, zsh or fish/],
  ];
  test.each(cases)("%s", async (_name, args, code, said) => {
    const ran = await run(args);
    expect([ran.code, ran.out]).toEqual([code, ""]);
    expect(ran.err).toMatch(said);
    expect(ran.err).not.toContain("    at "); // no stack
  });
});

describe("on a terminal", () => {
  /** Runs a verb in a pseudo-terminal with keys typed into it. */
  const typed = (keys: string, args: string[], env: Record<string, string> = {}) => {
    const spawn = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
    const ran = Bun.spawnSync(["python3", "-c", spawn, ...PROGRAM, ...args], {
      env: { PATH: process.env.PATH ?? "", HOME: dir, TERM: "xterm", FTL_URL: live.url, FTL_API_KEY: live.key, ...env },
      stdin: Buffer.from(keys),
    });
    return { code: ran.exitCode, out: ran.stdout.toString() };
  };

  test("deleting asks: no changes nothing and ends with 3, yes deletes; states have a color without NO_COLOR", async () => {
    const { id } = await json<{ id: string }>("dataset", "create", join(dir, "rows.jsonl"), "--name", "asked");
    expect(typed("", ["dataset", "show", id]).out).toContain("\u001b[32mready\u001b[0m");
    expect(typed("", ["dataset", "show", id], { NO_COLOR: "1" }).out).not.toContain("\u001b[32m");
    const no = typed("n\n", ["dataset", "delete", id]);
    expect([no.code, no.out]).toEqual([3, expect.stringContaining(`Delete ${id}? [y/N]`)]);
    expect((await run(["dataset", "show", id])).code).toBe(0);
    expect(typed("y\n", ["dataset", "delete", id]).code).toBe(0);
    expect((await run(["dataset", "show", id])).code).toBe(4);
  }, 60_000);
});

describe("datasets", () => {
  test("a file is uploaded, validated and reported; listed as a plain table and as JSON; downloaded and deleted", async () => {
    const made = await run(["dataset", "create", "rows.jsonl", "--name", "my rows"]);
    expect(made.code, made.err).toBe(0);
    expect(made.out).toMatch(/^State +ready$/m);
    expect(made.out).toMatch(/^Rows +40: 36 for training, 4 for validation$/m);
    expect(made.err).toContain("Uploading rows.jsonl");
    const id = /^ID +(ds_\w+)$/m.exec(made.out)?.[1] ?? "";

    const list = await run(["dataset", "list"]);
    expect(list.out.split("\n")[0]).toMatch(/^ID +NAME +STATE +TYPE +ROWS +CREATED \(UTC\)$/);
    expect(list.out).toContain(id);
    expect(list.out + list.err).not.toContain(ESCAPE);
    const answer = await live.call("GET", "/v1/datasets?limit=20");
    expect(await json<typeof answer>("dataset", "list")).toEqual(answer);
    expect(await json<typeof answer>("dataset", "show", id)).toEqual(await live.call("GET", `/v1/datasets/${id}`));

    expect(await run(["dataset", "download", id, "-o", "copy.jsonl"])).toMatchObject({ code: 0, out: "" });
    expect(readFileSync(join(dir, "copy.jsonl"), "utf8")).toBe(readFileSync(join(dir, "rows.jsonl"), "utf8"));
    expect((await run(["dataset", "download", id, "-o", "copy.jsonl"])).code).toBe(3);
    expect(await run(["dataset", "delete", id, "--yes"])).toMatchObject({ code: 0 });
    expect((await run(["dataset", "show", id])).code).toBe(4);
  }, 60_000);

  test("a file is read by a mapping: from a file, and as another dataset was", async () => {
    writeFileSync(join(dir, "other.jsonl"), '{"q": "a", "a": "b", "thumbs": "up"}\n'.repeat(3));
    writeFileSync(join(dir, "map.json"), '{"prompt": "q", "completion": "a", "label": "thumbs", "good": ["up"]}');
    const { id } = await json<{ id: string }>("dataset", "create", "other.jsonl", "--mapping", "map.json");
    const again = await json<object>("dataset", "create", "other.jsonl", "--mapping-from", id);
    expect(again).toMatchObject({ version: { row_type: "unpaired", mapping: { good: ["up"] } } });
  }, 60_000);

  test("a bad file ends with exit code 1 and a report with line numbers; --skip-bad leaves the rows out", async () => {
    const refused = await run(["dataset", "create", "bad.jsonl"]);
    expect(refused.code).toBe(1);
    expect(refused.out).toMatch(/^State +failed$/m);
    expect(refused.out).toMatch(/^error: .+ \(1 row\)\n {4}line 4: /m);
    const kept = await run(["dataset", "create", "bad.jsonl", "--skip-bad", "--validation", "0"]);
    expect(kept.out).toMatch(/^Rows +3: 3 for training, 0 for validation$/m);
  }, 60_000);

  test("pages: --limit says that there are more, --all reads every page", async () => {
    for (const name of ["one", "two", "three"])
      expect((await run(["dataset", "create", "rows.jsonl", "--name", name])).code).toBe(0);
    const first = await run(["dataset", "list", "--limit", "1"]);
    expect(first.out.trim().split("\n").length).toBe(2);
    expect(first.err).toMatch(/There are more: add --after ds_\w+, or --all/);
    const { data, has_more } = await json<{ data: { id: string }[]; has_more: boolean }>("dataset", "list", "--all");
    expect([new Set(data.map((one) => one.id)).size, data.length >= 3, has_more]).toEqual([data.length, true, false]);
  }, 60_000);
});

describe("a job of the fake trainer", () => {
  let lab: Lab;
  let env: Record<string, string>;
  beforeAll(async () => {
    lab = await createLab();
    env = { FTL_URL: lab.url(), FTL_API_KEY: lab.keys.admin };
  }, 60_000);
  afterAll(() => lab?.close());

  test("logs -f prints every line once and in order until the job ends; as JSON one object a line", async () => {
    const id = await lab.train("talk-slow.50");
    const followed = await run(["logs", id, "-f"], { env });
    expect(followed.code, followed.err).toBe(0);
    const messages = followed.out
      .split("\n")
      .map((line) => /^\d{4}-\d\d-\d\dT\S+Z info {2}(.*)$/.exec(line)?.[1] ?? line);
    expect(messages).toEqual([...Array.from({ length: 20 }, (_, n) => `step ${n + 1}`), ""]);
    const last = await run(["logs", id, "--tail", "2", "--json"], { env });
    expect(
      last.out
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line).message),
    ).toEqual(["step 19", "step 20"]);
    const found = await run(["logs", id, "--search", "step 7"], { env });
    expect(found.out).toMatch(/^\S+ info {2}step 7\n$/);
  }, 60_000);

  test("job watch shows the live loss and ends with the job: 0 succeeded, 1 failed with reason", async () => {
    const id = await lab.train("slow.150");
    const ran = await run(["job", "watch", id], { env });
    expect(ran.code, ran.err).toBe(0);
    expect(ran.err).toMatch(/running {2}step \d+\/20 {2}loss \d\.\d{3}/);
    expect(ran.out).toMatch(/^State +succeeded$/m);
    const failing = await lab.train("fail.nan_loss");
    const failed = await run(["job", "watch", failing], { env });
    expect([failed.code, failed.out]).toEqual([
      1,
      expect.stringMatching(/^Error +.*the fake trainer failed on request/m),
    ]);
  }, 60_000);

  test("a job pauses, resumes and is canceled by its verbs; deleting its files needs the end", async () => {
    const id = await lab.train("slow.200");
    await lab.reached(id, "running");
    expect((await run(["job", "delete", id, "-y"], { env })).code).not.toBe(0);
    expect((await run(["job", "pause", id], { env })).out).toMatch(/^State +paus(ing|ed)$/m);
    await lab.reached(id, "paused");
    expect((await run(["job", "resume", id], { env })).out).toMatch(/^State +queued$/m);
    expect((await run(["job", "cancel", id], { env })).out).toMatch(/^State +(stopping|cancelled)$/m);
    await lab.reached(id, "cancelled");
    expect(await run(["job", "delete", id, "-y"], { env })).toMatchObject({ code: 0 });
  }, 60_000);
});

describe("completion", () => {
  const words = (line: string[]) => {
    const script = `source <("\${@:2:$1}" completion bash); shift $(($1 + 1)); COMP_WORDS=(finetune-lab "$@"); COMP_CWORD=$#; _finetune_lab; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const ran = Bun.spawnSync(["bash", "-c", script, "bash", String(PROGRAM.length), ...PROGRAM, ...line]);
    return ran.stdout.toString().trim().split("\n");
  };
  test.each([
    [["da"], ["dataset"]],
    [
      ["job", "c"],
      ["create", "cancel"],
    ],
    [
      ["job", "create", "--m"],
      ["--model", "--method", "--max-cost-usd"],
    ],
    [["job", "create", "--model", "x", "--wa"], ["--watch"]],
    [["backup", "--wi"], ["--without-models"]],
  ])("bash completes %p", (line, expected) => {
    expect(words(line)).toEqual(expected);
  });

  test.each(["zsh", "fish"])(
    "%s names every verb, and its syntax is valid where the shell is installed",
    async (shell) => {
      const ran = await run(["completion", shell]);
      expect(ran.code).toBe(0);
      for (const word of ["dataset", "create", "chat", "deployment"]) expect(ran.out).toContain(word);
      writeFileSync(join(dir, "completion"), ran.out);
      if (Bun.which(shell)) expect(Bun.spawnSync([shell, "-n", join(dir, "completion")]).exitCode).toBe(0);
    },
  );
});

describe.skipIf(trainerMissing !== null)(`the workflow${trainerMissing ? ` (skipped: ${trainerMissing})` : ""}`, () => {
  let data = "";
  let job = "";
  let model = "";
  const settings = ["max_steps=2", "eval_every=2", "save_every=2", "evaluate_after=false"].flatMap((one) => [
    "--set",
    one,
  ]);

  test("job create shows the plan first, and starts nothing without --yes", async () => {
    data = (await json<{ id: string }>("dataset", "create", "rows.jsonl", "--name", "train")).id;
    const asked = await run(["job", "create", "--model", "tiny", "--data", data, ...settings]);
    expect(asked.code).toBe(2);
    expect(asked.err).toMatch(/^Base model +tiny$/m);
    expect(asked.err).toMatch(/^Rows +36, and 4 for validation$/m);
    expect(asked.err).toMatch(/^Steps +2$/m);
    expect(asked.err).toMatch(/^SETTING +VALUE +WHY$/m);
    expect(asked.err).toContain("add --yes");
    const make = ["job", "create", "--model", "tiny", "--data", data, "--dry-run", "--max-cost-usd"];
    const plan = await json<{ object: string; steps: number }>(...make, "2.5", ...settings);
    expect(plan).toMatchObject({ object: "job.plan", steps: 2, max_cost_usd: 2.5 });
    const words = await run([...make, "cheap"]);
    expect(words.code).toBe(2);
    expect(words.err).toContain("--max-cost-usd cheap is not a number of dollars");
    const policy = await run([...make, "2.5", "--burst", "burst:wait=soon"]);
    expect(policy.code).toBe(2);
    expect(policy.err).toContain("--burst burst:wait=soon: it must be local_only, cheapest, fastest or burst");
    expect((await json<{ data: unknown[] }>("job", "list", "--kind", "train")).data).toEqual([]);
  }, 60_000);

  test("job create --watch follows the training to its end, from a file of this machine", async () => {
    const ran = await run([
      "job",
      "create",
      "--model",
      "tiny",
      "--data",
      "rows.jsonl",
      ...settings,
      "--suffix",
      "cli",
      "--yes",
      "--watch",
    ]);
    expect(ran.code, ran.err).toBe(0);
    expect(ran.out + ran.err).not.toContain(ESCAPE);
    expect(ran.out).toMatch(/^State +succeeded$/m);
    expect(ran.out).toMatch(/^Step +2 of 2$/m);
    expect(ran.out).toMatch(/^Loss +\d/m);
    job = /^ID +(ftjob-\w+)$/m.exec(ran.out)?.[1] ?? "";
    model = /^Model +(ft:tiny:\S+)$/m.exec(ran.out)?.[1] ?? "";
    expect([job, model]).toEqual([expect.stringMatching(/^ftjob-/), expect.stringContaining(":cli:")]);
    const watched = await run(["job", "watch", job, "--json"]);
    expect(JSON.parse(watched.out)).toMatchObject({ id: job, state: "succeeded", model });
    expect((await run(["job", "cancel", job])).code).toBe(1);
  }, 300_000);

  test("model show, download and the files' content", async () => {
    const shown = await run(["model", "show", model]);
    expect(shown.out).toContain(`Job: ${job}`);
    const { files } = await json<{ files: { path: string; size: number }[] }>(
      "model",
      "download",
      model,
      "-o",
      "adapter",
    );
    expect(files.map((one) => one.path)).toContain("adapter/adapter_model.safetensors");
    for (const { path, size } of files) expect([path, statSync(join(dir, path)).size]).toEqual([path, size]);
  }, 60_000);

  test("deployment create waits until it answers; chat streams, from -m and from a pipe; stop and delete", async () => {
    const made = await json<{ id: string; state: string }>("deployment", "create", model);
    expect(made.state).toBe("ready");
    const options = ["--max-tokens", "5", "--temperature", "0"];
    const one = await run(["chat", model, "-m", "My card was stolen", ...options]);
    expect([one.code, one.err]).toEqual([0, ""]);
    const piped = await run(["chat", model, ...options], { input: "My card was stolen\n" });
    expect(piped.out).toBe(one.out);
    const whole = await json<{ choices: { message: { content: string } }[]; usage: object }>(
      "chat",
      model,
      "-m",
      "My card was stolen",
      ...options,
    );
    expect(`${plainLines(whole.choices[0]?.message.content ?? "")}\n`).toBe(one.out);
    expect(await run(["deployment", "stop", made.id])).toMatchObject({ code: 0 });
    expect(await run(["deployment", "delete", made.id, "-y"])).toMatchObject({ code: 0 });
    // Usage rows are written in batches.
    await until("three requests", async () => {
      const used = await json<{ requests: { group: string; requests: number }[] }>("usage", "--by", "model");
      return (used.requests.find((row) => row.group === model)?.requests ?? 0) === 3;
    });
    expect((await run(["usage", "--by", "kind"])).out).toMatch(/^\d{4}-\d\d, total \$/);
  }, 300_000);

  test("eval create waits for the scores and shows both sides", async () => {
    const ran = await run(["eval", "create", "--model", model, "--data", data, "--max-rows", "2"]);
    expect(ran.code, ran.err).toBe(0);
    expect(ran.out).toMatch(/exact match +\d/);
    expect((await run(["eval", "list"])).out).toMatch(/succeeded/);
  }, 300_000);

  test("a job that fails ends its watching with exit code 1 and the reason", async () => {
    const made = (
      await run(["job", "create", "--model", "tiny", "--data", data, "--set", "max_steps=1000", "--yes"])
    ).out.trim();
    const watching = run(["job", "watch", made]);
    expect((await run(["job", "cancel", made])).code).toBe(0);
    const ran = await watching;
    expect(ran.code).toBe(1);
    expect(/^State +(\w+)$/m.exec(ran.out)?.[1]).toBe("cancelled");
  }, 120_000);
});
