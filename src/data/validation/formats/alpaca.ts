/**
 * Alpaca rows: `instruction`, an optional `input` that is appended to it, and `output`; also the common `system` and
 * `history` fields.
 */
import { readPair } from "../mapping/read.ts";
import type { ChatFormat } from "./format.ts";

const MAPPING = {
  prompt: "instruction",
  context: "input",
  completion: "output",
  system: "system",
  history: "history",
} as const;

export const alpacaFormat: ChatFormat = {
  name: "alpaca",
  type: "chat",
  title: "Alpaca JSON or JSONL",
  example: '{"instruction": "…", "input": "…", "output": "…"}',
  fields: new Set(["instruction", "input", "output", "system", "history"]),
  layout: { system: "system", pair: { user: ["instruction", "input"], assistant: "output" } },
  matches: (row) => "instruction" in row && ("output" in row || "input" in row),
  convert: (row, problems) => readPair(row, MAPPING, problems),
};
