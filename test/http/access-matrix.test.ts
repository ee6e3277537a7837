/**
 * Every route of the application × {nobody, other organization, member, administrator}: generated from the routes
 * themselves, so a new one cannot be forgotten.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { dataset } from "../../src/db/schema/datasets.ts";
import { deployment } from "../../src/db/schema/deployments.ts";
import { evaluation } from "../../src/db/schema/evaluations.ts";
import { job } from "../../src/db/schema/jobs.ts";
import { startServer } from "../../src/server.ts";
import { type Asker, createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { type Everything, makeEverything } from "../support/everything.ts";
import { rawText, sendRaw } from "../support/raw.ts";
import { type Case, ENDLESS, forMembers, needsCaller, routeCases, sweep, unsafe } from "../support/route-cases.ts";

/** The routes that answer without credentials. A route is added here on purpose or not at all. */
const PUBLIC = [
  "GET /acceptable-use",
  "GET /assets/*",
  "GET /confirm-email",
  "GET /favicon.ico",
  "GET /forgot",
  "GET /health",
  "GET /healthz",
  "GET /invite",
  "GET /login",
  "GET /login/code",
  "GET /metrics",
  "GET /openapi.json",
  "GET /not-me",
  "GET /privacy",
  "GET /reset",
  "GET /setup",
  "GET /sso/:id/arrive",
  "GET /sso/:id/callback",
  "GET /sso/:id/logout",
  "GET /sso/:id/metadata",
  "GET /sso/:id/start",
  "GET /terms",
  "GET /v1/terms",
  "GET /pricing",
  "GET /v1/prices",
  "GET /status",
  "GET /v1/status",
  "GET /v1/status/incidents",
  // Signed by Stripe.
  "POST /v1/stripe/webhook",
  "POST /confirm-email",
  "POST /forgot",
  "POST /invite",
  "POST /login",
  "POST /login/code",
  "POST /login/passkey",
  "POST /not-me",
  "POST /passkey/options",
  "POST /reset",
  "POST /setup",
  // The answer of a SAML provider: its signature is the credential.
  "POST /sso/:id/acs",
];

/** Routes without an id in the path whose body names something. */
const NAMES_THINGS =
  /^POST (\/v1)?\/(datasets|fine_tuning\/(jobs|alpha\/graders\/(run|validate))|jobs|jobs\/plan|jobs\/metrics|evaluations|sweeps|sweeps\/plan|deployments|chat\/completions|completions|embeddings|responses|responses\/(input_tokens|compact))$/;

/** Things that belong to the installation rather than to an organization. */
const SHARED = /^\/(v1\/)?(base_models|hosts|gpus|admin)\/|^\/models\/:id\/(install|license)$/;
/** Hosts that are not this server's, and values that are no host. */
/** Things of one person: others in the organization do not see them. */
const PERSONAL = /^(\/v1\/archives|\/settings\/data)\/:id/;
const HOSTS = ["x", "ab", "abc", "", "a:b", "127.0.0.1:99999", "x y.localhost", "evil.example"];
let app: TestApp;
let made: Everything;
let cookie = "";
let cases: Case[] = [];
let complaints: string[] = [];
let pathOf: ReturnType<typeof routeCases>["pathOf"];

