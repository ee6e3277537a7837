/** Kills the server and the trainer at random moments of a real run and checks that nothing was lost, doubled or started twice. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { createClient } from "@libsql/client";
import { type Live, startLive, trainerMissing, until } from "../support/live.ts";
import { importTinyModel, trainingLines } from "../support/tiny.ts";

const skip = trainerMissing;
const KILLS = 20;
let live: Live;
let fileId: string;

interface JobView {
  id: string;
  state: string;
  progress: { step?: number; total_steps?: number };
  error: { message: string } | null;
}
interface Attempt {
  id: string;
  number: number;
  handle: { pid?: number; launcher_pid?: number } | null;
  outcome: string | null;
}

async function rows<T>(sql: string, args: (string | number)[] = []): Promise<T[]> {
  const client = createClient({ url: `file:${join(live.dir, "lab.db")}`, timeout: 5000 });
  try {
    return (await client.execute({ sql, args })).rows as unknown as T[];
  } finally {
    client.close();
  }
}

const job = (id: string) => live.call<JobView>("GET", `/v1/jobs/${id}`);
const attempts = async (id: string) => (await live.call<{ data: Attempt[] }>("GET", `/v1/jobs/${id}/attempts`)).data;

async function startJob(hyperparameters: Record<string, number>, ftl: Record<string, unknown> = {}): Promise<string> {
  const made = await live.call<{ id: string }>("POST", "/v1/fine_tuning/jobs", {
    model: "tiny",
    training_file: fileId,
    method: { type: "supervised", supervised: { hyperparameters } },
    ftl: { evaluate_after: false, ...ftl },
  });
  return made.id;
}

/** Every step of the training loss is there once, and the event numbers of each attempt have no hole. */
async function expectWhole(id: string): Promise<void> {
  const steps = await rows<{ step: number }>(
    "SELECT p.step FROM point p JOIN series s ON s.id = p.series_id WHERE s.job_id = ? AND s.key = 'train/loss' ORDER BY p.step",
    [id],
  );
  const { progress } = await job(id);
  expect(steps.length).toBeGreaterThan(5);
  expect(new Set(steps.map((row) => row.step)).size).toBe(steps.length);
  expect(steps.at(-1)?.step).toBe(progress.total_steps);
  const batches = await rows<{ attempt_id: string; first_seq: number; last_seq: number }>(
    "SELECT attempt_id, first_seq, last_seq FROM batch WHERE job_id = ? AND last_seq >= first_seq ORDER BY id",
    [id],
  );
  const next = new Map<string, number>();
  for (const batch of batches) {
    expect(batch.first_seq).toBe(next.get(batch.attempt_id) ?? 1);
    next.set(batch.attempt_id, batch.last_seq + 1);
  }
  expect((await rows<{ integrity_check: string }>("PRAGMA integrity_check"))[0]?.integrity_check).toBe("ok");
  expect(await rows("PRAGMA foreign_key_check")).toEqual([]);
  const lines = await rows<{ attempt_id: string; n: number }>(
    "SELECT attempt_id, count(*) n FROM usage_line WHERE job_id = ? GROUP BY attempt_id",
    [id],
  );
  expect(lines.every((line) => Number(line.n) === 1)).toBe(true);
}

