/**
 * The command line as an administrator's script uses it: exit codes, help, accounts beside a running server, backup and
 * restore.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { VERBS } from "../../src/cli/verbs.ts";
import { type Live, startLive } from "../support/live.ts";
import { PROGRAM } from "../support/program.ts";

function run(...args: string[]) {
  const child = Bun.spawnSync([...PROGRAM, ...args], {
    env: { PATH: process.env.PATH ?? "", HOME: "/nonexistent" },
  });
  return { code: child.exitCode, out: child.stdout.toString(), err: child.stderr.toString() };
}

describe("how verbs are called", () => {
  const cases: [string, string[], number, RegExp][] = [
    ["no verb prints help and is a usage error", [], 2, /Usage: finetune-lab VERB/],
    ["--help", ["--help"], 0, /Exit codes/],
    ["--version", ["--version"], 0, /^\d+\.\d+\.\d+\n$/],
    ["an unknown verb", ["frobnicate"], 2, /no verb "frobnicate"/],
    ["a group alone shows its verbs", ["user"], 2, /user create/],
    ["an unknown option", ["serve", "--nonsense"], 2, /--nonsense/],
    ["a word too many", ["serve", "now"], 2, /Unexpected "now"/],
    ["a missing option", ["key", "create", "--email", "a@b.test", "--data", "/tmp/never-made"], 2, /--name is missing/],
    ["a wrong setting", ["serve", "--listen", "nowhere"], 2, /"listen": must be HOST:PORT/],
    [
      "a password file that is not there",
      ["user", "create", "--email", "a@b.test", "--password-file", "/nonexistent"],
      1,
      /Cannot read the password/,
    ],
  ];
  test.each(cases)("%s", (_name, args, code, said) => {
    const ran = run(...args);
    expect(ran.out + ran.err).toMatch(said);
    expect(ran.code).toBe(code);
  });

  test.each(VERBS.map((verb) => [verb.name, verb] as const))("%s --help names every option", (name, verb) => {
    const ran = run(...name.split(" "), "--help");
    expect(ran.code).toBe(0);
    for (const option of Object.keys(verb.options)) expect(ran.out).toContain(`--${option}`);
  });

  test("doctor --json answers one object and says whether this machine can train", () => {
    const dir = mkdtempSync(join(tmpdir(), "ftl-doctor-"));
    const ran = run("doctor", "--json", "--data", dir, "--python", "/nonexistent/python");
    const said = JSON.parse(ran.out);
    expect(ran.code).toBe(1);
    expect(said.able_to_train).toBe(false);
    const python = said.checks.find((each: { name: string }) => each.name === "Python");
    expect(python.state).toBe("missing");
    expect(python.advice).toContain("python3-venv");
    rmSync(dir, { recursive: true });
  });
});

describe("beside a running server", () => {
  let live: Live;
  let place: string;
  beforeAll(async () => {
    live = await startLive();
    place = mkdtempSync(join(tmpdir(), "ftl-backup-"));
  }, 60_000);
  afterAll(async () => {
    await live?.close();
    if (place) rmSync(place, { recursive: true, force: true });
  }, 60_000);

  test("a key made on the command line opens the API, and is all there is on standard output", async () => {
    const key = live.cli("key", "create", "--email", live.email, "--name", "second");
    expect(key).toMatch(/^ftl-[a-z0-9]{32}\n$/);
    const answer = await fetch(`${live.url}/v1/keys`, { headers: { authorization: `Bearer ${key.trim()}` } });
    expect(answer.status).toBe(200);
  });

  test("doctor asks the running server: its settings count, not those of the shell; elsewhere its API is asked", async () => {
    const asked = (ran: { out: string }) => {
      const { checks } = JSON.parse(ran.out) as { checks: { name: string; state: string; found: string }[] };
      return Object.fromEntries(checks.map((one) => [one.name, one.found]));
    };
    const here = asked(run("doctor", "--json", "--data", live.dir, "--listen", "127.0.0.1:1"));
    expect(here.Asked).toBe("the running server; these are its settings");
    expect(here).toMatchObject({ Address: live.url, Database: "open, with this version's schema" });
    expect(here["Trainer environment"]).not.toContain("not created yet"); // trainer_env is set for the server alone
    const alone = asked(run("doctor", "--json", "--data", place));
    expect(alone.Asked).toContain("no server runs on this data directory");
    const remote = run("doctor", "--json", "--url", live.url, "--key", live.key);
    expect(remote.code).toBe(0);
    expect(asked(remote)).toMatchObject({
      Asked: `the server at ${live.url}, by its API; it is not this machine`,
      "API key": `${live.email}, admin`,
    });
    const refused = run("doctor", "--json", "--url", live.url, "--key", "ftl-wrong");
    expect([refused.code, asked(refused)["API key"]]).toEqual([1, expect.stringContaining("key")]);
  }, 60_000);

  test("a second server on the same data directory is refused with exit code 3 and names the first", () => {
    const ran = run("serve", "--data", live.dir, "--listen", "127.0.0.1:0");
    expect(ran.code).toBe(3);
    expect(ran.err).toContain(live.url);
  });

  test("a backup is taken while the server runs, refuses a full target, and is restored elsewhere", async () => {
    const target = join(place, "one");
    expect(live.cli("backup", target)).toContain("checked");
    expect(run("backup", target, "--data", live.dir).code).toBe(3);

    const restored = join(place, "restored");
    expect(run("restore", target, "--data", restored)).toMatchObject({ code: 0 });
    expect(readFileSync(join(restored, "secret"), "utf8")).toBe(readFileSync(join(live.dir, "secret"), "utf8"));
    const key = run("key", "create", "--email", live.email, "--name", "after restore", "--data", restored);
    expect(key).toMatchObject({ code: 0 });

    expect(run("restore", target, "--data", restored)).toMatchObject({ code: 3 });
    expect(run("restore", target, "--data", restored, "--force")).toMatchObject({ code: 0 });
    expect(readdirSync(join(restored, "backups"))[0]).toStartWith("before-restore-");
    expect(run("audit", "verify", "--data", restored)).toMatchObject({ code: 0 });
  });

  test("restore is refused on the directory of a running server", () => {
    const target = join(place, "two");
    live.cli("backup", target);
    expect(run("restore", target, "--data", live.dir, "--force").code).toBe(3);
  });

  test("a damaged backup and a directory that is none are refused before anything changes", () => {
    const target = join(place, "three");
    live.cli("backup", target);
    appendFileSync(join(target, "secret"), "x");
    const ran = run("restore", target, "--data", join(place, "untouched"));
    expect(ran).toMatchObject({ code: 1 });
    expect(ran.err).toContain("secret");
    expect(existsSync(join(place, "untouched", "lab.db"))).toBe(false);
    writeFileSync(join(place, "note.txt"), "no backup");
    expect(run("restore", place, "--data", join(place, "untouched")).err).toContain("backup.json");
  });

  test("SIGTERM ends the server within 10 seconds", async () => {
    const started = performance.now();
    const pid = live.pid();
    process.kill(pid, "SIGTERM");
    while (isAlive(pid)) {
      expect(performance.now() - started).toBeLessThan(10_000);
      await Bun.sleep(20);
    }
    await live.start();
  }, 60_000);
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
