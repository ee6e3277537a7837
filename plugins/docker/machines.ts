/** The machines of the engines: size, GPUs and reachability, with a short cache. */

import { statfsSync } from "node:fs";
import { freemem, loadavg } from "node:os";
import type { HostReport, Offer, ProviderHost } from "../../src/contract/provider.ts";
import type { Need } from "../../src/contract/spec.ts";
import { OWN_MACHINE } from "../shared/own-machine.ts";
import type { Engine } from "./engines.ts";
import { EngineTimeout, engineFailure } from "./errors.ts";
import { choose, type Gpu, gpusInUse, gpusOf, probe } from "./gpus.ts";
import type { Settings } from "./settings.ts";

const INFO_FOR_MS = 10_000;
const GPUS_FOR_MS = 60_000;
const CALL_MS = 20_000;
const PING_MS = 5000;
const mb = (bytes: number) => Math.floor(bytes / 2 ** 20);

/** Adds a timeout to an engine call. The call itself is not canceled. */
export function within<T>(call: Promise<T>, ms = CALL_MS): Promise<T> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new EngineTimeout(`no answer within ${ms / 1000} s`)), ms);
  });
  return Promise.race([call, late]).finally(() => clearTimeout(timer));
}

interface Machine {
  name: string;
  cpus: number;
  memoryMb: number;
}

interface Cached<T> {
  at: number;
  value: T;
}

/** Creates the machine lookup of one provider. */
export function machineLookup(host: ProviderHost, settings: Settings) {
  const infos = new Map<string, Cached<Machine>>();
  const readings = new Map<string, Cached<HostReport["nvidia"]>>();

  async function cached<T>(store: Map<string, Cached<T>>, id: string, ms: number, look: () => Promise<T>): Promise<T> {
    const known = store.get(id);
    if (known && host.clock.now() - known.at < ms) return known.value;
    const value = await look();
    store.set(id, { at: host.clock.now(), value });
    return value;
  }

  const machine = (engine: Engine): Promise<Machine> =>
    cached(infos, engine.id, INFO_FOR_MS, async () => {
      const info = (await within(engine.docker.info())) as { Name: string; NCPU: number; MemTotal: number };
      return { name: info.Name, cpus: info.NCPU, memoryMb: mb(info.MemTotal) };
    });

  const nvidia = (engine: Engine, maxAgeMs = GPUS_FOR_MS) =>
    cached(readings, engine.id, maxAgeMs, () => probe(engine.docker, host.installation, settings));

  /** GPUs of the machine that no running container of this installation uses. */
  async function freeGpus(engine: Engine): Promise<Gpu[]> {
    const all = gpusOf(await nvidia(engine));
    const used = await within(gpusInUse(engine.docker, host.installation));
    return all.filter((gpu) => !used.has(gpu.uuid));
  }

  async function offer(engine: Engine, need: Need): Promise<Offer | null> {
    // The cache may be older than an outage, so check that the engine answers.
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
      ...OWN_MACHINE,
      startsInS: 0,
      available: free !== null,
      local: engine.local,
    };
  }

  /** Offers for a need, in the order of the configured hosts. */
  async function offers(need: Need): Promise<Offer[]> {
    const found: Offer[] = [];
    let failure: unknown = null;
    const answers = await Promise.allSettled(settings.engines.map((engine) => offer(engine, need)));
    for (const [i, answer] of answers.entries()) {
      const engine = settings.engines[i] as Engine;
      if (answer.status === "fulfilled") found.push(...(answer.value ? [answer.value] : []));
      else {
        failure = engineFailure(host, engine, answer.reason);
        host.log("warn", "an engine could not be queried for offers", { host: engine.id, cause: answer.reason });
      }
    }
    // An empty list means "can never run this", which is certain only when all engines answered.
    if (found.length === 0 && failure) throw failure;
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
