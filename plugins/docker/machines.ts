/** What the engines' machines are: size, GPUs, whether they answer. Looked up rarely, since it is asked for often. */

import { statfsSync } from "node:fs";
import { freemem, loadavg } from "node:os";
import type { HostReport, Offer, ProviderHost } from "../../src/contract/provider.ts";
import type { Need } from "../../src/contract/spec.ts";
import type { Engine } from "./engines.ts";
import { EngineSilent, engineFailure } from "./errors.ts";
import { choose, type Gpu, gpusInUse, gpusOf, probe } from "./gpus.ts";
import type { Settings } from "./settings.ts";

const INFO_FOR_MS = 10_000;
const GPUS_FOR_MS = 60_000;
const CALL_MS = 20_000;
const PING_MS = 5000;
const mb = (bytes: number) => Math.floor(bytes / 2 ** 20);

/** An engine call that must answer in time. The call itself goes on unheard. */
export function within<T>(call: Promise<T>, ms = CALL_MS): Promise<T> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new EngineSilent(`no answer within ${ms / 1000} s`)), ms);
  });
  return Promise.race([call, late]).finally(() => clearTimeout(timer));
}

interface Machine {
  name: string;
  cpus: number;
  memoryMb: number;
}

interface Kept<T> {
  at: number;
  value: T;
}

/** Looks machines up for one provider. */
export function machineLookup(host: ProviderHost, settings: Settings) {
  const infos = new Map<string, Kept<Machine>>();
  const cards = new Map<string, Kept<HostReport["nvidia"]>>();

  async function kept<T>(store: Map<string, Kept<T>>, id: string, ms: number, look: () => Promise<T>): Promise<T> {
    const known = store.get(id);
    if (known && host.clock.now() - known.at < ms) return known.value;
    const value = await look();
    store.set(id, { at: host.clock.now(), value });
    return value;
  }

  const machine = (engine: Engine): Promise<Machine> =>
    kept(infos, engine.id, INFO_FOR_MS, async () => {
      const info = (await within(engine.docker.info())) as { Name: string; NCPU: number; MemTotal: number };
      return { name: info.Name, cpus: info.NCPU, memoryMb: mb(info.MemTotal) };
    });

  const nvidia = (engine: Engine, maxAgeMs = GPUS_FOR_MS) =>
    kept(cards, engine.id, maxAgeMs, () => probe(engine.docker, host.installation, settings));

  /** GPUs of the machine that no live container of ours holds. */
  async function freeGpus(engine: Engine): Promise<Gpu[]> {
    const all = gpusOf(await nvidia(engine));
    const used = await within(gpusInUse(engine.docker, host.installation));
    return all.filter((gpu) => !used.has(gpu.uuid));
  }

  async function offer(engine: Engine, need: Need): Promise<Offer | null> {
    // What is known of it may be older than its going away; a launch there would only fail.
    await within(engine.docker.ping(), PING_MS);
    const { name, cpus, memoryMb } = await machine(engine);
    if (need.cpus > cpus || need.memory_mb > memoryMb) return null;
    const possible = need.gpus > 0 ? choose(gpusOf(await nvidia(engine)), need) : [];
    if (!possible) return null;
    const free = need.gpus > 0 ? choose(await freeGpus(engine), need) : [];
    const [gpu] = free?.length ? free : possible;
    return {
      id: engine.id,
      location: name,
      gpus: need.gpus,
      gpuName: gpu?.name ?? null,
      gpuMemoryMb: gpu?.memoryMb ?? 0,
      cpus,
      memoryMb,
      pricePerHour: 0,
      startsInS: 0,
      available: free !== null,
      local: engine.local,
    };
  }

  /** Where a need could be met, in the order of the list of hosts. */
  async function offers(need: Need): Promise<Offer[]> {
    const found: Offer[] = [];
    let away: unknown = null;
    const answers = await Promise.allSettled(settings.engines.map((engine) => offer(engine, need)));
    for (const [i, answer] of answers.entries()) {
      const engine = settings.engines[i] as Engine;
      if (answer.status === "fulfilled") found.push(...(answer.value ? [answer.value] : []));
      else {
        away = engineFailure(host, engine, answer.reason);
        host.log("warn", "an engine makes no offers", { host: engine.id, cause: answer.reason });
      }
    }
    // "Can never run this" may only be said when every machine was asked.
    if (found.length === 0 && away) throw away;
    return found;
  }

  async function report(engine: Engine): Promise<HostReport> {
    const nothing = { cpus: 0, memoryMb: 0, memoryFreeMb: null, load: null, diskMb: null, diskFreeMb: null };
    try {
      const { name, cpus, memoryMb } = await machine(engine);
      const disk = engine.local ? statfsSync(host.root) : null;
      return {
        id: engine.id,
        name,
        local: engine.local,
        cpus,
        memoryMb,
        memoryFreeMb: engine.local ? Math.min(mb(freemem()), memoryMb) : null,
        load: engine.local ? (loadavg()[0] ?? null) : null,
        diskMb: disk && mb(disk.blocks * disk.bsize),
        diskFreeMb: disk && mb(disk.bavail * disk.bsize),
        nvidia: await nvidia(engine, 5000),
        problem: null,
      };
    } catch (error) {
      const { message } = engineFailure(host, engine, error);
      return { id: engine.id, name: engine.address, ...nothing, nvidia: null, problem: message };
    }
  }

  return { machine, freeGpus, offers, hosts: () => Promise.all(settings.engines.map(report)) };
}
