/**
 * The disk is full: for the database, and in the middle of an upload. Both rows run in one script on a small file
 * system of its own.
 */
import { afterAll, describe } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { trainerMissing } from "../support/live.ts";
import { row } from "./support/row.ts";

interface Coded {
  status: number;
  code: string | null;
}
interface Said {
  database: { refused: Coded; database: Coded; slowestRead: number; again: number; restarted: boolean };
  upload: { refused: Coded; kept: number; opening: Coded; before: number[]; after: number[] };
}

const namespace = ["unshare", "--user", "--map-root-user", "--mount"];
const namespaces = Bun.spawnSync([...namespace, "true"]).exitCode === 0;
const skip = namespaces ? trainerMissing : "mount namespaces are not allowed here";
const dir = mkdtempSync(join(tmpdir(), "ftl-disk-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

let said: Promise<Said> | null = null;

function runScript(): Promise<Said> {
  said ??= (async () => {
    const script = join(import.meta.dir, "support/small-disk.ts");
    const run = Bun.spawn([...namespace, process.execPath, script], {
      env: { ...process.env, TMPDIR: dir },
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, problem] = await Promise.all([new Response(run.stdout).text(), new Response(run.stderr).text()]);
    if ((await run.exited) !== 0) throw new Error(problem);
    return JSON.parse(out.trim().split("\n").at(-1) ?? "") as Said;
  })();
  return said;
}

function refusedAsFull({ status, code }: Coded, what: string): void {
  if (status !== 507 || code !== "disk_full") throw new Error(`${what} was answered ${status} ${code}`);
}

describe("the disk is full", () => {
  row(
    { row: "15", fault: "for the database", expected: "507, reads continue, recovers without a restart", skip },
    () => null,
    async () => {
      const { database } = await runScript();
      refusedAsFull(database.refused, "a write");
      refusedAsFull(database.database, "a write of the database itself");
      if (database.again !== 200 || database.restarted || database.slowestRead > 1000)
        throw new Error(JSON.stringify(database));
      return {
        times: 1,
        seen: `507 disk_full; 20 reads meanwhile, the slowest ${database.slowestRead} ms; the same write with room again: 200; a job that ran meanwhile has a whole curve`,
      };
    },
  );

  row(
    {
      row: "16",
      fault: "during the upload of a checkpoint",
      expected: "507, nothing of that part stored, the last checkpoint valid, the run continues",
      skip,
    },
    () => null,
    async () => {
      const { upload } = await runScript();
      refusedAsFull(upload.refused, "a part");
      refusedAsFull(upload.opening, "a new upload");
      if (upload.kept !== 8) throw new Error(`${upload.kept} MiB of the file are there, not 8`);
      if (upload.before.join() !== "5" || upload.after.join() !== "5,10") throw new Error(JSON.stringify(upload));
      return {
        times: 2,
        seen: "507 disk_full for a part and for a new upload; 8 of 8 MiB kept; checkpoint of step 5 there, that of step 10 complete once there was room",
      };
    },
  );
});
