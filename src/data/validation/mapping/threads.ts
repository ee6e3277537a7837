/**
 * Conversations over several rows, which are collected while the file is read. Of rows that name their parent, every
 * one without a child becomes a conversation, from the first row of its thread to itself. Rows of one turn with the id
 * of their conversation are joined in the order of the file.
 */
import type { Threads } from "../formats/format.ts";
import { checkMessages, finishRow, type JsonObject } from "../rows/chat.ts";
import type { Problems } from "../rows/problems.ts";
import type { Mapping } from "./model.ts";
import { conversation } from "./read.ts";
import { speakerOf } from "./roles.ts";
import { asText, isBlank, valueAt } from "./values.ts";

/** Most characters of all rows together, because they stay in memory until the end. */
const MAX_CHARACTERS = 100_000_000;
const MAX_DEPTH = 1000;

interface Entry {
  line: number;
  parent: string | null;
  turns: unknown[];
}

/** The turns of one row of a thread. Null after reporting an error. */
function turnsOfRow(row: JsonObject, mapping: Mapping, isFirst: boolean, problems: Problems): unknown[] | null {
  if (!mapping.role || !mapping.text)
    return conversation(row, isFirst ? mapping : { ...mapping, system: undefined }, problems)?.turns ?? null;
  const name = valueAt(row, mapping.role);
  const role = speakerOf(name);
  if (!role) problems.add("unknown_role", mapping.role, name);
  const content = asText(valueAt(row, mapping.text) ?? "", mapping.text, problems, row);
  return role && content !== null ? [{ role, content }] : null;
}

/** Without the turns after the last answer, to which nobody replied. */
function answered(turns: unknown[]): unknown[] {
  const isAnswer = (turn: unknown) => speakerOf((turn as JsonObject).role) === "assistant";
  return turns.slice(0, turns.findLastIndex(isAnswer) + 1);
}

/** Collects the rows of a file whose mapping has `id` with `parent_id` or `role`. */
export function createThreads(mapping: Mapping): Threads {
  const entries = new Map<string, Entry>();
  let characters = 0;

  /** The rows from the first one to `id`; null when a parent is missing. */
  function pathTo(id: string): Entry[] | null {
    const path: Entry[] = [];
    for (let at: string | null = id; at !== null; ) {
      const entry = entries.get(at);
      if (!entry || path.length > MAX_DEPTH) return null;
      path.unshift(entry);
      at = entry.parent;
    }
    return path;
  }

  return {
    add(row, problems) {
      const { id: idField = "id", parent_id: parentField } = mapping;
      const [id, parent] = [valueAt(row, idField), valueAt(row, parentField)];
      const known = entries.get(String(id));
      if (isBlank(id)) problems.add("missing_field", idField, row, `every row needs "${idField}"`);
      else if (known && parentField) problems.add("duplicate_id", idField, id);
      const turns = turnsOfRow(row, mapping, isBlank(parent), problems);
      if (!turns || problems.rowErrors() > 0) return false;
      characters += JSON.stringify(turns).length;
      if (characters > MAX_CHARACTERS) {
        problems.add("threads_too_large", idField, id, `more than ${MAX_CHARACTERS} characters`);
        return false;
      }
      if (known) known.turns.push(...turns);
      else entries.set(String(id), { line: problems.line(), parent: isBlank(parent) ? null : String(parent), turns });
      return true;
    },
    *finish(problems) {
      const parents = new Set([...entries.values()].map(({ parent }) => parent));
      for (const [id, { line, parent }] of entries) {
        if (parents.has(id)) continue;
        problems.at(line);
        const path = pathTo(id);
        if (!path) {
          problems.add("lost_parent", mapping.parent_id, parent);
          yield null;
          continue;
        }
        const all = path.flatMap(({ turns }) => turns);
        const turns = mapping.role ? answered(all) : all;
        if (turns.length < all.length) problems.add("unanswered", mapping.text ?? "", all.at(-1));
        if (turns.length === 0) continue;
        if (path.length > 1 || !mapping.parent_id) problems.add("threads", mapping.parent_id ?? mapping.id, id);
        const checked = checkMessages(turns, mapping.text ?? mapping.completion ?? "", problems);
        const made = finishRow(checked && { ...checked, same: false }, undefined, "tools", problems);
        yield made && { ...made, marked: true };
      }
    },
  };
}
