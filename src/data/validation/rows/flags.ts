/** What a turn says about its own training: flags that keep it out of the loss, in the spellings of known tools. */
import type { Problems } from "./problems.ts";
import type { Role } from "./types.ts";

/** The names of flags, and whether a flag that is set keeps the turn out of the loss. */
const FLAGS = {
  weight: false,
  loss_weight: false,
  train: false,
  /** Axolotl's mask for parts of a message, which is a list and so is refused. */
  train_detail: false,
  training: false,
  trainable: false,
  loss: false,
  mask: true,
  masked: true,
} as const;

export const FLAG_NAMES = Object.keys(FLAGS) as (keyof typeof FLAGS)[];

/** The flags of a turn under their own names. */
export const flagsOf = (source: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(FLAG_NAMES.flatMap((name) => (name in source ? [[name, source[name]]] : [])));

/** The weight of a turn by its flags; undefined without one, or after reporting a value that is not understood. */
export function weightOf(
  source: Record<string, unknown>,
  role: Role,
  path: string,
  problems: Problems,
): 0 | 1 | undefined {
  let found: 0 | 1 | undefined;
  for (const name of FLAG_NAMES) {
    const value = source[name];
    if (value === undefined || value === null) continue;
    const field = `${path}.${name}`;
    if (value !== 0 && value !== 1 && typeof value !== "boolean") {
      problems.add("bad_weight", field, value, "expected 0, 1, true or false");
      return undefined;
    }
    const weight = Boolean(value) === FLAGS[name] ? 0 : 1;
    if (found !== undefined && found !== weight) {
      problems.add("bad_weight", field, value, "another flag of this turn says the opposite");
      return undefined;
    }
    found = weight;
    if (role !== "assistant" && weight === 1) problems.add("weight_ignored", field, value);
  }
  return role === "assistant" ? found : undefined;
}
