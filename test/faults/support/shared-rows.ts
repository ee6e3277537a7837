/** Rows of the fault table that hold for every provider: each test file that has a server with one runs them on it. */
import { describe } from "bun:test";
import type { FailPoint } from "../../../src/lib/fail-points.ts";
import { until } from "../../support/live.ts";
import type { AttemptView, Bench } from "./bench.ts";
import { noStarving } from "./hands.ts";
import { FULL, type Outcome, type Row, row } from "./row.ts";

export function same(what: string, before: unknown, after: unknown): void {
  if (before !== after) throw new Error(`${what}: ${before} before, ${after} after`);
}

/** Restarts the server so that it dies at `point`, and waits until it did. */
export async function dieAt(
  bench: Bench,
  point: FailPoint,
  count: number,
  meanwhile: () => Promise<unknown>,
): Promise<void> {
  await bench.stop();
  await bench.start({ FTL_FAIL_POINTS: `${point}@${count}` });
  await meanwhile();
  await bench.ended();
}

/** The one attempt of a job; throws when there were more. */
export async function onlyAttempt(bench: Bench, id: string): Promise<AttemptView> {
  const [only, ...more] = await bench.attempts(id);
  if (!only || more.length > 0) {
    const all = await bench.rows<object>("SELECT number, outcome, detail, exit_code FROM attempt WHERE job_id = ?", [
      id,
    ]);
    throw new Error(`${all.length} attempts instead of one: ${JSON.stringify(all)}`);
  }
  return only;
}

/** Throws unless the attempts of a job ended like this. */
export async function outcomes(bench: Bench, id: string, expected: string[]): Promise<string> {
  const found = (await bench.attempts(id)).map((one) => one.outcome ?? one.state).join(", ");
  same("outcomes", expected.join(", "), found);
  return found;
}

/** Waits for a failure, and throws when the job ends otherwise. */
export const failed = (bench: Bench, id: string) => bench.reached(id, "failed");

export const endOfAttempt = (bench: Bench, id: string, number: number) =>
  until(
    `the end of attempt ${number}`,
    async (): Promise<AttemptView | null> =>
      (await bench.attempts(id)).find((one) => one.number === number && one.state === "ended") ?? null,
    60_000,
    20,
  );

