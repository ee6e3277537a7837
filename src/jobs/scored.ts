/** How much of the rows is answers: the part of the tokens that has a loss, and so the logits that memory is needed for. */
import type { Actor, Ctx } from "../ctx.ts";
import { readRows } from "../datasets/service.ts";

/** Rows that are looked at. */
const ROWS = 200;
/** Letters are not tokens, and the longest rows of a batch may hold more of answers than most. */
const ALLOWANCE = 1.25;
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

function counted(row: Row): [answers: number, all: number] {
  const sum = (turns: Turn[]) => turns.reduce((total, turn) => total + lengthOf(turn), 0);
  const prompt = row.messages ?? [];
  if (row.chosen && row.rejected) {
    const answers = sum(row.chosen) + sum(row.rejected);
    return [answers, answers + 2 * sum(prompt)];
  }
  return [sum(prompt.filter((turn) => turn.role === "assistant" && turn.weight !== 0)), sum(prompt)];
}

/** Part of the tokens that are answers, over 0 and at most 1, by the characters of the first rows; 1 when they cannot be read. */
export async function scoredShare(ctx: Ctx, actor: Actor, versionId: string): Promise<number> {
  const page = await readRows(ctx, actor, versionId, { split: "train", after: -1, limit: ROWS }).catch(() => null);
  let answers = 0;
  let all = 0;
  for (const row of page?.rows ?? []) {
    const [some, of] = counted(row as Row);
    answers += some;
    all += of;
  }
  return all > 0 && answers > 0 ? Math.min(1, (answers / all) * ALLOWANCE) : 1;
}
