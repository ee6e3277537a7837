/** Finds the NVIDIA GPUs of an engine with a container that runs nvidia-smi, and selects free ones by UUID. */
import type Docker from "dockerode";
import type { HostReport } from "../../src/contract/provider.ts";
import { isolation, LABEL } from "./container.ts";
import type { Settings } from "./settings.ts";
import { unframe } from "./status.ts";

export interface Gpu {
  /** `GPU-…` or `MIG-…`. */
  uuid: string;
  name: string;
  memoryMb: number;
}

const PROBE = "ft.probe";
const PROBE_TIMEOUT_S = 60;
/** Prints the output of nvidia-smi, or its failure, as one JSON object. Python, because images may have no shell. */
const SOURCE = `import json, subprocess
def run(*argv):
    done = subprocess.run(["nvidia-smi", *argv], capture_output=True, text=True, timeout=40)
    if done.returncode: raise RuntimeError((done.stdout + done.stderr).strip() or f"exit code {done.returncode}")
    return done.stdout
try: print(json.dumps({"xml": run("-q", "-x"), "list": run("-L")}))
except Exception as problem: print(json.dumps({"failure": str(problem)}))`;

/** The container of a probe: isolated like any other container, with all GPUs and without files. */
export function probeContainer(installation: string, settings: Settings): Docker.ContainerCreateOptions {
  return {
    name: `ftl-${installation}-probe-${crypto.randomUUID().slice(0, 8)}`,
    Image: settings.image,
    Entrypoint: ["python3", "-c", SOURCE],
    Cmd: [],
    User: settings.user,
    WorkingDir: "/tmp",
    Env: ["NVIDIA_DRIVER_CAPABILITIES=utility", "NVIDIA_VISIBLE_DEVICES=all"],
    Labels: { [PROBE]: installation },
    HostConfig: {
      ...isolation(settings),
      Memory: 512 * 2 ** 20,
      MemorySwap: 512 * 2 ** 20,
      DeviceRequests: [{ Driver: "nvidia", Count: -1, Capabilities: [["gpu"]] }],
    },
  };
}

async function removeProbes(docker: Docker, installation: string): Promise<void> {
  const filters = { label: [`${PROBE}=${installation}`] };
  for (const { Id } of await docker.listContainers({ all: true, filters }))
    await docker
      .getContainer(Id)
      .remove({ force: true, v: true })
      .catch(() => {});
}

/** Runs the probe; null when the engine has no NVIDIA runtime. */
export async function probe(docker: Docker, installation: string, settings: Settings): Promise<HostReport["nvidia"]> {
  const info = (await docker.info()) as { Runtimes?: object; DiscoveredDevices?: { ID?: string }[] };
  const cdi = (info.DiscoveredDevices ?? []).some((device) => device.ID?.startsWith("nvidia.com/gpu"));
  if (!cdi && !("nvidia" in (info.Runtimes ?? {}))) return null;
  await removeProbes(docker, installation);
  try {
    const container = await docker.createContainer(probeContainer(installation, settings));
    await container.start();
    await Promise.race([container.wait(), Bun.sleep(PROBE_TIMEOUT_S * 1000)]);
    const text = unframe(await container.logs({ follow: false, stdout: true, stderr: true }));
    const line = text.split("\n").findLast((one) => one.startsWith("{"));
    return line ? (JSON.parse(line) as HostReport["nvidia"]) : { failure: text.trim().slice(-500) || "no answer" };
  } catch (error) {
    return { failure: error instanceof Error ? error.message : String(error) };
  } finally {
    await removeProbes(docker, installation).catch(() => {});
  }
}

/** The text of the first element with this name; empty when there is none or it has child elements. */
function tag(xml: string, name: string): string {
  const from = xml.indexOf(`<${name}>`) + name.length + 2;
  const to = xml.indexOf("<", from);
  return from > name.length + 1 && xml.startsWith(`</${name}>`, to) ? xml.slice(from, to).trim() : "";
}

/** The usable GPUs: full GPUs, and the MIG slices of partitioned ones. */
export function gpusOf(nvidia: HostReport["nvidia"]): Gpu[] {
  if (!nvidia || "failure" in nvidia) return [];
  const elements = nvidia.xml.split(/<gpu id=/).slice(1);
  return elements.flatMap((element): Gpu[] => {
    const uuid = tag(element, "uuid");
    const name = tag(element, "product_name");
    const total = Number(/<fb_memory_usage>\s*<total>(\d+) MiB/.exec(element)?.[1] ?? 0);
    if (!uuid || total === 0) return [];
    if (tag(element, "current_mig") !== "Enabled") return [{ uuid, name, memoryMb: total }];
    return slices(nvidia.list, uuid).map(({ profile, uuid: slice }) => ({
      uuid: slice,
      name: `${name} ${profile}`,
      memoryMb: Number(/(?<!\d)(\d+)gb/.exec(profile)?.[1] ?? 0) * 1000,
    }));
  });
}

/** The slices that `nvidia-smi -L` prints below a GPU. */
function slices(list: string, parent: string): { profile: string; uuid: string }[] {
  const lines = list.split("\n");
  const at = lines.findIndex((line) => line.includes(`UUID: ${parent}`));
  const end = lines.findIndex((line, i) => i > at && line.startsWith("GPU "));
  return lines.slice(at + 1, end < 0 ? undefined : end).flatMap((line) => {
    const [, profile, uuid] = /^\s*MIG (\S+)\s.*\(UUID: (MIG-[^()]+)\)/.exec(line) ?? [];
    return profile && uuid ? [{ profile, uuid }] : [];
  });
}

/** UUIDs of the GPUs of running containers, from their labels, because the engine does not track GPUs. */
export async function gpusInUse(docker: Docker, installation: string): Promise<Set<string>> {
  const filters = { label: [`${LABEL.installation}=${installation}`], status: ["created", "running", "paused"] };
  const containers = await docker.listContainers({ all: true, filters });
  return new Set(containers.flatMap(({ Labels }) => (Labels[LABEL.gpus] ?? "").split(",").filter(Boolean)));
}

/**
 * Selects the GPUs of a launch: one model, enough memory, the smallest that fits. Null when there are too few. A MIG
 * slice is only for single-GPU work.
 */
export function choose(gpus: readonly Gpu[], need: { gpus: number; gpu_memory_mb: number }): Gpu[] | null {
  if (need.gpus === 0) return [];
  const models = new Map<string, Gpu[]>();
  for (const gpu of gpus) {
    if (gpu.memoryMb < need.gpu_memory_mb || (need.gpus > 1 && gpu.uuid.startsWith("MIG-"))) continue;
    models.set(gpu.name, [...(models.get(gpu.name) ?? []), gpu]);
  }
  const fitting = [...models.values()].filter((same) => same.length >= need.gpus);
  fitting.sort((a, b) => (a[0]?.memoryMb ?? 0) - (b[0]?.memoryMb ?? 0));
  return fitting[0]?.slice(0, need.gpus) ?? null;
}
