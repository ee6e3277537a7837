/**
 * The whole application in this process, on a database cloned from a migrated and seeded template: a few milliseconds a
 * test. With FTL_TEST_DATABASE=sqld the template and its clones are databases of a libSQL server.
 */
import { constants, copyFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createKey } from "../../src/accounts/api-keys/service.ts";
import { createOrganization, createUser } from "../../src/accounts/auth/service.ts";
import { type App, createApp, createCtx, type OpenCtx } from "../../src/app.ts";
import { type Config, type ConfigInput, loadConfig } from "../../src/config.ts";
import { type Actor, type Ctx, systemActor } from "../../src/ctx.ts";
import { connect } from "../../src/db/open.ts";
import { answerCheck } from "./answers.ts";
import { MODEL_ROOTS } from "./live.ts";
import type { Sqld } from "./sqld.ts";

export const PASSWORD = "correct-horse-41-battery";
/**
 * `admin` and `member` belong to one organization, `other` is a plain member of another, `otherAdmin` administers from
 * that other one.
 */
export type As = "admin" | "member" | "other" | "otherAdmin";
export type Asker = As | "anonymous";

interface Seed {
  dir: string;
  remote: Sqld | null;
  users: Record<As, string>;
  orgs: { a: string; b: string };
  keys: Record<As, string>;
  keyIds: Record<As, string>;
}

const EMAILS: Record<As, string> = {
  admin: "admin@example.test",
  member: "member@example.test",
  other: "other@example.test",
  otherAdmin: "other-admin@example.test",
};

const quiet = () => {};
const configFor = (dir: string, input: ConfigInput = {}): Config =>
  loadConfig(
    { data_dir: dir, listen: "127.0.0.1:0", log_level: "error", import_roots: MODEL_ROOTS, ...input },
    { FTL_TRAINER_ENV: process.env.FTL_TRAINER_ENV },
  );

const TEMPLATE = "template";

async function startRemote(): Promise<Sqld> {
  const { startSqld } = await import("./sqld.ts");
  const server = await startSqld();
  await server.create(TEMPLATE);
  return server;
}

async function makeTemplate(database: "file" | "sqld"): Promise<Seed> {
  const dir = mkdtempSync(join(tmpdir(), "ftl-template-"));
  process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
  const remote = database === "sqld" ? await startRemote() : null;
  const ctx = await createCtx(configFor(dir, { database_url: remote?.url(TEMPLATE) ?? null }), { log: quiet });
  const make = (as: As, role: "admin" | "member", org: string, orgName?: string) =>
    createUser(ctx, systemActor(), { email: EMAILS[as], password: PASSWORD, role, org: org || undefined, orgName });
  const admin = await make("admin", "admin", "", "Alpha");
  const member = await make("member", "member", admin.org);
  const other = await make("other", "member", await createOrganization(ctx, systemActor(), "Beta"));
  const otherAdmin = await make("otherAdmin", "admin", other.org);
  const users = { admin: admin.id, member: member.id, other: other.id, otherAdmin: otherAdmin.id };
  const keys = {} as Seed["keys"];
  const keyIds = {} as Seed["keyIds"];
  for (const as of Object.keys(users) as As[]) {
    const made = await createKey(ctx, systemActor(), { name: `${as} key`, userId: users[as], expiresAt: null });
    keys[as] = made.key;
    keyIds[as] = made.id;
  }
  await ctx.close();
  if (!remote) {
    const client = await connect(`file:${join(dir, "lab.db")}`);
    await client.execute("PRAGMA wal_checkpoint(TRUNCATE)");
    client.close();
  }
  return { dir, remote, users, orgs: { a: admin.org, b: other.org }, keys, keyIds };
}

const templates = new Map<string, Promise<Seed>>();
let apps = 0;

interface RequestOptions {
  as?: Asker;
  /** Sent as JSON. */
  body?: unknown;
  /** Sent as a form of a page of this site: urlencoded, or multipart when it is FormData. */
  form?: Record<string, string> | FormData;
  /** Sent as it is. */
  raw?: RequestInit["body"];
  headers?: Record<string, string>;
}

