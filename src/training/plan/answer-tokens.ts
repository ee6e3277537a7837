/**
 * How much of the rows is answers, which have a loss and so logits; and how long a pair is whose prompt is computed
 * once. Both decide about memory.
 */
import type { Actor, Ctx } from "../../ctx.ts";
import { readRows } from "../../data/datasets/rows.ts";

/** Rows that are looked at. */
const ROWS = 200;
/** Letters are not tokens, and the longest rows of a batch may hold more of answers than most. */
const ALLOWANCE = 1.25;
/** Of pairs the longest tell how long they get, one in so many; their letters are not tokens either. */
const LONGEST = 10;
const PAIR_ALLOWANCE = 1.1;
/** Characters a chat template puts around a turn. */
const AROUND = 20;

interface Turn {
  role?: string;
  content?: unknown;
  weight?: number;
  tool_calls?: unknown;
}
interface Row {
  messages?: Turn[];
  chosen?: Turn[];
  rejected?: Turn[];
}

const lengthOf = ({ content, tool_calls: calls }: Turn): number =>
  (typeof content === "string" ? content.length : 0) + (calls ? JSON.stringify(calls).length : 0) + AROUND;

const sum = (turns: Turn[]) => turns.reduce((total, turn) => total + lengthOf(turn), 0);

function counted(row: Row): [answers: number, all: number] {
  const prompt = row.messages ?? [];
  if (row.chosen && row.rejected) {
    const answers = sum(row.chosen) + sum(row.rejected);
    return [answers, answers + 2 * sum(prompt)];
  }
  return [sum(prompt.filter((turn) => turn.role === "assistant" && turn.weight !== 0)), sum(prompt)];
}

/**
 * A pair as one sequence (prompt, chosen answer, rejected answer) over its longer side: the most among the longest
 * pairs; 2 when nothing is shared.
 */
function joinedOf(rows: Row[]): number | null {
  const pairs = rows.flatMap(({ messages = [], chosen, rejected }) => {
    if (!chosen || !rejected) return [];
    const [prompt, first, second] = [sum(messages), sum(chosen), sum(rejected)];
    const longer = prompt + Math.max(first, second);
    return [{ longer, joined: (prompt + first + second) / longer }];
  });
  if (pairs.length === 0) return null;
  const longest = pairs.sort((a, b) => b.longer - a.longer).slice(0, Math.ceil(pairs.length / LONGEST));
  return Math.min(2, Math.max(...longest.map(({ joined }) => joined)) * PAIR_ALLOWANCE);
}

/**
 * By the characters of the first rows: `scored` is the part of the tokens that are answers, over 0 and at most 1 (1
 * when rows cannot be read); `joined` how long a pair is as one sequence, its longer side being 1, and null where there
 * are no pairs.
 */
export async function answerShares(
  ctx: Ctx,
  actor: Actor,
  versionId: string,
): Promise<{ scored: number; joined: number | null }> {
  const page = await readRows(ctx, actor, versionId, { split: "train", after: -1, limit: ROWS }).catch(() => null);
  const rows = (page?.rows ?? []) as Row[];
  let answers = 0;
  let all = 0;
  for (const row of rows) {
    const [some, of] = counted(row);
    answers += some;
    all += of;
  }
  return { scored: all > 0 && answers > 0 ? Math.min(1, (answers / all) * ALLOWANCE) : 1, joined: joinedOf(rows) };
}
