/** Proposes a mapping from the names and contents of the fields, and says whether it is certain. */
import type { Column } from "./columns.ts";
import { isMeaningful, isMetadata, namesOf, plainName } from "./fields.ts";
import { goodAndBad, isBoolean } from "./labels.ts";
import { compact, fieldsOf, incomplete, type Mapping, type Part, typeOf } from "./model.ts";
import { speakerOf } from "./roles.ts";

interface Proposal {
  mapping: Mapping;
  /** The file can be read without asking. */
  certain: boolean;
  /** Why it is not certain: a sentence. */
  reason: string;
}

type Named = Exclude<Part, "role">;
type Kinds = readonly Column["kind"][];

const WORDS: Kinds = ["text", "number", "boolean"];
const SIDE: Kinds = [...WORDS, "turns", "object"];
/** The kinds of values that a part can have. */
const KINDS: Record<Named, Kinds> = {
  messages: ["turns"],
  prompt: SIDE,
  completion: SIDE,
  context: WORDS,
  system: ["text", "list", "object"],
  history: ["list", "turns"],
  tools: ["list", "text", "object"],
  chosen: SIDE,
  rejected: SIDE,
  score_chosen: ["number", "text"],
  score_rejected: ["number", "text"],
  responses: ["list", "turns"],
  scores: ["list", "text"],
  label: WORDS,
  reasoning: ["text"],
  text: ["text"],
  id: WORDS,
  parent_id: WORDS,
};

/** Parts that a file may have without any value. */
const MAY_BE_EMPTY: ReadonlySet<Named> = new Set<Named>(["context", "system", "history", "tools"]);

/** Texts shorter than this on average are not taken for prompts or answers. */
const SHORT = 3;

/** The columns of a file while parts are given to them. */
function createBoard(columns: Column[]) {
  const free = new Set(columns);
  const fitsPart = (part: Named, { kind }: Column) =>
    kind === "empty" ? MAY_BE_EMPTY.has(part) : KINDS[part].includes(kind);
  const mapping: Mapping = {};
  let known = true;

  function find(part: Named, all = false, fits: (column: Column) => boolean = () => true): Column | undefined {
    for (const name of namesOf(part, all))
      for (const column of free) {
        const own = column.name.slice(column.name.lastIndexOf(".") + 1);
        const isNamed = plainName(column.name) === name || plainName(own) === name;
        if (isNamed && fitsPart(part, column) && fits(column)) return column;
      }
    return undefined;
  }
  function give(part: Part, column: Column | undefined, isKnown = true): boolean {
    if (!column) return false;
    mapping[part] = column.name;
    free.delete(column);
    if (!isKnown || column.name.includes(".")) known = false;
    return true;
  }
  return {
    free,
    mapping,
    find,
    give,
    /** Gives a part to the column with a known name, otherwise to one with a likely name. */
    seek(part: Named, likely = true): boolean {
      return give(part, find(part)) || (likely && give(part, find(part, true), false));
    },
    doubt() {
      known = false;
    },
    get isKnown() {
      return known;
    },
  };
}
type Board = ReturnType<typeof createBoard>;

/** Texts of any wording: no numbers, no codes, no metadata. */
const isFreeText = ({ kind, name, length, samples }: Column) =>
  kind === "text" && !isMetadata(name) && length >= SHORT && samples.some((text) => !/^[\d.,:/+-]*$/.test(text));

function seekAnswers(board: Board): void {
  const { mapping, find, give } = board;
  const pair = [find("chosen"), find("rejected")];
  const likely = [find("chosen", true), find("rejected", true)];
  if (pair[0] && pair[1]) {
    give("chosen", pair[0]);
    give("rejected", pair[1]);
  } else if (likely[0] && likely[1]) {
    give("chosen", likely[0], false);
    give("rejected", likely[1], false);
  }
  if (mapping.chosen) {
    board.seek("score_chosen");
    board.seek("score_rejected");
    return;
  }
  const responses = find("responses");
  if (!responses) return;
  const scores = find("scores");
  const scored = responses.samples.some((text) => /"(score|overall_score|rating|reward|rank)":/.test(text));
  if (!scores && !scored) return;
  give("responses", responses);
  if (scores) give("scores", scores);
}

