/** The Docker provider's methods: one container a launch, named after its key and found again by its labels. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type Docker from "dockerode";
import type {
  Handle,
  LaunchContext,
  LaunchSpec,
  Offer,
  OwnedWork,
  Provider,
  ProviderHost,
  TerminateResult,
  WorkState,
} from "../../src/contract/provider.ts";
import { containerFor, LABEL, nameOf, type Order, tokenMark } from "./container.ts";
import type { Engine } from "./engines.ts";
import { engineFailure, statusOf as httpStatus } from "./errors.ts";
import { choose } from "./gpus.ts";
import { forget, localFiles } from "./local-files.ts";
import { machineLookup, within } from "./machines.ts";
import { readSettings } from "./settings.ts";
import { ABSENT, type Evidence, lastLines, statusOf, TAIL_LINES } from "./status.ts";

const KEY = /^[a-z0-9-]{1,64}$/;
const PINNED = /^(sha256:[0-9a-f]{64}|[a-z0-9][A-Za-z0-9._/:-]{0,180}@sha256:[0-9a-f]{64})$/;
const GPU_UUID = /^(GPU|MIG)-[A-Za-z0-9/-]{8,80}$/;
const DEFAULT_GRACE_S = 30;
const CREATE_MS = 60_000;

/** Launches of one key, or on one engine's GPUs, one after the other. One process owns the data directory, so this is enough. */
const turns = new Map<string, Promise<unknown>>();

function inTurn<T>(name: string, work: () => Promise<T>): Promise<T> {
  const mine = (turns.get(name) ?? Promise.resolve()).catch(() => {}).then(work);
  turns.set(name, mine);
  const tidy = () => {
    if (turns.get(name) === mine) turns.delete(name);
  };
  mine.then(tidy, tidy);
  return mine;
}

