/** What differs between two texts, by line. */
import { diffLines } from "diff";

/** A run of lines that are in both texts, only in the later one, or only in the earlier one. */
export interface DiffPart {
  kind: "same" | "added" | "removed";
  text: string;
}

/** Longest search for the shortest difference; afterwards everything counts as replaced. */
const TIMEOUT_MS = 200;

/** The parts of both texts in order. */
export function lineDiff(before: string, after: string): DiffPart[] {
  const found = diffLines(before, after, { timeout: TIMEOUT_MS });
  if (!found)
    return [
      { kind: "removed", text: before },
      { kind: "added", text: after },
    ];
  return found.map(({ added, removed, value }) => ({
    kind: added ? "added" : removed ? "removed" : "same",
    text: value,
  }));
}
