/** Messages mark names and commands with backticks, as in Markdown; pages show those parts as code. */
import type { ComponentChildren } from "preact";

const SPAN = /`([^`\n]+)`/;

/** `children`, with the text between two backticks as `<code>`. Elements stay as they are. */
export function withCode(children: ComponentChildren): ComponentChildren {
  if (Array.isArray(children)) return children.map(withCode);
  if (typeof children !== "string" || !children.includes("`")) return children;
  // `split` puts what the group matched at the odd places.
  return children.split(SPAN).map((part, n) => (n % 2 ? <code>{part}</code> : part));
}
