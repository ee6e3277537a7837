/**
 * One machine per launch key at vendors that know no idempotency: look before creating, look again after an answer that
 * never came, keep one of two, and believe a deletion only when the machine is no longer there.
 */
import type {
  Handle,
  LaunchContext,
  LaunchSpec,
  MachineCost,
  Offer,
  OwnedWork,
  Provider,
  ProviderHost,
  WorkStatus,
} from "../../src/contract/provider.ts";
import { checkKey } from "./rented.ts";
import { isUnsure } from "./vendor-http.ts";

/** A machine at a vendor, as far as this file cares. */
export interface Rented {
  id: string;
  installation: string;
  key: string;
  labels: Record<string, string>;
  status: WorkStatus;
  region: string | null;
  /** The vendor is ending it: asking again would change nothing. */
  ending?: boolean;
}

/** What a vendor can do. Every method throws only failures of the contract. */
export interface Vendor {
  /** The plugin's id. */
  id: string;
  /** Every machine with the mark of any installation; throws when a part of the answer is missing. */
  list(): Promise<Rented[]>;
  /** Null when it does not exist. */
  get(id: string): Promise<Rented | null>;
  create(spec: LaunchSpec, offer: Offer, context: LaunchContext): Promise<Rented>;
  /** Asks for the end of a machine; success when it does not exist. */
  remove(id: string): Promise<void>;
  /** Regions in which a machine may be; absent, or an answer of null, = any. */
  regions?: (() => Promise<readonly string[] | null>) | null;
}

/** Ages of the list that `describe` accepts, so that twenty machines cost as many requests as one. */
const LIST_AGE_MS = 5000;
/** Seconds between looks for a machine whose creation got no answer. */
const LOOK_AFTER_S = [2, 5, 10];
/** A vendor's list may lag: for this long after such a creation, nobody says that there is no machine. */
const UNSURE_MS = 90_000;
/** For this long, what a deleted machine cost is kept for a report. */
const FORGET_MS = 600_000;
const FIRST_AGAIN_S = 5;
const LONGEST_AGAIN_S = 300;

const ABSENT: WorkStatus = { state: "absent", exitCode: null, reason: null, startedAt: null, endedAt: null };

/** Machines that still run come first, then the smallest id: every server chooses the same. */
function keepOne(machines: Rented[]): Rented | undefined {
  const over = ({ status }: Rented) => (status.state === "exited" ? 1 : 0);
  return [...machines].sort((a, b) => over(a) - over(b) || (a.id < b.id ? -1 : 1))[0];
}

type Methods = Pick<Provider, "launch" | "describe" | "terminate" | "listOwned">;

