/**
 * The provider's configuration, read once: engines and the limits every container gets. What is wrong is told field by
 * field.
 */
import { type Engine, readEngines } from "./engines.ts";

export interface Settings {
  engines: Engine[];
  image: string;
  /** `UID:GID`, neither of them 0. */
  user: string;
  /** 0 = all of the machine. */
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
/** As Docker writes references; a leading dash or white space is none. */
const IMAGE = /^[a-z0-9][A-Za-z0-9._/:@-]{0,254}$/;
const NETWORK = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$/;
/** Names of networks that mean something else to the engine: sharing the host's network, or another container's. */
const RESERVED_NETWORKS = new Set(["host", "none", "container", "default"]);

/** Reads `config` as the manifest describes it. The settings are usable only when there are no problems. */
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
    problem("image", "This is no name of an image.", "Write NAME:TAG, NAME@sha256:… or sha256:….");
  if (!/^[1-9]\d{0,9}:[1-9]\d{0,9}$/.test(user ?? ""))
    problem("user", "Trainers need a user and a group that are not root.", "Write numbers, such as 1000:1000.");
  if (!NETWORK.test(network ?? "") || RESERVED_NETWORKS.has(network ?? ""))
    problem("network", "This is no name for a network of our own.", "Write letters, digits, dots and dashes.");
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
