/**
 * The fake cloud: machines, money, capacity and faults behind a vendor's own API (README.md shows how to use it).
 * A dialect translates requests and answers; the rules are here, once for all vendors.
 */
import type { Clock } from "../../../src/lib/clock.ts";
import { type VirtualClock, virtualClock } from "./clock.ts";
import { type Fault, type FaultPlan, faultPlan, type Operation, seededRandom } from "./faults.ts";

export interface MachineType {
  id: string;
  gpuName: string;
  /** Per machine; a dialect may sell multiples. */
  gpus: number;
  gpuMemoryGb: number;
  vcpus: number;
  memoryGb: number;
  diskGb: number;
  /** USD per hour of the machine. */
  price: number;
  spotPrice: number | null;
}

interface Region {
  id: string;
  name: string;
  country: string;
}

/** What a dialect asks for. */
export interface Order {
  name: string;
  type: string;
  /** In order of preference; empty = anywhere. */
  regions: string[];
  count?: number;
  spot?: boolean;
  image?: string | null;
  env?: Record<string, string>;
  tags?: Record<string, string>;
  userData?: string | null;
  sshKeys?: string[];
  /** When the vendor ends it, in milliseconds since 1970. */
  endsAt?: number | null;
}

/** A machine, with everything a test wants to look at. Times in milliseconds since 1970 on the vendor's clock. */
export interface Machine extends Required<Order> {
  id: string;
  region: string;
  pricePerHour: number;
  createdAt: number;
  bootsAt: number;
  listedAt: number;
  /** It answers as gone from then on, and costs nothing. */
  goneAt: number | null;
  /** `preempted` by the vendor, or `stopped` without being deleted. */
  ended: "preempted" | "stopped" | null;
  endedAt: number | null;
}

/** The process behind a machine, when a test gives it one. */
interface Backing {
  /** The machine ends now. */
  end(): void | Promise<void>;
  /** The vendor takes the machine back in `seconds`. */
  notice?(seconds: number): void;
}

export interface Answer {
  status: number;
  body?: unknown;
  headers?: Record<string, string>;
  /** Only the first half of the body arrives. */
  broken?: boolean;
}
export type Refusal =
  | "unauthorized"
  | "forbidden"
  | "no_capacity"
  | "quota"
  | "balance"
  | "rate_limited"
  | "server_error"
  | "not_found"
  | "invalid";

export interface Request {
  method: string;
  path: string;
  query: URLSearchParams;
  body: unknown;
}

/** A vendor's API. */
export interface Dialect {
  types: MachineType[];
  regions: Region[];
  bootMs: number;
  /** How long a machine takes to end after a deletion; 0 when absent. */
  endMs?: number;
  newId(random: () => number): string;
  operation(request: Request): Operation;
  answer(cloud: FakeCloud, request: Request): Answer;
  refuse(why: Refusal): Answer;
  /** Seconds until this request would be within the vendor's rate limit; 0 = it is. */
  overLimit(cloud: FakeCloud, operation: Operation): number;
  /** Headers of every answer. */
  headers?(cloud: FakeCloud): Record<string, string>;
}

interface Call {
  operation: Operation;
  method: string;
  path: string;
  at: number;
  status: number | null;
}

interface Options {
  seed?: number;
  /** By default a virtual one, which stands still between sleeps. */
  clock?: Clock;
  apiKey?: string;
  /** Starts a process for a machine that has booted. */
  onBoot?: (machine: Machine) => Backing | null | Promise<Backing | null>;
}

const SLOW_DELETE_MS = 120_000;
const LIST_LAG_MS = 60_000;

/** Thrown where a connection ends without an answer. */
export class Disconnected extends Error {
  constructor(readonly how: "closed" | "timeout") {
    super(how === "closed" ? "The socket connection was closed unexpectedly." : "The operation timed out.");
    this.name = how === "closed" ? "Error" : "TimeoutError";
  }
}

export class FakeCloud {
  readonly clock: Clock;
  readonly faults: FaultPlan;
  readonly random: () => number;
  readonly calls: Call[] = [];
  /** Every machine ever created, by id. */
  readonly machines = new Map<string, Machine>();
  /** SSH keys by id, for vendors that have them. */
  readonly keys = new Map<string, { id: string; name: string; public_key: string }>();
  /** `readOnly`: creating and deleting is forbidden. `quota`: machines at once; null = no limit. */
  readonly account = { apiKey: "", revoked: false, readOnly: false, balance: 100, quota: null as number | null };
  /** The vendor's own rate limits hold. */
  limited = true;
  /** The vendor's clock is ahead of ours by this. */
  skewMs = 0;
  /** The fault of the request that is being answered. */
  private current: Fault | null = null;
  /** Machines that were not gone at the last request: thousands of old ones cost no time. */
  private readonly present = new Set<Machine>();
  private readonly free = new Map<string, number>();
  private readonly prices = new Map<string, number>();
  private readonly backings = new Map<string, Promise<Backing | null>>();

