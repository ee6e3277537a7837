/** The result of a check of `doctor`. */

/** `missing` prevents training on this machine; `gap` limits it; `info` is neither. */
type State = "ok" | "info" | "gap" | "missing";

export interface Check {
  name: string;
  state: State;
  found: string;
  /** What to do; null when there is nothing to do. */
  advice: string | null;
}

export const check = (name: string, state: State, found: string, advice: string | null = null): Check => ({
  name,
  state,
  found,
  advice,
});
export const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
