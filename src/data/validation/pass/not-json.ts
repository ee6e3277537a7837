/** Explains in one sentence why a file that should have a JSON object on each line has none. */
import { parseJson } from "../rows/tools.ts";
import { findFault } from "./json-check.ts";

/** Lines that are looked at. */
const FIRST_LINES = 50;

/** Why a file whose first lines are not JSON at all is not read line by line; null when one of them is. */
export function notJson(head: Buffer, whole: boolean): string | null {
  const lines = head.toString("utf8").split("\n");
  if (!whole && lines.length > 1) lines.pop();
  const filled = lines.slice(0, FIRST_LINES).filter((line) => line.trim() !== "");
  const first = filled[0]?.trim() ?? "";
  if (first === "" || filled.some((line) => parseJson(line) !== undefined)) return null;
  const shown = `line ${lines.findIndex((line) => line.trim() !== "") + 1} begins with "${first.slice(0, 60)}"`;
  if (/^[[{]\s*'/.test(first))
    return `The file is not JSON: ${shown}, a Python value in single quotes. Write the rows with json.dumps.`;
  const fault = findFault(first);
  return `The file is not JSON: ${shown}${fault ? ` (column ${fault.offset + 1}: ${fault.detail})` : ""}. Write each row as one JSON object on its own line.`;
}
