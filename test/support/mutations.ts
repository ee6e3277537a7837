/** Seeded nonsense for the fuzzer: values, JSON, queries, headers and hosts that a careful server must survive. */

export interface Random {
  /** A number from 0 up to, not including, `below`. */
  int(below: number): number;
  pick<T>(of: readonly T[]): T;
  /** True in one of `n` cases. */
  one(n: number): boolean;
}

/** The numbers of one seed (mulberry32): the same on every machine. */
export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const int = (below: number) => Math.floor(next() * below);
  return { int, pick: (of) => of[int(of.length)] as (typeof of)[number], one: (n) => int(n) === 0 };
}

const nested = (depth: number): unknown => JSON.parse("[".repeat(depth) + "]".repeat(depth));

/** Texts by what is wrong with them. */
export const TEXTS: Record<string, readonly string[]> = {
  surrogates: ["\ud800", "a\udfffb", "\udc00\ud800", `${"x".repeat(50)}\udbff`],
  controls: ["\u0000", "\u001b[31mred", "a\r\nset-cookie: a=b", "\u202etxt.exe", "\u0085\u2028\ufeff", "\t", "\u007f"],
  paths: ["../../etc/passwd", "..%2f..%2f", "/etc/passwd", "C:\\x", "a/../b", ".", "..", "~", "file:///etc/passwd"],
  markup: [
    "<script>alert(1)</script>",
    '"><img src=x>',
    "{{7*7}}",
    "{{item.__proto__}}",
    "$(x)",
    "'; drop table job; --",
  ],
  numbers: ["0", "-1", "1e309", "NaN", "Infinity", "9007199254740993", "0x10", "1,5", "99999999999999999999", "1e-400"],
  dates: ["2024-02-30", "+275760-09-13T00:00:00.001Z", "9999-12-31T23:59:59Z", "0000-00-00", "24:00", "25:61"],
  shapes: [
    "",
    " ",
    "null",
    "true",
    "[]",
    "{}",
    "[[[[",
    '{"a":',
    "__proto__",
    "constructor",
    "toString",
    "%",
    "%ff",
    "%00",
  ],
  long: ["a".repeat(1_000), "ä".repeat(10_000), " ".repeat(20_000), "\n".repeat(20_000), "(".repeat(5_000)],
};

const NUMBERS = [
  0,
  -0,
  1,
  -1,
  0.1,
  5e-324,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  -(2 ** 53) - 1,
  2 ** 63,
  2 ** 64,
  1e21,
  1e300,
  Number.MAX_VALUE,
  -Number.MAX_VALUE,
];

/** What to leave out, by the names of TEXTS; for looking past a failure that is known. */
export type Skipped = ReadonlySet<string>;

export function textOf(random: Random, skipped: Skipped): string {
  const kinds = Object.keys(TEXTS).filter((kind) => !skipped.has(kind));
  return random.pick(TEXTS[random.pick(kinds)] ?? [""]);
}

function anyValue(random: Random, skipped: Skipped): unknown {
  switch (random.int(9)) {
    case 0:
      return random.pick(NUMBERS);
    case 1:
      return random.pick([null, true, false]);
    case 2:
      return nested(random.pick([1, 10, 60, 64, 200, 5_000]));
    case 3:
      return random.pick([[], {}, [null], [[]], [{}], { "": "" }, Array.from({ length: 2_000 }, (_, n) => n)]);
    case 4:
      return { [textOf(random, skipped)]: textOf(random, skipped) };
    case 5:
      return [textOf(random, skipped), textOf(random, skipped)];
    default:
      return textOf(random, skipped);
  }
}

