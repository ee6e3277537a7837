/** Side-by-side texts with marked differences: expected and generated answers, or the settings of two runs. */
import type { ComponentChildren } from "preact";

interface Piece {
  kind: "same" | "only_a" | "only_b";
  text: string;
}

const MAX_WORDS = 400;

/** Word-level diff of two texts; very long texts are compared as a whole. */
export function diffWords(a: string, b: string): Piece[] {
  const left = a.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];
  const right = b.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];
  if (a === b) return [{ kind: "same", text: a }];
  if (left.length > MAX_WORDS || right.length > MAX_WORDS)
    return [
      { kind: "only_a", text: a },
      { kind: "only_b", text: b },
    ];
  const width = right.length + 1;
  const longest = new Uint16Array((left.length + 1) * width);
  for (let i = left.length - 1; i >= 0; i--)
    for (let j = right.length - 1; j >= 0; j--)
      longest[i * width + j] =
        left[i] === right[j]
          ? (longest[(i + 1) * width + j + 1] ?? 0) + 1
          : Math.max(longest[(i + 1) * width + j] ?? 0, longest[i * width + j + 1] ?? 0);
  const pieces: Piece[] = [];
  const push = (kind: Piece["kind"], text: string) => {
    const last = pieces.at(-1);
    if (last?.kind === kind) last.text += text;
    else pieces.push({ kind, text });
  };
  let i = 0;
  let j = 0;
  while (i < left.length || j < right.length) {
    const [l, r] = [left[i], right[j]];
    if (l !== undefined && l === r) {
      push("same", l);
      i++;
      j++;
    } else if (
      l !== undefined &&
      (r === undefined || (longest[(i + 1) * width + j] ?? 0) >= (longest[i * width + j + 1] ?? 0))
    ) {
      push("only_a", l);
      i++;
    } else if (r !== undefined) {
      push("only_b", r);
      j++;
    }
  }
  return pieces;
}

/** Shown for a text without anything that can be seen. */
const EMPTY = <span class="muted">(empty)</span>;

/** Minimum fraction of equal text for which differences are marked; below it almost everything would be. */
const MIN_EQUAL = 0.35;

/** Many line breaks in a row as their number: an answer of an untrained model can be a page of them. */
const foldBreaks = (text: string) =>
  text.replace(/\s{3,}/g, (run) => {
    const breaks = run.split("\n").length - 1;
    return breaks > 3 ? `↵ ×${breaks}\n` : run;
  });

/**
 * `text` with its differences from `expected` marked as deleted and inserted; unmarked when the two have little in
 * common.
 */
export function Diff({ expected, text }: { expected: string; text: string }) {
  if (text.trim() === "") return EMPTY;
  const folded = foldBreaks(text);
  const pieces = diffWords(expected, folded);
  const same = pieces.reduce((sum, piece) => sum + (piece.kind === "same" ? piece.text.trim().length : 0), 0);
  if (same < MIN_EQUAL * Math.max(expected.length, folded.length)) return <>{folded}</>;
  return (
    <>
      {pieces.map((piece) =>
        piece.kind === "same" ? (
          piece.text
        ) : piece.kind === "only_a" ? (
          <del>{piece.text}</del>
        ) : (
          <ins>{piece.text}</ins>
        ),
      )}
    </>
  );
}

/** Columns of text with titles. */
export function Sides({ sides }: { sides: { title: ComponentChildren; body: ComponentChildren }[] }) {
  return (
    <div class="sides">
      {sides.map((side) => (
        <div class="side">
          <p class="title">{side.title}</p>
          <div class="text" dir="auto">
            {typeof side.body === "string" && side.body.trim() === "" ? EMPTY : side.body}
          </div>
        </div>
      ))}
    </div>
  );
}
