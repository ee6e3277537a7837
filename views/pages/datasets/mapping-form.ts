/** The mapping form: its fields as a mapping, and a mapping as its fields. */
import { isMeaningful } from "../../../src/data/validation/mapping/fields.ts";
import { goodAndBad } from "../../../src/data/validation/mapping/labels.ts";
import { incomplete, type Mapping, PARTS, type Part, typeOf } from "../../../src/data/validation/mapping/model.ts";
import type { Reading } from "../../../src/data/validation/rows/report.ts";

export type FormColumn = Reading["columns"][number];

/** What a column is used for: a part, a field for the grader, nothing, or not decided. */
type Use = Part | "item" | "unused" | "";

/** The state of the form. */
export interface MappingChoices {
  type: NonNullable<Mapping["type"]>;
  /** One for each column. */
  uses: Use[];
  /** The values of the label that mean good. */
  good: string[];
  repeated: Mapping["repeated_prompt"];
}

/** The form for a mapping. Columns that can change what a row means stay open until the user decides. */
export function choicesOf(mapping: Mapping, columns: FormColumn[]): MappingChoices {
  const uses = columns.map(({ name, kind }): Use => {
    const part = PARTS.find((each) => mapping[each] === name);
    if (part) return part;
    if (mapping.item?.includes(name)) return "item";
    const isOpen = kind !== "empty" && isMeaningful(name) && !mapping.unused?.includes(name);
    return isOpen || Object.keys(mapping).length === 0 ? "" : "unused";
  });
  return { type: typeOf(mapping), uses, good: mapping.good ?? [], repeated: mapping.repeated_prompt };
}

const TYPES = ["chat", "preference", "unpaired", "prompt", "text"] as const;
const USES: readonly string[] = [...PARTS, "item", "unused"];

/** The label's column of the form, if it has one. */
export const labelOf = ({ uses }: MappingChoices, columns: FormColumn[]): FormColumn | undefined =>
  columns[uses.indexOf("label")];

/** The state of a form that was sent. */
export function choicesIn(body: Record<string, string>, columns: FormColumn[]): MappingChoices {
  const uses = columns.map((_, index): Use => {
    const given = body[`use_${index}`] ?? "";
    return USES.includes(given) ? (given as Use) : "";
  });
  const type = TYPES.find((each) => each === body.type) ?? "chat";
  const repeated = body.repeated === "remove" ? "remove" : undefined;
  const choices: MappingChoices = { type, uses, good: [], repeated };
  const label = labelOf(choices, columns);
  if (!label?.values) return choices;
  // A column that just became the label has no marks yet: words such as "up" say what they mean.
  const isMarked = body.label === label.name;
  const good = isMarked
    ? label.values.filter((_, index) => body[`value_${index}`] === "good")
    : (goodAndBad(label)?.good ?? []);
  return { ...choices, good };
}

/** The mapping of a form, and why it cannot be used yet. */
export function mappingOf(choices: MappingChoices, columns: FormColumn[]): { mapping: Mapping; error: string | null } {
  const { type, uses, good, repeated } = choices;
  const mapping: Mapping = { type };
  let error: string | null = null;
  const named = (use: Use) => columns.filter((_, index) => uses[index] === use).map(({ name }) => name);
  for (const part of PARTS) {
    const [first, second] = named(part);
    if (first !== undefined) mapping[part] = first;
    if (second !== undefined) error ??= `"${first}" and "${second}" cannot both be the ${part.replaceAll("_", " ")}.`;
  }
  const label = labelOf(choices, columns);
  if (label && type === "unpaired") {
    const values = label.values ?? [];
    if (values.length > 0) Object.assign(mapping, { good, bad: values.filter((value) => !good.includes(value)) });
    if (values.length > 0 && good.length === 0) error ??= `Choose which values of "${label.name}" mean a good answer.`;
  }
  if (named("item").length > 0) mapping.item = named("item");
  if (named("unused").length > 0) mapping.unused = named("unused");
  if (repeated) mapping.repeated_prompt = repeated;
  const open = columns.find(({ name, kind }, index) => uses[index] === "" && kind !== "empty" && isMeaningful(name));
  const missing = incomplete(mapping);
  if (missing) error ??= `The mapping is not complete: ${missing}.`;
  else if (open) error ??= `Choose what "${open.name}" is used for. It can change what a row means.`;
  return { mapping, error };
}
