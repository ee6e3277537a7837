/** A provider whose machines cost money: it serves models with the test engine, and calls home as a trainer does. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { OWN_MACHINE } from "../../plugins/shared/own-machine.ts";
import type { Handle, Offer, Provider, ProviderPlugin } from "../../src/contract/provider.ts";
import type { TestApp } from "./app.ts";
import { startEngine, type TestEngine } from "./engine.ts";

export interface Rented {
  plugin: ProviderPlugin;
  provider: Provider;
  /** What runs now, by key. */
  engines: Map<string, TestEngine>;
  /** Launches so far. */
  started: number;
  close(): Promise<void>;
}

/** A provider with one kind of machine. @param price dollars an hour */
export function rentedProvider(app: () => TestApp, price: () => number): Rented {
  const engines = new Map<string, TestEngine>();
  const plugin: ProviderPlugin = {
    id: "rented",
    title: "Rented",
    contract: 2,
    kind: "machine",
    capabilities: {
      logs: false,
      gpus: false,
      survivesServer: true,
      local: false,
      priced: true,
      spot: false,
      vendorDeadline: false,
      multiNode: false,
    },
    config: [],
    create: () => provider,
  };
  const offer = (): Offer => ({
    id: "small",
    location: "elsewhere",
    gpus: 0,
    gpuName: null,
    gpuMemoryMb: 0,
    cpus: 1,
    memoryMb: 64_000,
    ...OWN_MACHINE,
    market: "on_demand",
    pricePerHour: price(),
    startsInS: 0,
    available: true,
    local: true,
  });
  /** As a trainer of kind `serve` does when its model is loaded. */
  async function callHome(token: string, address: string): Promise<void> {
    const events = [{ seq: 1, at: Date.now(), type: "ready", address, models: ["tiny"] }];
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    await app().request("POST", "/trainer/v1/events", { raw: JSON.stringify({ events }), headers });
  }
  const provider: Provider = {
    validate: async () => ({ ok: true }),
    offers: async () => [offer()],
    async launch(_spec, _offer, { key, callHome: { token } }) {
      const dir = join(app().dir, "rented", key);
      const handle: Handle = { provider: "rented", key, serving: { socketDir: dir } };
      if (engines.has(key)) return handle;
      rented.started++;
      mkdirSync(dir, { recursive: true });
      const engine = startEngine(join(dir, "e.sock"));
      engines.set(key, engine);
      setTimeout(() => void callHome(token, engine.address), 20);
      return handle;
    },
    async describe({ key }) {
      const state = engines.has(key) ? "running" : "absent";
      return { state, exitCode: null, reason: null, startedAt: null, endedAt: null };
    },
    async terminate({ key }) {
      await engines.get(key)?.stop();
      engines.delete(key);
      return { gone: true };
    },
    listOwned: async () =>
      [...engines.keys()].map((key) => ({ handle: { provider: "rented", key }, labels: {}, state: "running" })),
  };
  const rented: Rented = {
    plugin,
    provider,
    engines,
    started: 0,
    close: async () => {
      for (const engine of engines.values()) await engine.stop();
    },
  };
  return rented;
}
