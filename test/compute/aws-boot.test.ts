/** The start script of a machine at AWS, run by a shell with stand-ins for docker, systemd and the metadata service. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { userData } from "../../plugins/aws/user-data.ts";
import type { ProviderHost } from "../../src/contract/provider.ts";
import { IMAGE, SPEC } from "../support/aws-lab.ts";

let root: string;
let number = 0;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "ftl-boot-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** `sleep` of the script: a thousandth of the time. */
const SLEEP = 'exec /bin/sleep $(printf "%d.%03d" $(($1 / 1000)) $(($1 % 1000)))';

/**
 * Runs the script with the given stand-ins until the machine is off, at most five seconds.
 * @returns what the script called, one call a line, and the variables of the container
 */
async function boot(programs: Record<string, string>, deadlineInS: number, argv: string[] | null = null) {
  const place = join(root, String(++number));
  const bin = join(place, "bin");
  mkdirSync(bin, { recursive: true });
  const host = {
    installation: "lab",
    clock: { now: () => Date.now() },
    error: (_kind: string, message: string) => new Error(message),
  } as unknown as ProviderHost;
  const context = {
    key: "one",
    labels: {},
    deadline: Date.now() + deadlineInS * 1000,
    maxPricePerHour: null,
    callHome: { url: "https://lab.example", token: "ftb-once", fingerprint: "ab" },
  };
  const text = Buffer.from(userData(host, { ...SPEC, argv }, context, IMAGE), "base64").toString();
  const calls = join(place, "calls");
  const note = (name: string, body: string) => {
    writeFileSync(join(bin, name), `#!/bin/sh\n[ ${name} = sleep ] || echo "${name} $*" >> ${calls}\n${body}\n`);
    chmodSync(join(bin, name), 0o755);
  };
  const standIns = {
    sleep: SLEEP,
    docker: `case "$1" in run) cp ${place}/run/ftl/env ${place}/env ;; wait) /bin/sleep 9 ;; esac`,
    curl: "exit 22",
    "systemd-run": "",
    chown: "",
    sync: "",
    poweroff: `touch ${place}/off`,
    ...programs,
  };
  for (const [name, body] of Object.entries(standIns)) note(name, body);
  writeFileSync(
    join(place, "script"),
    text.replaceAll("/run/ftl", `${place}/run/ftl`).replaceAll("/opt/ftl", `${place}/opt`),
  );
  const child = Bun.spawn(["setsid", "sh", join(place, "script")], {
    env: { PATH: `${bin}:${process.env.PATH}` },
    stdio: ["ignore", "ignore", "ignore"],
  });
  for (const until = Date.now() + 5000; Date.now() < until && !existsSync(join(place, "off")); ) await Bun.sleep(10);
  process.kill(-child.pid, "SIGKILL");
  return {
    off: existsSync(join(place, "off")),
    calls: readFileSync(calls, "utf8").split("\n").filter(Boolean),
    env: existsSync(join(place, "env")) ? readFileSync(join(place, "env"), "utf8") : "",
  };
}

describe("a machine ends", () => {
  test("when its container exits; the image came by digest, with its variables", async () => {
    const docker = 'cd "$(dirname "$0")/.."; [ "$1" != run ] || cp run/ftl/env env';
    const { off, calls, env } = await boot({ docker }, 3600, ["echo", "it's"]);
    expect(off).toBe(true);
    expect(calls).toContain(`docker pull -q ${IMAGE}`);
    const run = calls.find((line) => line.startsWith("docker run"));
    for (const word of ["--gpus all", "--cap-drop ALL", IMAGE]) expect(run).toContain(word);
    const given = new Map(
      env
        .trim()
        .split("\n")
        .map((line) => line.split(/=(.*)/) as [string, string]),
    );
    expect(Object.fromEntries(given)).toMatchObject({
      FTL_HOME_URL: "https://lab.example",
      FTL_ATTEMPT_TOKEN: "ftb-once",
      FTL_HOME_FINGERPRINT: "ab",
      FTL_SCRATCH: "/scratch",
      FTL_ARGV: '["echo","it\'s"]',
    });
    expect(Number(given.get("FTL_DEADLINE")) - Date.now() / 1000).toBeCloseTo(3600, -2);
    expect(calls.find((line) => line.startsWith("systemd-run"))).toMatch(/--on-active=3(599|600)s .*poweroff -f$/);
  });

  test("at its deadline by its own timer, though the container runs on and systemd does nothing", async () => {
    const begin = Date.now();
    const { off, calls } = await boot({}, 900);
    expect(off).toBe(true);
    expect(Date.now() - begin).toBeGreaterThan(800);
    expect(calls.some((line) => line.startsWith("docker wait"))).toBe(true);
  });

  test("soon, when its image cannot be pulled or Docker never answers", async () => {
    for (const docker of ['[ "$1" != pull ]', "exit 1"]) {
      const { off, calls } = await boot({ docker }, 3600);
      expect([off, calls.some((line) => line.startsWith("docker run"))]).toEqual([true, false]);
    }
  });

  test("with a checkpoint, when AWS announces that it takes the machine back", async () => {
    const docker = `stop="$(dirname "$0")/stopped"\ncase "$1" in stop) touch "$stop" ;; wait) until [ -e "$stop" ]; do /bin/sleep 0.02; done ;; esac`;
    const curl = 'case "$*" in *api/token*) echo key ;; *instance-action*) exit 0 ;; esac';
    const { off, calls } = await boot({ docker, curl }, 3600);
    expect(off).toBe(true);
    expect(calls).toContain("docker stop -t 110 ftl");
    expect(calls.find((line) => line.includes("instance-action"))).toContain("X-aws-ec2-metadata-token: key");
  });
});
