/** JSON that keeps digits and the order of keys: through parsing, writing and the rendering of a chat template. */
import { expect, test } from "bun:test";
import { createRender } from "../../src/data/validation/rendering/template.ts";
import { isMarked, parseExact, writeExact } from "../../src/lib/text/exact-json.ts";
import { templateCase } from "../support/bases.ts";

const NUMBERS = [
  "0",
  "-0",
  "1",
  "-7",
  "1.0",
  "0.10",
  "1e5",
  "1E-7",
  "9007199254740993",
  "1e400",
  "0.1234567890123456789",
];
const KEYS = ["a", "10", "2", "-1", "__proto__", 'q"', "\\\\", "é"];

test.each([
  ...NUMBERS.flatMap((number) => [`{"a":${number}}`, `[${number},{"b":[${number}]}]`]),
  `{${KEYS.map((key, index) => `"${key === 'q"' ? 'q\\"' : key}":{"${index}":${NUMBERS[index]},"text":"x: 1.0"}`).join()}}`,
  '["\\\\","\\"2\\":1.0",1.0,true,null,{},[]]',
])("%s is written as it was parsed", (text) => {
  expect(writeExact(parseExact(text))).toBe(text);
});

test("spaces between values are left out", () => {
  expect(writeExact(parseExact('{ "a" :\n [ 1.0 ,\t-0 ] , "2": { } ,"1":"x" }'))).toBe('{"a":[1.0,-0],"2":{},"1":"x"}');
});

test("what is the same without marks has none", () => {
  for (const text of ['{"a":1,"b":[2,-3,"1.0"],"n":null}', "{}", '{"a":123456789012345}'])
    expect(isMarked(parseExact(text) as object)).toBe(false);
});

test("a key that appears twice has its last value, as with JSON.parse", () => {
  expect(writeExact(parseExact('{"a":{"b":1.0},"a":2.0}'))).toBe('{"a":2.0}');
});

test("a template shows tool definitions and arguments with their digits and the order of their keys", () => {
  const render = createRender(() => templateCase("tools"), {});
  const given = '{"b":1.0,"10":9007199254740993,"2":"1.0"}';
  const tools = parseExact(`[{"type":"function","function":{"name":"f","parameters":${given}}}]`);
  const call = { id: "c1", type: "function" as const, function: { name: "f", arguments: given } };
  const text = render([{ role: "assistant", content: "", tool_calls: [call] }], tools as never);
  expect(text.split('{"b": 1.0, "10": 9007199254740993, "2": "1.0"}')).toHaveLength(3);
});

test.each(["<escape>", '<|"|>'])("a template that marks its texts with %s shows numbers without marks", (mark) => {
  const template = `{%- for message in messages %}{%- for call in message.tool_calls %}{
    {%- for key, value in call.function.arguments | dictsort -%}
      {{ key }}:{% if value is string %}{{ '${mark}' + value + '${mark}' }}{% else %}{{ value }}{% endif %},
    {%- endfor -%} }{% endfor %}{% endfor %}`;
  const render = createRender(() => template, {});
  const call = {
    id: "c1",
    type: "function" as const,
    function: { name: "f", arguments: '{"a":1.50,"b":"1.50","c":2}' },
  };
  const text = render([{ role: "assistant", content: "", tool_calls: [call] }], null as never);
  expect(text).toBe(`{a:1.50,b:${mark}1.50${mark},c:2,}`);
});
