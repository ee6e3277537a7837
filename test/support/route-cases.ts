/** Every route of the application with what to ask it with, for the tests of who may call what. */
import * as v from "valibot";
import { type Access, accessOf } from "../../src/http/access.ts";
import { can, type Powers, TEAM_ROLES, type TeamRole } from "../../src/roles.ts";
import type { TestApp } from "./app.ts";
import type { Everything } from "./everything.ts";
import { BODIES, PARAMS, QUERIES } from "./requests.ts";

export interface Case {
  key: string;
  method: string;
  route: string;
  access: Access;
  hasId: boolean;
  body: unknown;
}

/** Streams and answers that never end by themselves are only looked at, not read. */
export const ENDLESS = /\/stream$/;

export const unsafe = (each: Case) => !["GET", "HEAD", "OPTIONS"].includes(each.method);
/** Access that users have: by the table of permissions, not by a token of another kind. */
const OTHERS: readonly Access[] = ["public", "trainer", "scim"];
export const needsCaller = ({ access }: Case) => !OTHERS.includes(access);

/** The roles of a team, and that of a reviewer of the installation, who is an owner of a team here. */
export const ROLES = [...TEAM_ROLES, "reviewer"] as const;

/** What somebody with a role may do who does not administer the installation. */
export const powers = (role: TeamRole | "reviewer"): Powers =>
  role === "reviewer" ? { role, teamRole: "owner", scopes: null } : { role: "member", teamRole: role, scopes: null };

/** Whether the table of permissions lets somebody call a route. */
export const allows = (who: Powers, { access }: Case) =>
  access !== "public" && access !== "trainer" && access !== "scim" && access !== "unlisted" && can(who, access);
export const forMembers = (each: Case) => allows(powers("member"), each);

/** Why the schema of a route refuses a value; null when it does not, or when there is no schema. */
function refusal(schema: unknown, value: unknown): string | null {
  if (typeof schema !== "object" || schema === null || !("~standard" in schema) || !("kind" in schema)) return null;
  const result = v.safeParse(schema as unknown as v.GenericSchema, value);
  return result.success ? null : `${v.getDotPath(result.issues[0]) ?? ""} ${result.issues[0].message}`;
}

/** The routes of an application, the path to ask each at, and what this file does not know how to ask. */
export function routeCases(app: TestApp, made: Everything) {
  const cases: Case[] = [];
  const complaints: string[] = [];
  const paramsOf = (route: string): Record<string, string> => {
    const start = Object.keys(PARAMS)
      .filter((prefix) => route.startsWith(prefix))
      .sort((a, b) => b.length - a.length)[0];
    return start ? (PARAMS[start]?.(made) ?? {}) : {};
  };
  const pathOf = ({ key, route }: Pick<Case, "key" | "route">): string => {
    const params = paramsOf(route);
    const query = QUERIES[key]?.(made);
    const path = route.replace(/:(\w+)\??|\*/g, (whole, name: string | undefined) => {
      const value = params[name ?? "*"];
      if (value === undefined) {
        complaints.push(`${key}: say in PARAMS of test/support/requests.ts what stands for "${whole}"`);
        return "unknown";
      }
      return encodeURIComponent(value);
    });
    return query ? `${path}?${new URLSearchParams(query)}` : path;
  };
  for (const { method, path, hooks } of app.app.routes) {
    const key = `${method} ${path}`;
    const access = accessOf(method, path);
    const body = BODIES[key]?.(made) ?? null;
    const checked = !OTHERS.includes(access);
    if (checked && refusal(hooks?.body, body ?? {}))
      complaints.push(
        `${key}: ${refusal(hooks?.body, body ?? {})}: fix its entry in BODIES of test/support/requests.ts`,
      );
    if (checked && refusal(hooks?.query, QUERIES[key]?.(made) ?? {}))
      complaints.push(`${key}: ${refusal(hooks?.query, {})}: give it an entry in QUERIES of test/support/requests.ts`);
    cases.push({ key, method, route: path, access, hasId: path.includes(":"), body });
  }
  for (const each of cases) if (each.access !== "trainer") pathOf(each);
  return { cases, complaints, pathOf };
}

/** Asks every case and collects the ones whose answer is not as it must be. */
export async function sweep(
  list: Case[],
  send: (each: Case) => Promise<Response>,
  fine: (status: number, each: Case, answer: Response) => boolean | Promise<boolean>,
): Promise<string[]> {
  const wrong: string[] = [];
  for (const each of list) {
    const answer = await send(each);
    const ok = await fine(answer.status, each, answer);
    if (!ok)
      wrong.push(
        `${each.key} answered ${answer.status}${answer.bodyUsed ? "" : ` ${(await answer.text()).slice(0, 150)}`}`,
      );
    else if (!answer.bodyUsed) await answer.body?.cancel();
  }
  return wrong;
}
