/**
 * The requests of the fuzzer: every route of the application with a body it takes, and the n-th mutation of one of
 * them.
 */
import type { AnyElysia } from "elysia";
import type { Everything } from "./everything.ts";
import {
  brokenText,
  HOSTS,
  headersOf,
  mutated,
  type Random,
  randomOf,
  type Skipped,
  TEXTS,
  TYPES,
  textOf,
} from "./mutations.ts";
import { BODIES, PARAMS, QUERIES } from "./requests.ts";

interface FuzzRoute {
  method: string;
  /** As registered, with `:params`. */
  route: string;
  params: Record<string, string>;
  query: Record<string, string>;
  body: unknown;
  /** Names of fields a query may hold. */
  queryNames: string[];
}

type Json = Record<string, unknown>;

/** A value that fits a JSON schema more or less: a start for mutations. */
function sampleOf(schema: Json, depth = 0): unknown {
  if ("const" in schema) return schema.const;
  if (Array.isArray(schema.enum)) return schema.enum[0];
  const any = (schema.anyOf ?? schema.oneOf) as Json[] | undefined;
  if (any?.[0]) return sampleOf(any[0], depth);
  if (schema.type === "array") return depth > 6 ? [] : [sampleOf((schema.items ?? {}) as Json, depth + 1)];
  if (schema.type === "object") {
    if (depth > 6) return {};
    const fields = Object.entries((schema.properties ?? {}) as Record<string, Json>);
    return Object.fromEntries(fields.map(([name, each]) => [name, sampleOf(each, depth + 1)]));
  }
  if (schema.type === "number" || schema.type === "integer") return (schema.minimum as number | undefined) ?? 1;
  return schema.type === "boolean" ? true : "a";
}

/** Every route with what it takes. @param document the answer of /openapi.json */
export function routesOf(app: AnyElysia, document: Json, made: Everything): FuzzRoute[] {
  const paths = document.paths as Record<string, Record<string, Json>>;
  return app.routes.map(({ method, path }) => {
    const key = `${method} ${path}`;
    const described = paths[path.replace(/:(\w+)\??/g, "{$1}").replace(/\*$/, "{path}")]?.[method.toLowerCase()];
    const content = (described?.requestBody as { content: Record<string, { schema: Json }> } | undefined)?.content;
    const schema = content?.["application/json"]?.schema;
    const start = Object.keys(PARAMS)
      .filter((prefix) => path.startsWith(prefix))
      .sort((a, b) => b.length - a.length)[0];
    const given = BODIES[key]?.(made);
    return {
      method,
      route: path,
      params: start ? (PARAMS[start]?.(made) ?? {}) : {},
      query: QUERIES[key]?.(made) ?? {},
      body: given instanceof FormData ? {} : (given ?? (schema ? sampleOf(schema) : {})),
      queryNames: ((described?.parameters ?? []) as { name: string; in: string }[])
        .filter((each) => each.in === "query")
        .map((each) => each.name),
    };
  });
}

const ENDS =
  /\/(delete|cancel|clear|revoke|stop|disable|withdraw|remove|leave|suspend|lift|deletion)$|:act$|\/(users|members)\/:id$|\/admin\/terms$/;

/** Routes that end what others work with, or everybody's access: asked for real things last. */
const isDestructive = ({ method, route }: FuzzRoute) => method === "DELETE" || ENDS.test(route);

const QUERY_NAMES = [
  "q",
  "limit",
  "after",
  "before",
  "version",
  "split",
  "sort",
  "group_by",
  "since",
  "tab",
  "job",
  "next",
];

function pathOf(route: FuzzRoute, random: Random, skipped: Skipped, real: boolean): string {
  const path = route.route.replace(/:(\w+)\??|\*/g, (_, name: string | undefined) => {
    const known = route.params[name ?? "*"] ?? "x";
    if (real) return encodeURIComponent(known);
    const text = random.pick([() => `${known}x`, () => textOf(random, skipped), () => "%E0%A4%A", () => "%2e%2e%2f"])();
    return /^%/.test(text) ? text : encodeURIComponent(text.toWellFormed()).slice(0, 3_000);
  });
  const query = new URLSearchParams(route.query);
  if (random.one(3))
    query.append(random.pick([...route.queryNames, ...QUERY_NAMES]), textOf(random, skipped).slice(0, 2_000));
  const text =
    query.toString() + (random.one(20) ? random.pick(["&=", "&%", "&a=%ff", "&a[b]=c", "&__proto__=1", "?a=b"]) : "");
  return text ? `${path}?${text}` : path;
}

const isApi = ({ route }: FuzzRoute) => /^\/(v1|trainer|scim)\//.test(route);

/** A value as JSON for the API, as a form for pages. */
function encoded(route: FuzzRoute, value: unknown): { type: string; bytes: Buffer } {
  if (isApi(route)) return { type: "application/json", bytes: Buffer.from(JSON.stringify(value) ?? "null") };
  const fields = Object.entries(typeof value === "object" && value !== null ? value : { value });
  const form = new URLSearchParams();
  for (const [name, each] of fields) form.append(name, typeof each === "string" ? each : JSON.stringify(each));
  return { type: "application/x-www-form-urlencoded", bytes: Buffer.from(form.toString()) };
}

