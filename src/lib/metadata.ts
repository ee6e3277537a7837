/** The `metadata` of objects in OpenAI's API: up to 16 pairs of text. */
import * as v from "valibot";
import { noHidden, noHiddenInLines } from "./text/names.ts";

export const Metadata = v.pipe(
  v.record(
    v.pipe(v.string(), noHidden, v.maxLength(64, "metadata keys have at most 64 characters")),
    v.pipe(
      v.string("metadata values are strings"),
      noHiddenInLines,
      v.maxLength(512, "metadata values have at most 512 characters"),
    ),
  ),
  v.check((value) => Object.keys(value).length <= 16, "metadata has at most 16 pairs"),
);
