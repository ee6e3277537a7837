/**
 * Time from start to the first answer on an existing data directory, and idle memory, of the compiled binary, compared
 * with a bare Bun.serve with the same database open. `bun bench/start.ts`
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { needs } from "../scripts/setup.ts";
import { startLive } from "../test/support/live.ts";
import { median, rssMb } from "./support.ts";

const ROUNDS = 7;
const binary = join(import.meta.dir, "../dist/finetune-lab");
needs("binary");

const live = await startLive({ command: [binary] });
await live.kill9();

async function timeToAnswer(
  command: string[],
  url: string,
  env: Record<string, string>,
): Promise<{ ms: number; idleMb: number }> {
  const began = performance.now();
  const child = Bun.spawn(command, { env, stdout: "ignore", stderr: "ignore" });
  while (!(await fetch(url).catch(() => null))?.ok) await Bun.sleep(2);
  const ms = performance.now() - began;
  await Bun.sleep(3000);
  const idleMb = rssMb(child.pid);
  child.kill("SIGTERM");
  await child.exited;
  return { ms, idleMb };
}

const dir = mkdtempSync(join(tmpdir(), "bench-start-"));
const bare = join(dir, "bare.ts");
writeFileSync(
  bare,
  `import { Database } from "bun:sqlite"; const db = new Database(process.argv[2], { readonly: true });
Bun.serve({ port: 39017, hostname: "127.0.0.1", fetch: () => Response.json(db.query("select count(*) n from user").get()) });`,
);
try {
  const port = new URL(live.url).port;
  const env = { PATH: process.env.PATH ?? "", HOME: live.dir };
  const ours = [];
  const theirs = [];
  for (let round = 0; round < ROUNDS; round++) {
    ours.push(
      await timeToAnswer(
        [binary, "serve", "--data", live.dir, "--listen", `127.0.0.1:${port}`],
        `${live.url}/healthz`,
        env,
      ),
    );
    theirs.push(await timeToAnswer([process.execPath, bare, join(live.dir, "lab.db")], "http://127.0.0.1:39017/", env));
  }
  const line = (name: string, runs: { ms: number; idleMb: number }[]) =>
    console.log(
      `  ${name} first answer ${median(runs.map((r) => r.ms)).toFixed(0)} ms, idle ${median(runs.map((r) => r.idleMb))} MB`,
    );
  console.log(`start on an existing data directory, ${ROUNDS} rounds, medians`);
  line("finetune-lab (binary)     ", ours);
  line("bare Bun.serve + bun:sqlite", theirs);
} finally {
  rmSync(dir, { recursive: true, force: true });
  await live.close();
}
