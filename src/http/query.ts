/**
 * Reads the fields of a query or a form as text. Elysia's own parser would split text at commas and parse text that
 * looks like JSON.
 */

/** Names and values of `a=1&b=2`; a repeated name has all its values, in order. */
export function readFields(text: string): Record<string, string | string[]> {
  const fields: Record<string, string | string[]> = Object.create(null);
  for (const [name, value] of new URLSearchParams(text)) {
    const before = fields[name];
    if (before === undefined) fields[name] = value;
    else if (Array.isArray(before)) before.push(value);
    else fields[name] = [before, value];
  }
  return fields;
}

/** The fields of the query of an address. */
export function readQuery(url: string): Record<string, string | string[]> {
  const at = url.indexOf("?");
  return readFields(at < 0 ? "" : url.slice(at + 1));
}
