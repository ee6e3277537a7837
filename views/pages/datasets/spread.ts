/** Spreads the text of a JSON value over several lines, for editing. Numbers and escapes stay as they are written. */

const INDENT = "  ";

/** Text that is not JSON stays as it is. */
export function spread(source: string): string {
  try {
    JSON.parse(source);
  } catch {
    return source;
  }
  let out = "";
  let depth = 0;
  let quoted = false;
  const line = () => `\n${INDENT.repeat(depth)}`;
  for (let at = 0; at < source.length; at++) {
    const char = source[at] ?? "";
    if (quoted) {
      out += char;
      if (char === "\\") out += source[++at] ?? "";
      else if (char === '"') quoted = false;
    } else if (char === '"') {
      quoted = true;
      out += char;
    } else if (char === "{" || char === "[") {
      depth++;
      out += char + line();
    } else if (char === "}" || char === "]") {
      depth--;
      out += line() + char;
    } else if (char === ",") out += char + line();
    else if (char === ":") out += ": ";
    else if (char.trim()) out += char;
  }
  return out;
}
