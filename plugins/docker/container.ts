/**
 * The container of one launch, as data for the engine. Every container has the same isolation, regardless of the job.
 */
import { basename } from "node:path";
import type Docker from "dockerode";
import type { LaunchContext, LaunchSpec } from "../../src/contract/provider.ts";
import type { Settings } from "./settings.ts";

/** Paths in the container. */
const SOCKET_DIR = "/run/finetune-lab";
const SCRATCH = "/scratch";
const TRAINER = ["python3", "-m", "finetune_trainer"];
const TMP_MB = 256;
const MIN_SCRATCH_MB = 256;
/** The memory limit: the estimated need plus 50%, and the memory of a Python interpreter with its libraries. */
const MEMORY_SLACK = 1.5;
const MEMORY_BASE_MB = 1536;
/** Maximum size of a file that an endpoint can write, because its scratch is on the disk of this machine. */
const SERVE_FILE_BYTES = 256 * 2 ** 20;

export const LABEL = {
  managed: "ft.managed",
  installation: "ft.installation",
  key: "ft.key",
  /** The start of the token's hash, to detect a container with an expired token. */
  token: "ft.token",
  gpus: "ft.gpus",
  /** Prefix of the labels from the server. */
  given: "ft.label.",
} as const;

/** The checked inputs of a launch. */
export interface Order {
  installation: string;
  settings: Settings;
  spec: LaunchSpec;
  context: LaunchContext;
  /** Id of the image on the engine. */
  image: string;
  machine: { cpus: number; memoryMb: number };
  /** UUIDs of the GPUs or MIG slices of this container. */
  gpus: string[];
  /** Real paths of directories below the data root; null on a remote host. */
  local: {
    /** The directory with only the server's socket for trainers; null when it does not exist. */
    socketDir: string | null;
    inputs: string[];
    /** The directory with the socket of an endpoint, mounted at the same path. */
    scratch: string | null;
  } | null;
}

export const tokenMark = (token: string) => new Bun.CryptoHasher("sha256").update(token).digest("hex").slice(0, 16);

/** The name of the container. It depends only on the key, so that the engine refuses a second container. */
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
  // Only GPU kernels that are compiled at run time need to be executable in scratch.
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
    // NCCL needs pinned memory and a large stack; a single GPU does not use it.
    ...(order.gpus.length > 1 ? [limit("memlock", -1), limit("stack", 67_108_864)] : []),
  ];
}

function environment(order: Order, scratch: string): string[] {
  const { url, token, fingerprint } = order.context.callHome;
  const home = order.local && url.startsWith("unix:") ? `unix:${SOCKET_DIR}/${basename(url)}` : url;
  const variables = {
    LANG: "C.UTF-8",
    PYTHONUNBUFFERED: "1",
    PYTHONDONTWRITEBYTECODE: "1",
    // With NVIDIA as the default runtime, CUDA images would get all GPUs.
    ...(order.gpus.length ? { NVIDIA_DRIVER_CAPABILITIES: "compute,utility" } : { NVIDIA_VISIBLE_DEVICES: "void" }),
    ...order.spec.env,
    HOME: scratch,
    TMPDIR: "/tmp",
    FTL_HOME_URL: home,
    FTL_ATTEMPT_TOKEN: token,
    ...(fingerprint ? { FTL_HOME_FINGERPRINT: fingerprint } : {}),
    FTL_SCRATCH: scratch,
    // The server and the container can have different users. The directory of the socket keeps out all others.
    ...(order.local?.scratch ? { FTL_SOCKET_MODE: "666" } : {}),
  };
  return Object.entries(variables).map(([name, value]) => `${name}=${value}`);
}

/** The GPUs of a container by UUID, because indexes can change when the driver is reloaded. */
export function deviceRequests(gpus: string[]): Docker.DeviceRequest[] {
  return gpus.length ? [{ Driver: "nvidia", DeviceIDs: gpus, Capabilities: [["gpu"]] }] : [];
}

/** The isolation of every container, including the GPU probe. */
export function isolation(settings: Settings): Docker.HostConfig & { CgroupnsMode: "private" } {
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
    // Otherwise the exit code and the output would be lost.
    AutoRemove: false,
    LogConfig: { Type: "json-file", Config: { "max-size": `${Math.ceil(settings.logMb / 2)}m`, "max-file": "2" } },
    Tmpfs: { "/tmp": `rw,nosuid,nodev,noexec,size=${TMP_MB}m,mode=0700,uid=${uid},gid=${gid}` },
  };
}

/** The body of `POST /containers/create`. The same order always gives the same container. */
export function containerFor(order: Order): Docker.ContainerCreateOptions {
  const { settings, spec, context, machine, local } = order;
  const scratch = scratchOf(order);
  const wanted = Math.ceil(spec.need.memory_mb * MEMORY_SLACK) + MEMORY_BASE_MB + scratch.memoryMb + settings.shmMb;
  const memory = Math.min(wanted, machine.memoryMb) * 2 ** 20;
  const given = Object.entries(context.labels).map(([name, value]) => [`${LABEL.given}${name}`, value]);
  const isolated = isolation(settings);
  return {
    name: nameOf(order.installation, context.key),
    Image: order.image,
    // The full command is the entry point, so that the image cannot add a shell.
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
      ...isolated,
      NetworkMode: local ? "none" : settings.network,
      Memory: memory,
      // No swap: swapping would block the trainer and slow down the whole machine.
      MemorySwap: memory,
      NanoCpus: Math.min(settings.cpus || machine.cpus, machine.cpus) * 1e9,
      Ulimits: ulimits(order),
      DeviceRequests: deviceRequests(order.gpus),
      Tmpfs: { ...isolated.Tmpfs, ...scratch.tmpfs },
      Mounts: [
        ...(local?.socketDir ? [bind(local.socketDir, SOCKET_DIR, true)] : []),
        ...(local?.inputs ?? []).map((path) => bind(path, path, true)),
        ...scratch.mounts,
      ],
    },
  };
}
