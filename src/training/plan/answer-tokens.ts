/**
 * Two figures that memory depends on: the share of tokens in the loss (the answers, which have logits), and the length
 * of a preference pair whose prompt is computed once.
 */
import type { Actor, Ctx } from "../../ctx.ts";
import { readRows } from "../../data/datasets/rows.ts";

/** Rows in the sample. */
const ROWS = 200;
/** Characters only approximate tokens, and the longest rows of a batch may have a larger share of answers. */
const ALLOWANCE = 1.25;
/** One in this many pairs, the longest, decides about the length of pairs; characters only approximate tokens. */
const LONGEST_SHARE = 10;
const PAIR_ALLOWANCE = 1.1;
/** Characters a chat template puts around a turn. */
const TEMPLATE_CHARACTERS = 20;

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
  (typeof content === "string" ? content.length : 0) + (calls ? JSON.stringify(calls).length : 0) + TEMPLATE_CHARACTERS;

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
 * Length of a pair as one sequence (prompt, chosen answer, rejected answer) divided by its longer side: the maximum
 * among the longest pairs; 2 when nothing is shared.
 */
function joinedOf(rows: Row[]): number | null {
  const pairs = rows.flatMap(({ messages = [], chosen, rejected }) => {
    if (!chosen || !rejected) return [];
    const [prompt, first, second] = [sum(messages), sum(chosen), sum(rejected)];
    const longer = prompt + Math.max(first, second);
    return [{ longer, joined: (prompt + first + second) / longer }];
  });
  if (pairs.length === 0) return null;
  const longest = pairs.sort((a, b) => b.longer - a.longer).slice(0, Math.ceil(pairs.length / LONGEST_SHARE));
  return Math.min(2, Math.max(...longest.map(({ joined }) => joined)) * PAIR_ALLOWANCE);
}

/**
 * Estimates from the characters of the first rows. `scored`: share of tokens in answers, above 0 and at most 1 (1 when
 * rows cannot be read). `joined`: length of a pair as one sequence divided by its longer side; null without pairs.
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
    const [scored, total] = counted(row);
    answers += scored;
    all += total;
  }
  return { scored: all > 0 && answers > 0 ? Math.min(1, (answers / all) * ALLOWANCE) : 1, joined: joinedOf(rows) };
}
