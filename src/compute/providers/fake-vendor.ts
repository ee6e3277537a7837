/**
 * A small vendor of machines for `plugin check` without an account: it speaks the API of the plugin templates. Machines
 * are entries of a list. It makes two machines of one name when it is asked twice, lists two a page, and ends a machine
 * some looks after it was deleted.
 */
import { randomUUID } from "node:crypto";

interface FakeMachine {
  id: string;
  name: string;
  status: "pending" | "running" | "stopping";
  labels: Record<string, string>;
  /** Body of the request that made it. */
  order: Record<string, unknown>;
  startedAt: number;
  /** Looks until the next state. */
  looks: number;
}

export interface FakeVendor {
  url: string;
  key: string;
  machines: FakeMachine[];
  stop(): Promise<void>;
}

const PAGE = 2;
const LIMIT = 50;
const SIZE = {
  gpu: "L4",
  gpus: 1,
  gpu_memory_mb: 24_000,
  cpus: 8,
  memory_mb: 32_000,
  disk_mb: 200_000,
  available: true,
};
const TYPES = [
  { id: "l4-small", region: "eu-1", usd_per_hour: 0.4, ...SIZE },
  { id: "l4-large", region: "us-1", usd_per_hour: 0.9, ...SIZE, cpus: 32, memory_mb: 128_000 },
];

const refuse = (status: number, code: string, message: string) =>
  Response.json({ error: { code, message } }, { status });

const view = ({ id, name, status, labels, startedAt }: FakeMachine) => ({
  id,
  name,
  status,
  labels,
  exit_code: null,
  reason: null,
  started_at: startedAt,
  ended_at: null,
});

/** Starts it on a free port of the loopback address. */
export function startFakeVendor(key = `fake-${randomUUID()}`): FakeVendor {
  const machines: FakeMachine[] = [];

  /** Time passes with every look. */
  function look(): void {
    for (const one of [...machines]) {
      if (one.looks-- > 0) continue;
      if (one.status === "pending") one.status = "running";
      else if (one.status === "stopping") machines.splice(machines.indexOf(one), 1);
    }
  }

  function create(order: Record<string, unknown>): Response {
    if (!TYPES.some(({ id }) => id === order.type)) return refuse(400, "unknown_type", "There is no such type.");
    if (typeof order.name !== "string") return refuse(400, "no_name", "A machine needs a name.");
    if (machines.length >= LIMIT) return refuse(403, "limit_reached", `The limit is ${LIMIT} machines.`);
    const labels = (order.labels ?? {}) as Record<string, string>;
    const one: FakeMachine = {
      id: `m-${randomUUID()}`,
      name: order.name,
      status: "pending",
      labels,
      order,
      startedAt: Date.now(),
      looks: 1,
    };
    machines.push(one);
    return Response.json({ machine: view(one) }, { status: 201 });
  }

  function list(query: URLSearchParams): Response {
    look();
    const name = query.get("name");
    const [label = "", value = ""] = (query.get("label") ?? "").split(":");
    const found = machines
      .filter((one) => (!name || one.name === name) && (!label || one.labels[label] === value))
      .sort((a, b) => (a.id < b.id ? -1 : 1))
      .filter((one) => one.id > (query.get("after") ?? ""));
    const page = found.slice(0, PAGE);
    return Response.json({ machines: page.map(view), next: found.length > PAGE ? page.at(-1)?.id : null });
  }

  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      const { pathname, searchParams } = new URL(request.url);
      if (request.headers.get("authorization") !== `Bearer ${key}`)
        return refuse(401, "unauthorized", "The API key is not valid.");
      if (pathname === "/v1/account")
        return Response.json({ user: "ann@example.com", balance_usd: 25, machine_limit: LIMIT });
      if (pathname === "/v1/types") return Response.json({ types: TYPES });
      if (request.method === "POST" && pathname === "/v1/machines")
        return create((await request.json()) as Record<string, unknown>);
      if (request.method === "GET" && pathname === "/v1/machines") return list(searchParams);
      const one = machines.find(({ id }) => pathname === `/v1/machines/${id}`);
      if (!one) return refuse(404, "not_found", "There is no such machine.");
      if (request.method !== "DELETE") return Response.json({ machine: view(one) });
      if (one.status !== "stopping") Object.assign(one, { status: "stopping", looks: 1 });
      return Response.json({ machine: view(one) });
    },
  });
  return { url: `http://127.0.0.1:${server.port}/v1`, key, machines, stop: () => server.stop(true) };
}
