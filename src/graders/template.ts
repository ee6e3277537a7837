/**
 * Templates of graders: `{{item.question}}`, `{{ sample.output_json.steps[0] }}`. Paths and text only; nothing in them
 * is run.
 */

/** What the model said, as graders see it. */
export interface Sample {
  output_text: string;
  /** The output as JSON; absent when it is not JSON. */
  output_json?: unknown;
  /** Calls of tools, each as chat answers hold them. */
  output_tools: unknown[];
  /** The choices of the chat answer. */
  choices: unknown[];
}

const SAMPLE_NAMES = ["output_text", "output_json", "output_tools", "choices"];
const MAX_PATHS = 200;
const MAX_DEPTH = 32;
/** Longest text that a template becomes, and all texts that one grader fills in for one sample, in characters. */
export const MAX_FILLED = 2 * 2 ** 20;
export const MAX_FILLED_TOGETHER = 8 * 2 ** 20;

interface Slot {
  /** As written, for messages. */
  text: string;
  keys: string[];
}
/** Texts and slots in turn, beginning and ending with a text. */
interface Template {
  texts: string[];
  slots: Slot[];
}

/**
 * What is wrong with a template or its values. `kind`: `syntax` is the grader's fault, `item` the row's, `sample` the
 * model's, `size` that of grader, row and sample together.
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
    throw new TemplateError("syntax", `${shown} is no path. Write {{item.NAME}} or {{sample.output_text}}`);
  const keys = text.replace(/\[(\d+)\]/g, ".$1").split(".");
  if (keys.length > MAX_DEPTH) throw new TemplateError("syntax", `${shown} is deeper than ${MAX_DEPTH} names`);
  const [root, first] = keys;
  if (root !== "item" && root !== "sample")
    throw new TemplateError("syntax", `${shown} begins with neither "item" nor "sample", the only names there are`);
  if (root === "item" && first === undefined)
    throw new TemplateError("syntax", `${shown} names no field. Write {{item.NAME}}`);
  if (root === "sample" && !SAMPLE_NAMES.includes(first ?? ""))
    throw new TemplateError("syntax", `${shown} is unknown; a sample has ${SAMPLE_NAMES.join(", ")}`);
  return { text, keys };
}

/** Reads a template. @throws TemplateError of kind `syntax` */
export function parseTemplate(source: string): Template {
  const texts: string[] = [];
  const slots: Slot[] = [];
  let at = 0;
  for (;;) {
    const open = source.indexOf("{{", at);
    if (open === -1) break;
    const close = source.indexOf("}}", open + 2);
    if (close === -1)
      throw new TemplateError("syntax", `"${source.slice(open, open + 40)}" opens a template and never closes it`);
    texts.push(source.slice(at, open));
    slots.push(slotOf(source.slice(open + 2, close)));
    if (slots.length > MAX_PATHS) throw new TemplateError("syntax", `there are more than ${MAX_PATHS} templates`);
    at = close + 2;
  }
  texts.push(source.slice(at));
  return { texts, slots };
}

function lookUp({ text, keys }: Slot, item: Record<string, unknown>, sample: Sample): unknown {
  const [root, ...rest] = keys;
  if (root === "sample" && rest[0] === "output_json" && sample.output_json === undefined)
    throw new TemplateError("sample", `{{${text}}}: the model's output is not JSON`);
  const kind = root === "item" ? "item" : "sample";
  let value: unknown = root === "item" ? item : sample;
  let path = root ?? "";
  for (const key of rest) {
    const known = typeof value === "object" && value !== null && Object.hasOwn(value, key);
    if (!known) {
      const names = typeof value === "object" && value !== null ? Object.keys(value).slice(0, 20) : [];
      const has = names.length ? `it has ${names.join(", ")}` : "it has no fields";
      throw new TemplateError(kind, `{{${text}}}: ${path} has no "${key}"; ${has}`);
    }
    value = (value as Record<string, unknown>)[key];
    path = `${path}.${key}`;
  }
  return value;
}

const mib = (characters: number) => `${characters / 2 ** 20} Mi characters`;

/** Where templates are filled from, and how much more may be filled in. */
export class Filling {
  private left = MAX_FILLED_TOGETHER;

  constructor(
    private readonly item: Record<string, unknown>,
    private readonly sample: Sample,
  ) {}

  /** The pieces of a template filled in, counted while they are made: nothing is joined before its length is known. */
  private *pieces({ texts, slots }: Template, valueIn: (slot: Slot) => unknown): Generator<string> {
    let length = 0;
    for (const [n, text] of texts.entries()) {
      const slot = slots[n - 1];
      const value = slot && valueIn(slot);
      const filled = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
      length += filled.length + text.length;
      this.left -= filled.length + text.length;
      if (length > MAX_FILLED) throw new TemplateError("size", `filled in it is longer than ${mib(MAX_FILLED)}`);
      if (this.left < 0)
        throw new TemplateError(
          "size",
          `the grader's texts filled in are longer than ${mib(MAX_FILLED_TOGETHER)} together`,
        );
      yield filled;
      yield text;
    }
  }

  /** Fills a template in: texts as they are, everything else as JSON. @throws TemplateError of any kind */
  fill(source: string): string {
    const valueIn = (slot: Slot) => lookUp(slot, this.item, this.sample);
    return [...this.pieces(parseTemplate(source), valueIn)].join("");
  }

  /**
   * Checks the template's paths into the row, and its length. What the sample lacks counts as nothing: that is told
   * when it is graded.
   * @throws TemplateError of kind `item` or `size`
   */
  check(template: Template): void {
    const valueIn = (slot: Slot) => {
      try {
        return lookUp(slot, this.item, this.sample);
      } catch (error) {
        if (error instanceof TemplateError && error.kind === "sample") return "";
        throw error;
      }
    };
    for (const _ of this.pieces(template, valueIn));
  }
}

/** A model's output as graders see it: its text, and the same as JSON when it is. */
export function sampleOf(text: string): Sample {
  const sample: Sample = { output_text: text, output_tools: [], choices: [] };
  try {
    sample.output_json = JSON.parse(text) as unknown;
  } catch {
    // Then there is no output_json, which a template that wants it says.
  }
  return sample;
}
