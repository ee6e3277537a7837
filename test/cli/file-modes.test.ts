/**
 * Who may read what the program keeps: real processes under an ordinary umask, on directories that were there before
 * with open modes.
 */
import { afterAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Live, startLive } from "../support/live.ts";
import { PROGRAM } from "../support/program.ts";

const place = mkdtempSync(join(tmpdir(), "ftl-modes-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));

const mode = (path: string) => (statSync(path).mode & 0o777).toString(8);
/** Everything below `dir` that other users have a right on. */
const open = (dir: string) =>
  [dir, ...readdirSync(dir, { recursive: true }).map((name) => join(dir, String(name)))]
    .filter((path) => existsSync(path) && (statSync(path).mode & 0o077) !== 0)
    .map((path) => `${mode(path)} ${path}`);
const openDir = (name: string) => {
  const dir = join(place, name);
  mkdirSync(dir);
  chmodSync(dir, 0o755);
  return dir;
};
/** Runs a verb as a shell with umask 022 would start it. */
const run = (args: string[], before: string[] = []) => {
  const command = ["sh", "-c", 'umask 022 && exec "$0" "$@"', ...before, ...PROGRAM, ...args];
  const ran = Bun.spawnSync(command, { env: { PATH: process.env.PATH ?? "", HOME: place } });
  return { code: ran.exitCode, said: ran.stderr.toString() + ran.stdout.toString() };
};

describe("a running server", () => {
  test("makes a directory that others could read private, with all its content", async () => {
    const live: Live = await startLive({
      command: ["sh", "-c", 'umask 022 && exec "$0" "$@"', ...PROGRAM],
    });
    try {
      expect(open(live.dir).filter((line) => !line.endsWith("server.log"))).toEqual([]);
      await live.stop();
      writeFileSync(join(live.dir, "config.json"), "{}");
      chmodSync(live.dir, 0o755);
      for (const name of ["lab.db", "secret", "config.json", "server.log", "files", "artifacts"])
        chmodSync(join(live.dir, name), name.includes(".") || name === "secret" ? 0o644 : 0o755);
      await live.start();
      await live.call("GET", "/v1/limits");
      expect(mode(live.dir)).toBe("700");
      for (const name of ["lab.db", "lab.db-wal", "lab.db-shm", "secret", "config.json", "server.log"])
        expect(`${name} ${mode(join(live.dir, name))}`).toBe(`${name} 600`);
      expect(open(live.dir)).toEqual([]);
      // While it runs, into a directory that is there: `backup` is another process with its own umask.
      const target = openDir("backup-of-running");
      live.cli("backup", target);
      expect(open(target)).toEqual([]);
    } finally {
      await live.close();
    }
  }, 60_000);
});

describe("the command line", () => {
  test("makes, backs up and restores into open directories what nobody else reads", () => {
    const data = openDir("data");
    expect(run(["migrate", "--data", data])).toMatchObject({ code: 0 });
    writeFileSync(join(data, "config.json"), "{}");
    chmodSync(join(data, "config.json"), 0o644);
    mkdirSync(join(data, "plugins/mine"), { mode: 0o755 });
    writeFileSync(join(data, "plugins/mine/index.ts"), "export {};");
    const backup = openDir("backup");
    expect(run(["backup", backup, "--data", data])).toMatchObject({ code: 0 });
    expect(open(backup)).toEqual([]);
    expect(readdirSync(backup).sort()).toEqual(["backup.json", "config.json", "lab.db", "plugins", "secret"]);
    // As a backup of an earlier version, or one that went over another disk.
    for (const name of ["lab.db", "secret", "config.json"]) chmodSync(join(backup, name), 0o644);
    const restored = openDir("restored");
    expect(run(["restore", backup, "--data", restored])).toMatchObject({ code: 0 });
    expect(open(restored)).toEqual([]);
  }, 60_000);

  const root = process.getuid?.() === 0;
  const namespaces = Bun.spawnSync(["unshare", "--user", "--map-root-user", "true"]).exitCode === 0;
  test.skipIf(!root || !namespaces)(
    "refuses an open directory that belongs to another user (needs root and unshare)",
    () => {
      const foreign = openDir("foreign");
      chmodSync(place, 0o711);
      chmodSync(foreign, 0o777);
      chownSync(foreign, 12_345, 12_345);
      const said = run(["migrate", "--data", foreign], ["unshare", "--user", "--map-root-user"]);
      expect(said).toMatchObject({ code: 3 });
      expect(said.said).toContain("belongs to another user");
      expect(said.said).toContain("--data");
      expect(existsSync(join(foreign, "lab.db"))).toBe(false);
      expect(existsSync(join(foreign, "secret"))).toBe(false);
    },
    30_000,
  );
});
