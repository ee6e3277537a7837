/**
 * The formula that combines several rewards into one (`0.8 * accuracy + 0.2 * min(length, 1)`): a small parser, so that
 * nothing runs as code.
 */

const FUNCTIONS: Record<string, { least: number; most: number; of: (...args: number[]) => number }> = {
  min: { least: 1, most: 32, of: Math.min },
  max: { least: 1, most: 32, of: Math.max },
  abs: { least: 1, most: 1, of: Math.abs },
  floor: { least: 1, most: 1, of: Math.floor },
  ceil: { least: 1, most: 1, of: Math.ceil },
  exp: { least: 1, most: 1, of: Math.exp },
  sqrt: { least: 1, most: 1, of: Math.sqrt },
  log: { least: 1, most: 1, of: Math.log },
};
const MAX_DEPTH = 64;
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** An error in a formula, or in the value that it computes. */
export class FormulaError extends Error {}

type Formula = (values: Record<string, number>) => number;

interface Token {
  text: string;
  at: number;
}

function tokensOf(source: string): Token[] {
  const tokens: Token[] = [];
  const pattern = /\s*(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|[A-Za-z_]\w*|\*\*|[-+*/^(),])/y;
  const end = source.trimEnd().length;
  while (pattern.lastIndex < end) {
    const from = pattern.lastIndex;
    const found = pattern.exec(source);
    if (!found?.[1]) {
      const at = from + (/^\s*/.exec(source.slice(from))?.[0].length ?? 0);
      throw new FormulaError(`"${source[at]}" at character ${at + 1} is not valid in a formula`);
    }
    tokens.push({ text: found[1], at: pattern.lastIndex - found[1].length });
  }
  return tokens;
}

function divide(a: number, b: number): number {
  if (b === 0) throw new FormulaError("division by zero");
  return a / b;
}

/**
 * Parses a formula over the given names. Precedence as in mathematics: ^, then * and /, then + and -; ^ is
 * right-associative.
 * @returns a function of the values by name; it returns a finite number or throws a FormulaError
 * @throws FormulaError with the position and the problem
 */
export function parseFormula(source: string, names: readonly string[]): Formula {
  const tokens = tokensOf(source);
  let next = 0;
  let depth = 0;
  const peek = () => tokens[next]?.text;
  const take = (...wanted: string[]) => (wanted.includes(peek() ?? "") ? (tokens[next++]?.text ?? null) : null);
  const fail = (): never => {
    const token = tokens[next];
    throw new FormulaError(
      token ? `"${token.text}" at character ${token.at + 1} is not expected here` : "it is incomplete",
    );
  };

  function nested(inner: () => Formula): Formula {
    if (++depth > MAX_DEPTH) throw new FormulaError(`it is nested deeper than ${MAX_DEPTH} levels`);
    const made = inner();
    depth--;
    return made;
  }

  function called(name: string): Formula {
    const known = FUNCTIONS[name];
    if (!known || !Object.hasOwn(FUNCTIONS, name))
      throw new FormulaError(`"${name}" is not a function; the functions are ${Object.keys(FUNCTIONS).join(", ")}`);
    const args = [nested(sum)];
    while (take(",")) args.push(nested(sum));
    if (!take(")")) fail();
    if (args.length < known.least || args.length > known.most)
      throw new FormulaError(
        `${name} takes ${known.most === 1 ? "one value" : `up to ${known.most} values`}, but ${args.length} were given`,
      );
    return (values) => known.of(...args.map((each) => each(values)));
  }

  function atom(): Formula {
    if (take("(")) {
      const inner = nested(sum);
      if (!take(")")) fail();
      return inner;
    }
    const token = tokens[next];
    if (!token || /^[^A-Za-z_\d.]/.test(token.text)) return fail();
    next++;
    if (/^[\d.]/.test(token.text)) {
      const value = Number(token.text);
      return () => value;
    }
    if (take("(")) return called(token.text);
    if (!names.includes(token.text))
      throw new FormulaError(`"${token.text}" is not one of the graders: ${names.join(", ")}`);
    return (values) => values[token.text] ?? 0;
  }

  function power(): Formula {
    const base = atom();
    if (!take("^", "**")) return base;
    const exponent = nested(signed);
    return (values) => base(values) ** exponent(values);
  }

  function signed(): Formula {
    const sign = take("-", "+");
    if (!sign) return power();
    const inner = nested(signed);
    return sign === "-" ? (values) => -inner(values) : inner;
  }

  function product(): Formula {
    const steps: { sign: string; of: Formula }[] = [{ sign: "*", of: signed() }];
    for (let sign = take("*", "/"); sign; sign = take("*", "/")) steps.push({ sign, of: signed() });
    return (values) =>
      steps.reduce((all, { sign, of }) => (sign === "*" ? all * of(values) : divide(all, of(values))), 1);
  }

  function sum(): Formula {
    const steps: { sign: number; of: Formula }[] = [{ sign: 1, of: product() }];
    for (let sign = take("+", "-"); sign; sign = take("+", "-"))
      steps.push({ sign: sign === "+" ? 1 : -1, of: product() });
    return (values) => steps.reduce((all, { sign, of }) => all + sign * of(values), 0);
  }

  const formula = sum();
  if (next < tokens.length) fail();
  return (values) => {
    const result = formula(values);
    if (!Number.isFinite(result)) throw new FormulaError(`the result is ${result}`);
    return result;
  };
}

/** True for a name that a formula can use for a grader. */
export const isUsableName = (name: string) => NAME.test(name) && name.length <= 64 && !Object.hasOwn(FUNCTIONS, name);
