/** Instances: how they are launched, read and terminated. Tags say whose they are; the name is for people. */
import type { LaunchContext, LaunchSpec, Offer, ProviderHost, WorkStatus } from "../../src/contract/provider.ts";
import type { Rented, Vendor } from "../shared/fleet.ts";
import { rentedEnv, shortName } from "../shared/rented.ts";
import type { Api } from "./api.ts";
import type { Catalog, InstanceType } from "./offers.ts";
import type { Settings } from "./settings.ts";
import type { SshKeys } from "./ssh-key.ts";
import { bootScript } from "./user-data.ts";

interface Instance {
  id: string;
  name?: string;
  status: "booting" | "active" | "unhealthy" | "terminated" | "terminating" | "preempted";
  region: { name: string };
  instance_type: InstanceType;
  tags?: { key: string; value: string }[];
}

const TAG = { installation: "ftl-installation", key: "ftl-key", started: "ftl-created", label: "ftl-label-" } as const;
/** What Lambda takes as a tag. */
const TAG_KEY = /^[a-z][a-z0-9-:]{1,54}$/;
const LONGEST_VALUE = 128;
const LONGEST_NAME = 64;

const STARTING: WorkStatus = { state: "starting", exitCode: null, reason: null, startedAt: null, endedAt: null };
const REASONS: Partial<Record<Instance["status"], string>> = {
  preempted: "Lambda took the machine back",
  terminating: "the machine is being terminated",
  unhealthy: "Lambda reports that the machine is not healthy",
};

function statusOf(instance: Instance, tags: ReadonlyMap<string, string>): WorkStatus {
  const { status } = instance;
  const over = status === "preempted" || status === "terminating";
  const state = over ? "exited" : status === "terminated" ? "absent" : status === "booting" ? "starting" : "running";
  const created = Number(tags.get(TAG.started));
  return {
    state,
    // Lambda knows no exit codes: the trainer reports its own end.
    exitCode: null,
    reason: REASONS[status] ?? null,
    // Lambda does not say when a machine started; the tag is from the launch.
    startedAt: state === "running" || over ? created || null : null,
    endedAt: null,
    ...(status === "preempted" ? { preempted: true } : {}),
    pricePerHour: instance.instance_type.price_cents_per_hour / 100,
    // Lambda charges until a machine is terminated.
    ...(created ? { chargedFrom: created } : {}),
  };
}

/** The instance as one of ours; null for any other. */
function rentedOf(instance: Instance): Rented | null {
  const tags = new Map((instance.tags ?? []).map(({ key, value }) => [key, value]));
  const [installation, key] = [tags.get(TAG.installation), tags.get(TAG.key)];
  if (!installation || !key) return null;
  const labels = [...tags].filter(([name]) => name.startsWith(TAG.label));
  return {
    id: instance.id,
    installation,
    key,
    labels: Object.fromEntries(labels.map(([name, value]) => [name.slice(TAG.label.length), value])),
    status: statusOf(instance, tags),
    region: instance.region.name,
    ending: instance.status === "terminating",
  };
}

export function createInstances(
  host: ProviderHost,
  settings: Settings,
  api: Api,
  catalog: Catalog,
  keys: SshKeys,
): Vendor {
  function tagsOf(context: LaunchContext): { key: string; value: string }[] {
    const own = [
      [TAG.installation, host.installation],
      [TAG.key, context.key],
      [TAG.started, String(host.clock.now())],
    ];
    const labels = Object.entries(context.labels).map(([name, value]) => [TAG.label + name, value]);
    return [...own, ...labels]
      .map(([key = "", value = ""]) => ({ key, value: value.slice(0, LONGEST_VALUE) }))
      .filter(({ key }) => TAG_KEY.test(key));
  }

  /** The ruleset of the settings in the region; rulesets belong to one region each. */
  async function firewallIn(region: string): Promise<{ id: string }[]> {
    if (!settings.firewall) return [];
    const all = await api.call<{ id: string; name: string; region: { name: string } }[]>("GET", "/firewall-rulesets");
    const found = all.find((one) => one.name === settings.firewall && one.region.name === region);
    if (!found)
      throw host.error("invalid", `Lambda has no firewall ruleset ${settings.firewall} in ${region}.`, {
        vendorCode: "firewall",
      });
    return [{ id: found.id }];
  }

  async function get(id: string): Promise<Rented | null> {
    const found = await api.call<Instance | null>("GET", `/instances/${encodeURIComponent(id)}`, undefined, null);
    const rented = found && rentedOf(found);
    return rented && rented.status.state !== "absent" ? rented : null;
  }

  return {
    id: "lambda",
    regions: async () => (settings.regions.length > 0 ? settings.regions : null),
    get,

    async list() {
      const instances = await api.call<Instance[]>("GET", "/instances");
      if (!Array.isArray(instances)) throw host.error("transient", "Lambda's list of instances is not a list.");
      return instances.flatMap((one) => rentedOf(one) ?? []).filter(({ status }) => status.state !== "absent");
    },

    async remove(id) {
      await api.call<unknown>("POST", "/instance-operations/terminate", { instance_ids: [id] }, null);
    },

    async create(spec: LaunchSpec, offer: Offer, context: LaunchContext): Promise<Rented> {
      const { region, machineType } = offer;
      // Launches are rare (one in 12 seconds): look first.
      const now = machineType ? await catalog.look(machineType) : null;
      if (!now || !region || !now.regions.includes(region))
        throw host.error("no_capacity", `Lambda has no ${machineType} in ${region ?? "any region"} now.`, {
          vendorCode: "regions_with_capacity_available",
        });
      if (context.maxPricePerHour !== null && now.pricePerHour > context.maxPricePerHour * 1.0001)
        throw host.error("no_capacity", `Lambda asks ${now.pricePerHour} USD per hour now.`, {
          reason: "price_raised",
        });
      const firewall = await firewallIn(region);
      const sshKeys = [await keys.name()];
      const name = shortName(host.installation, context.key, LONGEST_NAME);
      const { instance_ids: ids } = await api.call<{ instance_ids: string[] }>(
        "POST",
        "/instance-operations/launch",
        () => ({
          region_name: region,
          instance_type_name: machineType,
          ssh_key_names: sshKeys,
          name,
          tags: tagsOf(context),
          user_data: bootScript(host, {
            image: settings.image,
            env: rentedEnv(host, spec, context),
            lifetimeS: Math.max(60, Math.ceil((context.deadline - host.clock.now()) / 1000)),
          }),
          ...(firewall.length > 0 ? { firewall_rulesets: firewall } : {}),
        }),
      );
      const [id] = ids;
      if (!id) throw host.error("transient", "Lambda launched nothing and gave no reason.");
      // The answer has neither price nor region: look at the machine itself.
      const seen = await get(id).catch(() => null);
      if (seen) return seen;
      const { pricePerHour } = now;
      return {
        id,
        installation: host.installation,
        key: context.key,
        labels: context.labels,
        status: { ...STARTING, pricePerHour, chargedFrom: host.clock.now() },
        region,
      };
    },
  };
}