function bodyOf(route: FuzzRoute, random: Random, skipped: Skipped): { type: string; bytes: Buffer } {
  let value = route.body;
  for (let n = random.int(3); n >= 0; n--) value = mutated(random, skipped, value);
  const body = encoded(route, value);
  if (isApi(route) && random.one(6)) body.bytes = brokenText(random, skipped, body.bytes.toString());
  return body;
}

export interface FuzzRequest {
  method: string;
  path: string;
  bytes: Buffer;
}

export interface FuzzOptions {
  seed: number;
  /** The server's own host. */
  host: string;
  /** API keys to ask with; "" asks as nobody. */
  keys: readonly string[];
  skipped: Skipped;
  /** Ask destructive routes for real things. */
  last: boolean;
}

/** One text in every place of `value` that holds one, a copy for each place. */
function everyText(value: unknown, text: string): unknown[] {
  if (typeof value === "string") return [text];
  if (typeof value !== "object" || value === null) return [];
  if (Array.isArray(value))
    return value.flatMap((each, n) =>
      everyText(each, text).map((one) => value.map((old, at) => (at === n ? one : old))),
    );
  return Object.entries(value).flatMap(([name, each]) =>
    everyText(each, text).map((one) => ({ ...value, [name]: one })),
  );
}

/**
 * Every text of every body once as half a surrogate pair and once with control characters: nothing is left to chance
 * there.
 */
export function plainWrites(routes: readonly FuzzRoute[], options: FuzzOptions): FuzzRequest[] {
  const texts = ["surrogates", "controls"]
    .filter((kind) => !options.skipped.has(kind))
    .map((kind) => TEXTS[kind]?.[0] ?? "");
  return routes
    .filter((route) => route.method !== "GET" && !isDestructive(route))
    .flatMap((route) => {
      const path = pathOf(route, { ...randomOf(1), one: () => false }, options.skipped, true);
      const bodies = texts.flatMap((text) => everyText(route.body, text));
      return bodies.map((value) => {
        const body = encoded(route, value);
        const head = `${route.method} ${path} HTTP/1.1\r\nhost: ${options.host}\r\nauthorization: Bearer ${options.keys[0]}\r\n`;
        const lines = `content-type: ${body.type}\r\ncontent-length: ${body.bytes.byteLength}\r\nconnection: close\r\n\r\n`;
        return { method: route.method, path, bytes: Buffer.concat([Buffer.from(head + lines), body.bytes]) };
      });
    });
}

/** The n-th request of a seed, as bytes for the socket. It depends on nothing that was answered before. */
export function requestOf(routes: readonly FuzzRoute[], n: number, options: FuzzOptions): FuzzRequest {
  const random = randomOf(Math.imul(options.seed, 0x9e3779b1) + n);
  // Without a parameter there is nothing but the real thing.
  const route = random.pick(routes.filter((each) => options.last || !isDestructive(each) || /[:*]/.test(each.route)));
  const { skipped } = options;
  const real = !random.one(5) && (options.last || !isDestructive(route));
  const path = pathOf(route, random, skipped, real);
  const headers: Record<string, string> = { host: random.one(25) ? random.pick(HOSTS) : options.host };
  const key = random.pick(options.keys);
  if (key) headers.authorization = `Bearer ${key}`;
  if (random.one(2)) headers.accept = "text/html";
  if (random.one(3)) Object.assign(headers, headersOf(random, skipped));
  let bytes: Uint8Array = new Uint8Array();
  if (route.method !== "GET") {
    const body = bodyOf(route, random, skipped);
    ({ bytes } = body);
    headers["content-type"] = random.one(15) ? random.pick(TYPES) : body.type;
    headers["content-length"] = String(bytes.byteLength);
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  const head = `${[`${route.method} ${path} HTTP/1.1`, ...lines, "connection: close"].join("\r\n")}\r\n\r\n`;
  return { method: route.method, path, bytes: Buffer.concat([Buffer.from(head), bytes]) };
}

/** A plain GET of every route that has one, as administrator, for the browser and for a client. */
export function plainReads(routes: readonly FuzzRoute[], options: FuzzOptions): FuzzRequest[] {
  return routes
    .filter(({ method }) => method === "GET")
    .flatMap((route) => {
      const path = pathOf(
        { ...route, query: route.query },
        { ...randomOf(1), one: () => false },
        options.skipped,
        true,
      );
      const head = `GET ${path} HTTP/1.1\r\nhost: ${options.host}\r\nauthorization: Bearer ${options.keys[0]}\r\n`;
      return ["accept: text/html\r\n", ""].map((accept) => ({
        method: "GET",
        path,
        bytes: Buffer.from(`${head}${accept}connection: close\r\n\r\n`),
      }));
    });
}
