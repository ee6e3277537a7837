/**
 * What is asked of the engine for one launch, as data: every container is walled off the same way, whatever the job
 * says.
 */
import { basename } from "node:path";
import type Docker from "dockerode";
import type { LaunchContext, LaunchSpec } from "../../src/contract/provider.ts";
import type { Settings } from "./settings.ts";

/** Where things lie inside. */
const SOCKET_DIR = "/run/finetune-lab";
const SCRATCH = "/scratch";
const TRAINER = ["python3", "-m", "finetune_trainer"];
const TMP_MB = 256;
const MIN_SCRATCH_MB = 256;
/** A need is an estimate: a container may take half as much again, and what an interpreter with its libraries takes. */
const MEMORY_SLACK = 1.5;
const MEMORY_BASE_MB = 1536;
/** Largest single file that a server of answers may write; its scratch lies on this machine's disk. */
const SERVE_FILE_BYTES = 256 * 2 ** 20;

export const LABEL = {
  managed: "ft.managed",
  installation: "ft.installation",
  key: "ft.key",
  /** A few digits of the token's hash: tells a launch of this attempt from one whose token no longer counts. */
  token: "ft.token",
  gpus: "ft.gpus",
  /** Prefix of the labels the host gave. */
  given: "ft.label.",
} as const;

/** What a launch is made of, all of it checked and looked up before. */
export interface Order {
  installation: string;
  settings: Settings;
  spec: LaunchSpec;
  context: LaunchContext;
  /** Id of the image, as the engine knows it. */
  image: string;
  machine: { cpus: number; memoryMb: number };
  /** UUIDs of GPUs or MIG slices for this container alone. */
  gpus: string[];
  /** Local work: directories below the data root, real paths. Null on another machine. */
  local: {
    /** The directory that holds the server's socket for trainers and nothing else; null when there is none. */
    socketDir: string | null;
    inputs: string[];
    /** For servers of answers: the directory their socket lies in, under the same path on both sides. */
    scratch: string | null;
  } | null;
}

export const tokenMark = (token: string) => new Bun.CryptoHasher("sha256").update(token).digest("hex").slice(0, 16);

/** The container's name: the same for the same key, so that the engine itself refuses a second one. */
export const nameOf = (installation: string, key: string) => `ftl-${installation}-${key}`;

const bind = (path: string, target: string, readOnly: boolean): Docker.MountSettings => ({
  Type: "bind",
  Source: path,
  Target: target,
  ReadOnly: readOnly,
  BindOptions: { Propagation: "rprivate" },
});

function scratchOf({ settings, spec, local, gpus }: Order) {
  const mb = Math.max(MIN_SCRATCH_MB, spec.need.disk_mb);
  if (local?.scratch) return { path: local.scratch, memoryMb: 0, mounts: [bind(local.scratch, local.scratch, false)] };
  if (settings.scratchOnDisk) {
    const volume: Docker.MountSettings = {
      Type: "volume",
      Source: "",
      Target: SCRATCH,
      ReadOnly: false,
      VolumeOptions: {
        NoCopy: false,
        Labels: { [LABEL.managed]: "true" },
        DriverConfig: { Name: "local", Options: { size: `${mb}M` } },
      },
    };
    return { path: SCRATCH, memoryMb: 0, mounts: [volume] };
  }
  // Kernels compiled for a GPU at run time are loaded from here; nothing else needs to run from scratch.
  const exec = gpus.length > 0 ? "exec" : "noexec";
  const [uid, gid] = settings.user.split(":");
  const tmpfs = { [SCRATCH]: `rw,nosuid,nodev,${exec},size=${mb}m,mode=0700,uid=${uid},gid=${gid}` };
  return { path: SCRATCH, memoryMb: mb, mounts: [], tmpfs };
}

function ulimits(order: Order): { Name: string; Soft: number; Hard: number }[] {
  const limit = (Name: string, value: number) => ({ Name, Soft: value, Hard: value });
  return [
    limit("core", 0),
    ...(order.local?.scratch ? [limit("fsize", SERVE_FILE_BYTES)] : []),
    // NCCL pins memory and wants deep stacks; a single GPU needs neither.
    ...(order.gpus.length > 1 ? [limit("memlock", -1), limit("stack", 67_108_864)] : []),
  ];
}

