/**
 * What `doctor` says of an on-prem installation: engines, walls, address and proxy, database, air gap; and of a real
 * engine.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "@libsql/client";
import type { Check } from "../../src/cli/doctor/check.ts";
import { type EngineInfo, judgeEngine, judgeGpus } from "../../src/cli/doctor/engines.ts";
import { airGap, database, exposure, privacy } from "../../src/cli/doctor/site.ts";
import { type ConfigInput, loadConfig } from "../../src/config.ts";
import { BASE_IMAGE, testDocker } from "../support/docker.ts";
import { PROGRAM } from "../support/program.ts";

const docker = await testDocker();
const skip = "skip" in docker ? docker.skip : null;
let dir: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "ftl-doctor-"));
});
afterAll(async () => {
  rmSync(dir, { recursive: true, force: true });
  if (!("skip" in docker)) await docker.close();
});

const config = (changes: ConfigInput = {}) => loadConfig({ data_dir: dir, ...changes });
const GOOD: EngineInfo = {
  ServerVersion: "25.0.3",
  OperatingSystem: "Debian 12",
  CgroupVersion: "2",
  MemoryLimit: true,
  PidsLimit: true,
  CpuCfsQuota: true,
  SecurityOptions: ["name=seccomp,profile=builtin"],
};
const said = (checks: Check[]) => checks.map((one) => `${one.state} ${one.found} ${one.advice ?? ""}`).join("\n");

describe("an engine", () => {
  const cases: [string, Partial<EngineInfo>, string, RegExp][] = [
    ["with all limits is fine, and its socket is named for what it is", {}, "ok,info", /its users are root/],
    ["that is rootless", { SecurityOptions: ["name=rootless", "name=seccomp"] }, "ok", /rootless/],
    ["with userns-remap", { SecurityOptions: ["name=userns"] }, "ok", /userns-remap/],
    ["too old", { ServerVersion: "19.03.15" }, "gap", /Upgrade it: 20\.10/],
    ["of exactly the oldest version", { ServerVersion: "20.10.24+dfsg1" }, "ok,info", /20\.10\.24/],
    [
      "rootless without delegation",
      { SecurityOptions: ["name=rootless"], MemoryLimit: false, PidsLimit: false },
      "gap",
      /cannot limit memory, processes Delegate/,
    ],
    ["without a memory controller", { MemoryLimit: false }, "gap,info", /cgroup_enable=memory/],
  ];
  test.each(cases)("%s", (_name, changes, states, words) => {
    const checks = judgeEngine("Docker x", { ...GOOD, ...changes });
    expect(checks.map((one) => one.state).join()).toBe(states);
    expect(said(checks)).toMatch(words);
  });

  test("gives GPUs by the NVIDIA runtime or by CDI; cards it cannot give are a gap", () => {
    expect(judgeGpus("Docker x", GOOD, false)).toEqual([]);
    expect(said(judgeGpus("Docker x", { ...GOOD, Runtimes: { nvidia: {} } }, true))).toStartWith("ok NVIDIA runtime");
    const devices = [{ ID: "nvidia.com/gpu=all" }];
    expect(said(judgeGpus("Docker x", { ...GOOD, DiscoveredDevices: devices }, true))).toStartWith("ok NVIDIA devices");
    expect(said(judgeGpus("Docker x", GOOD, true))).toMatch(/^gap .*nvidia-ctk runtime configure/);
  });
});

describe("an installation that others reach", () => {
  const cases: [string, ConfigInput, string][] = [
    ["not at all", {}, "info"],
    ["under no name", { listen: "0.0.0.0:3900" }, "gap"],
    ["without TLS", { public_url: "http://lab.example.com", trusted_proxies: ["10.0.0.1"] }, "gap"],
    ["through a proxy nobody trusts", { public_url: "https://lab.example.com" }, "gap"],
    ["as it should be", { public_url: "https://lab.example.com", trusted_proxies: ["10.0.0.1"] }, "ok"],
    ["by its own name alone", { public_url: "http://127.0.0.1:3900" }, "ok"],
  ];
  test.each(cases)("%s", (_name, changes, state) => {
    expect(exposure(config(changes)).map((one) => one.state)).toEqual([state as Check["state"]]);
  });

  test("its data directory is closed to others", () => {
    chmodSync(dir, 0o755);
    expect(said(privacy(config()))).toMatch(/^gap .*chmod 700/);
    chmodSync(dir, 0o700);
    expect(said(privacy(config()))).toStartWith("ok");
  });
});

test("a database of a newer version is named as such, and nothing is changed in it", async () => {
  expect(said(await database(config()))).toStartWith("info not created yet");
  const client = createClient({ url: `file:${join(dir, "lab.db")}` });
  await client.execute("CREATE TABLE __drizzle_migrations (id INTEGER PRIMARY KEY, hash text, created_at numeric)");
  expect(said(await database(config()))).toStartWith("ok");
  const { entries } = (await Bun.file(join(import.meta.dir, "../../migrations/meta/_journal.json")).json()) as {
    entries: unknown[];
  };
  for (const _ of entries) await client.execute("INSERT INTO __drizzle_migrations (hash, created_at) VALUES ('x', 1)");
  expect(said(await database(config()))).toStartWith("ok");
  await client.execute("INSERT INTO __drizzle_migrations (hash, created_at) VALUES ('y', 99999999999999)");
  expect(said(await database(config()))).toMatch(/^missing written by a newer version/);
  client.close();
  rmSync(join(dir, "lab.db"));
});

test("without internet it says where models come from", () => {
  expect(said(airGap(config()))).toStartWith("info https://");
  expect(said(airGap(config({ hub_url: "none" })))).toMatch(/^gap .*no model is installed/);
  const prepared_models = join(dir, "prepared");
  expect(said(airGap(config({ hub_url: "none", prepared_models })))).toMatch(/^gap .*is missing/);
  mkdirSync(join(prepared_models, "tiny"), { recursive: true });
  expect(said(airGap(config({ hub_url: "none", prepared_models })))).toMatch(/^gap .*has no model/);
  writeFileSync(join(prepared_models, "tiny/config.json"), "{}");
  expect(said(airGap(config({ hub_url: "none", prepared_models })))).toStartWith("ok never asked");
});

describe.skipIf(skip !== null)(`a real engine${skip ? ` (skipped: ${skip})` : ""}`, () => {
  const doctor = (hosts: string, more: Record<string, unknown> = {}) => {
    const child = Bun.spawnSync([...PROGRAM, "doctor", "--json", "--data", dir], {
      env: {
        PATH: process.env.PATH ?? "",
        HOME: "/nonexistent",
        FTL_PROVIDERS: "docker",
        FTL_PROVIDER_SETTINGS: JSON.stringify({ docker: { hosts, ...more } }),
      },
    });
    return (JSON.parse(child.stdout.toString()) as { checks: Check[] }).checks;
  };

  test("is reported with its version and limits, and with the missing image", () => {
    if ("skip" in docker) throw new Error(docker.skip);
    const checks = doctor(`own=${docker.address}`, { image: "ftl-test/never-built" });
    expect(checks.find((one) => one.name === "Docker own")?.found).toMatch(/^Engine \d+\.\d+/);
    const image = checks.find((one) => one.name === "own: trainer image");
    expect(image).toMatchObject({ state: "gap", found: "ftl-test/never-built is missing" });
    expect(image?.advice).toContain("images load");
  });

  test("that has an image of somebody else under the name lacks ours", () => {
    if ("skip" in docker) throw new Error(docker.skip);
    const checks = doctor(`own=${docker.address}`, { image: BASE_IMAGE });
    expect(checks.find((one) => one.name === "own: trainer image")?.state).toBe("gap");
  });
});

test("an engine that does not answer is reported with what to do", () => {
  const child = Bun.spawnSync([...PROGRAM, "doctor", "--json", "--data", dir], {
    env: {
      PATH: process.env.PATH ?? "",
      HOME: "/nonexistent",
      FTL_PROVIDERS: "docker",
      FTL_PROVIDER_SETTINGS: JSON.stringify({ docker: { hosts: "unix:///nonexistent/docker.sock" } }),
    },
  });
  const { checks } = JSON.parse(child.stdout.toString()) as { checks: Check[] };
  expect(checks.find((one) => one.name === "Docker local")).toMatchObject({ state: "gap" });
  expect(checks.find((one) => one.name === "Docker local")?.advice).toContain("Install the Docker Engine");
});