  constructor(
    readonly dialect: Dialect,
    private readonly options: Options = {},
  ) {
    this.clock = options.clock ?? virtualClock();
    this.random = seededRandom(options.seed ?? 1);
    this.faults = faultPlan(this.random);
    this.account.apiKey = options.apiKey ?? "fake-api-key";
  }

  /** The vendor's time. */
  now(): number {
    return this.clock.now() + this.skewMs;
  }

  /** Moves the virtual clock, and what happens by itself until then. */
  advance(ms: number): void {
    (this.clock as VirtualClock).advance(ms);
    this.tick();
  }

  /** How many more machines of any type the region can hold; without a call, any number. */
  setCapacity(region: string, free: number): void {
    this.free.set(region, free);
  }

  capacity(region: string): number {
    return this.free.get(region) ?? Number.POSITIVE_INFINITY;
  }

  /** USD per hour of one machine of the type, from now on. */
  setPrice(type: string, price: number): void {
    this.prices.set(type, price);
  }

  typeOf(id: string): MachineType | null {
    const found = this.dialect.types.find((type) => type.id === id);
    return found ? { ...found, price: this.prices.get(id) ?? found.price } : null;
  }

  isGone(machine: Machine): boolean {
    return machine.goneAt !== null && machine.goneAt <= this.now();
  }

  /** Machines that still cost money. */
  alive(): Machine[] {
    return [...this.present].filter((machine) => !this.isGone(machine));
  }

  stateOf(machine: Machine): "booting" | "running" | "stopped" | "preempted" | "gone" {
    if (this.isGone(machine)) return "gone";
    return machine.ended ?? (this.now() < machine.bootsAt ? "booting" : "running");
  }

  /** USD that a machine, or all, have cost so far. */
  cost(of: Iterable<Machine> = this.machines.values()): number {
    let sum = 0;
    for (const machine of of) {
      const until = Math.min(machine.goneAt ?? this.now(), machine.endedAt ?? Number.POSITIVE_INFINITY, this.now());
      sum += (Math.max(0, until - machine.createdAt) / 3_600_000) * machine.pricePerHour;
    }
    return sum;
  }

  /** Requests of the last `ms`, newest first. */
  *recent(ms: number): Generator<Call> {
    for (let i = this.calls.length - 1; i >= 0; i--) {
      const call = this.calls[i] as Call;
      if (call.at <= this.now() - ms) return;
      yield call;
    }
  }

  /** How many requests of each kind there were. */
  counts(): Partial<Record<Operation, number>> {
    const counts: Partial<Record<Operation, number>> = {};
    for (const { operation } of this.calls) counts[operation] = (counts[operation] ?? 0) + 1;
    return counts;
  }

  /** The vendor takes a spot machine back, after `noticeS` seconds of warning to the process. */
  preempt(id: string, noticeS = 0): void {
    const machine = this.machines.get(id);
    if (!machine) return;
    this.withBacking(id, (backing) => backing.notice?.(noticeS));
    machine.ended = "preempted";
    machine.endedAt = this.now() + noticeS * 1000;
    if (noticeS === 0) this.withBacking(id, (backing) => backing.end());
  }

  /** A person, or a used-up balance, stops the machine without deleting it. */
  stop(id: string): void {
    const machine = this.machines.get(id);
    if (!machine) return;
    machine.ended = "stopped";
    machine.endedAt = this.now();
    this.withBacking(id, (backing) => backing.end());
  }

  private withBacking(id: string, use: (backing: Backing) => void | Promise<void>): void {
    void this.backings.get(id)?.then((backing) => backing && use(backing));
  }

  /** Starts what has booted and ends what is over. Runs before each request. */
  tick(): void {
    for (const machine of this.present) {
      if (machine.endsAt !== null && machine.goneAt === null && machine.endsAt <= this.now())
        machine.goneAt = machine.endsAt;
      const state = this.stateOf(machine);
      const started = this.backings.has(machine.id);
      if (state === "running" && !started && this.options.onBoot)
        this.backings.set(machine.id, Promise.resolve(this.options.onBoot(machine)));
      else if (started && (state === "gone" || (machine.ended !== null && (machine.endedAt ?? 0) <= this.now()))) {
        this.withBacking(machine.id, (backing) => backing.end());
        this.backings.set(machine.id, Promise.resolve(null));
      }
      if (state === "gone") this.present.delete(machine);
    }
  }

