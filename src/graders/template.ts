/**
 * Templates of graders: `{{item.question}}`, `{{ sample.output_json.steps[0] }}`. They hold only paths and text and run
 * no code.
 */
import { memberText, parseExact } from "../lib/text/exact-json.ts";

/** The model's output in the form that graders use. */
export interface Sample {
  output_text: string;
  /** The output as JSON; absent when it is not JSON. */
  output_json?: unknown;
  /** Tool calls in the form of chat completions. */
  output_tools: unknown[];
  /** The choices of the chat completion. */
  choices: unknown[];
}

const SAMPLE_NAMES = ["output_text", "output_json", "output_tools", "choices"];
const MAX_PATHS = 200;
const MAX_DEPTH = 32;
/** Largest filled template, and the largest total of all templates of a grader for one sample, in characters. */
export const MAX_FILLED = 2 * 2 ** 20;
export const MAX_FILLED_TOTAL = 8 * 2 ** 20;

interface Slot {
  /** As written, for messages. */
  text: string;
  keys: string[];
}
/** Texts and slots alternate; the first and the last is a text. */
interface Template {
  texts: string[];
  slots: Slot[];
}

/**
 * An error in a template or its values. `kind` is the cause: `syntax` is the grader, `item` the row, `sample` the
 * model's output, `size` the combination of all three.
 */
export class TemplateError extends Error {
  constructor(
    readonly kind: "syntax" | "item" | "sample" | "size",
    message: string,
  ) {
    super(message);
  }
}

const PATH = /^[\p{L}\p{N}_$-]+(?:\.[\p{L}\p{N}_$-]+|\[\d{1,6}\])*$/u;

function slotOf(inner: string): Slot {
  const text = inner.trim();
  const shown = `{{${inner.slice(0, 100)}}}`;
  if (!PATH.test(text))
    throw new TemplateError("syntax", `${shown} is not a valid path. Write {{item.NAME}} or {{sample.output_text}}`);
  const keys = text.replace(/\[(\d+)\]/g, ".$1").split(".");
  if (keys.length > MAX_DEPTH) throw new TemplateError("syntax", `${shown} is deeper than ${MAX_DEPTH} levels`);
  const [root, first] = keys;
  if (root !== "item" && root !== "sample")
    throw new TemplateError("syntax", `${shown} must begin with "item" or "sample"`);
  if (root === "item" && first === undefined)
    throw new TemplateError("syntax", `${shown} names no field. Write {{item.NAME}}`);
  if (root === "sample" && !SAMPLE_NAMES.includes(first ?? ""))
    throw new TemplateError("syntax", `${shown} does not exist; a sample has ${SAMPLE_NAMES.join(", ")}`);
  return { text, keys };
}

/** Parses a template. @throws TemplateError of kind `syntax` */
export function parseTemplate(source: string): Template {
  const texts: string[] = [];
  const slots: Slot[] = [];
  let at = 0;
  for (;;) {
    const open = source.indexOf("{{", at);
    if (open === -1) break;
    const close = source.indexOf("}}", open + 2);
    if (close === -1)
      throw new TemplateError("syntax", `"${source.slice(open, open + 40)}" opens a template that is never closed`);
    texts.push(source.slice(at, open));
    slots.push(slotOf(source.slice(open + 2, close)));
    if (slots.length > MAX_PATHS) throw new TemplateError("syntax", `there are more than ${MAX_PATHS} templates`);
    at = close + 2;
  }
  texts.push(source.slice(at));
  return { texts, slots };
}

/** The value of a slot as text: strings as they are, other values as JSON with the digits of the row. */
function lookUp({ text, keys }: Slot, item: Record<string, unknown>, sample: Sample): string {
  const [root, ...rest] = keys;
  if (root === "sample" && rest[0] === "output_json" && sample.output_json === undefined)
    throw new TemplateError("sample", `{{${text}}}: the model's output is not JSON`);
  const kind = root === "item" ? "item" : "sample";
  let value: unknown = root === "item" ? item : sample;
  let path = root ?? "";
  let parent: object = {};
  for (const key of rest) {
    const known = typeof value === "object" && value !== null && Object.hasOwn(value, key);
    if (!known) {
      const names = typeof value === "object" && value !== null ? Object.keys(value).slice(0, 20) : [];
      const has = names.length ? `it has ${names.join(", ")}` : "it has no fields";
      throw new TemplateError(kind, `{{${text}}}: ${path} has no "${key}"; ${has}`);
    }
    parent = value as object;
    value = (value as Record<string, unknown>)[key];
    path = `${path}.${key}`;
  }
  return memberText(parent, rest.at(-1) ?? "");
}

const mib = (characters: number) => `${characters / 2 ** 20} Mi characters`;

/** The values that templates are filled with, and the characters that may still be filled in. */
export class Filling {
  private left = MAX_FILLED_TOTAL;

  constructor(
    private readonly item: Record<string, unknown>,
    private readonly sample: Sample,
  ) {}

  /**
   * The pieces of a filled template. They are counted as they are created, so the limit applies before they are joined.
   */
  private *pieces({ texts, slots }: Template, textIn: (slot: Slot) => string): Generator<string> {
    let length = 0;
    for (const [n, text] of texts.entries()) {
      const slot = slots[n - 1];
      const filled = slot ? textIn(slot) : "";
      length += filled.length + text.length;
      this.left -= filled.length + text.length;
      if (length > MAX_FILLED) throw new TemplateError("size", `the filled text is longer than ${mib(MAX_FILLED)}`);
      if (this.left < 0)
        throw new TemplateError("size", `the grader's filled texts are longer than ${mib(MAX_FILLED_TOTAL)} in total`);
      yield filled;
      yield text;
    }
  }

  /** Fills a template: strings as they are, other values as JSON. @throws TemplateError of any kind */
  fill(source: string): string {
    const textIn = (slot: Slot) => lookUp(slot, this.item, this.sample);
    return [...this.pieces(parseTemplate(source), textIn)].join("");
  }

  /**
   * Checks the template's paths into the row, and its length. Fields that the sample lacks count as empty text: grading
   * reports them.
   * @throws TemplateError of kind `item` or `size`
   */
  check(template: Template): void {
    const textIn = (slot: Slot) => {
      try {
        return lookUp(slot, this.item, this.sample);
      } catch (error) {
        if (error instanceof TemplateError && error.kind === "sample") return "";
        throw error;
      }
    };
    for (const _ of this.pieces(template, textIn));
  }
}

/** The sample of a model's output: its text, the parsed JSON when it is JSON, and its tool calls. */
export function sampleOf(text: string, calls: unknown[] = []): Sample {
  const sample: Sample = { output_text: text, output_tools: calls, choices: [] };
  try {
    sample.output_json = parseExact(text);
  } catch {
    // Without output_json: a template that uses it reports that.
  }
  return sample;
}