/** Makes the provider; `config` as the manifest describes it. */
export function createDockerProvider(host: ProviderHost, config: Record<string, unknown>): Provider {
  const { settings, problems } = readSettings(config);
  const machines = machineLookup(host, settings);
  const { engines } = settings;

  /** Runs engine calls; what they throw becomes an error of the contract. */
  async function on<T>(engine: Engine, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw engineFailure(host, engine, error);
    }
  }

  interface Found {
    engine: Engine;
    container: Docker.Container;
    info: Docker.ContainerInspectInfo;
  }

  /** The container of `key` on one engine, or null. */
  const look = (engine: Engine, key: string): Promise<Found | null> =>
    on(engine, async () => {
      const container = engine.docker.getContainer(nameOf(host.installation, key));
      try {
        const info = await within(container.inspect());
        // A container of that name without our mark is not ours to touch.
        return info.Config.Labels[LABEL.key] === key ? { engine, container, info } : null;
      } catch (error) {
        if (httpStatus(error) === 404) return null;
        throw error;
      }
    });

  /** The container behind a handle. A handle of an engine that is no longer in the list has none. */
  async function find(handle: Handle): Promise<Found | null> {
    if (!KEY.test(handle.key)) return null;
    const named = handle.host === undefined ? engines : engines.filter(({ id }) => id === handle.host);
    for (const engine of named) {
      const found = await look(engine, handle.key);
      if (found) return found;
    }
    return null;
  }

  const handleOf = (engine: Engine, key: string): Handle => ({
    provider: "docker",
    key,
    host: engine.id,
    container: nameOf(host.installation, key),
  });

  async function remove({ engine, container }: Found): Promise<"gone" | "later"> {
    try {
      await on(engine, () => within(container.remove({ force: true, v: true })));
    } catch (error) {
      const status = httpStatus((error as Error).cause);
      if (status === 409) return "later";
      if (status !== 404) throw error;
    }
    return "gone";
  }

  /** The image's id on that engine. Jobs name theirs by digest or id, so that it cannot change under them. */
  async function imageId(engine: Engine, spec: LaunchSpec): Promise<string> {
    if (spec.image !== null && !PINNED.test(spec.image))
      throw host.error("invalid", "A job names its image by id or digest.", { reason: "image_missing" });
    const name = spec.image ?? settings.image;
    try {
      return (await within(engine.docker.getImage(name).inspect())).Id;
    } catch (error) {
      if (httpStatus(error) !== 404) throw engineFailure(host, engine, error);
      const remedy = "Make it with `finetune-lab images build`, or bring it with `finetune-lab images load`.";
      throw host.error("invalid", `The image ${name} is missing on ${engine.id}. ${remedy}`, {
        reason: "image_missing",
      });
    }
  }

  async function ensureNetwork(engine: Engine): Promise<void> {
    const filters = { name: [settings.network] };
    const known = await within(engine.docker.listNetworks({ filters }));
    if (known.some(({ Name }) => Name === settings.network)) return;
    await within(
      engine.docker.createNetwork({
        Name: settings.network,
        Driver: "bridge",
        CheckDuplicate: true,
        // Jobs of different people must not see each other.
        Options: { "com.docker.network.bridge.enable_icc": "false" },
        Labels: { [LABEL.managed]: "true" },
      }),
    );
  }

  /** Creates and starts. What could not be started does not stay behind. */
  async function start(engine: Engine, order: Order): Promise<void> {
    await on(engine, async () => {
      const container = await within(engine.docker.createContainer(containerFor(order)), CREATE_MS);
      try {
        await within(container.start(), CREATE_MS);
      } catch (error) {
        await container.remove({ force: true, v: true }).catch(() => {});
        throw error;
      }
    });
  }

  function namedGpus(spec: LaunchSpec): string[] {
    const gpus = spec.need.gpus === 0 ? [] : (spec.gpus ?? []);
    if (gpus.length !== spec.need.gpus || !gpus.every((uuid) => GPU_UUID.test(uuid)))
      throw host.error("invalid", `The job needs ${spec.need.gpus} GPUs by UUID; it was given: ${gpus.join(", ")}`);
    return gpus;
  }

  async function launchOn(engine: Engine, spec: LaunchSpec, context: LaunchContext): Promise<Handle> {
    const { key } = context;
    if (!engine.local) {
      if (context.callHome.url.startsWith("unix:"))
        throw host.error("invalid", "Containers on other machines call home over HTTPS: set public_url.");
      if (spec.kind === "serve") throw host.error("invalid", "Endpoints run on the server's own machine only.");
      await on(engine, () => ensureNetwork(engine));
    }
    const order = {
      installation: host.installation,
      settings,
      spec,
      context,
      image: await imageId(engine, spec),
      machine: await on(engine, () => machines.machine(engine)),
      local: engine.local ? await localFiles(host, spec, key, context.callHome.url) : null,
    };
    try {
      // GPUs the host named are held in its table, which may divide a card; without a word from it, free ones are taken.
      if (spec.need.gpus === 0 || spec.gpus) await start(engine, { ...order, gpus: namedGpus(spec) });
      else
        await inTurn(`gpus ${engine.id}`, async () => {
          const free = await on(engine, () => machines.freeGpus(engine));
          const gpus = choose(free, spec.need);
          if (!gpus) throw host.error("no_capacity", `${engine.id} has no ${spec.need.gpus} free GPUs that fit.`);
          await start(engine, { ...order, gpus: gpus.map(({ uuid }) => uuid) });
        });
    } catch (error) {
      await forget(host, key);
      throw error;
    }
    return handleOf(engine, key);
  }

  const evidenceOf = ({ engine, container, info }: Found): Evidence => ({
    tail: () => within(lastLines(container, TAIL_LINES)).catch(() => []),
    async oomEvent() {
      const since = Math.floor(Date.parse(info.State.StartedAt) / 1000);
      // In the future it would be waited for.
      const until = host.clock.now() / 1000;
      const filters = { container: [info.Id], event: ["oom"] };
      try {
        const stream = await within(engine.docker.getEvents({ since, until, filters }));
        const text = await within(new Response(stream as unknown as ReadableStream).text(), 5000);
        return text.includes("oom");
      } catch {
        return false;
      }
    },
  });

  const askedPath = (key: string) => join(host.dataDir, key, "terminate.json");

  /** When the container is to be killed, if it was asked to end before. */
  async function killAt(key: string, graceS: number): Promise<{ at: number; asked: boolean }> {
    const asked = await readFile(askedPath(key), "utf8").then(
      (text) => Number(JSON.parse(text).kill_at),
      () => Number.NaN,
    );
    const wanted = host.clock.now() + graceS * 1000;
    if (asked <= wanted) return { at: asked, asked: true };
    await mkdir(join(host.dataDir, key), { recursive: true, mode: 0o700 });
    await writeFile(askedPath(key), JSON.stringify({ kill_at: wanted }), { mode: 0o600 });
    return { at: wanted, asked: !Number.isNaN(asked) };
  }

  return {
    async validate() {
      return problems.length ? { ok: false, problems } : { ok: true };
    },

    offers: machines.offers,
    hosts: machines.hosts,

    async launch(spec: LaunchSpec, offer: Offer, context: LaunchContext): Promise<Handle> {
      const { key } = context;
      if (!KEY.test(key)) throw host.error("invalid", "A launch key is 1 to 64 of a-z, 0-9 and -.");
      if (spec.argv?.length === 0) throw host.error("invalid", "argv must name a program.");
      return inTurn(`key ${host.installation} ${key}`, async () => {
        const engine = engines.find(({ id }) => id === offer.id);
        if (!engine) throw host.error("invalid", `There is no engine called "${offer.id}".`);
        const found = await look(engine, key);
        const same = found?.info.Config.Labels[LABEL.token] === tokenMark(context.callHome.token);
        if (found && same && found.info.State.Status !== "created") return handleOf(engine, key);
        // Left by a server that died in between: never started, or holding a token that no longer counts.
        if (found && (await remove(found)) === "later")
          throw host.error("transient", "A container of this key is still being removed.", { retryAfterS: 1 });
        return launchOn(engine, spec, context);
      });
    },

    async describe(handle) {
      const found = await find(handle);
      return found ? statusOf(found.info, evidenceOf(found), host.clock.now()) : ABSENT;
    },

    async terminate(handle: Handle, options = {}): Promise<TerminateResult> {
      if (!KEY.test(handle.key)) return { gone: true };
      const found = await find(handle);
      if (!found) {
        await forget(host, handle.key);
        return { gone: true };
      }
      const { engine, container, info } = found;
      const again: TerminateResult = { gone: false, againAfterS: 0.2 };
      if (!info.State.Running) {
        if ((await remove(found)) === "later") return again;
        await forget(host, handle.key);
        return { gone: true };
      }
      const { at, asked } = await killAt(handle.key, options.graceS ?? DEFAULT_GRACE_S);
      const signal = host.clock.now() >= at ? "SIGKILL" : "SIGTERM";
      if (signal === "SIGTERM" && asked) return again;
      try {
        // A paused container takes no signal.
        if (info.State.Paused) await within(container.unpause());
        await within(container.kill({ signal }));
      } catch (error) {
        // Ended, or removed, between the look and the signal.
        if (![404, 409].includes(httpStatus(error) ?? 0)) throw engineFailure(host, engine, error);
      }
      return again;
    },

    async listOwned(installation: string): Promise<OwnedWork[]> {
      const filters = { label: [`${LABEL.installation}=${installation}`] };
      const lists = await Promise.allSettled(
        engines.map((engine) => on(engine, () => within(engine.docker.listContainers({ all: true, filters })))),
      );
      const broken = lists.find((list) => list.status === "rejected");
      // What one engine holds can be swept while another is away; with none there is nothing to say.
      if (broken && lists.every((list) => list.status === "rejected")) throw broken.reason;
      return lists.flatMap((list, i) =>
        list.status === "rejected"
          ? []
          : list.value.flatMap(({ Labels, State }) => {
              const key = Labels[LABEL.key] ?? "";
              if (!KEY.test(key)) return [];
              const labels = Object.entries(Labels).flatMap(([name, value]) =>
                name.startsWith(LABEL.given) ? [[name.slice(LABEL.given.length), value]] : [],
              );
              const handle = handleOf(engines[i] as Engine, key);
              const gpus = (Labels[LABEL.gpus] ?? "").split(",").filter(Boolean);
              return [{ handle, labels: Object.fromEntries(labels), state: stateOf(State), gpus }];
            }),
      );
    },

    async logs(handle, { tail }) {
      const found = await find(handle);
      return found ? on(found.engine, () => within(lastLines(found.container, tail))) : [];
    },
  };
}

function stateOf(word: string): WorkState {
  if (word === "created") return "starting";
  return word === "exited" || word === "dead" ? "exited" : "running";
}
