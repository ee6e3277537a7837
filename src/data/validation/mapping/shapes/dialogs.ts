/** Dialogs as a list of texts, as in UltraChat and DailyDialog: user and assistant speak in turn. */
import type { JsonObject } from "../../rows/chat.ts";

const FIELDS = ["data", "dialog", "dialogue", "conversation", "conversations", "messages", "turns", "utterances"];

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.length > 1 && value.every((text) => typeof text === "string");

const fieldOf = (row: JsonObject): string | undefined => FIELDS.find((name) => isTexts(row[name]));

export const isDialog = (row: JsonObject): boolean => fieldOf(row) !== undefined;

export function readDialog(row: JsonObject): JsonObject {
  const field = fieldOf(row) ?? "";
  const { [field]: texts, ...rest } = row;
  const messages = isTexts(texts)
    ? texts.map((content, at) => ({ role: at % 2 === 0 ? "user" : "assistant", content }))
    : texts;
  return { ...rest, messages };
}