export interface TestApp {
  ctx: OpenCtx;
  app: App;
  dir: string;
  /** The libSQL server with its database; null for a file. */
  server: Sqld | null;
  users: Record<As, string>;
  orgs: { a: string; b: string };
  keys: Record<As, string>;
  keyIds: Record<As, string>;
  emails: Record<As, string>;
  actor(as: As): Actor;
  /** One request in process, by default as `admin` with an API key. */
  request(method: string, path: string, options?: RequestOptions): Promise<Response>;
  /** Like `request`, and reads the JSON; throws with the answer when the status is 400 or more. */
  json<T = Record<string, unknown>>(method: string, path: string, options?: RequestOptions): Promise<T>;
  close(): Promise<void>;
}

export interface TestAppOptions {
  config?: ConfigInput;
  /** Where the database is; a file without it and without FTL_TEST_DATABASE. */
  database?: "sqld";
  /** Tools to use instead: `clock: fakeClock()`, `compute`, `log`. */
  ctx?: Partial<Ctx>;
}

/** An application with two organizations, four users and a key each. Close it at the end of the test. */
export async function createTestApp(options: TestAppOptions = {}): Promise<TestApp> {
  const place = options.database ?? (process.env.FTL_TEST_DATABASE === "sqld" ? "sqld" : "file");
  if (!templates.has(place)) templates.set(place, makeTemplate(place));
  const seed = await (templates.get(place) as Promise<Seed>);
  const dir = mkdtempSync(join(tmpdir(), "ftl-test-"));
  mkdirSync(join(dir, "run"), { mode: 0o700 });
  for (const name of seed.remote ? ["secret"] : ["lab.db", "secret"])
    copyFileSync(join(seed.dir, name), join(dir, name), constants.COPYFILE_FICLONE);
  const database = `app${++apps}`;
  await seed.remote?.create(database, TEMPLATE);
  const url = seed.remote?.url(database) ?? null;
  const ctx = await createCtx(configFor(dir, { database_url: url, ...options.config }), { log: quiet, ...options.ctx });
  const app = createApp(ctx);

  const checkAnswer = answerCheck(app);

  const request: TestApp["request"] = async (method, path, given = {}) => {
    const headers = new Headers(given.headers);
    const as = given.as ?? "admin";
    if (as !== "anonymous" && !headers.has("authorization") && !headers.has("cookie"))
      headers.set("authorization", `Bearer ${seed.keys[as]}`);
    let body = given.raw;
    if (given.body !== undefined) {
      body = JSON.stringify(given.body);
      if (!headers.has("content-type")) headers.set("content-type", "application/json");
    } else if (given.form) {
      body = given.form instanceof FormData ? given.form : new URLSearchParams(given.form);
    }
    // As a browser on a page of this site sends it.
    if ((given.form || headers.has("cookie")) && method !== "GET") {
      if (!headers.has("origin")) headers.set("origin", "http://localhost");
      if (!headers.has("sec-fetch-site")) headers.set("sec-fetch-site", "same-origin");
    }
    const answer: Response = await app.handle(new Request(`http://localhost${path}`, { method, headers, body }));
    await checkAnswer(method, path, answer);
    return answer;
  };

  return {
    ctx,
    app,
    dir,
    server: seed.remote,
    users: seed.users,
    orgs: seed.orgs,
    keys: seed.keys,
    keyIds: seed.keyIds,
    emails: EMAILS,
    actor: (as) => ({
      userId: seed.users[as],
      org: as === "admin" || as === "member" ? seed.orgs.a : seed.orgs.b,
      role: as === "admin" || as === "otherAdmin" ? "admin" : "member",
      teamRole: as === "admin" || as === "otherAdmin" ? "owner" : "member",
      scopes: null,
      via: "key",
      keyId: seed.keyIds[as],
      email: EMAILS[as],
    }),
    request,
    async json(method, path, given) {
      const answer = await request(method, path, given);
      const text = await answer.text();
      if (!answer.ok) throw new Error(`${method} ${path} answered ${answer.status}: ${text}`);
      return JSON.parse(text);
    },
    async close() {
      await ctx.close();
      await seed.remote?.drop(database);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