  /** Ends every process. */
  async close(): Promise<void> {
    const all = [...this.backings.values()];
    this.backings.clear();
    for (const backing of all) await (await backing)?.end();
  }

  /** Creates the machine, or says why not. */
  create(order: Order): Machine | Refusal {
    const type = this.typeOf(order.type);
    if (!type) return "invalid";
    if (this.account.balance <= 0) return "balance";
    if (this.account.quota !== null && this.alive().length >= this.account.quota) return "quota";
    const wanted = order.regions.length > 0 ? order.regions : this.dialect.regions.map(({ id }) => id);
    const region = wanted.find((id) => this.capacity(id) > 0);
    if (!region) return "no_capacity";
    if (this.free.has(region)) this.free.set(region, this.capacity(region) - 1);
    const machine = this.place(order, region, type);
    if (this.current === "duplicate_create") this.place(order, region, type);
    return machine;
  }

  private place(order: Order, region: string, type: MachineType): Machine {
    if (this.free.has(region)) this.free.set(region, this.capacity(region) - 1);
    const createdAt = this.now();
    const { count = 1, spot = false } = order;
    const elsewhere = this.dialect.regions.find(({ id }) => id !== region)?.id ?? region;
    const rate = ((spot ? type.spotPrice : null) ?? type.price) * count;
    const machine: Machine = {
      image: null,
      env: {},
      tags: {},
      userData: null,
      sshKeys: [],
      endsAt: null,
      ...order,
      id: this.dialect.newId(this.random),
      count,
      spot,
      region: this.current === "wrong_region" ? elsewhere : region,
      pricePerHour: this.current === "price_raised" ? rate * 2 : rate,
      createdAt,
      bootsAt: createdAt + this.dialect.bootMs,
      listedAt: this.current === "list_lag" ? createdAt + LIST_LAG_MS : createdAt,
      goneAt: null,
      ended: null,
      endedAt: null,
    };
    this.machines.set(machine.id, machine);
    this.present.add(machine);
    return machine;
  }

  /** Deletes the machine; false when it is not there. */
  remove(id: string): boolean {
    const machine = this.machines.get(id);
    if (!machine || this.isGone(machine)) return false;
    if (this.current === "stuck_delete") return true;
    machine.goneAt = this.now() + (this.current === "slow_delete" ? SLOW_DELETE_MS : (this.dialect.endMs ?? 0));
    if (this.free.has(machine.region)) this.free.set(machine.region, this.capacity(machine.region) + 1);
    return true;
  }

  get(id: string): Machine | null {
    const machine = this.machines.get(id);
    return machine && !this.isGone(machine) ? machine : null;
  }

  /** What a list shows now. */
  listed(): Machine[] {
    return this.alive().filter((machine) => machine.listedAt <= this.now());
  }

  /** Answers a request as the vendor would, with the faults that are due. Throws `Disconnected` without an answer. */
  handle(request: Request, authorization: string | null): Answer {
    const operation = this.dialect.operation(request);
    const call: Call = { operation, method: request.method, path: request.path, at: this.now(), status: null };
    this.tick();
    const seconds = this.limited ? this.dialect.overLimit(this, operation) : 0;
    this.calls.push(call);
    const answer = seconds > 0 ? this.dialect.refuse("rate_limited") : this.decide(operation, request, authorization);
    this.tick();
    call.status = answer.status;
    const date = new Date(this.now()).toUTCString();
    return { ...answer, headers: { date, ...this.dialect.headers?.(this), ...answer.headers } };
  }

  private decide(operation: Operation, request: Request, authorization: string | null): Answer {
    const { account, dialect } = this;
    if (account.revoked || authorization !== `Bearer ${account.apiKey}`) return dialect.refuse("unauthorized");
    if (account.readOnly && (operation === "create" || operation === "delete")) return dialect.refuse("forbidden");
    const fault = this.faults.next(operation);
    if (fault === "error_before") return dialect.refuse("server_error");
    if (fault === "rate_limited") return { ...dialect.refuse("rate_limited"), headers: { "retry-after": "7" } };
    if (fault === "rate_limited_silent") return dialect.refuse("rate_limited");
    if (fault === "no_capacity") return dialect.refuse("no_capacity");
    if (fault === "zero_quota") return dialect.refuse("quota");
    if (fault === "no_balance") return dialect.refuse("balance");
    if (fault === "timeout" && operation === "list") throw new Disconnected("timeout");
    this.current = fault;
    const answer = dialect.answer(this, request);
    this.current = null;
    if (fault === "error_after") return dialect.refuse("server_error");
    if (fault === "lost_answer") throw new Disconnected("closed");
    if (fault === "timeout") throw new Disconnected("timeout");
    return fault === "broken_list" ? { ...answer, broken: true } : answer;
  }
}
