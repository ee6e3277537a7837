/**
 * The hands for containers: everything through the engine's own command line and the machine's processes, nothing
 * through the server.
 */
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BASE_IMAGE } from "../../support/docker.ts";
import { type Hands, STARVED_BYTES } from "./hands.ts";

export const SCRIPTED_IMAGE = "ftl-test/scripted:latest";

/** Runs the engine's command line. @throws Error with the last lines of its stderr */
function engine(address: string, ...args: string[]): string {
  const run = Bun.spawnSync(["docker", "-H", address, ...args], { env: { ...process.env, DOCKER_BUILDKIT: "0" } });
  if (run.exitCode !== 0) throw new Error(`docker ${args.join(" ")}: ${run.stderr.toString().trim().slice(-400)}`);
  return run.stdout.toString().trim();
}

/** Makes the image with the scripted trainer: the base with one folder of Python in it. Needs no network. */
export function makeScriptedImage(address: string): void {
  const context = mkdtempSync(join(tmpdir(), "ftl-scripted-image-"));
  try {
    const sources = join(import.meta.dir, "../../support/fake-trainer/finetune_trainer");
    cpSync(sources, join(context, "finetune_trainer"), { recursive: true });
    const lines = [`FROM ${BASE_IMAGE}`, "COPY finetune_trainer /trainer/finetune_trainer", "ENV PYTHONPATH=/trainer"];
    writeFileSync(join(context, "Dockerfile"), `${lines.join("\n")}\n`);
    engine(address, "build", "--quiet", "--tag", SCRIPTED_IMAGE, context);
  } finally {
    rmSync(context, { recursive: true, force: true });
  }
}

/** @param address of the engine itself, whatever way the server takes to it */
export function dockerHands(address: string, installation: string): Hands {
  const list = (...filters: string[]) =>
    engine(
      address,
      "ps",
      "--no-trunc",
      "--filter",
      `label=ft.installation=${installation}`,
      "--filter",
      "label=ft.key",
      ...filters,
      "--format",
      '{{.ID}} {{.Label "ft.key"}}',
    )
      .split("\n")
      .filter(Boolean)
      .map((line) => {
        const [id = "", key = ""] = line.split(" ");
        return { id, key };
      });
  const containerOf = (key: string) => {
    const found = list().find((one) => one.key === key);
    if (!found) throw new Error(`no container of ${key} is running`);
    return found.id;
  };
  /** The trainer itself, as this machine counts processes; what started it in the container is not it. */
  const signal = (key: string, name: NodeJS.Signals) => {
    const [, ...lines] = engine(address, "top", containerOf(key), "-eo", "pid,args").split("\n");
    const pids = lines.filter((line) => /python3 -m finetune_trainer/.test(line) && !line.includes("docker-init"));
    if (pids.length === 0) throw new Error(`no trainer in the container of ${key}`);
    for (const line of pids) process.kill(Number(line.trim().split(/\s+/)[0]), name);
  };
  const remove = (key: string) => void engine(address, "rm", "--force", containerOf(key));
  return {
    provider: "docker",
    working: () => list(),
    token(key) {
      const variables = engine(address, "inspect", "--format", "{{json .Config.Env}}", containerOf(key));
      const found = (JSON.parse(variables) as string[]).find((one) => one.startsWith("FTL_ATTEMPT_TOKEN="));
      if (!found) throw new Error(`the container of ${key} has no token`);
      return found.slice("FTL_ATTEMPT_TOKEN=".length);
    },
    freeze: (key) => signal(key, "SIGSTOP"),
    thaw: (key) => signal(key, "SIGCONT"),
    kill: (key) => signal(key, "SIGKILL"),
    vanish: remove,
    removeByHand: remove,
    starve(key) {
      const bytes = String(STARVED_BYTES);
      engine(address, "update", "--memory", bytes, "--memory-swap", bytes, containerOf(key));
      return () => {};
    },
    leftovers: (live) =>
      list("--all")
        .filter((one) => !live.includes(one.key))
        .map((one) => `container ${one.id.slice(0, 12)} of ${one.key}`),
  };
}
