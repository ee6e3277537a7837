/** Reads what `nvidia-smi` prints (`-q -x` and `-L`), and tells its failures apart. Pure. */
import { XMLParser } from "fast-xml-parser";

/** A card, or a slice of one under MIG, at the moment of asking. Null: the card or driver does not tell. */
interface GpuReading {
  /** `GPU-…` or `MIG-…`: stays the same across restarts and re-ordering. */
  uuid: string;
  index: number;
  model: string;
  memoryMb: number;
  memoryUsedMb: number;
  /** Percent of the time something ran; null under MIG. */
  utilization: number | null;
  temperatureC: number | null;
  powerW: number | null;
  powerLimitW: number | null;
  /** Errors no ECC could correct since the driver was loaded. */
  eccErrors: number | null;
  /** MIG slices: the card's uuid and the profile, such as `1g.10gb`. */
  parent: string | null;
  profile: string | null;
}

export interface NvidiaReading {
  driver: string | null;
  cuda: string | null;
  /** What work can be given: whole cards, and slices in place of the cards that are cut in slices. */
  gpus: GpuReading[];
  /** Cards that are cut in slices but whose slices have no names in `-L`; they cannot be used. */
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

/** Uncorrectable errors of one ECC block, whatever the driver calls its parts; null when it tells none. */
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

/** Slices by the uuid of their card, in the order of `nvidia-smi -L`. */
function slicesOf(text: string): Map<string, { uuid: string; profile: string; device: number }[]> {
  const found = new Map<string, { uuid: string; profile: string; device: number }[]>();
  let card: string | null = null;
  for (const line of text.split("\n")) {
    card = /^GPU \d+: .*\(UUID: (GPU-[0-9a-fA-F-]+)\)/.exec(line)?.[1] ?? card;
    const slice = /^\s+MIG (\S+)\s+Device\s+(\d+): \(UUID: (MIG-[^)\s]+)\)/.exec(line);
    if (slice && card)
      found.set(card, [
        ...(found.get(card) ?? []),
        { profile: slice[1] as string, device: Number(slice[2]), uuid: slice[3] as string },
      ]);
  }
  return found;
}

/**
 * @param xml output of `nvidia-smi -q -x`
 * @param names output of `nvidia-smi -L`: the only place that names MIG slices
 * @returns null when `xml` is none of its documents (see `nvidiaFailure`)
 */
export function readNvidiaSmi(xml: string, names: string): NvidiaReading | null {
  const start = xml.indexOf("<nvidia_smi_log");
  if (start < 0 || !xml.includes("</nvidia_smi_log>")) return null;
  const log = parser.parse(xml.slice(start)).nvidia_smi_log as Record<string, unknown>;
  const slices = slicesOf(names);
  const problems: string[] = [];
  const gpus = list(log.gpu as RawGpu | RawGpu[] | undefined).flatMap((raw, index): GpuReading[] => {
    if (!raw.uuid) return [];
    const power = { ...raw.power_readings, ...raw.gpu_power_readings };
    const card: GpuReading = {
      uuid: raw.uuid,
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
    if (raw.mig_mode?.current_mig !== "Enabled") return [card];
    const named = slices.get(raw.uuid) ?? [];
    const devices = typeof raw.mig_devices === "object" ? list(raw.mig_devices.mig_device) : [];
    if (named.length < devices.length || devices.length === 0)
      problems.push(
        devices.length === 0
          ? `${card.model} (GPU ${index}) is in MIG mode without any slice: make slices with nvidia-smi mig, or turn MIG off.`
          : `${devices.length - named.length} MIG slices of GPU ${index} have no name in nvidia-smi -L and cannot be used.`,
      );
    return devices.flatMap((device, position): GpuReading[] => {
      const own = named.find((slice) => slice.device === (number(device.index) ?? position));
      if (!own) return [];
      return [
        {
          ...card,
          uuid: own.uuid,
          memoryMb: number(device.fb_memory_usage?.total) ?? 0,
          memoryUsedMb: number(device.fb_memory_usage?.used) ?? 0,
          utilization: null,
          eccErrors: uncorrectable(device.ecc_error_count?.volatile_count),
          parent: card.uuid,
          profile: own.profile,
        },
      ];
    });
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
    "The NVIDIA driver was updated, but the old one is still loaded.",
    "Restart the machine (or unload and load the nvidia kernel modules).",
  ],
  [
    /GPU is lost|fallen off the bus|Unable to determine the device handle/i,
    "gpu_lost",
    "A GPU no longer answers on the bus.",
    "Restart the machine; when it comes back, look for Xid errors in dmesg and check power, cooling and seating of the card.",
  ],
  [
    /Failed to initialize NVML: Unknown Error/i,
    "nvml_lost",
    "The container lost its access to the GPU.",
    "Usually after systemctl daemon-reload with the systemd cgroup driver: use NVIDIA container toolkit 1.18 or newer (CDI), or the cgroupfs driver.",
  ],
  [
    /could not select device driver .{0,200}gpu|unknown or invalid runtime name: nvidia|libnvidia-ml\.so\.1: cannot open/i,
    "no_runtime",
    "Docker cannot hand GPUs to containers.",
    "Install the NVIDIA container toolkit and run nvidia-ctk runtime configure --runtime=docker, then restart Docker.",
  ],
  [
    /couldn't communicate with the NVIDIA driver|Driver Not Loaded|NVML: Driver/i,
    "no_driver",
    "The NVIDIA driver is not running.",
    "Install or reload the driver (after a kernel update: its module for the new kernel), then run nvidia-smi.",
  ],
  [
    /No devices were found/i,
    "no_devices",
    "The driver runs but finds no GPU.",
    "Check lspci and dmesg; the card may be off, or given to a virtual machine.",
  ],
  [
    /Insufficient Permissions|permission denied/i,
    "no_permission",
    "This user may not use the NVIDIA devices.",
    "Give the server's user access to /dev/nvidia* (group video or render).",
  ],
];

/** What the output of a failed `nvidia-smi`, or of a container that needs it, means and what to do about it. */
export function nvidiaFailure(output: string): NvidiaFailure {
  const found = FAILURES.find(([pattern]) => pattern.test(output));
  if (found) return { code: found[1], message: found[2], remedy: found[3] };
  const said = output.trim().split("\n").at(-1)?.slice(0, 200);
  return {
    code: "unknown",
    message: `nvidia-smi failed${said ? `: ${said}` : "."}`,
    remedy: "Run nvidia-smi on that machine as the server's user.",
  };
}
