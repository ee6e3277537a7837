/**
 * The log hides secrets in whatever is logged: texts, stacks, nested values, headers; one bounded line each, in linear
 * time.
 */
import { describe, expect, test } from "bun:test";
import { AppError } from "../../src/errors.ts";
import { createLog, type Fields } from "../../src/lib/log.ts";
import { clean } from "../../src/lib/text/redact.ts";

function lineOf(message: string, fields: Fields = {}, isTTY = false): string {
  let out = "";
  createLog("debug", {
    isTTY,
    write: (text) => {
      out += text;
    },
  })("info", message, fields);
  return out;
}
const logged = (fields: Fields) => {
  const { time: _, level: __, message: ___, ...rest } = JSON.parse(lineOf("m", fields)) as Record<string, unknown>;
  return rest;
};

const KEY = `ftl-${"4xjp".repeat(8)}`;
const TOKEN = `fta-${"9abc".repeat(8)}`;
const HUB = `hf_${"AbCd".repeat(8)}`;

describe("texts", () => {
  const golden: [string, string][] = [
    [`asked with ${KEY} today`, "asked with ftl-[hidden] today"],
    [`attempt ${TOKEN}`, "attempt fta-[hidden]"],
    [`hub said: Bearer ${HUB} and ${KEY}`, "hub said: Bearer [hidden] and ftl-[hidden]"],
    [`token is ${HUB}.`, "token is hf_[hidden]."],
    ["bearer abcdef123456", "bearer [hidden]"],
    ["Basic dXNlcjpwYXNzd29yZA==", "Basic [hidden]"],
    ["sk-proj-abcdefgh12345678 whsec_abcdefgh12345678", "sk-[hidden] whsec_[hidden]"],
    ["AKIAIOSFODNN7EXAMPLE ASIAIOSFODNN7EXAMPLE", "AKIA[hidden] ASIA[hidden]"],
    ["ghp_abcdefghijklmnop1234 glpat-abcdefghijkl1234", "ghp_[hidden] glpat-[hidden]"],
    ["rpa_ABCDEFGH12345678 xoxb-1234567890-abc", "rpa_[hidden] xoxb-[hidden]"],
    ["eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl!", "eyJ[hidden]!"],
    ["GET /invite?token=abc123&next=/jobs", "GET /invite?token=[hidden]&next=/jobs"],
    ["libsql://db.example.com?authToken=abc.def", "libsql://db.example.com?authToken=[hidden]"],
    ["https://user:hunter2@registry.example.com/x", "https://[hidden]@registry.example.com/x"],
    ["Cookie: session=abc; theme=dark\r\nHost: x", "Cookie: [hidden] Host: x"],
    ["Set-Cookie: __Host-s=abc; Path=/\nnext", "Set-Cookie: [hidden] next"],
    ["authorization: Digest username=me, response=1\nnext", "authorization: [hidden] next"],
    ['{"authorization":"Digest x","a":1}', '{"authorization":"[hidden]","a":1}'],
    ['{"password": "open \\"sesame", "user":"me"}', '{"password": "[hidden]", "user":"me"}'],
    ["db_password=hunter2 user=me", "db_password=[hidden] user=me"],
    ["client_secret: hunter2", "client_secret: [hidden]"],
    ["password: opensesame\nnext", "password: [hidden] next"],
    ["api_key=abc, apiKey='x y', API-KEY: z9", "api_key=[hidden], apiKey='[hidden]', API-KEY: [hidden]"],
    ["aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "aws_secret_access_key = [hidden]"],
    ["-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY----- x", "[private key hidden] x"],
    ["-----BEGIN PRIVATE KEY-----\nMIIE", "[private key hidden]"],
  ];
  test.each(golden)("%j", (text, expected) => {
    expect(clean(text)).toBe(expected);
  });

  const kept = [
    "max_tokens=256 tokens: 4096 tokens_per_second: 12.5 total_tokens=7",
    "Invalid 'password': must have at least 8 characters.",
    "Bearer of news, basic idea",
    "loaded model smollm2-135m-instruct for job ftjob-4f0k2k2k2k2k2k2k2k2k in 12 ms",
    "see https://example.com/a:b@c and mail me@example.com",
    "no password was given; the secret of the hub is kept",
  ];
  test.each(kept)("keeps %j", (text) => {
    expect(clean(text)).toBe(text);
  });

  test("control characters and characters that turn the line around are removed", () => {
    expect(clean("a\u001b[31mred\u0000\r\nb\u202ec\u2028d")).toBe("a [31mred b c d");
  });
});

describe("fields", () => {
  test("errors are cleaned whole: message, stack, causes, members and own fields", () => {
    const inner = Object.assign(new Error(`Bearer ${HUB}`), { headers: { authorization: "Digest abc" } });
    const error = new AppError("unavailable", "hub", `said ${KEY}`, { cause: new AggregateError([inner], "all") });
    const { cause } = logged({ cause: error }) as { cause: Record<string, unknown> };
    expect(cause).toMatchObject({
      name: "AppError",
      message: "said ftl-[hidden]",
      code: "hub",
      cause: {
        name: "AggregateError",
        errors: [{ name: "Error", message: "Bearer [hidden]", headers: { authorization: "[hidden]" } }],
      },
    });
    expect(cause.stack).toContain("said ftl-[hidden]");
    expect(cause.stack).toContain("\n    at ");
    expect(lineOf("m", { cause: error })).not.toMatch(/4xjp|AbCd|Digest/);
  });

  test("nested objects, lists, maps and headers are cleaned by name and by value", () => {
    expect(
      logged({
        request: {
          headers: new Headers({ cookie: "a=b", "x-api-key": "k", accept: "text/html" }),
          list: [KEY, { deep: { password: "p", note: `sent ${TOKEN}` } }],
          map: new Map<string, unknown>([["hub_token", "x"]]),
          set: new Set([HUB]),
        },
        apiKey: "x",
        accessToken: { value: "x" },
        "Set-Cookie": ["a=1", "b=2"],
        AWS_SECRET_ACCESS_KEY: "x",
        database_token: null,
        max_tokens: 7,
        tokens: "many",
        key: "job-key",
        has_password: true,
      }),
    ).toEqual({
      request: {
        headers: { accept: "text/html", cookie: "[hidden]", "x-api-key": "[hidden]" },
        list: ["ftl-[hidden]", { deep: { password: "[hidden]", note: "sent fta-[hidden]" } }],
        map: { hub_token: "[hidden]" },
        set: ["hf_[hidden]"],
      },
      apiKey: "[hidden]",
      accessToken: "[hidden]",
      "Set-Cookie": "[hidden]",
      AWS_SECRET_ACCESS_KEY: "[hidden]",
      database_token: null,
      max_tokens: 7,
      tokens: "many",
      key: "job-key",
      has_password: true,
    });
  });

  test("names of fields are cleaned too", () => {
    expect(logged({ [`a ${KEY}`]: 1 })).toEqual({ "a ftl-[hidden]": 1 });
  });

  test("values that JSON does not know are written, and none of them fails the log", () => {
    const round: Record<string, unknown> = { n: 10n, at: new Date(0), bytes: new Uint8Array(3), f: () => 1 };
    round.self = round;
    Object.defineProperty(round, "trap", {
      enumerable: true,
      get() {
        throw new Error("no");
      },
    });
    expect(logged({ round, url: new URL(`https://a.example/?token=x`), nan: Number.NaN, nothing: undefined })).toEqual({
      round: {
        n: "10",
        at: "1970-01-01T00:00:00.000Z",
        bytes: "[3 bytes]",
        f: "[function]",
        self: "[circular]",
        trap: "[unreadable]",
      },
      url: "https://a.example/?token=[hidden]",
      nan: null,
    });
  });

  test.each([false, true])("everything stays on one line (terminal: %p)", (isTTY) => {
    const line = lineOf(`a\nb ${KEY}`, { text: "c\r\nd\u2028e", cause: new Error("f\ng") }, isTTY);
    expect(line.trimEnd()).not.toMatch(/[\r\n\u2028\u2029]/);
    expect(line).toEndWith("\n");
    expect(line).not.toContain("4xjp");
    if (!isTTY) expect(JSON.parse(line)).toMatchObject({ message: "a b ftl-[hidden]", text: "c d e" });
  });
});

describe("bounds", () => {
  test("depth, lists, texts and the whole line are bounded, and say so", () => {
    let deep: unknown = "bottom";
    for (let n = 0; n < 10_000; n++) deep = { deep };
    const fields = {
      deep,
      list: Array.from({ length: 100_000 }, (_, n) => n),
      text: "x".repeat(10_000_000),
      wide: Array.from({ length: 90 }, () => Array.from({ length: 90 }, () => "y".repeat(9000))),
    };
    const line = lineOf("z".repeat(1_000_000), fields);
    expect(line.length).toBeLessThan(200_000);
    expect(JSON.parse(line).list.at(-1)).toBe("[99900 more]");
    expect(JSON.parse(line).text).toEndWith("… [cut]");
    expect(line).toContain("[too deep]");
  });

  test("a secret at the cut does not show", () => {
    for (let n = 0; n < 60; n++)
      expect(clean(`${"x ".repeat(4096 - n)}password=hunter2hunter2 ${KEY}`)).not.toMatch(/hunter2|4xjp/);
  });

  const hostile: [string, string][] = [
    ["password:", "password:".repeat(200_000)],
    ["token=", "token= ".repeat(200_000)],
    ["quotes", 'password="'.repeat(200_000)],
    ["keys", "-----BEGIN PRIVATE KEY-----".repeat(50_000)],
    ["addresses", "://a:".repeat(200_000)],
    ["letters", "a".repeat(2_000_000)],
    ["dashes", "ftl-".repeat(400_000)],
    ["tokens of three parts", "eyJ.".repeat(400_000)],
    ["spaces", `password${" ".repeat(1_000_000)}`],
  ];
  test.each(hostile)("hostile texts take no longer than others: %s", (_, text) => {
    const from = performance.now();
    clean(text, Number.POSITIVE_INFINITY);
    // About a millisecond a megabyte is usual; a quadratic pattern would take minutes.
    expect(performance.now() - from).toBeLessThan(3000);
  });
});