/** Declares them for the server that `get` gives once it is there. */
export function sharedRows(provider: string, get: () => Bench, skip: string | null): void {
  const add = (about: Omit<Row, "provider" | "skip">, inject: (bench: Bench) => Promise<Outcome>, why = skip) =>
    row({ ...about, provider, skip: why }, get, () => inject(get()));

  describe(`work of the provider ${provider}`, () => {
    add(
      {
        row: "1",
        fault: "kill -9 of the server at random moments",
        expected: "same work; no write, step or log line lost or duplicated",
        timeoutMs: 900_000,
      },
      async (bench) => {
        const kills = FULL ? 100 : 5;
        const steps = FULL ? 1800 : 160;
        const ids = await Promise.all(
          ["one", "two"].map((name) =>
            bench.train(`talk${FULL ? "-slow.40" : ""}-${name}`, { max_steps: steps, save_every: 20 }),
          ),
        );
        await Promise.all(ids.map((id) => bench.atStep(id, 3)));
        const before = bench.hands.working().map((work) => work.id);
        same("live pieces of work", 2, before.length);
        let done = 0;
        let writes = 0;
        let seen = 0;
        for (; done < kills; done++) {
          const writer = (async () => {
            // Writes until the server is gone: those it acknowledged must be there for ever.
            for (;;) {
              await bench.writeSomething(`kill ${done} ${writes}`);
              writes++;
            }
          })().catch(() => {});
          await Bun.sleep(30 + Math.random() * 400);
          await bench.kill9();
          await writer;
          await bench.start();
          for (const { id } of bench.hands.working()) {
            if (!before.includes(id)) throw new Error("other work than before");
            seen++;
          }
        }
        for (const id of ids) {
          await bench.reached(id, "succeeded");
          await onlyAttempt(bench, id);
        }
        const lines = await bench.rows<{ n: number }>(
          "SELECT count(DISTINCT message) n FROM log_line WHERE message LIKE 'step %' AND job_id = ?",
          [ids[0] ?? ""],
        );
        same("log lines", steps, Number(lines[0]?.n));
        return {
          times: done,
          seen: `the same 2 (looked at ${seen} times), ${2 * steps} steps and log lines once each, ${writes} acknowledged writes there`,
        };
      },
    );

    add(
      {
        row: "2",
        fault: "kill -9 between starting the work and storing its handle",
        expected: "adopted, not started twice",
      },
      async (bench) => {
        let id = "";
        await dieAt(bench, "launch.started", 1, async () => {
          id = await bench.train("talk-adopted", { max_steps: 60 });
        });
        const key = await bench.workOf(id);
        const before = bench.hands.working().filter((work) => work.key === key);
        same("live pieces of work", 1, before.length);
        await bench.start();
        await bench.atStep(id, 5);
        same("the work", before[0]?.id, bench.hands.working().find((work) => work.key === key)?.id);
        await bench.reached(id, "succeeded");
        await onlyAttempt(bench, id);
        return { times: 1, seen: "the same work, one attempt, 60 steps" };
      },
    );

    add(
      {
        row: "3",
        fault: "kill -9 between seeing the end of the work and storing it",
        expected: "same final state, billed once, nothing left over",
      },
      async (bench) => {
        let id = "";
        await dieAt(bench, "exit.seen", 1, async () => {
          id = await bench.train("code.2");
        });
        await bench.start();
        const ended = await failed(bench, id);
        same("the reason", "bad_spec", ended.error?.code);
        await onlyAttempt(bench, id);
        return { times: 1, seen: "failed (bad_spec), metered once" };
      },
    );

    add(
      {
        row: "11",
        fault: "the work is removed by hand",
        expected: "the attempt fails with that reason, not as a success",
      },
      async (bench) => {
        const id = await bench.train("talk-removed", { max_steps: 400 });
        await bench.setLimits(id, { max_attempts: 1 });
        await bench.atStep(id, 7);
        bench.hands.removeByHand(await bench.workOf(id));
        const done = await failed(bench, id);
        await outcomes(bench, id, ["lost"]);
        if (done.error?.code !== "lost" || !done.error.advice) throw new Error(JSON.stringify(done.error));
        return { times: 1, seen: `failed: "${done.error.message}"` };
      },
    );

    add(
      {
        row: "12",
        fault: "the trainer runs out of memory (limit of 96 MiB)",
        expected: "failed: out_of_memory, advice, no blind retry",
      },
      async (bench) => {
        const id = await bench.train("talk-slow.50-hog.30", { max_steps: 60 });
        const starved = bench.hands.starve(await bench.workOf(id));
        try {
          const done = await failed(bench, id);
          await outcomes(bench, id, ["out_of_memory"]);
          if (!done.error?.advice?.includes("batch size")) throw new Error(`advice: ${done.error?.advice}`);
          return { times: 1, seen: `failed: "${done.error.message}" Advice: "${done.error.advice}"` };
        } finally {
          starved();
        }
      },
      skip ?? (provider === "process" ? noStarving() : null),
    );

    add(
      {
        row: "13",
        fault: "the trainer hangs (SIGSTOP)",
        expected: "the watchdog terminates it; another attempt continues",
      },
      async (bench) => {
        const id = await bench.train("talk-hangs", { max_steps: 60 });
        const key = await bench.workOf(id);
        await bench.atStep(id, 12);
        bench.hands.freeze(key);
        const from = performance.now();
        await bench.setLimits(id, { no_progress_s: 1 });
        await endOfAttempt(bench, id, 1);
        await bench.setLimits(id, { no_progress_s: 600 });
        const waited = performance.now() - from;
        await bench.reached(id, "succeeded");
        await outcomes(bench, id, ["no_progress", "succeeded"]);
        const [first, second] = await bench.rows<{ ended_at: number; created_at: number; gone_at: number }>(
          "SELECT ended_at, created_at, gone_at FROM attempt WHERE job_id = ? ORDER BY number",
          [id],
        );
        if (!first?.gone_at || !second || second.created_at < first.gone_at)
          throw new Error("the second attempt began while the first one's work was there");
        const seconds = (ms: number) => (ms / 1000).toFixed(1);
        return {
          times: 1,
          seen: `given up ${seconds(waited)} s after the stop (limit 1 s), gone ${seconds(first.gone_at - first.ended_at)} s later, then a second attempt`,
        };
      },
    );
  });
}