describe.skipIf(skip !== null)(`a run outlives${skip ? ` (skipped: ${skip})` : ""}`, () => {
  beforeAll(async () => {
    live = await startLive();
    await importTinyModel(live);
    const form = new FormData();
    form.set("purpose", "fine-tune");
    form.set("file", new File([trainingLines(400)], "rows.jsonl"));
    const answer = await fetch(`${live.url}/v1/files`, {
      method: "POST",
      headers: { authorization: `Bearer ${live.key}` },
      body: form,
    });
    fileId = ((await answer.json()) as { id: string }).id;
    await until(
      "the file",
      async () => (await live.call<{ status: string }>("GET", `/v1/files/${fileId}`)).status === "processed",
    );
  }, 120_000);
  afterAll(() => live?.close());

  test(`${KILLS} kills of the server at random moments: the same process, no event lost or doubled`, async () => {
    const id = await startJob({ n_epochs: 50, batch_size: 8 });
    await until("the first steps", async () => ((await job(id)).progress.step ?? 0) > 2, 60_000);
    const [first] = await attempts(id);
    let kills = 0;
    while (kills < KILLS) {
      await Bun.sleep(100 + Math.random() * 900);
      const { state } = await job(id);
      if (state !== "running") break;
      await live.kill9();
      kills++;
      await Bun.sleep(Math.random() * 300);
      await live.start();
    }
    expect(kills).toBe(KILLS);
    const done = await until(
      "the job to end",
      async () => {
        const now = await job(id);
        return ["succeeded", "failed", "cancelled"].includes(now.state) ? now : null;
      },
      240_000,
      300,
    );
    expect(done.error?.message ?? null).toBeNull();
    expect(done.state).toBe("succeeded");
    const all = await attempts(id);
    expect(all.length).toBe(1);
    expect(all[0]?.handle).toEqual(first?.handle ?? null);
    await expectWhole(id);
  }, 400_000);

  test("a trainer killed while it saves goes on from the checkpoint before", async () => {
    // Saves come often, so that the kill hits one well before the end.
    const id = await startJob({ n_epochs: 20, batch_size: 8 }, { save_every: 40 });
    const checkpoints = () =>
      live.call<{ data: { step_number: number }[] }>("GET", `/v1/fine_tuning/jobs/${id}/checkpoints`);
    await until("a first checkpoint", async () => (await checkpoints()).data.length > 0, 120_000);
    const pid = await trainerPid(id);
    await until("a save under way", async () => savingNow(join(live.dir, "process")), 60_000, 1);
    process.kill(pid, "SIGKILL");
    const done = await until(
      "the job to end",
      async () => {
        const now = await job(id);
        return ["succeeded", "failed", "cancelled"].includes(now.state) ? now : null;
      },
      240_000,
      300,
    );
    expect(done.error?.message ?? null).toBeNull();
    expect(done.state).toBe("succeeded");
    expect((await attempts(id)).length).toBe(2);
    await expectWhole(id);
  }, 400_000);

  test("a truncated newest checkpoint is passed over on resume", async () => {
    const id = await startJob({ n_epochs: 50, batch_size: 4 });
    const newest = () =>
      rows<{ artifact_id: string; step: number }>(
        "SELECT artifact_id, step FROM checkpoint WHERE job_id = ? ORDER BY step DESC",
        [id],
      );
    await until("two checkpoints", async () => (await newest()).length >= 2, 120_000);
    await live.call("POST", `/v1/fine_tuning/jobs/${id}/pause`);
    await until("the pause", async () => (await job(id)).state === "paused", 60_000);
    const [last, before] = await newest();
    truncateSync(join(live.dir, "artifacts", last?.artifact_id ?? "", "adapter_model.safetensors"), 100);
    await live.call("POST", `/v1/fine_tuning/jobs/${id}/resume`);
    await until("it to run again", async () => (await job(id)).state === "running", 60_000);
    const log = await until(
      "word of the checkpoint used",
      async () => {
        const events = await rows<{ message: string }>(
          "SELECT message FROM event WHERE job_id = ? ORDER BY n DESC LIMIT 40",
          [id],
        );
        return events.find((event) => event.message.includes(String(before?.step))) ?? null;
      },
      60_000,
    );
    expect(log.message).toContain(String(before?.step));
    await live.call("POST", `/v1/fine_tuning/jobs/${id}/cancel`);
    await until("the end", async () => (await job(id)).state === "cancelled", 60_000);
  }, 300_000);
});

/** The pid of the process running the trainer of a job's live attempt. */
async function trainerPid(id: string): Promise<number> {
  return until("the trainer's process", async () => {
    const run = Bun.spawnSync(["pgrep", "-f", "finetune_trainer"]);
    const pids = run.stdout.toString().split("\n").filter(Boolean).map(Number);
    const [current] = (await attempts(id)).filter((attempt) => !attempt.outcome);
    return (
      pids.find(
        (pid) => environmentOf(pid).includes(live.dir) && current && commandOf(pid).includes("finetune_trainer"),
      ) ?? null
    );
  });
}

const environmentOf = (pid: number) =>
  existsSync(`/proc/${pid}/environ`) ? readFileSync(`/proc/${pid}/environ`, "utf8") : "";
const commandOf = (pid: number) => {
  const args = existsSync(`/proc/${pid}/cmdline`) ? readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0") : [];
  return args[1] === "-m" ? args.join(" ") : "";
};

/** True while a trainer has an unfinished checkpoint: it is written beside its place, under a name with a dot, and renamed when whole. */
function savingNow(root: string): boolean {
  return readdirSync(root).some((key) => {
    const folder = join(root, key, "scratch", "checkpoints");
    return existsSync(folder) && readdirSync(folder).some((name) => /^\.step-\d+-\d+$/.test(name));
  });
}
