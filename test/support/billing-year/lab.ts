/** The parent of the simulated year: a Stripe account, a server process that is started again after each kill, time. */
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createKey } from "../../../src/accounts/api-keys/service.ts";
import { createOrganization, createUser } from "../../../src/accounts/auth/service.ts";
import { systemActor } from "../../../src/ctx.ts";
import { createTestApp, PASSWORD } from "../app.ts";
import { SIGNING_SECRET, signed, startStripe } from "../stripe-fake.ts";
import { type Kills, randomOf } from "./kills.ts";
import type { Act, Reply, ServerInput, Step } from "./steps.ts";

const SERVER = join(import.meta.dir, "server.ts");
/** One event in ten is not delivered: it is found in the list of Stripe. One in ten is delivered twice. */
const DROPPED = 10;
const GAMMA = "gamma@example.test";

/** A team of the year. */
export interface Team {
  name: string;
  org: string;
  userId: string;
  /** An API key of its owner, and the address that they sign in with. */
  key: string;
  email: string;
}

/** Starts a server process. */
async function startServer(input: ServerInput) {
  let answered: (reply: Reply | null) => void = () => {};
  const next = () =>
    new Promise<Reply | null>((resolve) => {
      answered = resolve;
    });
  const ready = next();
  const child = Bun.spawn([process.execPath, SERVER, JSON.stringify(input)], {
    env: { PATH: process.env.PATH ?? "", HOME: input.dir, TMPDIR: process.env.TMPDIR ?? "/tmp" },
    stdin: "ignore",
    stdout: "ignore",
    stderr: Bun.file(join(input.dir, "server.log")),
    ipc: (reply: Reply) => answered(reply),
    serialization: "json",
    onExit: () => answered(null),
  });
  await ready;
  return {
    child,
    /** Null when the process died before it answered. */
    ask(step: Step): Promise<Reply | null> {
      const reply = next();
      try {
        child.send(step);
      } catch {
        return Promise.resolve(null);
      }
      return reply;
    },
  };
}

/** Starts everything at a time. Close it at the end. */
export async function startYear(start: number, kills: Kills, seed: number) {
  let now = start;
  const stripe = await startStripe({ now: () => now });
  const seeded = await createTestApp();
  const gamma = await createOrganization(seeded.ctx, systemActor(), "Gamma");
  const owner = await createUser(seeded.ctx, systemActor(), {
    email: GAMMA,
    password: PASSWORD,
    role: "member",
    teamRole: "owner",
    org: gamma,
  });
  const { key } = await createKey(seeded.ctx, systemActor(), { name: "gamma", userId: owner.id, expiresAt: null });
  const { dir, orgs, users, keys, emails } = seeded;
  await seeded.ctx.close();
  const teams: Record<"alpha" | "beta" | "gamma", Team> = {
    alpha: { name: "Alpha", org: orgs.a, userId: users.admin, key: keys.admin, email: emails.admin },
    beta: { name: "Beta", org: orgs.b, userId: users.otherAdmin, key: keys.otherAdmin, email: emails.otherAdmin },
    gamma: { name: "Gamma", org: gamma, userId: owner.id, key, email: GAMMA },
  };
  const reached = join(dir, "reached");
  const pick = randomOf(seed + 1);
  let server: Awaited<ReturnType<typeof startServer>> | null = null;
  let delivered = 0;

  /** The server is dead: at an armed point as planned, otherwise that is an error. */
  async function buried(): Promise<void> {
    await server?.child.exited;
    const signal = server?.child.signalCode;
    server = null;
    const point = existsSync(reached) ? readFileSync(reached, "utf8") : "";
    rmSync(reached, { force: true });
    if (signal === "SIGKILL" && kills.struck(point, now)) return;
    throw new Error(`the server ended (${signal}) at ${point}: ${readFileSync(join(dir, "server.log"), "utf8")}`);
  }

  /** Carries out a step, again after each kill. */
  async function act(what: Act): Promise<Reply> {
    for (;;) {
      server ??= await startServer({ dir, stripeUrl: stripe.url, now });
      const reply = await server.ask({ now, armed: kills.armed(now), act: what });
      if (reply?.error) throw new Error(`${what.do} at ${new Date(now).toISOString()}: ${reply.error}`);
      if (reply) return reply;
      await buried();
    }
  }

  /** A request of a person, or what it was refused with. */
  async function request<T>(team: Team, method: string, path: string, body?: unknown): Promise<T> {
    return answered(await act({ do: "request", method, path, key: team.key, body }), `${method} ${path}`);
  }

  function answered<T>({ status = 0, body = "" }: Reply, what: string): T {
    if (status >= 400 || status === 0) throw new Error(`${what} answered ${status}: ${body}`);
    return JSON.parse(body) as T;
  }

  /** Delivers the events of Stripe since the last time: some twice, some not, sometimes in the wrong order. */
  async function deliver(): Promise<void> {
    while (delivered < stripe.events.length) {
      const fresh = stripe.events.slice(delivered);
      delivered = stripe.events.length;
      if (pick(3) === 0) fresh.reverse();
      for (const event of fresh) {
        const chance = pick(DROPPED);
        if (chance === 0) continue;
        const { payload, signature } = await signed(event, SIGNING_SECRET, now);
        for (let n = 0; n < (chance === 1 ? 2 : 1); n++) {
          const { status, body } = await act({ do: "event", payload, signature });
          if (status !== 200) throw new Error(`the webhook answered ${status}: ${body}`);
        }
      }
      await act({ do: "pass", what: "stripe", fillGaps: false });
    }
  }

  /** Stores a card in Checkout, as a person does. */
  async function storeCard(team: Team, card: string): Promise<void> {
    const path = "/v1/billing/checkout";
    const reply = await act({ do: "browse", method: "POST", path, email: team.email, password: PASSWORD });
    const { url } = answered<{ url: string }>(reply, path);
    await stripe.completeCheckout(url.split("/").at(-1) ?? "", card);
    await deliver();
    await act({ do: "pass", what: "stripe", fillGaps: true });
    await deliver();
  }

  return {
    dir,
    stripe,
    teams,
    /** A member of the first team. */
    memberId: users.member,
    act,
    request,
    deliver,
    storeCard,
    now: () => now,
    moveTo(at: number): void {
      now = at;
    },
    async stopServer(): Promise<void> {
      server?.child.kill("SIGKILL");
      await server?.child.exited;
      server = null;
    },
    async close(): Promise<void> {
      server?.child.kill("SIGKILL");
      await server?.child.exited;
      await stripe.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
export type YearLab = Awaited<ReturnType<typeof startYear>>;
