/** The Docker provider: one container per launch, named after its key and found again by its labels. */
import type { OwnedWork, Provider, ProviderHost, WorkState } from "../../src/contract/provider.ts";
import { LABEL } from "./container.ts";
import type { Engine } from "./engines.ts";
import { launch } from "./launch.ts";
import { machineLookup, within } from "./machines.ts";
import { type Found, find, handleOf, isKey, on, type Parts } from "./parts.ts";
import { readSettings } from "./settings.ts";
import { ABSENT, type Evidence, lastLines, statusOf, TAIL_LINES } from "./status.ts";
import { terminate } from "./terminate.ts";

const OOM_EVENTS_MS = 5000;

/** Creates the provider with the configuration of the manifest. */
export function createDockerProvider(host: ProviderHost, config: Record<string, unknown>): Provider {
  const { settings, problems } = readSettings(config);
  const machines = machineLookup(host, settings);
  const parts = { host, settings, machines };
  return {
    validate: async () => (problems.length ? { ok: false, problems } : { ok: true }),
    offers: machines.offers,
    hosts: machines.hosts,
    launch: (spec, offer, context) => launch(parts, spec, offer, context),
    async describe(handle) {
      const found = await find(parts, handle);
      return found ? statusOf(found.info, evidenceOf(host, found), host.clock.now()) : ABSENT;
    },
    terminate: (handle, options = {}) => terminate(parts, handle, options.graceS),
    listOwned: (installation) => listOwned(parts, installation),
    async logs(handle, { tail }) {
      const found = await find(parts, handle);
      return found ? on(host, found.engine, () => within(lastLines(found.container, tail))) : [];
    },
  };
}

/** The data that explains why a container failed, fetched only when needed. */
function evidenceOf(host: ProviderHost, { engine, container, info }: Found): Evidence {
  return {
    tail: () => within(lastLines(container, TAIL_LINES)).catch(() => []),
    async oomEvent() {
      const since = Math.floor(Date.parse(info.State.StartedAt) / 1000);
      // With an end in the future, the request would wait.
      const until = host.clock.now() / 1000;
      const filters = { container: [info.Id], event: ["oom"] };
      try {
        const stream = await within(engine.docker.getEvents({ since, until, filters }));
        const text = await within(new Response(stream as unknown as ReadableStream).text(), OOM_EVENTS_MS);
        return text.includes("oom");
      } catch {
        return false;
      }
    },
  };
}

async function listOwned({ host, settings }: Parts, installation: string): Promise<OwnedWork[]> {
  const filters = { label: [`${LABEL.installation}=${installation}`] };
  const lists = await Promise.allSettled(
    settings.engines.map(async (engine) => {
      const list = await on(host, engine, () => within(engine.docker.listContainers({ all: true, filters })));
      return list.flatMap(({ Labels, State }) => ownedWork(host, engine, Labels, State));
    }),
  );
  const failed = lists.find((list) => list.status === "rejected");
  // The result may be partial when one engine is unreachable; it fails only when all are.
  if (failed && lists.every((list) => list.status === "rejected")) throw failed.reason;
  return lists.flatMap((list) => (list.status === "rejected" ? [] : list.value));
}

function ownedWork(host: ProviderHost, engine: Engine, labels: Record<string, string>, state: string): OwnedWork[] {
  const key = labels[LABEL.key] ?? "";
  if (!isKey(key)) return [];
  const given = Object.entries(labels).flatMap(([name, value]) =>
    name.startsWith(LABEL.given) ? [[name.slice(LABEL.given.length), value]] : [],
  );
  const gpus = (labels[LABEL.gpus] ?? "").split(",").filter(Boolean);
  return [{ handle: handleOf(host, engine, key), labels: Object.fromEntries(given), state: stateOf(state), gpus }];
}

function stateOf(word: string): WorkState {
  if (word === "created") return "starting";
  return word === "exited" || word === "dead" ? "exited" : "running";
}
