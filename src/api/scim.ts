/** /scim/v2: users and groups as identity providers provision them (SCIM 2.0, RFC 7644). */
import { Elysia } from "elysia";
import * as v from "valibot";
import { type Caller, callerOf } from "../accounts/scim/connection.ts";
import { readFilter, readRange } from "../accounts/scim/filter.ts";
import {
  changeScimGroup,
  createScimGroup,
  GROUP_FILTERS,
  getScimGroup,
  listScimGroups,
  removeScimGroup,
} from "../accounts/scim/groups.ts";
import { changeOf, GroupBody, groupView, LIST, UserBody, userView } from "../accounts/scim/model.ts";
import { groupChange, Patch, userChange } from "../accounts/scim/patch.ts";
import {
  changeScimUser,
  createScimUser,
  getScimUser,
  listScimUsers,
  removeScimUser,
  USER_FILTERS,
} from "../accounts/scim/users.ts";
import type { Ctx } from "../ctx.ts";
import { AppError } from "../errors.ts";
import { scimAnswer } from "../http/errors.ts";
import { readQuery } from "../http/query.ts";
import { clientOf } from "../http/request-state.ts";
import { session } from "../http/session.ts";
import { RESOURCE_TYPES, SCHEMAS, SERVICE } from "./scim-discovery.ts";

interface Visit {
  request: Request;
  body: unknown;
  /** Absent on routes without an id. */
  params?: { id?: string };
}
/** A request whose token was checked. */
interface Asked {
  caller: Caller;
  /** Address of this API, for locations. */
  base: string;
  id: string;
  body: unknown;
  query: Record<string, string | string[]>;
}

const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const hidden = { detail: { hide: true } };

/** A body by its schema. @throws AppError `invalid_value` that names the attribute */
function read<S extends v.GenericSchema>(schema: S, body: unknown): v.InferOutput<S> {
  const parsed = v.safeParse(schema, body);
  if (parsed.success) return parsed.output;
  const param = v.getDotPath(parsed.issues[0])?.slice(0, 200) || null;
  throw new AppError(
    "invalid",
    "invalid_value",
    `${param ?? "The body"} is missing or has a value that is not allowed.`,
    {
      param,
    },
  );
}

const listAnswer = (rows: unknown[], total: number, start: number) =>
  scimAnswer({ schemas: [LIST], totalResults: total, startIndex: start, itemsPerPage: rows.length, Resources: rows });

/** One value of the query; empty when it is absent or repeated. */
const oneOf = (query: Asked["query"], name: string) => (typeof query[name] === "string" ? query[name] : "");

async function listUsers(ctx: Ctx, { caller, base, query }: Asked) {
  const range = readRange(query);
  const filter = readFilter(oneOf(query, "filter"), USER_FILTERS);
  const { rows, total } = await listScimUsers(ctx, caller, { filter, range });
  return listAnswer(
    rows.map((row) => userView(base, row)),
    total,
    range.start,
  );
}

async function createUser(ctx: Ctx, { caller, base, body }: Asked) {
  const given = read(UserBody, body);
  const row = await createScimUser(ctx, caller, { ...changeOf(given), userName: given.userName });
  return scimAnswer(userView(base, row), 201, { location: `${base}/Users/${row.id}` });
}

async function changeUser(ctx: Ctx, { caller, base, id, body }: Asked, kind: "PUT" | "PATCH") {
  const change = kind === "PUT" ? changeOf(read(UserBody, body)) : userChange(read(Patch, body));
  return scimAnswer(userView(base, await changeScimUser(ctx, caller, id, change)));
}

const wantsMembers = (query: Asked["query"]) => !/(^|,)\s*members\s*(,|$)/i.test(oneOf(query, "excludedAttributes"));

async function listGroups(ctx: Ctx, { caller, base, query }: Asked) {
  const range = readRange(query);
  const filter = readFilter(oneOf(query, "filter"), GROUP_FILTERS);
  const { rows, total } = await listScimGroups(ctx, caller, { filter, range, withMembers: wantsMembers(query) });
  return listAnswer(
    rows.map((row) => groupView(base, row)),
    total,
    range.start,
  );
}

