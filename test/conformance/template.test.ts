/**
 * The plugin template against a cloud that speaks its API: what `plugin new` copies passes the suite once its calls are
 * answered.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import template from "../../plugins/template/index.ts";
import { conformanceSetup } from "../../src/compute/providers/conformance-run.ts";
import { CASES, runCase } from "../../src/contract/conformance.ts";

interface Machine {
  id: string;
  name: string;
  labels: Record<string, string>;
  child: Bun.Subprocess;
  startedAt: number;
}

const KEY = "cloud-key";
const machines = new Map<string, Machine>();
let scratch: string;
let cloud: ReturnType<typeof Bun.serve>;
let dataDir: string;

const view = ({ id, name, labels, child, startedAt }: Machine) => ({
  id,
  name,
  labels,
  status: child.exitCode === null && child.signalCode === null ? "running" : "exited",
  exit_code: child.signalCode === "SIGKILL" ? 137 : child.exitCode,
  started_at: startedAt,
  ended_at: null,
});

interface Order {
  name: string;
  command: string[];
  labels: Record<string, string>;
  env: Record<string, string>;
}

function start({ name, command, labels, env }: Order): Response {
  const before = [...machines.values()].find((one) => one.name === name);
  if (before) return Response.json({ instance: view(before) });
  if (!Bun.which(command[0] ?? "")) return Response.json({ error: "no such command" }, { status: 400 });
  const id = crypto.randomUUID();
  const child = Bun.spawn(command, {
    env: { PATH: process.env.PATH ?? "", ...env, FTL_SCRATCH: mkdtempSync(join(scratch, "m-")) },
    stdout: "ignore",
    stderr: "ignore",
  });
  const machine = { id, name, labels, child, startedAt: Date.now() };
  machines.set(id, machine);
  return Response.json({ instance: view(machine) });
}

beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), "ftl-cloud-"));
  dataDir = mkdtempSync(join(tmpdir(), "ftl-template-"));
  cloud = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      const { pathname, searchParams } = new URL(request.url);
      if (request.headers.get("authorization") !== `Bearer ${KEY}`) return new Response("no", { status: 401 });
      if (pathname === "/account") return Response.json({ ok: true });
      if (pathname === "/instance-types") {
        const size = { gpus: 1, gpuName: "T1", gpuMemoryMb: 24_000, cpus: 8, memoryMb: 32_000, startsInS: 30 };
        const types = [0.9, 0.4].map((pricePerHour, i) => ({
          id: `t${i}`,
          location: "eu",
          ...size,
          pricePerHour,
          available: true,
        }));
        return Response.json({ types });
      }
      if (request.method === "POST") return start((await request.json()) as Order);
      if (request.method === "DELETE") {
        const machine = machines.get(pathname.split("/").at(-1) ?? "");
        machine?.child.kill("SIGKILL");
        await machine?.child.exited;
        machines.delete(machine?.id ?? "");
        return Response.json({});
      }
      const [name, installation] = [searchParams.get("name"), searchParams.get("installation")];
      const found = [...machines.values()].filter(
        (one) => (!name || one.name === name) && (!installation || one.labels.installation === installation),
      );
      return Response.json({ instances: found.map(view) });
    },
  });
});
afterAll(async () => {
  for (const { child } of machines.values()) child.kill("SIGKILL");
  await cloud.stop(true);
  for (const dir of [scratch, dataDir]) rmSync(dir, { recursive: true, force: true });
});

describe("the plugin template conforms:", () => {
  for (const one of CASES)
    test(one.name, async () => {
      const config = { api_url: `http://127.0.0.1:${cloud.port}`, api_key: KEY };
      const { make, tools } = conformanceSetup(template, config, dataDir);
      const result = await runCase(one, make, { ...tools, exitCodes: true, patienceMs: 15_000 });
      expect(result.detail || result.outcome, one.name).toBe(result.outcome === "skipped" ? result.detail : "passed");
    }, 30_000);
});
