/** Parses the output of `nvidia-smi` (`-q -x` and `-L`) and classifies its failures. */
import { XMLParser } from "fast-xml-parser";

/** The state of a GPU or a MIG slice. A value is null when the GPU or driver does not report it. */
interface GpuReading {
  /** `GPU-…` or `MIG-…`. It does not change with restarts or reordering. */
  uuid: string;
  index: number;
  model: string;
  memoryMb: number;
  memoryUsedMb: number;
  /** Percent of time with a running kernel; null under MIG. */
  utilization: number | null;
  temperatureC: number | null;
  powerW: number | null;
  powerLimitW: number | null;
  /** Uncorrectable ECC errors since the driver was loaded. */
  eccErrors: number | null;
  /** For MIG slices: the UUID of the GPU, and the profile, such as `1g.10gb`. */
  parent: string | null;
  profile: string | null;
}

export interface NvidiaReading {
  driver: string | null;
  cuda: string | null;
  /** Full GPUs, and the MIG slices of partitioned GPUs. */
  gpus: GpuReading[];
  /** Partitioned GPUs that cannot be used, because their slices are missing or have no names in `-L`. */
  problems: string[];
}

interface RawMig {
  index?: string;
  fb_memory_usage?: Record<string, string>;
  ecc_error_count?: Record<string, Record<string, string>>;
}
interface RawGpu {
  product_name?: string;
  uuid?: string;
  mig_mode?: { current_mig?: string };
  mig_devices?: string | { mig_device?: RawMig | RawMig[] };
  fb_memory_usage?: Record<string, string>;
  utilization?: { gpu_util?: string };
  temperature?: { gpu_temp?: string };
  ecc_errors?: { volatile?: Record<string, unknown> };
  power_readings?: Record<string, string>;
  gpu_power_readings?: Record<string, string>;
}

const parser = new XMLParser({ parseTagValue: false, processEntities: false });
const list = <T>(value: T | T[] | undefined): T[] =>
  value === undefined ? [] : Array.isArray(value) ? value : [value];

/** The number in "19968 MiB", "8.44 W", "37 %"; null for N/A, [Not Supported] and the like. */
function number(text: unknown): number | null {
  const found = typeof text === "string" ? /^\s*(-?\d+(?:\.\d+)?)/.exec(text) : null;
  return found ? Number(found[1]) : null;
}

/** Uncorrectable errors of one ECC block, for any driver's field names; null when the driver reports none. */
function uncorrectable(block: Record<string, unknown> | undefined): number | null {
  if (!block) return null;
  const parts = Object.entries(block).flatMap(([name, value]) => {
    if (/uncorrectable/.test(name)) return [number(value)];
    // Drivers before 2020 count double-bit errors.
    if (name === "double_bit") return [number((value as Record<string, unknown>).total)];
    return [];
  });
  const known = parts.filter((part) => part !== null);
  return known.length > 0 ? known.reduce((sum, part) => sum + part, 0) : null;
}

interface NamedSlice {
  uuid: string;
  profile: string;
  device: number;
}

/** MIG slices by the UUID of their GPU, in the order of `nvidia-smi -L`. */
function slicesOf(text: string): Map<string, NamedSlice[]> {
  const found = new Map<string, NamedSlice[]>();
  let parent: string | null = null;
  for (const line of text.split("\n")) {
    parent = /^GPU \d+: .*\(UUID: (GPU-[0-9a-fA-F-]+)\)/.exec(line)?.[1] ?? parent;
    const slice = /^\s+MIG (\S+)\s+Device\s+(\d+): \(UUID: (MIG-[^)\s]+)\)/.exec(line);
    if (slice && parent)
      found.set(parent, [
        ...(found.get(parent) ?? []),
        { profile: slice[1] as string, device: Number(slice[2]), uuid: slice[3] as string },
      ]);
  }
  return found;
}

/** The reading of one full GPU. */
function fullGpu(raw: RawGpu, uuid: string, index: number): GpuReading {
  const power = { ...raw.power_readings, ...raw.gpu_power_readings };
  return {
    uuid,
    index,
    model: raw.product_name?.trim() || "NVIDIA GPU",
    memoryMb: number(raw.fb_memory_usage?.total) ?? 0,
    memoryUsedMb: number(raw.fb_memory_usage?.used) ?? 0,
    utilization: number(raw.utilization?.gpu_util),
    temperatureC: number(raw.temperature?.gpu_temp),
    powerW: number(power.instant_power_draw) ?? number(power.power_draw) ?? number(power.average_power_draw),
    powerLimitW: number(power.current_power_limit) ?? number(power.power_limit),
    eccErrors: uncorrectable(raw.ecc_errors?.volatile),
    parent: null,
    profile: null,
  };
}

