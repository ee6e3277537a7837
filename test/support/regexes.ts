/**
 * Regular expressions of source files: finds every literal, and makes the long texts that a slow one takes long for.
 */

export interface FoundRegex {
  path: string;
  source: string;
  flags: string;
}

/** Words after which a slash begins an expression rather than a division. */
const BEFORE_EXPRESSION = new Set(
  "return typeof case in delete void instanceof new throw else do await yield default extends".split(" "),
);

const WORD = /[\p{L}\p{N}_$]/u;

/** The end of a literal that opens at `at`: of a text in quotes, or of an expression between slashes. */
function endOfLiteral(code: string, at: number): number {
  const quote = code[at];
  let inClass = false;
  for (let to = at + 1; to < code.length; to++) {
    const char = code[to];
    if (char === "\\") to++;
    else if (quote === "/" && char === "[") inClass = true;
    else if (quote === "/" && char === "]") inClass = false;
    else if (char === quote && !inClass) return to + 1;
    else if (char === "\n" && quote === "/") break;
  }
  throw new Error(`a literal that opens at "${code.slice(at, at + 60)}" does not end`);
}

/** Literals of plain JavaScript without comments, as a transpiler prints it. */
function literalsOf(code: string): { source: string; flags: string }[] {
  const found: { source: string; flags: string }[] = [];
  /** Open brackets: `$` for `${`, and whether a parenthesis follows if, while or for. */
  const open: string[] = [];
  let last = "";
  let at = 0;
  /** Of a template, from the quote or the end of a slot up to the next slot or the end. */
  const readTemplate = () => {
    while (at < code.length && code[at] !== "`" && !code.startsWith("${", at)) at += code[at] === "\\" ? 2 : 1;
    last = code[at] === "`" ? "text" : "{";
    if (last === "{") open.push("$");
    at += last === "text" ? 1 : 2;
  };
  while (at < code.length) {
    const char = code[at] as string;
    if (char <= " ") at++;
    else if (char === "`") {
      at++;
      readTemplate();
    } else if (char === '"' || char === "'") {
      at = endOfLiteral(code, at);
      last = "text";
    } else if (WORD.test(char)) {
      const from = at;
      while (at < code.length && WORD.test(code[at] as string)) at++;
      // A field of that name is no keyword.
      last = last === "." ? "name" : code.slice(from, at);
    } else if (char === "/" && begins(last)) {
      const to = endOfLiteral(code, at);
      const source = code.slice(at + 1, to - 1);
      at = to;
      while (/[a-z]/.test(code[at] ?? "")) at++;
      found.push({ source, flags: code.slice(to, at) });
      last = "text";
    } else {
      at++;
      if (char === "(" || char === "[" || char === "{") open.push(/^(if|while|for)$/.test(last) ? "if(" : char);
      const closed = char === ")" || char === "]" || char === "}" ? open.pop() : undefined;
      if (closed === "$") readTemplate();
      else last = closed === "if(" ? "if()" : char;
    }
  }
  return found;
}

const begins = (last: string) =>
  BEFORE_EXPRESSION.has(last) || last === "if()" || (last !== "text" && !/^([)\]]|[\p{L}\p{N}_$]+)$/u.test(last));

/** Every literal of a source file in TypeScript or JavaScript. */
export function regexesOf(path: string, source: string): FoundRegex[] {
  const loader = path.endsWith(".tsx") ? "tsx" : path.endsWith(".ts") ? "ts" : "js";
  const transpiler = new Bun.Transpiler({ loader, target: "bun", deadCodeElimination: false });
  return literalsOf(transpiler.transformSync(source)).map((each) => ({ path, ...each }));
}

/** Pieces that, repeated, make an expression with neighboring or nested repetitions try every way to divide them. */
const PIECES = [
  " ",
  "\n",
  "\t",
  "\r\n",
  "a",
  "A",
  "0",
  "7",
  "-",
  "_",
  ".",
  ",",
  ":",
  ";",
  "=",
  "/",
  "\\",
  '"',
  "'",
  "`",
  "#",
  "*",
  "+",
  "%",
  "|",
  "(",
  ")",
  "[",
  "]",
  "{",
  "}",
  "<",
  ">",
  "{{",
  "}}",
  "é",
  "\u0000",
  "a ",
  "a.",
  "0.",
  "-0",
  "a-",
  "a/",
  "[0]",
  '\\"',
  " \n",
  "x=1;",
  "1,",
  "a:b ",
];
/** What stands before and after them. The ends make a match that came this far fail: `\u0001` is in few classes. */
const STARTS = ["", "a", "\u0001"];
const ENDS = ["", "\u0001", "x!"];
/** What is repeated longest: blanks, quotes and brackets. */
const LONG = [" ", "\n", "\t", '"', "'", "`", "(", ")", "[", "]", "{", "}", "<", ">"];
const META = "()|^$*+?{}.";

/** The fixed texts of an expression, in their order: what its repetitions stand between. */
function wordsIn(source: string): string[] {
  const words = [""];
  let inClass = false;
  for (let at = 0; at < source.length; at++) {
    let char = source[at] as string;
    const escaped = char === "\\";
    if (escaped) char = source[++at] ?? "";
    if (inClass) inClass = escaped || char !== "]";
    else if (escaped ? /[\w\s]/.test(char) : META.includes(char) || char === "[") {
      inClass = char === "[" && !escaped;
      if (words.at(-1)) words.push("");
    } else words.push((words.pop() ?? "") + char);
  }
  return words.filter(Boolean);
}

/** Texts of about `size` characters that try `source`: pieces without end, after and between the words it waits for. */
export function* hostileTexts(source: string, size: number): Generator<string> {
  const repeated = (piece: string) => piece.repeat(Math.ceil(size / piece.length));
  for (const piece of PIECES) for (const start of STARTS) for (const end of ENDS) yield start + repeated(piece) + end;
  const words = wordsIn(source);
  const between = ["", " ", "\n", "a", "0", "."];
  for (const [n, word] of words.entries())
    for (const piece of between) {
      // The words before it, so that the expression comes as far as here.
      const start = words.slice(0, n).join(piece || "a");
      yield start + repeated(word + piece);
      for (const to of new Set([n + 2, words.length])) yield start + repeated(words.slice(n, to).join(piece) + piece);
      if (piece) yield `${start}${piece}${word}${repeated(piece)}\u0001`;
    }
}

/** The same for the texts that are sent most easily, whatever the expression. */
export const longTexts = (size: number): string[] => LONG.map((piece) => piece.repeat(size));