function environment(order: Order, scratch: string): string[] {
  const { url, token } = order.context.callHome;
  const home = order.local && url.startsWith("unix:") ? `unix:${SOCKET_DIR}/${basename(url)}` : url;
  const variables = {
    LANG: "C.UTF-8",
    PYTHONUNBUFFERED: "1",
    PYTHONDONTWRITEBYTECODE: "1",
    // Where the NVIDIA runtime is the engine's default, images of CUDA would be given every card.
    ...(order.gpus.length ? { NVIDIA_DRIVER_CAPABILITIES: "compute,utility" } : { NVIDIA_VISIBLE_DEVICES: "void" }),
    ...order.spec.env,
    HOME: scratch,
    TMPDIR: "/tmp",
    FTL_HOME_URL: home,
    FTL_ATTEMPT_TOKEN: token,
    FTL_SCRATCH: scratch,
    // The server may run as another user than the container; the directory around the socket keeps everybody else out.
    ...(order.local?.scratch ? { FTL_SOCKET_MODE: "666" } : {}),
  };
  return Object.entries(variables).map(([name, value]) => `${name}=${value}`);
}

/** The GPUs of a container, by UUID: an index names another card after a driver was loaded anew. */
export function deviceRequests(gpus: string[]): Docker.DeviceRequest[] {
  return gpus.length ? [{ Driver: "nvidia", DeviceIDs: gpus, Capabilities: [["gpu"]] }] : [];
}

/** Walls every container has, the probe for GPUs included. */
export function walls(settings: Settings): Docker.HostConfig & { CgroupnsMode: "private" } {
  const [uid, gid] = settings.user.split(":");
  return {
    NetworkMode: "none",
    Privileged: false,
    ReadonlyRootfs: true,
    CapDrop: ["ALL"],
    SecurityOpt: ["no-new-privileges:true"],
    IpcMode: "private",
    CgroupnsMode: "private",
    PidsLimit: settings.pids,
    ShmSize: settings.shmMb * 2 ** 20,
    OomKillDisable: false,
    Init: true,
    RestartPolicy: { Name: "no" },
    // Exit code and output would be gone before anybody read them.
    AutoRemove: false,
    LogConfig: { Type: "json-file", Config: { "max-size": `${Math.ceil(settings.logMb / 2)}m`, "max-file": "2" } },
    Tmpfs: { "/tmp": `rw,nosuid,nodev,noexec,size=${TMP_MB}m,mode=0700,uid=${uid},gid=${gid}` },
  };
}

/** The body of `POST /containers/create`. Pure: the same order always gives the same container. */
export function containerFor(order: Order): Docker.ContainerCreateOptions {
  const { settings, spec, context, machine, local } = order;
  const scratch = scratchOf(order);
  const wanted = Math.ceil(spec.need.memory_mb * MEMORY_SLACK) + MEMORY_BASE_MB + scratch.memoryMb + settings.shmMb;
  const memory = Math.min(wanted, machine.memoryMb) * 2 ** 20;
  const given = Object.entries(context.labels).map(([name, value]) => [`${LABEL.given}${name}`, value]);
  const wall = walls(settings);
  return {
    name: nameOf(order.installation, context.key),
    Image: order.image,
    // The whole command is the entry point: no image can put a shell in front of it.
    Entrypoint: spec.argv ?? TRAINER,
    Cmd: [],
    User: settings.user,
    WorkingDir: scratch.path,
    Hostname: "trainer",
    Env: environment(order, scratch.path),
    StopSignal: "SIGTERM",
    Tty: false,
    OpenStdin: false,
    AttachStdout: false,
    AttachStderr: false,
    Labels: {
      ...Object.fromEntries(given),
      [LABEL.managed]: "true",
      [LABEL.installation]: order.installation,
      [LABEL.key]: context.key,
      [LABEL.token]: tokenMark(context.callHome.token),
      [LABEL.gpus]: order.gpus.join(","),
    },
    HostConfig: {
      ...wall,
      NetworkMode: local ? "none" : settings.network,
      Memory: memory,
      // No swap: a trainer that swaps stands still and takes the machine with it.
      MemorySwap: memory,
      NanoCpus: Math.min(settings.cpus || machine.cpus, machine.cpus) * 1e9,
      Ulimits: ulimits(order),
      DeviceRequests: deviceRequests(order.gpus),
      Tmpfs: { ...wall.Tmpfs, ...scratch.tmpfs },
      Mounts: [
        ...(local?.socketDir ? [bind(local.socketDir, SOCKET_DIR, true)] : []),
        ...(local?.inputs ?? []).map((path) => bind(path, path, true)),
        ...scratch.mounts,
      ],
    },
  };
}