/** A copy of `value` with something in it replaced, removed or added. */
export function mutated(random: Random, skipped: Skipped, value: unknown): unknown {
  if (typeof value !== "object" || value === null || random.one(8)) return anyValue(random, skipped);
  if (Array.isArray(value)) {
    if (value.length === 0 || random.one(3)) return [...value, anyValue(random, skipped)];
    const at = random.int(value.length);
    return value.map((each, n) => (n === at ? mutated(random, skipped, each) : each));
  }
  const entries = Object.entries(value);
  const add = (): [string, unknown] => [textOf(random, skipped), anyValue(random, skipped)];
  if (entries.length === 0 || random.one(5)) return Object.fromEntries([...entries, add()]);
  const at = random.int(entries.length);
  if (random.one(6)) return Object.fromEntries(entries.filter((_, n) => n !== at));
  return Object.fromEntries(entries.map(([name, each], n) => [name, n === at ? mutated(random, skipped, each) : each]));
}

const PIECES = ["\0", "\\", '"', ",", "}", "\\ud800", "1e999"];

/** JSON text with something in the text itself broken. */
export function brokenText(random: Random, skipped: Skipped, json: string): Buffer {
  const at = random.int(json.length + 1);
  const [head, tail] = [json.slice(0, at), json.slice(at)];
  switch (random.int(8)) {
    case 0:
      return Buffer.from(head);
    case 1:
      return Buffer.concat([
        Buffer.from(head),
        Buffer.from([0xff, 0xfe, 0xc0, 0x80, 0xed, 0xa0, 0x80]),
        Buffer.from(tail),
      ]);
    case 2:
      return Buffer.from(`\ufeff${json}`);
    case 3:
      return Buffer.from(json.replace("{", '{"__proto__":{"role":"admin","toString":1},'));
    case 4:
      return Buffer.from(json.replace("{", '{"constructor":{"prototype":{"x":1}},"a":1,"a":2,'));
    case 5:
      return Buffer.from(`${"[".repeat(random.pick([70, 3_000, 100_000]))}${json}`);
    case 6:
      return Buffer.from(json.replace(/:/, `:${"9".repeat(random.pick([30, 400, 10_000]))}e`));
    default:
      return Buffer.from(
        `${head}${random.pick(PIECES.filter((each) => !skipped.has("surrogates") || !each.includes("u")))}${tail}`,
      );
  }
}

export const HOSTS = [
  "x",
  "abc",
  "",
  "a:b",
  "127.0.0.1:99999",
  "evil.example",
  "[::1",
  "a b",
  "é",
  "localhost:1",
  "1.2.3",
  "xn--",
];
export const TYPES = [
  "application/json",
  "application/json; charset=utf-16",
  "text/json",
  "application/x-www-form-urlencoded",
  "",
  "multipart/form-data",
  "multipart/form-data; boundary=x",
  "application/jsonl",
  "text/csv",
  "text/plain",
  "a/b/c",
];

/**
 * Headers that some part of the server reads, with values it does not expect. One line each: the socket takes them as
 * they are.
 */
export function headersOf(random: Random, skipped: Skipped): Record<string, string> {
  const name = random.pick([
    "accept",
    "referer",
    "origin",
    "cookie",
    "range",
    "if-none-match",
    "if-range",
    "user-agent",
    "accept-encoding",
    "x-forwarded-for",
    "x-forwarded-host",
    "sec-fetch-site",
    "last-event-id",
    "idempotency-key",
    "content-encoding",
    "hx-request",
    "hx-target",
    "hx-current-url",
    "hx-history-restore-request",
    "authorization",
    "x-request-id",
  ]);
  const value = random.pick([
    "not a url",
    "http://[::1",
    "bytes=0-0,-1",
    "bytes=9999999999-",
    "*",
    '"',
    "gzip",
    "flash=e30; theme=dark",
    "flash=W10; theme=[]",
    "true",
    "div#rows",
    "Bearer",
    "Bearer ftl-x",
    "Basic OjpA",
    "null",
    "1e9",
    "a=b=c; ;=;",
    textOf(random, skipped).slice(0, 2_000),
  ]);
  // Line breaks would end the header: that is another request, and not this one's header.
  return { [name]: value.replace(/\p{Cc}/gu, " ") };
}
