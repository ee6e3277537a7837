/** Verbs that every resource of the API has (list, show, delete, actions), made from one description of it. */
import type { ApiClient } from "../api-client.ts";
import { type Args, EXIT, type Option, UsageError, type Verb } from "../command.ts";
import { connect, SERVER_OPTIONS } from "./connection.ts";
import { type Column, confirm, fields, print, printJson, say, table } from "./output.ts";

/** Fields of an object, as `show` prints them. */
type Fields = [name: string, value: string | null][];

/** A resource of the API. `T` is an object of its lists. */
export interface Resource<T> {
  /** In verbs: `job list`. */
  noun: string;
  /** One and several of them, in texts. */
  one: string;
  plural: string;
  /** Collection, such as `/v1/jobs`. */
  path: string;
  columns: Column<T>[];
  /** What `show` prints. */
  fields(one: T): Fields;
  /** Text below the fields. */
  details?(api: ApiClient, one: T): Promise<string>;
  /** Filters of the list: options with the name of the query parameter. */
  filters?: Record<string, Option>;
  /** The list has no pages. */
  whole?: boolean;
}

interface Page<T> {
  object: "list";
  data: T[];
  has_more?: boolean;
  last_id?: string | null;
}

/** The one id of a verb. @throws UsageError */
export function idOf(args: Args, what: string): string {
  const [id] = args.words;
  if (!id || args.words.length > 1) throw new UsageError(`Give the id of one ${what}.`);
  return id;
}

export const pathOf = <T>({ path }: Pick<Resource<T>, "path">, id: string) => `${path}/${encodeURIComponent(id)}`;

async function readPages<T>(api: ApiClient, resource: Resource<T>, args: Args): Promise<Page<T>> {
  if (resource.whole) return api.call<Page<T>>("GET", resource.path);
  const query = new URLSearchParams({ limit: args.on("all") ? "100" : (args.text("limit") ?? "20") });
  for (const name of [...Object.keys(resource.filters ?? {}), "after"]) {
    const value = args.text(name);
    if (value !== undefined) query.set(name, value);
  }
  const all: T[] = [];
  for (;;) {
    const page = await api.call<Page<T>>("GET", `${resource.path}?${query}`);
    all.push(...page.data);
    if (!args.on("all") || !page.has_more || !page.last_id) return { ...page, data: all };
    query.set("after", page.last_id);
  }
}

const PAGING = {
  limit: { value: "N", help: "at most this many, 1 to 100 (default 20)" },
  after: { value: "ID", help: "those after this one" },
  all: { help: "all pages" },
} satisfies Record<string, Option>;

function listVerb<T>(resource: Resource<T>): Verb {
  const { noun, plural, columns, filters, whole } = resource;
  return {
    name: `${noun} list`,
    summary: `Lists ${plural}${whole ? "" : ", newest first"}.`,
    options: { ...filters, ...(whole ? {} : PAGING), ...SERVER_OPTIONS },
    async run(args) {
      const page = await readPages(connect(args), resource, args);
      if (args.on("json")) printJson(page);
      else if (page.data.length === 0) say(`No ${plural}.`);
      else print(table(columns, page.data));
      if (page.has_more && !args.on("json")) say(`There are more: add --after ${page.last_id}, or --all.`);
      return EXIT.ok;
    },
  };
}

/** Prints an object of a resource as `show` does. */
export async function showOne<T>(api: ApiClient, resource: Resource<T>, one: T, json: boolean): Promise<void> {
  if (json) return printJson(one);
  print(fields(resource.fields(one)));
  print((await resource.details?.(api, one)) ?? "");
}

function showVerb<T>(resource: Resource<T>): Verb {
  return {
    name: `${resource.noun} show`,
    summary: `Shows ${resource.one}.`,
    words: "ID",
    options: SERVER_OPTIONS,
    async run(args) {
      const api = connect(args);
      const one = await api.call<T>("GET", pathOf(resource, idOf(args, resource.noun)));
      await showOne(api, resource, one, args.on("json"));
      return EXIT.ok;
    },
  };
}

/** `NOUN list` and `NOUN show`. */
export const readVerbs = <T>(resource: Resource<T>): Verb[] => [listVerb(resource), showVerb(resource)];

/**
 * `NOUN delete`: asks first, unless --yes.
 * @param part what is deleted of the object, as a path below its own; the object itself by default
 */
export function deleteVerb<T>(resource: Resource<T>, summary: string, part = ""): Verb {
  return {
    name: `${resource.noun} delete`,
    summary,
    words: "ID",
    options: { yes: { short: "y", help: "do not ask" }, ...SERVER_OPTIONS },
    async run(args) {
      const id = idOf(args, resource.noun);
      const api = connect(args);
      if (!args.on("yes")) await confirm(part ? `Delete the unused files of ${id}?` : `Delete ${id}?`);
      const answer = await api.call("DELETE", `${pathOf(resource, id)}${part}`);
      if (args.on("json")) printJson(answer);
      else say(part ? `Deleted the unused files of ${id}.` : `Deleted ${id}.`);
      return EXIT.ok;
    },
  };
}

/** A verb that posts an action of an object and prints the object. */
export function actionVerb<T>(resource: Resource<T>, action: string, summary: string): Verb {
  return {
    name: `${resource.noun} ${action}`,
    summary,
    words: "ID",
    options: SERVER_OPTIONS,
    async run(args) {
      const api = connect(args);
      const one = await api.call<T>("POST", `${pathOf(resource, idOf(args, resource.noun))}/${action}`);
      await showOne(api, { ...resource, details: undefined }, one, args.on("json"));
      return EXIT.ok;
    },
  };
}
