/** What a fault does to work by hand, behind the server's back: a set of hands for each provider, so that every row of the fault table runs with each. */
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";

/** One living piece of work. `key` names the attempt; `id` names this very process or container, reused never. */
export interface Work {
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
  /** Where the work of `key` has its scratch directory, as this machine sees it. */
  scratch(key: string): string;
  /** Names of what the provider keeps, apart from the work of the keys given: stays empty when nothing is left behind. */
  leftovers(live: string[]): string[];
}

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
  const prefix = `FTL_SCRATCH=${join(dir, "process")}/`;
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const environment = readFileSync(`/proc/${name}/environ`, "utf8").split("\0");
      const scratch = environment.find((word) => word.startsWith(prefix));
      if (!scratch) return [];
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (fields[0] === "Z") return [];
      const command = readFileSync(`/proc/${name}/cmdline`, "utf8");
      return [
        {
          pid: Number(name),
          start: fields[19] ?? "",
          key: scratch.slice(prefix.length).split("/")[0] ?? "",
          token:
            environment.find((word) => word.startsWith("FTL_ATTEMPT_TOKEN="))?.slice("FTL_ATTEMPT_TOKEN=".length) ?? "",
          trainer: command.includes("finetune_trainer"),
          parent: Number(fields[1]),
        },
      ];
    } catch {
      return []; // it ended meanwhile
    }
  });
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
    vanish(key) {
      // The one who watches first: it would write down how the trainer ended.
      const found = processes(dir).filter((one) => one.key === key);
      for (const { pid } of found.sort((a, b) => Number(a.trainer) - Number(b.trainer))) process.kill(pid, "SIGKILL");
    },
    removeByHand(key) {
      this.vanish(key);
      rmSync(join(root, key), { recursive: true, force: true });
    },
    scratch: (key) => join(root, key, "scratch"),
    leftovers(live) {
      const kept = existsSync(root)
        ? readdirSync(root).filter((name) => !/^launcher-[0-9a-f]{16}\.py$/.test(name))
        : [];
      const running = processes(dir).map(({ key, pid }) => ({ key, name: `process ${pid} of ${key}` }));
      return [
        ...kept.filter((name) => !live.includes(name)),
        ...running.filter(({ key }) => !live.includes(key)).map(({ name }) => name),
      ];
    },
  };
}
