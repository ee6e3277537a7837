/** Settings of a bundled provider as administrators read and change them; secrets are never shown. */
import * as v from "valibot";

const Value = v.union([v.string(), v.number(), v.boolean()], "must be text, a number, true, false or null");
export type SettingValue = v.InferOutput<typeof Value>;
const Source = v.picklist(["default", "page", "file", "environment", "flag", "secret_file"]);

/** A change: what is absent stays as it is. */
export const ProviderChange = v.pipe(
  v.strictObject({
    /** Whether jobs may run at the provider. */
    enabled: v.optional(v.boolean()),
    /** Values by field; null removes the value that was set here, so that the default holds again. */
    settings: v.optional(v.record(v.pipe(v.string(), v.maxLength(100)), v.nullable(Value))),
  }),
  v.check((change) => Object.keys(change).length > 0, "must have 'enabled' or 'settings'"),
);
export type ProviderChange = v.InferOutput<typeof ProviderChange>;

export const ProviderForm = v.strictObject({
  object: v.literal("provider_settings"),
  provider: v.string(),
  title: v.string(),
  enabled: v.boolean(),
  /** Where that is set; only `default` and `page` can be changed here. */
  enabled_source: Source,
  /** It works with these settings, and jobs may run there. */
  loaded: v.boolean(),
  fields: v.array(
    v.strictObject({
      name: v.string(),
      label: v.string(),
      help: v.string(),
      /** `list` is text separated by commas, `text` has several lines. */
      type: v.picklist(["string", "integer", "boolean", "secret", "list", "text"]),
      required: v.boolean(),
      /** The only values that are accepted; null = any. */
      options: v.nullable(v.array(v.string())),
      default: v.nullable(Value),
      /** The value in effect; null for secrets, and when it is not set. */
      value: v.nullable(Value),
      is_set: v.boolean(),
      /** Where the value comes from; null when it is not set. Only `default` and `page` can be changed here. */
      source: v.nullable(Source),
    }),
  ),
});
export type ProviderForm = v.InferOutput<typeof ProviderForm>;

/** What is wrong with one field; `field` may also name something else, such as `connection`. */
export interface SettingProblem {
  field: string;
  message: string;
  remedy: string;
}

/** A problem in sentences. */
export const problemText = ({ message, remedy }: SettingProblem): string =>
  `${message.replace(/\.$/, "")}. ${remedy}`.trim();
