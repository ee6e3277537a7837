/** Runs the trainings of the matrix in one Python process, and finds the pair that causes a failure. */
import { join } from "node:path";
import { type Chosen, specOf } from "./matrix-cover.ts";
import { needs, trainerEnvironmentPath } from "./setup.ts";

interface Surprise {
  pair: string;
  message: string;
}

const TRAINER = join(import.meta.dir, "../trainer");

/** Options as text: `method=dpo quantization=nf4 …` */
const wordsOf = (chosen: Chosen): string =>
  Object.entries(chosen)
    .map(([option, value]) => `${option}=${value}`)
    .join(" ");

/** Runs each training; resolves with those that failed. `progress` is called after each. */
export async function runAll(runs: Chosen[], progress: (done: number, failed: number) => void): Promise<Surprise[]> {
  needs("trainer environment");
  const child = Bun.spawn([join(trainerEnvironmentPath(), "bin/python"), join(TRAINER, "tests/matrix.py")], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
    cwd: TRAINER,
  });
  const feed = (async () => {
    for (const [id, chosen] of runs.entries()) child.stdin.write(`${JSON.stringify({ id, spec: specOf(chosen) })}\n`);
    await child.stdin.end();
  })();
  const surprises: Surprise[] = [];
  let done = 0;
  let rest = "";
  const decoder = new TextDecoder();
  for await (const bytes of child.stdout) {
    rest += decoder.decode(bytes, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const { id, ok, message } = JSON.parse(line) as { id: number; ok: boolean; message: string | null };
      done++;
      const chosen = runs[id];
      if (!ok && chosen) surprises.push({ pair: wordsOf(chosen), message: message ?? "" });
      progress(done, surprises.length);
    }
  }
  await feed;
  const code = await child.exited;
  if (code !== 0 || done !== runs.length)
    surprises.push({
      pair: "all",
      message: `the trainer ended with exit code ${code} after ${done} of ${runs.length}`,
    });
  return surprises;
}
