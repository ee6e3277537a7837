/** The formats that a model's page offers, with and without the program that writes the smaller ones. */
import { expect, test } from "bun:test";
import { h } from "preact";
import { render } from "preact-render-to-string";
import { FORMATS, type Format, QUANTIZED, QUANTIZER } from "../../src/training/exports/model.ts";
import { PageContext, type PageInfo } from "../../views/context.ts";
import { Exports } from "../../views/pages/models/exports.tsx";

const smaller = (format: Format) => QUANTIZED.includes(format);
const PAGE: PageInfo = {
  url: new URL("http://localhost/models/ft:x"),
  now: 0,
  theme: null,
  assets: "/assets/",
  viewer: null,
  flash: null,
  banners: [],
  reports: false,
  footer: [],
  contact: null,
  abuse: null,
};
const CASES: [name: string, formats: readonly Format[], offered: Format[], hint: boolean][] = [
  ["with it the page offers 6, 5 and 4 bits", FORMATS, FORMATS.filter(smaller), false],
  ["without it the page says what to install", FORMATS.filter((format) => !smaller(format)), [], true],
];

test.each(CASES)("%s", (_, formats, offered, hint) => {
  const part = h(Exports, { model: "ft:x", whole: false, exports: [], formats });
  const text = render(h(PageContext.Provider, { value: PAGE }, part));
  expect(FORMATS.filter((format) => smaller(format) && text.includes(`value="${format}"`))).toEqual(offered);
  expect(text.includes(`<code>${QUANTIZER}</code>`)).toBe(hint);
});
