/** Values as Python prints them, read as JSON. */
import { expect, test } from "bun:test";
import { jsonOfPython } from "../../src/lib/text/python-literal.ts";

test.each([
  [`[{'role': 'user', 'content': "it's"}]`, `[{"role":"user","content":"it's"}]`],
  [`[{'a': True, 'b': False, 'c': None, 'd': nan, 'e': 1.50}]`, `[{"a":true,"b":false,"c":null,"d":null,"e":1.50}]`],
  [`[(1, 'a',)]`, `[[1,"a"]]`],
  // Names that every JavaScript object has.
  [`[{'a': constructor}]`, null],
  [`[{'a': toString}]`, null],
  [`[{'a': __proto__}]`, null],
])("the Python text %s is the JSON text %s", (text, json) => {
  expect(jsonOfPython(text)).toBe(json);
});
