/**
 * Finds the prompt and the answer in the bytes of a canonical row without parsing it. The prompt is everything before
 * the last assistant message, or the whole text of a plain text row.
 */
const QUOTE = 34;
const BACKSLASH = 92;
const COMMA = 44;
const OPEN = 123;
const MAX_TURNS = 2048;
const PER_TURN = 6;
/** Shorter strings are searched for their end without a native call. */
const NEAR_BYTES = 24;

const CONTENT = "content".length;
const TOOL_CALLS = "tool_calls".length;
const REASONING = "reasoning_content".length;

const SYSTEM = 0;
const USER = 1;
const ASSISTANT = 2;
/** Roles by their first letter. */
const ROLE = new Uint8Array(256).fill(USER);
for (const [index, letter] of ["s", "u", "a", "t"].entries()) ROLE[letter.charCodeAt(0)] = index;

/** Ranges of a row: pairs of start and end, in the order of the row. */
export interface RowText {
  /** Contents of the system messages before the answer. */
  system: number[];
  /** Contents and tool calls of the other messages before the answer, or the whole text. */
  prompt: number[];
  /** All that follows: the answer, both answers of a preference row, the label, the fields for graders. */
  rest: number[];
  /** The content of the last assistant message, when the row has nothing else that follows the prompt. */
  answer: number[];
  /** The label of a labeled row. */
  label: boolean | null;
  /** A plain text row: a text without an answer. */
  isDocument: boolean;
}

export const createRowText = (): RowText => ({
  system: [],
  prompt: [],
  rest: [],
  answer: [],
  label: null,
  isDocument: false,
});

/** Index of the closing quote of the text that begins at `from`, after its opening quote. */
function endOfString(bytes: Uint8Array, from: number): number {
  const near = from + NEAR_BYTES;
  let at = from;
  while (at < near) {
    const byte = bytes[at];
    if (byte === QUOTE || byte === undefined) return at;
    at += byte === BACKSLASH ? 2 : 1;
  }
  for (let start = at; ; ) {
    const quote = bytes.indexOf(QUOTE, at);
    if (quote < 0) return bytes.length;
    let before = quote;
    while (before > start && bytes[before - 1] === BACKSLASH) before--;
    if ((quote - before) % 2 === 0) return quote;
    start = at = quote + 1;
  }
}

/** Index after the value that begins at `from`. */
function endOfValue(bytes: Uint8Array, from: number, end: number): number {
  if (bytes[from] === QUOTE) return endOfString(bytes, from + 1) + 1;
  let depth = 0;
  for (let at = from; at < end; at++) {
    const byte = bytes[at];
    if (byte === QUOTE) at = endOfString(bytes, at + 1);
    else if (byte === OPEN || byte === 91) depth++;
    else if (byte === 125 || byte === 93) {
      if (depth === 0) return at;
      if (--depth === 0) return at + 1;
    } else if (byte === COMMA && depth === 0) return at;
  }
  return end;
}

function afterSpace(bytes: Uint8Array, from: number): number {
  let at = from;
  while ((bytes[at] ?? 33) <= 32) at++;
  return at;
}

/** Creates a reader of rows that reuses its memory. */
export function createRowReader() {
  const roles = new Uint8Array(MAX_TURNS);
  /** The ranges of each turn: its reasoning, its content and its tool calls. */
  const ranges = new Int32Array(MAX_TURNS * PER_TURN);
  let turns = 0;

  /** Reads the message object at `from`; returns the index after it. */
  function readTurn(bytes: Uint8Array, from: number, end: number): number {
    const turn = turns++;
    const place = turn * PER_TURN;
    roles[turn] = USER;
    ranges[place + 1] = ranges[place + 3] = ranges[place + 5] = 0;
    let at = afterSpace(bytes, from + 1);
    while (at < end && bytes[at] === QUOTE) {
      const key = at + 1;
      const keyEnd = endOfString(bytes, key);
      const length = keyEnd - key;
      const value = afterSpace(bytes, afterSpace(bytes, keyEnd + 1) + 1);
      const stop = endOfValue(bytes, value, end);
      // Fields that are compared, by length: no other field of a canonical message has these lengths.
      if (length === 4 && bytes[key] === 114) roles[turn] = ROLE[bytes[value + 1] ?? 0] ?? USER;
      else if (length === REASONING || length === CONTENT || length === TOOL_CALLS) {
        const part = place + (length === REASONING ? 0 : length === CONTENT ? 2 : 4);
        const quote = length === TOOL_CALLS ? 0 : 1;
        ranges[part] = value + quote;
        ranges[part + 1] = stop - quote;
      }
      at = afterSpace(bytes, stop);
      if (bytes[at] !== COMMA) return at + 1;
      at = afterSpace(bytes, at + 1);
    }
    return at + 1;
  }

  /** Reads the array of messages at `from`; returns the index after it. */
  function readTurns(bytes: Uint8Array, from: number, end: number): number {
    let at = afterSpace(bytes, from + 1);
    while (at < end && bytes[at] === OPEN && turns < MAX_TURNS) {
      at = afterSpace(bytes, readTurn(bytes, at, end));
      if (bytes[at] !== COMMA) break;
      at = afterSpace(bytes, at + 1);
    }
    return at + 1;
  }

  function addTurn(turn: number, into: number[]) {
    for (let part = turn * PER_TURN; part < (turn + 1) * PER_TURN; part += 2) {
      const to = ranges[part + 1] ?? 0;
      if (to > 0) into.push(ranges[part] ?? 0, to);
    }
  }

  return {
    /** Fills `row` with the ranges of the row at `start` to `end`, which must be valid JSON. */
    read(bytes: Uint8Array, start: number, end: number, row: RowText): void {
      row.system.length = row.prompt.length = row.rest.length = row.answer.length = 0;
      row.label = null;
      row.isDocument = false;
      turns = 0;
      let pair = false;
      for (let at = afterSpace(bytes, start + 1); at < end && bytes[at] === QUOTE; at = afterSpace(bytes, at + 1)) {
        const key = at + 1;
        const keyEnd = endOfString(bytes, key);
        const value = afterSpace(bytes, afterSpace(bytes, keyEnd + 1) + 1);
        const first = bytes[key];
        // By first letter: messages, text, label, chosen, rejected, item. `tools` and `id` are not compared.
        const isMessages = first === 109;
        const stop = isMessages ? readTurns(bytes, value, end) : endOfValue(bytes, value, end);
        if (first === 116 && keyEnd - key === 4) {
          row.isDocument = true;
          row.prompt.push(value + 1, stop - 1);
        } else if (first === 99 || first === 114) {
          pair = true;
          row.rest.push(value, stop);
        } else if (first === 108) {
          row.label = bytes[value] === 116;
          row.rest.push(value, stop);
        } else if (first === 105 && keyEnd - key === 4) row.rest.push(value, stop);
        at = afterSpace(bytes, stop);
        if (bytes[at] !== COMMA) break;
      }
      let last = turns;
      if (!pair) while (last > 0 && roles[last - 1] !== ASSISTANT) last--;
      const answer = !pair && last > 0 ? last - 1 : turns;
      for (let turn = 0; turn < turns; turn++)
        addTurn(turn, turn >= answer ? row.rest : roles[turn] === SYSTEM ? row.system : row.prompt);
      if (row.label === null && row.rest.length === 2 && answer === turns - 1)
        row.answer.push(row.rest[0] ?? 0, row.rest[1] ?? 0);
    },
  };
}
