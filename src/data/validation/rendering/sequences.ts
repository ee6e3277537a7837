/**
 * The sequences a conversation is trained as: the fewest renderings in which every trained turn follows the prompt that
 * asks for it. A template that renders earlier turns differently needs several. The trainer's views.py decides alike.
 */
import type { Tool } from "../rows/tools.ts";
import type { Message } from "../rows/types.ts";
import { mark, shapeOf } from "./shown.ts";
import type { Render } from "./template.ts";

const MAX_SHAPES = 2000;

/** A rendering of the first `count` messages. Another that starts with `beginning` has its last turn as asked for. */
interface Rendering {
  count: number;
  text: string;
  /** Null when no other rendering can have it. */
  beginning: string | null;
}

type Marked = ReturnType<typeof mark>;

/** The rendering that ends with a turn; null when the template does not render it, or nothing of it. */
function endingWith(render: Render, { marked, markedTools, markers }: Marked, turn: number): Rendering | null {
  try {
    const text = render(marked.slice(0, turn + 1), markedTools);
    const words = markers.filter((one) => one.turn === turn).map((one) => one.text);
    const shown = words.filter((word) => text.includes(word));
    if (shown.length === 0) return null;
    const end = Math.max(...shown.map((word) => text.lastIndexOf(word) + word.length));
    const prompt = turn > 0 ? render(marked.slice(0, turn), markedTools, true) : "";
    return { count: turn + 1, text, beginning: text.startsWith(prompt) ? text.slice(0, end) : null };
  } catch {
    return null;
  }
}

/** The fewest renderings that have all turns as asked for, by their numbers of messages. */
function cover(whole: Rendering, turns: Rendering[]): number[] {
  const counts: number[] = [];
  let left = turns;
  for (let last = left.at(-1); last; last = left.at(-1)) {
    const own = last;
    const inText = ({ text }: Rendering) =>
      left.filter(({ beginning }) => beginning !== null && text.startsWith(beginning));
    const inWhole = left === turns ? inText(whole) : [];
    const inOwn = new Set([...inText(own), own]);
    const best = inWhole.length >= inOwn.size ? { ...whole, turns: new Set(inWhole) } : { ...own, turns: inOwn };
    counts.push(best.count);
    left = left.filter((turn) => !best.turns.has(turn));
  }
  return counts.length ? counts : [whole.count];
}

/**
 * Creates a function that returns, for each sequence of a conversation, the number of messages it renders. Results are
 * cached by the conversation's shape.
 * @param trained indexes of the assistant turns in the loss
 */
export function createSequences(
  render: Render,
): (messages: Message[], tools: Tool[] | undefined, trained: number[]) => number[] {
  const known = new Map<string, number[]>();
  return (messages, tools, trained) => {
    const shape = `${shapeOf(messages, tools)} ${trained.join()}`;
    let counts = known.get(shape);
    if (!counts) {
      if (known.size >= MAX_SHAPES) known.clear();
      const made = mark(messages, tools);
      const turns = trained.flatMap((turn) => endingWith(render, made, turn) ?? []);
      const text = render(made.marked, made.markedTools);
      counts = cover({ count: messages.length, text, beginning: null }, turns);
      known.set(shape, counts);
    }
    return counts;
  };
}