function payload(each: Case): { body?: unknown; form?: Record<string, string> | FormData } {
  if (!unsafe(each)) return {};
  if (each.body instanceof FormData) return { form: each.body };
  if (/^\/(v1|scim)\//.test(each.route)) return { body: each.body ?? {} };
  return { form: (each.body ?? {}) as Record<string, string> };
}

const ask = (each: Case, as: Asker | "cookie", headers: Record<string, string> = {}) =>
  app.request(each.method, pathOf(each), {
    ...payload(each),
    as: as === "cookie" ? "anonymous" : as,
    headers: as === "cookie" ? { cookie, ...headers } : headers,
  });

beforeAll(async () => {
  app = await createTestApp();
  made = await makeEverything(app);
  const signedIn = await app.request("POST", "/login", {
    as: "anonymous",
    form: { email: app.emails.admin, password: PASSWORD },
  });
  cookie = signedIn.headers.getSetCookie()[0]?.split(";")[0] ?? "";
  ({ cases, complaints, pathOf } = routeCases(app, made));
});
afterAll(() => app.close());

/** A form of a page may lead back with the refusal in a message instead. */
function saysNo(answer: Response): boolean {
  const flash = /(?:^|,)\s*flash=([^;]+)/.exec(answer.headers.getSetCookie().join(","))?.[1];
  return answer.status === 303 && !!flash && Buffer.from(flash, "base64url").toString().includes('"kind":"bad"');
}

const wanted = (filter: (each: Case) => boolean) => cases.filter(filter);

describe("every route", () => {
  test("is known to this matrix", () => {
    expect(complaints).toEqual([]);
    expect(cases.length).toBeGreaterThan(20);
  });

  test("that answers nobody is in the list of public ones", () => {
    const found = wanted((each) => each.access === "public").map((each) => each.key);
    expect(found.filter((key) => !PUBLIC.includes(key))).toEqual([]);
  });

  test("refuses nobody, before it looks at what was sent", async () => {
    const list = wanted(needsCaller);
    expect(
      await sweep(
        list,
        (each) => ask(each, "anonymous"),
        (status) => status === 401,
      ),
    ).toEqual([]);
    const broken = (each: Case) =>
      app.request(each.method, pathOf(each), {
        as: "anonymous",
        raw: "{not json",
        headers: { "content-type": "application/json" },
      });
    expect(await sweep(list.filter(unsafe), broken, (status) => status === 401)).toEqual([]);
  });

  test("of trainers refuses everyone without an attempt's token", async () => {
    // What a stranger may ask gives only the answer to a nonce (test/training/call-home.test.ts).
    const list = wanted((each) => each.access === "trainer" && each.key !== "GET /trainer/v1/hello");
    for (const as of ["anonymous", "admin"] as const) {
      const send = (each: Case) =>
        app.request(each.method, each.route.replace(/:\w+|\*/g, "x"), {
          as,
          body: each.method === "GET" ? undefined : {},
        });
      expect(await sweep(list, send, (status) => status === 401)).toEqual([]);
    }
  });

  test("has a permission", () => {
    expect(wanted((each) => each.access === "unlisted").map((each) => each.key)).toEqual([]);
  });

  test("for administrators refuses members", async () => {
    const list = wanted((each) => needsCaller(each) && !forMembers(each));
    expect(list.length).toBeGreaterThan(0);
    for (const as of ["member", "other"] as const)
      expect(
        await sweep(
          list,
          (each) => ask(each, as),
          (status) => status === 403,
        ),
      ).toEqual([]);
  });

  test("of provisioning refuses everyone without the token of a provider", async () => {
    const list = wanted((each) => each.access === "scim");
    expect(list.length).toBeGreaterThan(10);
    for (const as of ["anonymous", "member", "admin"] as const)
      expect(
        await sweep(
          list,
          (each) => ask(each, as),
          (status) => status === 401,
        ),
      ).toEqual([]);
  });

  test("refuses an unsafe request of a cookie that comes from another site", async () => {
    // The answer of a SAML provider comes from its site; no cookie counts there (test/accounts/saml.test.ts).
    const exempt = "POST /sso/:id/acs";
    const list = wanted((each) => unsafe(each) && each.access !== "trainer" && each.key !== exempt);
    const foreign: Record<string, string>[] = [
      { origin: "https://evil.example" },
      { origin: "null" },
      { origin: "http://localhost.evil.example" },
      { origin: "http://localhost", "sec-fetch-site": "cross-site" },
      { origin: "http://localhost", "sec-fetch-site": "same-site" },
    ];
    for (const headers of foreign) {
      const refused = (status: number) => status === 403;
      expect(await sweep(list, (each) => ask(each, "cookie", headers), refused)).toEqual([]);
    }
  });

  test("refuses a foreign host name", async () => {
    const list = wanted((each) => each.access !== "trainer");
    const send = (each: Case) => ask(each, "admin", { host: "rebound.evil.example" });
    const refused = async (status: number, _each: Case, answer: Response) =>
      // SCIM has no codes.
      status === 400 && /foreign_host|does not answer under that host name/.test(await answer.text());
    expect(await sweep(list, send, refused)).toEqual([]);
  });

  test("that reads is open to members of the organization, and never fails", async () => {
    const list = wanted((each) => each.method === "GET" && forMembers(each) && !ENDLESS.test(each.route));
    const fine = (status: number) => status < 400 || status === 409 || status === 410;
    const shared = list.filter(({ route }) => !PERSONAL.test(route));
    expect(await sweep(shared, (each) => ask(each, "member"), fine)).toEqual([]);
    expect(await sweep(list, (each) => ask(each, "admin"), fine)).toEqual([]);
  }, 60_000);

  test("that reads one thing has no such thing for another organization", async () => {
    const list = wanted((each) => each.method === "GET" && each.hasId && forMembers(each) && !SHARED.test(each.route));
    expect(
      await sweep(
        list,
        (each) => ask(each, "other"),
        (status) => status === 404,
      ),
    ).toEqual([]);
  });

  test("that lists shows another organization nothing of this one", async () => {
    const { base: _, org: __, host: ___, ...own } = made;
    const list = wanted(
      (each) => each.method === "GET" && !each.hasId && forMembers(each) && !ENDLESS.test(each.route),
    );
    const clean = async (_status: number, _each: Case, answer: Response) => {
      const text = await answer.text();
      return !Object.values(own).some((id) => text.includes(id));
    };
    expect(await sweep(list, (each) => ask(each, "other"), clean)).toEqual([]);
  });

  test("that changes one thing has no such thing for another organization", async () => {
    const list = wanted((each) => unsafe(each) && each.hasId && forMembers(each) && !SHARED.test(each.route));
    expect(
      await sweep(
        list,
        (each) => ask(each, "other"),
        (status, _each, answer) => status === 404 || saysNo(answer),
      ),
    ).toEqual([]);
  });

  test("that takes the name of a thing makes nothing of another organization's", async () => {
    const list = wanted((each) => NAMES_THINGS.test(each.key));
    const refused = async (status: number, each: Case, answer: Response) => {
      // A page may show its form again, with what is wrong; the API says no.
      if (status >= 400 && status < 500) return true;
      return !each.route.startsWith("/v1/") && (saysNo(answer) || /<form/.test(await answer.text()));
    };
    expect(await sweep(list, (each) => ask(each, "other"), refused)).toEqual([]);
    for (const table of [job, dataset, evaluation, deployment]) {
      const rows = await app.ctx.db.select({ id: table.id }).from(table).where(eq(table.org, app.orgs.b));
      expect(rows).toEqual([]);
    }
  });

  test("that streams a job has no such job for another organization", async () => {
    const answer = await app.request("GET", `/v1/stream?jobs=${made.job}`, { as: "other" });
    await answer.body?.cancel();
    expect(answer.status).toBe(404);
  });

  test("bears a request id and the policy headers, whoever asks", async () => {
    const ids = new Set<string>();
    const list = wanted((each) => !ENDLESS.test(each.route) && each.access !== "trainer");
    const fine = (_status: number, _each: Case, answer: Response) => {
      ids.add(answer.headers.get("x-request-id") ?? "");
      const policy = answer.headers.get("content-security-policy") ?? "";
      return (
        policy.includes("script-src 'self'") &&
        !policy.includes("unsafe") &&
        answer.headers.get("x-content-type-options") === "nosniff"
      );
    };
    expect(await sweep(list, (each) => ask(each, "anonymous"), fine)).toEqual([]);
    expect(ids.size).toBe(list.length);
  });
});

describe("every route on a real socket", () => {
  /** The request of a case as text: with a key and a cookie at once where somebody asks. */
  function written(each: Case, prefix: string, host: string, asks: boolean): string {
    const headers: Record<string, string> = { host };
    if (asks) Object.assign(headers, { authorization: `Bearer ${app.keys.admin}`, cookie });
    const path = prefix + pathOf(each);
    if (!unsafe(each)) return rawText(each.method, path, headers);
    const form = !/^\/(v1|trainer|scim)\//.test(each.route);
    headers["content-type"] = form ? "application/x-www-form-urlencoded" : "application/json";
    const fields = each.body instanceof FormData || !each.body ? {} : each.body;
    const body = form ? new URLSearchParams(fields as Record<string, string>).toString() : JSON.stringify(fields);
    return rawText(each.method, path, headers, body);
  }

  test("is closed under every host that is not ours, as a trainer's path too", async () => {
    const server = startServer(app.ctx, app.app);
    const wrong: string[] = [];
    for (const host of HOSTS)
      for (const each of cases)
        for (const prefix of each.access === "trainer" ? [""] : ["", "/trainer"])
          for (const asks of [true, false]) {
            const { status } = await sendRaw(server.url, written(each, prefix, host, asks));
            const fine = prefix || each.access === "trainer" ? [400, 401, 404].includes(status) : status === 400;
            if (!fine) wrong.push(`${each.method} ${prefix}${each.route} of host "${host}" answered ${status}`);
          }
    await server.stop(1);
    expect(wrong).toEqual([]);
  }, 240_000);

  test("answers nobody under our own host as it does in process", async () => {
    const server = startServer(app.ctx, app.app);
    const wrong: string[] = [];
    for (const each of wanted(needsCaller)) {
      const { status } = await sendRaw(server.url, written(each, "", "localhost", false));
      if (status !== 401) wrong.push(`${each.key} answered ${status}`);
    }
    await server.stop(1);
    expect(wrong).toEqual([]);
  }, 60_000);
});
