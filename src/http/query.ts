/**
 * Fields of a query or a form as they were written: text stays text. Elysia itself would make lists of texts with
 * commas and values of texts that look like JSON.
 */

/** Names and values of `a=1&b=2`; a name that is there several times has them all, in order. */
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
