/** Lambda Cloud API 1.10 as the fake cloud speaks it. */
import type { Answer, Dialect, FakeCloud, Machine, MachineType, Refusal, Request } from "./core.ts";

const TYPES: (MachineType & { description: string })[] = [
  ["gpu_1x_a10", "A10 (24 GB PCIe)", 1, 24, 30, 200, 1400, 0.75],
  ["gpu_1x_a100_sxm4", "A100 (40 GB SXM4)", 1, 40, 30, 200, 512, 1.29],
  ["gpu_1x_h100_pcie", "H100 (80 GB PCIe)", 1, 80, 26, 200, 1024, 2.49],
  ["gpu_2x_h100_sxm5", "H100 (80 GB SXM5)", 2, 80, 52, 450, 5632, 6.38],
  ["gpu_1x_gh200", "GH200 (96 GB)", 1, 96, 64, 432, 4096, 1.49],
].map(([id, description, gpus, gpuMemoryGb, vcpus, memoryGb, diskGb, price]) => ({
  id: String(id),
  description: String(description),
  gpuName: String(description).split(" ")[0] ?? "",
  gpus: Number(gpus),
  gpuMemoryGb: Number(gpuMemoryGb),
  vcpus: Number(vcpus),
  memoryGb: Number(memoryGb),
  diskGb: Number(diskGb),
  price: Number(price),
  spotPrice: null,
}));

const REGIONS = [
  { id: "us-west-1", name: "California, USA", country: "US" },
  { id: "us-east-1", name: "Virginia, USA", country: "US" },
  { id: "europe-central-1", name: "Germany", country: "DE" },
];

const SUGGESTION = "Contact Support if problems continue.";
const REFUSALS: Record<Refusal, [status: number, code: string, message: string]> = {
  unauthorized: [401, "global/invalid-api-key", "API key was invalid, expired, or deleted."],
  forbidden: [403, "global/account-inactive", "Your account is inactive."],
  no_capacity: [
    400,
    "instance-operations/launch/insufficient-capacity",
    "Not enough capacity to fulfill launch request.",
  ],
  quota: [400, "global/quota-exceeded", "Quota exceeded."],
  balance: [403, "global/invalid-address", "Your billing address is invalid."],
  rate_limited: [429, "global/rate-limited", "Too many requests."],
  server_error: [500, "global/internal-error", "An internal server error occurred."],
  not_found: [404, "global/object-does-not-exist", "Specified instance does not exist."],
  invalid: [400, "global/invalid-parameters", "Invalid request data."],
};

function refuse(why: Refusal): Answer {
  const [status, code, message] = REFUSALS[why];
  return { status, body: { error: { code, message, suggestion: SUGGESTION } } };
}

const data = (value: unknown): Answer => ({ status: 200, body: { data: value } });

const regionView = (id: string) => ({ name: id, description: REGIONS.find((one) => one.id === id)?.name ?? id });

function typeView(type: MachineType, price: number): unknown {
  return {
    name: type.id,
    description: `${type.gpus}x ${type.gpuName}`,
    gpu_description: TYPES.find(({ id }) => id === type.id)?.description ?? type.gpuName,
    price_cents_per_hour: Math.round(price * 100),
    specs: { vcpus: type.vcpus, memory_gib: type.memoryGb, storage_gib: type.diskGb, gpus: type.gpus },
  };
}

function instanceView(cloud: FakeCloud, machine: Machine): unknown {
  const state = cloud.stateOf(machine);
  const ended = machine.ended !== null && (machine.endedAt ?? 0) <= cloud.now();
  const status =
    state === "gone"
      ? "terminated"
      : machine.goneAt !== null
        ? "terminating"
        : ended
          ? machine.ended === "preempted"
            ? "preempted"
            : "terminated"
          : state === "booting"
            ? "booting"
            : "active";
  const can = { available: status === "active" };
  return {
    id: machine.id,
    name: machine.name,
    ...(status === "active" ? { ip: "192.0.2.10", private_ip: "10.0.0.10" } : {}),
    status,
    ssh_key_names: machine.sshKeys,
    file_system_names: [],
    region: regionView(machine.region),
    instance_type: typeView(cloud.typeOf(machine.type) as MachineType, machine.pricePerHour),
    actions: { migrate: can, rebuild: can, restart: can, cold_reboot: can, terminate: can },
    tags: Object.entries(machine.tags).map(([key, value]) => ({ key, value })),
  };
}

