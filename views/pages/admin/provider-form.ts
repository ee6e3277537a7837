/** The settings form of a provider: what is typed as a change, and back. */
import * as v from "valibot";
import type { ProviderChange, ProviderForm, SettingValue } from "../../../src/compute/limits/settings-model.ts";

/** Fields of the form by name: `enabled`, and `set_` with the name of each setting. */
export const SettingsBody = v.record(v.string(), v.pipe(v.string(), v.maxLength(20_000)));
export type SettingsBody = v.InferOutput<typeof SettingsBody>;

type Field = ProviderForm["fields"][number];

export const inputOf = ({ name }: Pick<Field, "name">) => `set_${name}`;
/** What the page can change: the configuration does not set it. */
export const isOpen = (source: string | null) => source === null || source === "default" || source === "page";

/** A value in effect as it is typed; a checkbox sends `yes`. */
export const typedOf = ({ value }: Pick<Field, "value">) =>
  typeof value === "boolean" ? (value ? "yes" : "") : String(value ?? "");

/** A typed value; undefined = it stays as it is, null = the default. */
function valueIn(field: Field, typed: string): SettingValue | null | undefined {
  const text = field.type === "text" ? typed : typed.trim();
  if (field.type === "secret") return text === "" ? undefined : text;
  const value =
    field.type === "boolean"
      ? text === "yes"
      : field.type === "integer" && text !== "" && !Number.isNaN(Number(text))
        ? Number(text)
        : text;
  if (value === (field.value ?? "")) return undefined;
  return value === "" || value === field.default ? null : value;
}

/** The change that a form asks for. Fields of the configuration are not in it. */
export function readSettingsForm(form: ProviderForm, body: SettingsBody): ProviderChange {
  const changes = form.fields
    .filter((field) => isOpen(field.source))
    .map((field) => [field.name, valueIn(field, body[inputOf(field)] ?? "")] as const)
    .filter((entry): entry is [string, SettingValue | null] => entry[1] !== undefined);
  return {
    settings: Object.fromEntries(changes),
    ...(isOpen(form.enabled_source) ? { enabled: body.enabled === "yes" } : {}),
  };
}
