/** Reads the reasoning of an assistant turn, which stands apart from its content. */
import type { Problems } from "./problems.ts";

/** The names of the field; chat templates read the first one. */
export const REASONING = ["reasoning_content", "reasoning", "thinking"] as const;

/** The reasoning of a turn; null without any, or after reporting an error. */
export function reasoningOf(source: Record<string, unknown>, path: string, problems: Problems): string | null {
  let found: { name: string; text: string } | null = null;
  for (const name of REASONING) {
    const value = source[name];
    if (value === undefined || value === null || (typeof value === "string" && value.trim() === "")) continue;
    const field = `${path}.${name}`;
    if (typeof value !== "string") problems.add("wrong_type", field, value, "expected text");
    else if (!value.isWellFormed()) problems.add("lone_surrogate", field, value);
    else if (found && found.text !== value)
      problems.add("wrong_type", field, value, `it differs from \`${found.name}\``);
    else found ??= { name, text: value };
  }
  return found?.text ?? null;
}
