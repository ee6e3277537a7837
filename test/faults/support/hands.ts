/**
 * What a fault does to work by hand, behind the server's back: a set of hands for each provider, so that every row of
 * the fault table runs with each.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

/** One living piece of work. `key` names the attempt; `id` names this very process or container, reused never. */
interface Work {
  key: string;
  id: string;
}

export interface Hands {
  provider: string;
  /** Everything alive that was launched for this data directory. */
  working(): Work[];
  /** The token of an attempt, as its trainer sees it. */
  token(key: string): string;
  /** Stops the trainer as SIGSTOP does; `thaw` lets it go on. */
  freeze(key: string): void;
  thaw(key: string): void;
  /** Kills the trainer with SIGKILL; who watches over it stays. */
  kill(key: string): void;
  /** The trainer and who watches over it vanish at once, as with their machine. */
  vanish(key: string): void;
  /** Removes the work as an operator who knows no better would. */
  removeByHand(key: string): void;
  /** Leaves the trainer 96 MiB of memory; the function returned takes away what that needed. */
  starve(key: string): () => void;
  /**
   * Names of what the provider keeps, apart from the work of the keys given: stays empty when nothing is left behind.
   */
  leftovers(live: string[]): string[];
}

export const STARVED_BYTES = 96 * 2 ** 20;

interface Found {
  pid: number;
  start: string;
  key: string;
  token: string;
  trainer: boolean;
  parent: number;
}

/** Processes of one data directory, found by what the system says of them rather than by what the server wrote down. */
function processes(dir: string): Found[] {
  const root = `${join(dir, "process")}/`;
  const prefix = `FTL_SCRATCH=${root}`;
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const environment = readFileSync(`/proc/${name}/environ`, "utf8").split("\0");
      const scratch = environment.find((word) => word.startsWith(prefix));
      // Forked off a launcher that was there before the work, it shows that one's environment and command: its log and
      // folder are its own.
      const log = scratch ? "" : readlinkSync(`/proc/${name}/fd/1`);
      const warm = !scratch && log.startsWith(root) && log.endsWith("/output.log");
      if (!scratch && !warm) return [];
      const key = (scratch?.slice(prefix.length) ?? log.slice(root.length)).split("/")[0] ?? "";
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (fields[0] === "Z") return [];
      const command = readFileSync(`/proc/${name}/cmdline`, "utf8");
      return [
        {
          pid: Number(name),
          start: fields[19] ?? "",
          key,
          token:
            environment.find((word) => word.startsWith("FTL_ATTEMPT_TOKEN="))?.slice("FTL_ATTEMPT_TOKEN=".length) ?? "",
          trainer: warm
            ? readlinkSync(`/proc/${name}/cwd`).startsWith(`${root}${key}/`)
            : command.includes("finetune_trainer"),
          parent: Number(fields[1]),
        },
      ];
    } catch {
      return []; // it ended meanwhile
    }
  });
}

const MEMORY_GROUPS = existsSync("/sys/fs/cgroup/memory") ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup";

/** Makes a control group with little memory. @throws Error where that is not allowed */
function smallGroup(name: string): string {
  const group = join(MEMORY_GROUPS, name);
  mkdirSync(group);
  const limit = ["memory.max", "memory.limit_in_bytes"].find((one) => existsSync(join(group, one)));
  if (limit) writeFileSync(join(group, limit), String(STARVED_BYTES));
  else rmdirSync(group);
  if (!limit) throw new Error("this machine has no control groups for memory");
  return group;
}

/** Why no process can be starved of memory here; null when it can. */
export function noStarving(): string | null {
  try {
    rmdirSync(smallGroup(`ftl-faults-probe-${process.pid}`));
    return null;
  } catch {
    return "control groups for memory cannot be made here";
  }
}

/** The hands for the provider that runs processes of this machine. */
export function processHands(dir: string): Hands {
  const root = join(dir, "process");
  const trainers = (key?: string) => {
    const all = processes(dir).filter((one) => one.trainer && (key === undefined || one.key === key));
    // What a trainer started itself is part of it.
    return all.filter((one) => !all.some((other) => other.pid === one.parent));
  };
  const signal = (key: string, name: NodeJS.Signals) => {
    const found = trainers(key);
    if (found.length === 0) throw new Error(`no trainer of ${key} is running`);
    for (const { pid } of found) process.kill(pid, name);
  };
  const vanish = (key: string) => {
    // The one who watches first: it would write down how the trainer ended.
    const found = processes(dir).filter((one) => one.key === key);
    for (const { pid } of found.sort((a, b) => Number(a.trainer) - Number(b.trainer))) process.kill(pid, "SIGKILL");
  };
  return {
    provider: "process",
    working: () => trainers().map(({ key, pid, start }) => ({ key, id: `${pid}@${start}` })),
    token: (key) => {
      const token = trainers(key)[0]?.token;
      if (!token) throw new Error(`no trainer of ${key} is running`);
      return token;
    },
    freeze: (key) => signal(key, "SIGSTOP"),
    thaw: (key) => signal(key, "SIGCONT"),
    kill: (key) => signal(key, "SIGKILL"),
    vanish,
    removeByHand(key) {
      vanish(key);
      rmSync(join(root, key), { recursive: true, force: true });
    },
    starve(key) {
      const pid = trainers(key)[0]?.pid;
      const group = smallGroup(`ftl-faults-${pid}`);
      writeFileSync(join(group, "cgroup.procs"), String(pid));
      return () => rmdirSync(group);
    },
    leftovers(live) {
      // The launcher's source and the cache of tokenized rows, which has a limit of its own, belong to no work.
      const kept = existsSync(root)
        ? readdirSync(root).filter((name) => !/^(launcher-[0-9a-f]{16}\.py|\.tokens)$/.test(name))
        : [];
      const running = processes(dir).map(({ key, pid }) => ({ key, name: `process ${pid} of ${key}` }));
      return [
        ...kept.filter((name) => !live.includes(name)),
        ...running.filter(({ key }) => !live.includes(key)).map(({ name }) => name),
      ];
    },
  };
}
