/** Checks of each Docker engine by `doctor`: connection, isolation, limits, GPUs, images. */
import { statSync } from "node:fs";
import type { Engine } from "../../../plugins/docker/engines.ts";
import { assetsHash } from "../../assets.ts";
import { pinnedImages, ROLES, type Role } from "../../compute/images/service.ts";
import type { Config } from "../../config.ts";
import { openFiles } from "../../lib/disk/files.ts";
import { dockerSettings, enginesOf } from "../engines.ts";
import { type FoundImage, findImage } from "../images/engine.ts";
import { type Check, check, messageOf } from "./check.ts";

const ANSWER_MS = 10_000;
/** Oldest engine whose API has all features that our containers need. */
const OLDEST = [20, 10] as const;

/** The part of `docker info` that is checked. Absent fields mean "no". */
export interface EngineInfo {
  ServerVersion?: string;
  OperatingSystem?: string;
  CgroupVersion?: string;
  MemoryLimit?: boolean;
  PidsLimit?: boolean;
  CpuCfsQuota?: boolean;
  Runtimes?: Record<string, unknown>;
  SecurityOptions?: string[] | null;
  DiscoveredDevices?: { ID?: string }[] | null;
}

function walls(info: EngineInfo): "rootless" | "userns-remap" | "root" {
  const has = (name: string) => info.SecurityOptions?.some((one) => one.split(",").includes(`name=${name}`));
  return has("rootless") ? "rootless" : has("userns") ? "userns-remap" : "root";
}

/** Evaluates what an engine reports. */
export function judgeEngine(name: string, info: EngineInfo): Check[] {
  const version = info.ServerVersion ?? "0.0";
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const kind = walls(info);
  const found = `Engine ${version} on ${info.OperatingSystem ?? "an unknown system"}, cgroup v${info.CgroupVersion ?? "1"}, ${kind}`;
  const limits = [
    ...(info.MemoryLimit ? [] : ["memory"]),
    ...(info.PidsLimit ? [] : ["processes"]),
    ...(info.CpuCfsQuota ? [] : ["processors"]),
  ];
  if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1]))
    return [
      check(
        name,
        "gap",
        found,
        `Upgrade it: ${OLDEST.join(".")} is the oldest supported version, 25 or newer is better.`,
      ),
    ];
  const checks = [
    limits.length > 0
      ? check(
          name,
          "gap",
          `${found}; cannot limit ${limits.join(", ")}`,
          kind === "rootless"
            ? "Delegate the cgroup controllers to the user (docs/install.md, Hardening); limits are not enforced until then."
            : "Start Linux with cgroup v2, or with cgroup_enable=memory swapaccount=1.",
        )
      : check(name, "ok", found),
  ];
  if (kind === "root")
    checks.push(
      check(
        `${name}: socket`,
        "info",
        "its users are root on that machine",
        "Give the server its own engine, rootless or with userns-remap: docs/install.md, Hardening.",
      ),
    );
  return checks;
}

/** Whether containers of the engine can use GPUs, with the NVIDIA runtime or CDI. */
export function judgeGpus(name: string, info: EngineInfo, cardsHere: boolean): Check[] {
  const runtime = info.Runtimes && "nvidia" in info.Runtimes;
  const cdi = info.DiscoveredDevices?.some((one) => one.ID?.startsWith("nvidia.com/gpu"));
  if (runtime || cdi) return [check(`${name}: GPUs`, "ok", runtime ? "NVIDIA runtime" : "NVIDIA devices by CDI")];
  if (!cardsHere) return [];
  return [
    check(
      `${name}: GPUs`,
      "gap",
      "this machine has NVIDIA GPUs, but containers of the engine cannot use them",
      "Install the NVIDIA container toolkit, then: nvidia-ctk runtime configure --runtime=docker && systemctl restart docker",
    ),
  ];
}

/** The base of the image, as text. */
export function baseOf({ base }: Pick<FoundImage, "base">): string {
  if (!base) return "on an unknown base";
  return base.digest ? `on ${base.name} (${base.digest})` : `on ${base.name}, which has no digest`;
}

async function image(engine: Engine, role: Role, config: Config, fallback: string): Promise<Check[]> {
  const name = `${engine.id}: ${role} image`;
  const pinned = pinnedImages(openFiles(config.data_dir))[role];
  // Endpoints use the trainer's image when there is no inference image.
  if (role === "inference" && !pinned) return [];
  const wanted = pinned?.id ?? fallback;
  const found = await findImage(engine, wanted);
  if (!found) {
    const advice = "Build it with `finetune-lab images build`, or load it with `finetune-lab images load FILE`.";
    return [check(name, "gap", `${wanted} is missing`, advice)];
  }
  const named = `${found.tag || found.id.slice(0, 19)} (${found.variant}), ${baseOf(found)}`;
  if (found.version === assetsHash("trainer").slice(0, 16)) return [check(name, "ok", named)];
  const advice =
    "It works while the trainer protocol is the same. Build or load the image of this version: `finetune-lab images build`.";
  return [check(name, "info", `${named}, built by another version of Fine-Tune Lab`, advice)];
}

/** Trainers read files of the server, so both must run as the same user. Rootless engines map the user themselves. */
function owner(engine: Engine, config: Config, user: string, info: EngineInfo): Check[] {
  if (!engine.local || walls(info) !== "root") return [];
  const { uid } = statSync(config.data_dir);
  if (String(uid) === user.split(":")[0] || uid === 0) return [];
  const advice = `Run the server as that user, or set FTL_PROVIDER_SETTINGS='{"docker":{"user":"${uid}:${statSync(config.data_dir).gid}"}}'.`;
  return [check(`${engine.id}: user`, "gap", `trainers run as ${user}, ${config.data_dir} belongs to ${uid}`, advice)];
}

async function lookAt(engine: Engine, config: Config, settings: Record<string, unknown>): Promise<Check[]> {
  const name = `Docker ${engine.id}`;
  let info: EngineInfo;
  try {
    const { within } = await import("../../../plugins/docker/machines.ts");
    info = (await within(engine.docker.info(), ANSWER_MS)) as EngineInfo;
  } catch (error) {
    const code = (error as { code?: string }).code;
    const advice =
      code === "EACCES"
        ? "Add the server's user to the group of the socket (docker), then sign in again."
        : code === "ENOENT"
          ? "Install the Docker Engine (https://docs.docker.com/engine/install/) or set another one in the setting hosts."
          : "Start the engine, and check the address, the keys and the firewall.";
    return [check(name, "gap", `${engine.address} does not answer: ${messageOf(error)}`, advice)];
  }
  const cards = engine.local && Bun.which("nvidia-smi") !== null;
  const images = await Promise.all(ROLES.map((role) => image(engine, role, config, String(settings.image))));
  return [
    ...judgeEngine(name, info),
    ...judgeGpus(name, info, cards),
    ...owner(engine, config, String(settings.user), info),
    ...images.flat(),
  ];
}

/** Every engine of the settings; a single line when the provider `docker` is not active. */
export async function engineChecks(config: Config): Promise<Check[]> {
  if (!config.providers.includes("docker"))
    return [
      check(
        "Docker",
        "info",
        "not active",
        "Containers on GPUs need it: FTL_PROVIDERS=docker,process and docs/docker.md.",
      ),
    ];
  try {
    const settings = await dockerSettings(config);
    const engines = await enginesOf(config);
    return (await Promise.all(engines.map((engine) => lookAt(engine, config, settings)))).flat();
  } catch (error) {
    return [check("Docker", "gap", "the setting hosts is invalid", messageOf(error))];
  }
}