/** The part of a provider that is the same at every such vendor. */
export function createFleet(host: ProviderHost, vendor: Vendor): Methods {
  let last: { at: number; machines: Promise<Rented[]> } | null = null;
  /** Keys whose creation got no answer, and when. */
  const unanswered = new Map<string, number>();
  /** Deleted machines, and when; null = they were listed after that. What they cost is reported once. */
  const dropped = new Map<string, { machine: Rented; at: number | null; since: number }>();
  /** How often each machine was asked to end. */
  const asked = new Map<string, number>();

  function list(fresh: boolean): Promise<Rented[]> {
    const now = host.clock.now();
    if (last && !fresh && now - last.at < LIST_AGE_MS) return last.machines;
    const entry = { at: now, machines: vendor.list() };
    last = entry;
    entry.machines.then(
      (machines) => {
        const there = new Set(machines.map(({ id }) => id));
        for (const id of asked.keys()) if (!there.has(id)) asked.delete(id);
        for (const [id, one] of dropped)
          if (there.has(id)) one.at = null;
          else if (now - one.since > FORGET_MS) dropped.delete(id);
        for (const key of unanswered.keys()) isUnanswered(key);
      },
      () => {
        if (last === entry) last = null;
      },
    );
    return entry.machines;
  }

  const isUnanswered = (key: string) => {
    const at = unanswered.get(key);
    if (at === undefined || host.clock.now() - at < UNSURE_MS) return at !== undefined;
    unanswered.delete(key);
    return false;
  };

  const handleOf = ({ key, id }: Rented): Handle => ({ provider: vendor.id, key, machine: id });

  async function remove(machine: Rented): Promise<void> {
    const times = (asked.get(machine.id) ?? 0) + 1;
    asked.set(machine.id, times);
    if (times > 3)
      host.log("error", "a machine is still there after it was deleted", {
        machine: machine.id,
        key: machine.key,
        times,
      });
    if (!machine.ending) await vendor.remove(machine.id);
    if (times === 1) dropped.set(machine.id, { machine, at: host.clock.now(), since: host.clock.now() });
    last = null;
  }

  /**
   * The machine of the key; every other one of the same key is deleted. A failed deletion is left for the next
   * look.
   */
  async function settle(machines: Rented[]): Promise<Rented | null> {
    const kept = keepOne(machines);
    for (const extra of machines) {
      if (extra === kept) continue;
      host.log("warn", "two machines have one launch key; the second is deleted", {
        key: extra.key,
        machine: extra.id,
      });
      await remove(extra).catch((error) => host.log("warn", "it could not be deleted", { error: String(error) }));
    }
    return kept ?? null;
  }

  /** Machines of a key: from the list, and the one of the handle, which a list that lags does not show. */
  async function find(key: string, fresh: boolean, id?: unknown): Promise<Rented[]> {
    const mine = (one: Rented) => one.key === key && one.installation === host.installation;
    const found = (await list(fresh)).filter(mine);
    if (typeof id !== "string" || found.some((one) => one.id === id)) return found;
    const direct = await vendor.get(id);
    return direct && mine(direct) ? [...found, direct] : found;
  }

  async function lookAgain(key: string): Promise<Rented | null> {
    for (const seconds of LOOK_AFTER_S) {
      await host.clock.sleep(seconds * 1000, host.signal);
      const found = await find(key, true).catch(() => []);
      if (found.length > 0) return settle(found);
    }
    return null;
  }

  async function create(spec: LaunchSpec, offer: Offer, context: LaunchContext): Promise<Rented> {
    try {
      return await vendor.create(spec, offer, context);
    } catch (error) {
      if (!isUnsure(error)) throw error;
      unanswered.set(context.key, host.clock.now());
      const late = await lookAgain(context.key);
      if (!late) throw error;
      unanswered.delete(context.key);
      return late;
    } finally {
      last = null;
    }
  }

  /** Why the new machine is not what was asked for; null when it is. */
  async function complaint(
    machine: Rented,
    context: LaunchContext,
  ): Promise<{ message: string; reason: string } | null> {
    const { pricePerHour } = machine.status;
    if (context.maxPricePerHour !== null && (pricePerHour ?? 0) > context.maxPricePerHour * 1.0001)
      return {
        message: `The machine costs ${pricePerHour} USD per hour now; at most ${context.maxPricePerHour} is allowed.`,
        reason: "price_raised",
      };
    const regions = (await vendor.regions?.()) ?? null;
    if (regions && machine.region && !regions.includes(machine.region))
      return { message: `The vendor placed the machine in ${machine.region}.`, reason: "wrong_region" };
    return null;
  }

  /** What deleted machines of a key cost that are not among those listed. */
  function takeDropped(key: string, listed: readonly Rented[]): MachineCost[] {
    const there = new Set(listed.map(({ id }) => id));
    const mine = [...dropped].filter(([id, { machine }]) => machine.key === key && !there.has(id));
    return mine.map(([id, { machine, at }]) => {
      dropped.delete(id);
      return { ...machine.status, machine: id, charged: false, endedAt: at };
    });
  }

  return {
    launch(spec, offer, context) {
      checkKey(host, context.key);
      const { key } = context;
      return host.inTurn(`${vendor.id}-launch-${key}`, async () => {
        // One that is ending was not what was asked for, and is no answer to a new request.
        const before = await settle((await find(key, true)).filter(({ ending }) => !ending));
        if (before) {
          unanswered.delete(key);
          return handleOf(before);
        }
        if (isUnanswered(key))
          throw host.error("transient", "An earlier request may still start this machine; waiting to see it.", {
            retryAfterS: 30,
          });
        const made = await create(spec, offer, context);
        const wrong = await complaint(made, context);
        if (!wrong) return handleOf(made);
        await remove(made);
        throw host.error("no_capacity", wrong.message, { reason: wrong.reason });
      });
    },

    async describe(handle) {
      const kept = await settle(await find(handle.key, false, handle.machine));
      if (kept) return { ...kept.status, machine: kept.id };
      return isUnanswered(handle.key) ? { ...ABSENT, state: "starting" } : ABSENT;
    },

    async terminate(handle) {
      const found = await find(handle.key, true, handle.machine);
      if (found.length === 0) return isUnanswered(handle.key) ? { gone: false, againAfterS: 30 } : { gone: true };
      unanswered.delete(handle.key);
      for (const machine of found) await remove(machine);
      const left = (await Promise.all(found.map(({ id }) => vendor.get(id)))).filter((one) => one !== null);
      if (left.length === 0) {
        for (const { id } of found) asked.delete(id);
        return { gone: true };
      }
      const times = Math.max(...left.map(({ id }) => asked.get(id) ?? 1));
      return { gone: false, againAfterS: Math.min(LONGEST_AGAIN_S, FIRST_AGAIN_S * 2 ** (times - 1)) };
    },

    async listOwned(installation): Promise<OwnedWork[]> {
      const byKey = new Map<string, Rented[]>();
      for (const machine of await list(true))
        if (machine.installation === installation) byKey.set(machine.key, [...(byKey.get(machine.key) ?? []), machine]);
      const works: OwnedWork[] = [];
      for (const machines of byKey.values()) {
        const kept = installation === host.installation ? await settle(machines) : keepOne(machines);
        if (kept)
          works.push({
            handle: handleOf(kept),
            labels: kept.labels,
            state: kept.status.state,
            machines: [
              ...machines.map(({ id, status }) => ({ ...status, machine: id })),
              ...takeDropped(kept.key, machines),
            ],
          });
      }
      return works;
    },
  };
}
