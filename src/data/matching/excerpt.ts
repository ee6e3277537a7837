/** The part of a text around a match, as a reviewer reads it. */

/** Characters before and after a match. */
const AROUND = 160;
/** Longest part of a match that is shown. */
const MAX_MATCH = 400;

/** A match in its context. `before` and `after` begin or end with … where the text continues. */
export interface Excerpt {
  before: string;
  match: string;
  after: string;
}

/** Does not cut a pair of surrogates. */
const whole = (text: string) => text.replace(/^[\udc00-\udfff]/, "").replace(/[\ud800-\udbff]$/, "");

/** @param place `shown`: in place of the match itself */
export function excerptOf(text: string, place: { start: number; end: number; shown?: string }): Excerpt {
  const { start, end, shown } = place;
  const stop = Math.min(end, start + MAX_MATCH);
  const from = Math.max(0, start - AROUND);
  const to = Math.min(text.length, stop + AROUND);
  return {
    before: (from > 0 ? "…" : "") + whole(text.slice(from, start)),
    match: shown ?? whole(text.slice(start, stop)) + (stop < end ? "…" : ""),
    after: whole(text.slice(stop, to)) + (to < text.length ? "…" : ""),
  };
}