/** The MIG slices of a GPU. Slices that cannot be used are reported in `problems`. */
function slicesOfGpu(raw: RawGpu, gpu: GpuReading, named: NamedSlice[], problems: string[]): GpuReading[] {
  const devices = typeof raw.mig_devices === "object" ? list(raw.mig_devices.mig_device) : [];
  if (devices.length === 0)
    problems.push(
      `${gpu.model} (GPU ${gpu.index}) is in MIG mode but has no slices: create slices with nvidia-smi mig, or turn MIG off.`,
    );
  else if (named.length < devices.length)
    problems.push(
      `${devices.length - named.length} MIG slices of GPU ${gpu.index} have no name in nvidia-smi -L and cannot be used.`,
    );
  return devices.flatMap((device, position): GpuReading[] => {
    const own = named.find((slice) => slice.device === (number(device.index) ?? position));
    if (!own) return [];
    return [
      {
        ...gpu,
        uuid: own.uuid,
        memoryMb: number(device.fb_memory_usage?.total) ?? 0,
        memoryUsedMb: number(device.fb_memory_usage?.used) ?? 0,
        utilization: null,
        eccErrors: uncorrectable(device.ecc_error_count?.volatile_count),
        parent: gpu.uuid,
        profile: own.profile,
      },
    ];
  });
}

/**
 * @param xml output of `nvidia-smi -q -x`
 * @param names output of `nvidia-smi -L`, the only source of the UUIDs of MIG slices
 * @returns null when `xml` is not the XML of nvidia-smi (see `nvidiaFailure`)
 */
export function readNvidiaSmi(xml: string, names: string): NvidiaReading | null {
  const start = xml.indexOf("<nvidia_smi_log");
  if (start < 0 || !xml.includes("</nvidia_smi_log>")) return null;
  const log = parser.parse(xml.slice(start)).nvidia_smi_log as Record<string, unknown>;
  const slices = slicesOf(names);
  const problems: string[] = [];
  const gpus = list(log.gpu as RawGpu | RawGpu[] | undefined).flatMap((raw, index): GpuReading[] => {
    if (!raw.uuid) return [];
    const gpu = fullGpu(raw, raw.uuid, index);
    if (raw.mig_mode?.current_mig !== "Enabled") return [gpu];
    return slicesOfGpu(raw, gpu, slices.get(raw.uuid) ?? [], problems);
  });
  const text = (value: unknown) => (typeof value === "string" && value.trim() !== "" ? value.trim() : null);
  return { driver: text(log.driver_version), cuda: text(log.cuda_version), gpus, problems };
}

interface NvidiaFailure {
  code:
    | "no_driver"
    | "driver_mismatch"
    | "nvml_lost"
    | "gpu_lost"
    | "no_devices"
    | "no_permission"
    | "no_runtime"
    | "unknown";
  message: string;
  remedy: string;
}

const FAILURES: [RegExp, NvidiaFailure["code"], string, string][] = [
  [
    /Driver\/library version mismatch/i,
    "driver_mismatch",
    "The NVIDIA driver was updated, but the old version is still loaded.",
    "Restart the machine, or reload the nvidia kernel modules.",
  ],
  [
    /GPU is lost|fallen off the bus|Unable to determine the device handle/i,
    "gpu_lost",
    "A GPU no longer answers on the bus.",
    "Restart the machine. Then look for Xid errors in dmesg, and check the power, cooling and seating of the GPU.",
  ],
  [
    /Failed to initialize NVML: Unknown Error/i,
    "nvml_lost",
    "The container lost access to the GPU.",
    "The usual cause is systemctl daemon-reload with the systemd cgroup driver. Use NVIDIA Container Toolkit 1.18 or newer (CDI), or the cgroupfs driver.",
  ],
  [
    /could not select device driver .{0,200}gpu|unknown or invalid runtime name: nvidia|libnvidia-ml\.so\.1: cannot open/i,
    "no_runtime",
    "Docker cannot give containers access to GPUs.",
    "Install the NVIDIA Container Toolkit, run nvidia-ctk runtime configure --runtime=docker, then restart Docker.",
  ],
  [
    /couldn't communicate with the NVIDIA driver|Driver Not Loaded|NVML: Driver/i,
    "no_driver",
    "The NVIDIA driver is not running.",
    "Install or reload the driver (after a kernel update, build its module for the new kernel), then run nvidia-smi.",
  ],
  [
    /No devices were found/i,
    "no_devices",
    "The driver runs but finds no GPU.",
    "Check lspci and dmesg. The GPU may be disabled or assigned to a virtual machine.",
  ],
  [
    /Insufficient Permissions|permission denied/i,
    "no_permission",
    "The server's user has no access to the NVIDIA devices.",
    "Give the user access to /dev/nvidia* (group video or render).",
  ],
];

/** The cause and the remedy for the output of a failed `nvidia-smi`, or of a container that needs it. */
export function nvidiaFailure(output: string): NvidiaFailure {
  const found = FAILURES.find(([pattern]) => pattern.test(output));
  if (found) return { code: found[1], message: found[2], remedy: found[3] };
  const said = output.trim().split("\n").at(-1)?.slice(0, 200);
  return {
    code: "unknown",
    message: `nvidia-smi failed${said ? `: ${said}` : "."}`,
    remedy: "Run nvidia-smi on that machine as the server's user to see the error.",
  };
}
