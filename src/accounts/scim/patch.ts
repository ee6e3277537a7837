/**
 * PATCH as Okta and Entra ID send it: operations in any case, with a path or with an object of values, and paths as the
 * names of such an object.
 */
import * as v from "valibot";
import { AppError } from "../../errors.ts";
import { addressIn, Emails, Flag, Members, Names, OptionalText, Required, type UserChange } from "./model.ts";

export const Patch = v.object({
  Operations: v.pipe(
    v.array(
      v.object({
        op: v.pipe(v.string(), v.toLowerCase(), v.picklist(["add", "replace", "remove"])),
        path: v.optional(v.nullable(v.pipe(v.string(), v.trim(), v.maxLength(500)))),
        value: v.optional(v.unknown()),
      }),
    ),
    v.minLength(1, "must have an operation"),
    v.maxLength(1000),
  ),
});
export type Patch = v.InferOutput<typeof Patch>;

interface Step {
  op: "add" | "replace" | "remove";
  path: string;
  value: unknown;
}

const PREFIX = /^urn:ietf:params:scim:schemas:core:2\.0:(?:User|Group):/i;
const MEMBER = /^members\[value eq "([^"]{1,100})"\]$/i;
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const invalid = (path: string, why: string) =>
  new AppError("invalid", "invalid_value", `${path || "The operation"} ${why}.`, { param: path || "Operations" });

/** Every operation with one path: an object of values becomes one step for each. */
function stepsOf({ Operations }: Patch): Step[] {
  return Operations.flatMap(({ op, path, value }) => {
    if (path) return [{ op, path: path.replace(PREFIX, ""), value }];
    if (op === "remove") throw new AppError("invalid", "no_target", "An operation that removes needs a path.");
    if (!isObject(value)) throw invalid("", "without a path needs an object of values");
    return Object.entries(value).map(([name, each]) => ({ op, path: name.replace(PREFIX, ""), value: each }));
  });
}

/** @throws AppError `invalid_value` */
function read<S extends v.GenericSchema>(schema: S, { path, value }: Step): v.InferOutput<S> {
  const parsed = v.safeParse(schema, value);
  if (!parsed.success) throw invalid(path, "has a value that is not allowed");
  return parsed.output;
}

/** What a step changes. Entra ID sends attributes that this server does not have; they change nothing. */
function userStep(step: Step): UserChange {
  const name = step.path.toLowerCase();
  const removes = step.op === "remove";
  const textOf = () => (removes ? null : (read(OptionalText, step) ?? null));
  switch (name) {
    case "username":
      return { userName: read(Required, step) };
    case "active":
      // A user without the attribute is active.
      return { active: removes ? true : read(Flag, step) };
    case "externalid":
      return { externalId: textOf() };
    case "displayname":
      return { displayName: textOf() };
    case "name.formatted":
      return { formatted: textOf() };
    case "name.givenname":
      return { givenName: textOf() };
    case "name.familyname":
      return { familyName: textOf() };
    case "name":
      return removes ? {} : read(Names, step);
    case "emails": {
      const email = removes ? undefined : addressIn(read(Emails, step));
      return email === undefined ? {} : { email };
    }
    default:
      if (!/^emails\[(type eq "work"|primary eq "?true"?)\](\.value)?$/.test(name) || removes) return {};
      if (isObject(step.value)) return { email: addressIn(read(Emails, { ...step, value: [step.value] })) };
      if (Array.isArray(step.value)) return { email: addressIn(read(Emails, step)) };
      return { email: read(Required, step) };
  }
}

/** The change of a user that a PATCH means. @throws AppError `invalid_value`, `no_target` */
export const userChange = (patch: Patch): UserChange => Object.assign({}, ...stepsOf(patch).map(userStep));

/** The change of a group: new names, and steps on its members in order. */
export interface GroupChange {
  displayName?: string;
  externalId?: string | null;
  members: { op: Step["op"]; ids: string[] | null }[];
}

/** The change of a group that a PATCH means; `ids` null = all members. @throws AppError `invalid_value`, `no_target` */
export function groupChange(patch: Patch): GroupChange {
  const change: GroupChange = { members: [] };
  for (const step of stepsOf(patch)) {
    const name = step.path.toLowerCase();
    const one = MEMBER.exec(step.path)?.[1];
    if (one) change.members.push({ op: step.op === "replace" ? "add" : step.op, ids: [one] });
    else if (name === "members") {
      const all = step.op === "remove" && (step.value === undefined || step.value === null);
      const list = Array.isArray(step.value) ? step.value : [step.value];
      const ids = all ? null : read(Members, { ...step, value: list }).map(({ value }) => value);
      change.members.push({ op: step.op, ids });
    } else if (name === "displayname") change.displayName = read(Required, step);
    else if (name === "externalid")
      change.externalId = step.op === "remove" ? null : (read(OptionalText, step) ?? null);
  }
  return change;
}
