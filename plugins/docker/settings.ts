/**
 * The settings of the Docker provider: engines, and the limits of every container. Problems are reported per field.
 */
import { type Engine, readEngines } from "./engines.ts";

export interface Settings {
  engines: Engine[];
  image: string;
  /** `UID:GID`, neither of them 0. */
  user: string;
  /** CPU cores; 0 for all cores of the machine. */
  cpus: number;
  pids: number;
  shmMb: number;
  logMb: number;
  scratchOnDisk: boolean;
  network: string;
}

export interface FieldProblem {
  field: string;
  message: string;
  remedy: string;
}

const BOUNDS = [
  ["cpus", 0, 1024],
  ["pids", 64, 65_536],
  ["shm_mb", 64, 1_048_576],
  ["log_mb", 1, 10_240],
] as const;
/** A Docker image reference. */
const IMAGE = /^[a-z0-9][A-Za-z0-9._/:@-]{0,254}$/;
const NETWORK = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$/;
/** Network names with a special meaning for the engine. */
const RESERVED_NETWORKS = new Set(["host", "none", "container", "default"]);

/** Reads the configuration. The settings are valid only without problems. */
export function readSettings(config: Record<string, unknown>): { settings: Settings; problems: FieldProblem[] } {
  const problems: FieldProblem[] = [];
  const problem = (field: string, message: string, remedy: string) => problems.push({ field, message, remedy });
  const numbers: Record<string, number> = {};
  for (const [field, min, max] of BOUNDS) {
    const value = Number(config[field]);
    numbers[field] = value;
    if (!Number.isInteger(value) || value < min || value > max)
      problem(field, `${field} is ${String(config[field])}.`, `Set a whole number from ${min} to ${max}.`);
  }
  const read = readEngines(String(config.hosts ?? ""));
  for (const { message, remedy } of read.problems) problem("hosts", message, remedy);
  const [image, user, network] = [config.image, config.user, config.network].map((value) => String(value ?? ""));
  if (!IMAGE.test(image ?? ""))
    problem("image", "This is not a valid image name.", "Use NAME:TAG, NAME@sha256:… or sha256:….");
  if (!/^[1-9]\d{0,9}:[1-9]\d{0,9}$/.test(user ?? ""))
    problem("user", "Trainers need a user and a group other than root.", "Use numbers, such as 1000:1000.");
  if (!NETWORK.test(network ?? "") || RESERVED_NETWORKS.has(network ?? ""))
    problem("network", "This is not a valid network name.", "Use letters, digits, dots and dashes.");
  return {
    settings: {
      engines: read.engines,
      image: image ?? "",
      user: user ?? "",
      cpus: numbers.cpus ?? 0,
      pids: numbers.pids ?? 0,
      shmMb: numbers.shm_mb ?? 0,
      logMb: numbers.log_mb ?? 0,
      scratchOnDisk: config.scratch_on_disk === true,
      network: network ?? "",
    },
    problems,
  };
}
