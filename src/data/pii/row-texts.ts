/** The texts of a row with their places, such as `messages[1].content`, and a row with some of them replaced. */

/** Fields whose texts say what a part is, and name no person. */
const FIXED = new Set(["role", "type", "tool_call_id"]);

/** Every text of a value with its place, in order. */
export function* textsAt(value: unknown, path = ""): Generator<[path: string, text: string]> {
  if (typeof value === "string") yield [path, value];
  else if (Array.isArray(value)) for (const [index, item] of value.entries()) yield* textsAt(item, `${path}[${index}]`);
  else if (typeof value === "object" && value !== null)
    for (const [key, item] of Object.entries(value))
      if (!FIXED.has(key) || typeof item !== "string") yield* textsAt(item, path ? `${path}.${key}` : key);
}

/** Replaces texts of a parsed value where they are. @param text called for every text, with its place */
export function replaceTexts(value: unknown, text: (path: string, text: string) => string, path = ""): void {
  if (typeof value !== "object" || value === null) return;
  const members = value as Record<string, unknown>;
  for (const key of Object.keys(members)) {
    const at = Array.isArray(value) ? `${path}[${key}]` : path ? `${path}.${key}` : key;
    const member = members[key];
    if (typeof member !== "string") replaceTexts(member, text, at);
    else if (Array.isArray(value) || !FIXED.has(key)) members[key] = text(at, member);
  }
}