interface Launch {
  region_name?: string;
  instance_type_name?: string;
  ssh_key_names?: string[];
  name?: string;
  user_data?: string;
  tags?: { key: string; value: string }[];
}

function launch(cloud: FakeCloud, body: Launch): Answer {
  const { region_name: region, instance_type_name: type, ssh_key_names: sshKeys } = body;
  const known = [...cloud.keys.values()].map(({ name }) => name);
  if (!region || !type || sshKeys?.length !== 1) return refuse("invalid");
  if (!known.includes(sshKeys[0] ?? "")) return refuse("not_found");
  const tags = Object.fromEntries((body.tags ?? []).map(({ key, value }) => [key, value]));
  const userData = body.user_data ?? null;
  const made = cloud.create({ name: body.name ?? "", type, regions: [region], tags, userData, sshKeys });
  return typeof made === "string" ? refuse(made) : data({ instance_ids: [made.id] });
}

function keys(cloud: FakeCloud, { method, path, body }: Request): Answer {
  if (method === "GET") return data([...cloud.keys.values()]);
  if (method === "DELETE") return cloud.keys.delete(path.split("/").at(-1) ?? "") ? data({}) : refuse("not_found");
  const { name, public_key } = body as { name: string; public_key: string };
  if ([...cloud.keys.values()].some((key) => key.name === name)) return refuse("invalid");
  const key = { id: LAMBDA.newId(cloud.random), name, public_key };
  cloud.keys.set(key.id, key);
  return data(key);
}

const LAUNCH_GAP_MS = 12_000;
const GAP_MS = 1000;

export const LAMBDA: Dialect = {
  types: TYPES,
  regions: REGIONS,
  bootMs: 240_000,
  endMs: 8000,
  newId: (random) => Array.from({ length: 32 }, () => Math.floor(random() * 16).toString(16)).join(""),
  refuse,

  operation({ method, path }) {
    if (path === "/api/v1/instance-operations/launch") return "create";
    if (path === "/api/v1/instance-operations/terminate") return "delete";
    if (path === "/api/v1/instances") return "list";
    if (path.startsWith("/api/v1/instances/")) return "get";
    if (path === "/api/v1/instance-types") return "types";
    if (path.startsWith("/api/v1/ssh-keys")) return method === "GET" ? "account" : "keys";
    return "other";
  },

  overLimit(cloud, operation) {
    let [any, launches] = [0, 0];
    for (const call of cloud.recent(LAUNCH_GAP_MS)) {
      if (call.at > cloud.now() - GAP_MS) any++;
      if (call.operation === "create") launches++;
    }
    return any > 0 || (operation === "create" && launches > 0) ? 1 : 0;
  },

  answer(cloud: FakeCloud, request: Request): Answer {
    const { method, path, body } = request;
    const tail = path.replace("/api/v1/", "");
    if (tail.startsWith("ssh-keys")) return keys(cloud, request);
    if (tail === "instance-operations/launch") return launch(cloud, body as Launch);
    if (tail === "instance-operations/terminate") {
      const ids = (body as { instance_ids: string[] }).instance_ids;
      const found = ids.flatMap((id) => cloud.get(id) ?? []);
      if (found.length < ids.length) return refuse("not_found");
      for (const { id } of found) cloud.remove(id);
      return data({ terminated_instances: found.map((one) => instanceView(cloud, one)) });
    }
    if (method !== "GET") return refuse("not_found");
    if (tail === "instances") return data(cloud.listed().map((one) => instanceView(cloud, one)));
    if (tail === "regions") return data(REGIONS.map(({ id }) => regionView(id)));
    if (tail === "firewall-rulesets") return data([]);
    if (tail === "instance-types") {
      const free = REGIONS.filter(({ id }) => cloud.capacity(id) > 0).map(({ id }) => regionView(id));
      const entries = TYPES.map(({ id }) => {
        const type = cloud.typeOf(id) as MachineType;
        return [id, { instance_type: typeView(type, type.price), regions_with_capacity_available: free }] as const;
      });
      return data(Object.fromEntries(entries));
    }
    const machine = cloud.get(tail.replace("instances/", ""));
    return machine ? data(instanceView(cloud, machine)) : refuse("not_found");
  },
};