/** The prompt and the answer: by name, otherwise the only two columns of free text, in their order. */
function seekPair(board: Board): void {
  const { mapping, free, find, give } = board;
  const wantsAnswer = !mapping.chosen && !mapping.responses;
  give("prompt", find("prompt"));
  if (wantsAnswer) give("completion", find("completion"));
  if (!mapping.prompt) give("prompt", find("prompt", true), false);
  if (wantsAnswer && mapping.prompt && !mapping.completion) give("completion", find("completion", true), false);
  const texts = [...free].filter(isFreeText);
  if (mapping.prompt && wantsAnswer && !mapping.completion && texts.length === 1) give("completion", texts[0], false);
  if (!mapping.prompt && mapping.completion && texts.length === 1) give("prompt", texts[0], false);
  if (!mapping.prompt && wantsAnswer && !mapping.completion && texts.length === 2) {
    give("prompt", texts[0], false);
    give("completion", texts[1], false);
  }
}

function seekLabel(board: Board, isTable: boolean): void {
  const { mapping, find, give } = board;
  const label = find("label", true, (column) => isBoolean(column) || goodAndBad(column) !== null);
  if (!label) return;
  const isName = ["label", "kto_tag"].includes(plainName(label.name));
  // A cell cannot hold anything but text, so True and False are as clear there as true and false are in JSON.
  const isClear = isName && isBoolean(label) && (isTable || label.kind === "boolean") && label.filled === 1;
  give("label", label, isClear);
  if (!isClear || isTable) Object.assign(mapping, goodAndBad(label) ?? {});
}

const CONVERSATION_IDS = new Set(["conversation_id", "thread_id", "session_id", "dialog_id", "chat_id", "conv_id"]);

/** Conversations over several rows: rows that name their parent, or rows of one turn with a conversation's id. */
function seekThreads(board: Board): void {
  const { mapping, find, give, free } = board;
  if ([...free].some(({ kind }) => kind === "turns")) return;
  const role = [...free].find(({ name, values }) => /role|author|speaker|from/i.test(name) && values?.every(speakerOf));
  const text = role && (find("text", true) ?? find("prompt", true));
  const [id, parent] = [find("id"), find("parent_id")];
  const group = [...free].find(({ name }) => CONVERSATION_IDS.has(plainName(name)));
  const isTree = id !== undefined && parent !== undefined && parent.filled < 1;
  if (!isTree && !(group && text)) return;
  give("id", isTree ? id : group);
  if (isTree) give("parent_id", parent);
  if (!role || !text) return;
  give("role", role);
  give("text", text);
  mapping.type = "chat";
}

/** Why a mapping that could be read is not certain. */
function doubtsOf(board: Board, isTable: boolean): string {
  const { mapping, free, isKnown } = board;
  const isScore = ({ name, kind, values }: Column) =>
    /^(score|reward)$/.test(plainName(name)) && kind === "number" && values === null;
  const filled = [...free].filter(({ kind }) => kind !== "empty");
  const open = filled.filter((column) => isMeaningful(column.name) && !isScore(column)).map(({ name }) => name);
  const shadowed = typeOf(mapping) === "preference" && !mapping.messages;
  const doubtful = shadowed ? open.filter((name) => plainName(name) !== "messages") : open;
  if (doubtful.length > 0) return `${doubtful.map((name) => `"${name}"`).join(", ")} can change what a row means.`;
  if (mapping.label && !isKnown) return `"${mapping.label}" looks like a mark of good and bad answers.`;
  if (!mapping.messages && typeOf(mapping) !== "text")
    for (const part of ["prompt", "completion"] as const) {
      const second = mapping[part] && !mapping.role ? board.find(part) : undefined;
      if (second && second.name !== mapping[part] && !(typeOf(mapping) === "preference" && part === "completion"))
        return `Both "${mapping[part]}" and "${second.name}" could be the ${part}.`;
    }
  if (typeOf(mapping) === "text" && filled.some(({ name }) => !isMetadata(name)))
    return "Other fields stand beside the text.";
  if (isKnown) return "";
  return `The names of the ${isTable ? "columns" : "fields"} do not say for certain what they are.`;
}

