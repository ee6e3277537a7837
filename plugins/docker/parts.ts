/** The parts that all methods of the Docker provider share: find and remove the container of a launch. */
import type Docker from "dockerode";
import type { Handle, ProviderHost } from "../../src/contract/provider.ts";
import { LABEL, nameOf } from "./container.ts";
import type { Engine } from "./engines.ts";
import { engineFailure, statusOf as httpStatus } from "./errors.ts";
import { scratchDir } from "./local-files.ts";
import { type machineLookup, within } from "./machines.ts";
import type { Settings } from "./settings.ts";

export interface Parts {
  host: ProviderHost;
  settings: Settings;
  machines: ReturnType<typeof machineLookup>;
}

export interface Found {
  engine: Engine;
  container: Docker.Container;
  info: Docker.ContainerInspectInfo;
}

const KEY = /^[a-z0-9-]{1,64}$/;

export const isKey = (key: string) => KEY.test(key);

/** Runs engine calls, and turns their errors into errors of the contract. */
export async function on<T>(host: ProviderHost, engine: Engine, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw engineFailure(host, engine, error);
  }
}

export function handleOf(host: ProviderHost, engine: Engine, key: string): Handle {
  const handle = { provider: "docker", key, host: engine.id, container: nameOf(host.installation, key) };
  return engine.local ? { ...handle, serving: { socketDir: scratchDir(host, key) } } : handle;
}

/** The container of `key` on one engine, or null. */
export function lookUp(host: ProviderHost, engine: Engine, key: string): Promise<Found | null> {
  return on(host, engine, async () => {
    const container = engine.docker.getContainer(nameOf(host.installation, key));
    try {
      const info = await within(container.inspect());
      // A container with this name but without the label is not from this provider.
      return info.Config.Labels[LABEL.key] === key ? { engine, container, info } : null;
    } catch (error) {
      if (httpStatus(error) === 404) return null;
      throw error;
    }
  });
}

/** The container of a handle; null also when its engine is no longer configured. */
export async function find({ host, settings }: Parts, handle: Handle): Promise<Found | null> {
  if (!isKey(handle.key)) return null;
  const { engines } = settings;
  const named = handle.host === undefined ? engines : engines.filter(({ id }) => id === handle.host);
  for (const engine of named) {
    const found = await lookUp(host, engine, handle.key);
    if (found) return found;
  }
  return null;
}

/** Removes a container; `later` while the engine is still busy with it. */
export async function remove(host: ProviderHost, { engine, container }: Found): Promise<"gone" | "later"> {
  try {
    await on(host, engine, () => within(container.remove({ force: true, v: true })));
  } catch (error) {
    const status = httpStatus((error as Error).cause);
    if (status === 409) return "later";
    if (status !== 404) throw error;
  }
  return "gone";
}
