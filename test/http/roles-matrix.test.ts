/**
 * Every route × each role of a team and that of a reviewer: what the table of permissions does not have is refused, and
 * no page shows it.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createKey } from "../../src/accounts/api-keys/service.ts";
import { createUser } from "../../src/accounts/auth/service.ts";
import { systemActor } from "../../src/ctx.ts";
import { mayCall } from "../../src/http/access.ts";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { makeEverything } from "../support/everything.ts";
import {
  allows,
  type Case,
  ENDLESS,
  forMembers,
  needsCaller,
  powers,
  ROLES,
  routeCases,
  sweep,
  unsafe,
} from "../support/route-cases.ts";

let app: TestApp;
let cases: Case[] = [];
let pathOf: ReturnType<typeof routeCases>["pathOf"];
const keys = {} as Record<(typeof ROLES)[number], string>;

beforeAll(async () => {
  app = await createTestApp();
  ({ cases, pathOf } = routeCases(app, await makeEverything(app)));
  for (const role of ROLES) {
    const of = role === "reviewer" ? { role, teamRole: "owner" as const } : { teamRole: role };
    const input = { email: `role-${role}@example.test`, password: PASSWORD, ...of, org: app.orgs.a };
    const { id } = await createUser(app.ctx, systemActor(), input);
    keys[role] = (await createKey(app.ctx, systemActor(), { name: role, userId: id })).key;
  }
});
afterAll(() => app.close());

const wanted = (filter: (each: Case) => boolean) => cases.filter(filter);

test.each(ROLES)("answers the role %s as the table of permissions says", async (role) => {
  const secret = keys[role];
  const who = powers(role);
  const send = (each: Case) => {
    const headers = { authorization: `Bearer ${secret}` };
    // A body that cannot be read shows that the request was let through, and changes nothing.
    const body = unsafe(each)
      ? { raw: "{not json", headers: { ...headers, "content-type": "application/json" } }
      : { headers };
    return app.request(each.method, pathOf(each), { as: "anonymous", ...body });
  };
  // Reading what members read is asked once, as viewer: access-matrix.test.ts asks as member and administrator.
  const again = (each: Case) => role !== "viewer" && each.method === "GET" && forMembers(each) && allows(who, each);
  const list = wanted((each) => needsCaller(each) && !ENDLESS.test(each.route) && !again(each));
  const fine = async (status: number, each: Case, answer: Response) => {
    if (allows(who, each)) return status !== 401 && status !== 403;
    const { error } = (await answer.json()) as { error: { code: string; message: string } };
    if (each.access === "installation") return status === 403 && error.code === "admin_only";
    return (
      status === 403 && error.code === "permission_denied" && error.message.includes(`(permission ${each.access})`)
    );
  };
  expect(await sweep(list, send, fine)).toEqual([]);
});

test.each(["viewer", "billing", "member", "reviewer"] as const)(
  "shows the role %s only what it may do",
  async (role) => {
    const headers = { authorization: `Bearer ${keys[role]}` };
    const who = powers(role);
    const pages = wanted((each) => each.method === "GET" && !each.route.startsWith("/v1/") && allows(who, each));
    const wrong: string[] = [];
    for (const page of pages) {
      const answer = await app.request("GET", pathOf(page), { as: "anonymous", headers });
      const text = await answer.text();
      if (!answer.headers.get("content-type")?.startsWith("text/html")) continue;
      const shown = (method: string, pattern: RegExp) =>
        [...text.matchAll(pattern)].map((match) => [method, (match[1] ?? "").split(/[?#]/)[0] ?? ""] as const);
      const requests = [
        ...shown("POST", /<form(?=[^>]* method="post")[^>]* action="(\/[^"]*)"/g),
        ...shown("POST", /<form(?=[^>]* action="\/)[^>]*? hx-post="(\/[^"]*)"/g),
        ...shown("GET", /<a [^>]*?href="(\/[^"]*)"/g),
      ];
      for (const [method, path] of requests)
        if (!mayCall(who, method, path)) wrong.push(`${page.route} shows ${method} ${path}`);
    }
    expect(pages.length).toBeGreaterThan(5);
    expect([...new Set(wrong)]).toEqual([]);
  },
);