/**
 * @param columns the fields of the first rows
 * @param isTable the rows are those of a table, whose cells are texts
 */
export function propose(columns: Column[], isTable: boolean): Proposal {
  const board = createBoard(columns);
  const { mapping, free, find, give } = board;
  seekThreads(board);
  if (!mapping.role && !giveText(board)) {
    seekAnswers(board);
    if (mapping.chosen || mapping.responses) give("prompt", find("prompt"));
    if (!mapping.prompt && !give("messages", find("messages")) && !mapping.chosen) {
      const turns = [...free].filter(({ kind }) => kind === "turns");
      const named = turns.filter(
        ({ name }) =>
          !["prompt", "completion", "history"].some((part) => namesOf(part as Named, false).includes(plainName(name))),
      );
      if (named.length === 1 && turns.length === 1) give("messages", named[0], false);
    }
    if (!mapping.messages) seekPair(board);
    if (mapping.prompt && !mapping.messages) board.seek("context", false);
    board.seek("system", false);
    if (mapping.prompt) board.seek("history");
    board.seek("tools", false);
    if (!mapping.chosen && !mapping.responses) {
      board.seek("reasoning", false);
      if (mapping.messages || (mapping.prompt && mapping.completion)) seekLabel(board, isTable);
    }
    seekText(board);
  }
  if (isPromptAlone(board)) {
    const item = [...free].filter(({ name, kind }) => kind !== "empty" && !isMetadata(name)).map(({ name }) => name);
    Object.assign(mapping, { type: "prompt", ...(item.length > 0 ? { item } : {}) });
    return { mapping: compact(mapping), certain: false, reason: "The rows have a prompt and no answer." };
  }
  const missing = incomplete(mapping);
  if (!missing) mapping.type = typeOf(mapping);
  const reason = missing ? "Choose the fields for the prompt and the completion." : doubtsOf(board, isTable);
  if (reason) {
    const used = new Set(fieldsOf(mapping));
    const unused = columns.filter(({ name }) => !used.has(name) && !isMeaningful(name)).map(({ name }) => name);
    if (!missing && unused.length > 0) mapping.unused = unused;
  }
  return { mapping: compact(mapping), certain: reason === "", reason };
}

/** True for a prompt by its name, with nothing that could be its answer. */
const isPromptAlone = ({ mapping, free, isKnown }: Board): boolean =>
  isKnown &&
  mapping.prompt !== undefined &&
  !mapping.completion &&
  !mapping.chosen &&
  !mapping.responses &&
  ![...free].some((column) => isFreeText(column) || isMeaningful(column.name));

/** Gives the field `text` when nothing but metadata stands beside it. */
function giveText({ find, give, free }: Board): boolean {
  const text = find("text");
  const answers = new Set(namesOf("completion", true));
  const isAbout = ({ name, kind }: Column) => kind === "empty" || (isMetadata(name) && !answers.has(plainName(name)));
  const isAlone = [...free].every((column) => column === text || isAbout(column));
  return isAlone && give("text", text);
}

/** A text without an answer beside it. */
function seekText(board: Board): void {
  const { mapping, free } = board;
  const { prompt } = mapping;
  const isAlone = !mapping.messages && !mapping.completion && !mapping.chosen && !mapping.responses;
  if (!isAlone) return;
  const taken = prompt && namesOf("text", true).includes(plainName(prompt)) ? prompt : undefined;
  const text = board.find("text") ?? (taken ? undefined : board.find("text", true));
  const name = taken ?? text?.name;
  if (!name || [...free].some((column) => column.name !== name && isFreeText(column))) return;
  mapping.prompt = undefined;
  mapping.text = name;
  for (const column of free) if (column.name === name) free.delete(column);
}
