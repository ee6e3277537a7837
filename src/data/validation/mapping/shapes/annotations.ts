/** Exports of annotation tools, Label Studio, Argilla and Prodigy: their answers become fields of one flat row. */
import { isObject, type JsonObject } from "../../rows/chat.ts";

/** The last annotation with a result that the annotator did not withdraw. */
const lastValid = (list: unknown): JsonObject | undefined =>
  Array.isArray(list)
    ? list
        .filter(isObject)
        .findLast(({ was_cancelled: cancelled, result }) => cancelled !== true && result !== undefined)
    : undefined;

export const isLabelStudio = (row: JsonObject): boolean => isObject(row.data) && Array.isArray(row.annotations);

/** What an annotator gave: one text, a choice, a number of stars, or the side of a pair. */
function resultValue(value: unknown): unknown {
  if (!isObject(value)) return value;
  for (const name of ["text", "choices", "rating", "number", "selected", "taxonomy"]) {
    const found = value[name];
    if (Array.isArray(found)) return found.length === 1 ? found[0] : found.join("\n");
    if (found !== undefined) return found;
  }
  return value;
}

export function readLabelStudio(row: JsonObject): JsonObject {
  const annotation = lastValid(row.annotations);
  const results: unknown[] = Array.isArray(annotation?.result) ? annotation.result : [];
  const flat: JsonObject = { ...(row.data as JsonObject) };
  for (const result of results)
    if (isObject(result) && typeof result.from_name === "string") flat[result.from_name] = resultValue(result.value);
  return flat;
}

/** Annotations beside the last one. */
export const labelStudioRest = ({ annotations }: JsonObject): string | null =>
  Array.isArray(annotations) && annotations.length > 1 ? "of several annotations, the last one was read" : null;

export const isProdigy = (row: JsonObject): boolean =>
  ("_input_hash" in row || "_task_hash" in row) && typeof row.answer === "string";

/** The label or the accepted options as the completion; `answer` says whether the annotator accepted them. */
export function readProdigy(row: JsonObject): JsonObject {
  const { answer: accepted, options, accept, label, ...rest } = row;
  const chosen = new Set(Array.isArray(accept) ? accept : []);
  const texts = (Array.isArray(options) ? options : [])
    .filter((option) => isObject(option) && chosen.has(option.id))
    .map((option) => (option as JsonObject).text ?? (option as JsonObject).id);
  const completion = label ?? (texts.length > 0 ? texts.join("\n") : undefined);
  const fields = Object.entries(rest).filter(([name]) => !name.startsWith("_"));
  return { ...Object.fromEntries(fields), ...(completion === undefined ? {} : { completion }), accepted };
}

export const isArgilla = (row: JsonObject): boolean =>
  isObject(row.fields) && (isObject(row.responses) || Array.isArray(row.responses));

/** The first answer to each question. Both versions of the export: by question, and by annotator. */
function answersIn(responses: unknown): [string, unknown][] {
  if (isObject(responses))
    return Object.entries(responses).flatMap(([name, list]): [string, unknown][] => {
      const first: unknown = Array.isArray(list) ? list[0] : list;
      return [[name, isObject(first) && "value" in first ? first.value : first]];
    });
  const [first] = Array.isArray(responses) ? responses.filter((each) => isObject(each) && isObject(each.values)) : [];
  if (!isObject(first) || !isObject(first.values)) return [];
  return Object.entries(first.values).map(([name, given]) => [name, isObject(given) ? given.value : given]);
}

export function readArgilla(row: JsonObject): JsonObject {
  return { ...(row.fields as JsonObject), ...Object.fromEntries(answersIn(row.responses)) };
}

/** Answers of other annotators. */
export function argillaRest({ responses }: JsonObject): string | null {
  const lists = Array.isArray(responses) ? [responses] : Object.values(isObject(responses) ? responses : {});
  const hasOthers = lists.some((list) => Array.isArray(list) && list.length > 1);
  return hasOthers ? "of several annotators, the first one was read" : null;
}