async function createGroup(ctx: Ctx, { caller, base, body }: Asked) {
  const { displayName, externalId = null, members } = read(GroupBody, body);
  const ids = (members ?? []).map(({ value }) => value);
  const row = await createScimGroup(ctx, caller, { displayName, externalId, members: ids });
  return scimAnswer(groupView(base, row), 201, { location: `${base}/Groups/${row.id}` });
}

async function replaceGroup(ctx: Ctx, { caller, base, id, body }: Asked) {
  const { displayName, externalId = null, members } = read(GroupBody, body);
  const ids = (members ?? []).map(({ value }) => value);
  await changeScimGroup(ctx, caller, id, { displayName, externalId, members: [{ op: "replace", ids }] });
  return scimAnswer(groupView(base, await getScimGroup(ctx, caller, id)));
}

/** Without a body: Entra ID and Okta ask for none, and a group may have thousands of members. */
async function patchGroup(ctx: Ctx, { caller, id, body }: Asked) {
  await changeScimGroup(ctx, caller, id, groupChange(read(Patch, body)));
  return new Response(null, { status: 204 });
}

const nothing = () => new Response(null, { status: 204 });

export function scimApi(ctx: Ctx) {
  /** Checks the token before anything else is read. */
  const as = (handle: (asked: Asked) => Promise<Response> | Response) => async (visit: Visit) => {
    const { request, params, body } = visit;
    const caller = await callerOf(ctx, request.headers.get("authorization"), clientOf(request));
    const site = (ctx.config.public_url ?? new URL(request.url).origin).replace(/\/$/, "");
    return handle({ caller, base: `${site}/scim/v2`, id: params?.id ?? "", body, query: readQuery(request.url) });
  };
  const one = { params: Id, ...hidden };
  return new Elysia({ name: "scim.api", prefix: "/scim/v2", seed: ctx.installation })
    .use(session(ctx))
    .get(
      "/ServiceProviderConfig",
      as(() => scimAnswer(SERVICE)),
      hidden,
    )
    .get(
      "/ResourceTypes",
      as(() => listAnswer(RESOURCE_TYPES, RESOURCE_TYPES.length, 1)),
      hidden,
    )
    .get(
      "/Schemas",
      as(() => listAnswer(SCHEMAS, SCHEMAS.length, 1)),
      hidden,
    )
    .get(
      "/Users",
      as((asked) => listUsers(ctx, asked)),
      hidden,
    )
    .post(
      "/Users",
      as((asked) => createUser(ctx, asked)),
      hidden,
    )
    .get(
      "/Users/:id",
      as(async ({ caller, base, id }) => scimAnswer(userView(base, await getScimUser(ctx, caller, id)))),
      one,
    )
    .put(
      "/Users/:id",
      as((asked) => changeUser(ctx, asked, "PUT")),
      one,
    )
    .patch(
      "/Users/:id",
      as((asked) => changeUser(ctx, asked, "PATCH")),
      one,
    )
    .delete(
      "/Users/:id",
      as(async ({ caller, id }) => removeScimUser(ctx, caller, id).then(nothing)),
      one,
    )
    .get(
      "/Groups",
      as((asked) => listGroups(ctx, asked)),
      hidden,
    )
    .post(
      "/Groups",
      as((asked) => createGroup(ctx, asked)),
      hidden,
    )
    .get(
      "/Groups/:id",
      as(async ({ caller, base, id, query }) =>
        scimAnswer(groupView(base, await getScimGroup(ctx, caller, id, wantsMembers(query)))),
      ),
      one,
    )
    .put(
      "/Groups/:id",
      as((asked) => replaceGroup(ctx, asked)),
      one,
    )
    .patch(
      "/Groups/:id",
      as((asked) => patchGroup(ctx, asked)),
      one,
    )
    .delete(
      "/Groups/:id",
      as(async ({ caller, id }) => removeScimGroup(ctx, caller, id).then(nothing)),
      one,
    );
}
