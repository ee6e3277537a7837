/**
 * The texts of a canonical row as ranges of its bytes: what comes before the answer, the answer, and all else that
 * follows. A plain text row has one text and no answer.
 */

const QUOTE = 34;
const BACKSLASH = 92;
const COMMA = 44;
const OPEN = 123;
const MAX_TURNS = 2048;
/** Ranges of a turn: its reasoning, its content and its tool calls. */
const PER_TURN = 3;
/** Ranges beside the turns: both answers of a preference row, the label, the fields for graders. */
const OTHERS = 8;
/** Shorter strings are searched for their end without a native call. */
const NEAR_BYTES = 24;

const CONTENT = "content".length;
const TOOL_CALLS = "tool_calls".length;
const REASONING = "reasoning_content".length;

/** The part of a row that a range belongs to. */
export const PART = {
  /** A system message before the answer. */
  system: 0,
  /** Another message before the answer, or the whole text of a plain text row. */
  prompt: 1,
  /** The answer and all that follows: both answers of a preference row, the label, the fields for graders. */
  rest: 2,
} as const;

/** The texts of one row. The object is reused for every row. */
export interface RowText {
  /** Ranges in use. */
  count: number;
  part: Uint8Array;
  from: Int32Array;
  to: Int32Array;
  /** The range of the answer, when the row has nothing else that follows the prompt; -1 otherwise. */
  answer: number;
  /** The label of a labeled row. */
  label: boolean | null;
  /** A plain text row. */
  isDocument: boolean;
}

export const createRowText = (): RowText => ({
  count: 0,
  part: new Uint8Array(MAX_TURNS * PER_TURN + OTHERS),
  from: new Int32Array(MAX_TURNS * PER_TURN + OTHERS),
  to: new Int32Array(MAX_TURNS * PER_TURN + OTHERS),
  answer: -1,
  label: null,
  isDocument: false,
});

export function clearText(text: RowText): void {
  text.count = 0;
  text.answer = -1;
  text.label = null;
  text.isDocument = false;
}

export function addRange(text: RowText, part: number, from: number, to: number): void {
  const at = text.count++;
  text.part[at] = part;
  text.from[at] = from;
  text.to[at] = to;
}

/** Makes the last range the answer of a row that ends with it. */
export function endWithAnswer(text: RowText): void {
  text.answer = text.count - 1;
  text.part[text.answer] = PART.rest;
}

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

/** Start of the value of the field whose name ends at `keyEnd`. */
const startOfValue = (bytes: Uint8Array, keyEnd: number) => afterSpace(bytes, afterSpace(bytes, keyEnd + 1) + 1);

/** Creates a reader of rows that finds the ranges without parsing the row. */
export function createRowReader() {
  /** The turn that is read: the starts and the ends of its ranges. An end of 0 is a field that it does not have. */
  const from = new Int32Array(PER_TURN);
  const to = new Int32Array(PER_TURN);
  let turns = 0;
  /** The first range of the last assistant turn and the number of turns up to it; -1 without one. */
  let answer = -1;
  let answerTurn = 0;

  /** Reads the message object at `start`; returns the index after it. */
  function readTurn(bytes: Uint8Array, start: number, end: number, text: RowText): number {
    turns++;
    to.fill(0);
    let role = 0;
    let at = afterSpace(bytes, start + 1);
    while (at < end && bytes[at] === QUOTE) {
      const key = at + 1;
      const keyEnd = endOfString(bytes, key);
      const length = keyEnd - key;
      const value = startOfValue(bytes, keyEnd);
      const stop = endOfValue(bytes, value, end);
      // Fields that are compared, by length: no other field of a canonical message has these lengths.
      if (length === 4 && bytes[key] === 114) role = bytes[value + 1] ?? 0;
      else if (length === REASONING || length === CONTENT || length === TOOL_CALLS) {
        const slot = length === REASONING ? 0 : length === CONTENT ? 1 : 2;
        const quote = length === TOOL_CALLS ? 0 : 1;
        from[slot] = value + quote;
        to[slot] = stop - quote;
      }
      at = afterSpace(bytes, stop);
      if (bytes[at] !== COMMA) break;
      at = afterSpace(bytes, at + 1);
    }
    // By first letter: system, assistant; all others are part of the prompt.
    if (role === 97) {
      answer = text.count;
      answerTurn = turns;
    }
    const part = role === 115 ? PART.system : PART.prompt;
    for (let slot = 0; slot < PER_TURN; slot++)
      if ((to[slot] ?? 0) > 0) addRange(text, part, from[slot] ?? 0, to[slot] ?? 0);
    return at + 1;
  }

  /** Reads the array of messages at `start`; returns the index after it. */
  function readTurns(bytes: Uint8Array, start: number, end: number, text: RowText): number {
    let at = afterSpace(bytes, start + 1);
    while (at < end && bytes[at] === OPEN && turns < MAX_TURNS) {
      at = afterSpace(bytes, readTurn(bytes, at, end, text));
      if (bytes[at] !== COMMA) break;
      at = afterSpace(bytes, at + 1);
    }
    return at + 1;
  }

  /** Fills `text` with the ranges of the row at `start` to `end`, which must be valid JSON. */
  return (bytes: Uint8Array, start: number, end: number, text: RowText): void => {
    clearText(text);
    turns = 0;
    answer = -1;
    let isPair = false;
    let others = 0;
    let endOfTurns = 0;
    for (let at = afterSpace(bytes, start + 1); at < end && bytes[at] === QUOTE; at = afterSpace(bytes, at + 1)) {
      const key = at + 1;
      const keyEnd = endOfString(bytes, key);
      const value = startOfValue(bytes, keyEnd);
      const first = bytes[key];
      const length = keyEnd - key;
      // By first letter: messages, text, label, chosen, rejected, item. `tools` and `id` are not compared.
      const isMessages = first === 109;
      const stop = isMessages ? readTurns(bytes, value, end, text) : endOfValue(bytes, value, end);
      if (isMessages) endOfTurns = text.count;
      else if (first === 116 && length === 4) {
        text.isDocument = true;
        addRange(text, PART.prompt, value + 1, stop - 1);
      } else if (first === 99 || first === 114 || first === 108 || (first === 105 && length === 4)) {
        isPair ||= first === 99 || first === 114;
        if (first === 108) text.label = bytes[value] === 116;
        addRange(text, PART.rest, value, stop);
        others++;
      }
      at = afterSpace(bytes, stop);
      if (bytes[at] !== COMMA) break;
    }
    if (isPair || answer < 0) return;
    for (let at = answer; at < endOfTurns; at++) text.part[at] = PART.rest;
    if (others === 0 && answerTurn === turns && answer === text.count - 1) text.answer = answer;
  };
}
