/** The exports and logs whose rows are nested: each is recognized by its structure and becomes a flat row. */
import type { JsonObject } from "../../rows/chat.ts";
import {
  argillaRest,
  isArgilla,
  isLabelStudio,
  isProdigy,
  labelStudioRest,
  readArgilla,
  readLabelStudio,
  readProdigy,
} from "./annotations.ts";
import { isDialog, readDialog } from "./dialogs.ts";
import { isApiLog, isRun, isTrace, logRest, readApiLog, readRun, readTrace } from "./logs.ts";
import { chatgptRest, isChatgptExport, isOasstTree, oasstRest, readChatgptExport, readOasstTree } from "./trees.ts";

interface Shape {
  /** The name for display. */
  title: string;
  matches(row: JsonObject): boolean;
  /** The row with fields that a mapping can name. */
  flatten(row: JsonObject): JsonObject;
  /** What was left out in favor of what was read, as a sentence; null when nothing was. */
  rest?(row: JsonObject): string | null;
}

const SHAPES: Shape[] = [
  { title: "ChatGPT export", matches: isChatgptExport, flatten: readChatgptExport, rest: chatgptRest },
  { title: "Open Assistant tree", matches: isOasstTree, flatten: readOasstTree, rest: oasstRest },
  { title: "OpenAI request log", matches: isApiLog, flatten: readApiLog, rest: logRest },
  { title: "Langfuse trace", matches: isTrace, flatten: readTrace },
  { title: "LangSmith run", matches: isRun, flatten: readRun },
  { title: "Label Studio export", matches: isLabelStudio, flatten: readLabelStudio, rest: labelStudioRest },
  { title: "Argilla export", matches: isArgilla, flatten: readArgilla, rest: argillaRest },
  { title: "Prodigy export", matches: isProdigy, flatten: readProdigy },
  { title: "Dialog of texts", matches: isDialog, flatten: readDialog },
];

export const shapeOf = (row: JsonObject): Shape | null => SHAPES.find((shape) => shape.matches(row)) ?? null;

/** The row with its own fields, or those of the export that it comes from. */
export const flat = (row: JsonObject): JsonObject => shapeOf(row)?.flatten(row) ?? row;
