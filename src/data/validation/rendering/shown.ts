/**
 * Finds the parts of a row that a chat template does not show: answers, reasoning, tool calls, tool results, tool
 * definitions and names. The row is rendered again with a marker in place of each part, once for every shape of row.
 */
import type { Tool } from "../rows/tools.ts";
import type { Message } from "../rows/types.ts";
import type { Render } from "./template.ts";

type Part = "content" | "reasoning" | "tool_calls" | "tool_result" | "tools" | "name";

/** A part that the rendering lacks. `turn`: index of the message; null for the tool definitions. */
export interface Lost {
  part: Part;
  turn: number | null;
}

/** What a template does with rows of one shape. */
interface Shown {
  lost: Lost[];
  /** Assistant turns of which the rendering shows at least one part: their indexes. */
  speaking: ReadonlySet<number>;
}

const OPEN = "<think>";
const MAX_SHAPES = 2000;

/** Whether an answer begins with reasoning in `<think>` tags. */
function thinks(content: string): boolean {
  const begun = content.trimStart();
  const end = begun.indexOf("</think>");
  return begun.startsWith(OPEN) && end > 0 && begun.slice(OPEN.length, end).trim() !== "";
}

/** Everything about a conversation that decides what a template shows of it. */
export function shapeOf(messages: Message[], tools: Tool[] | undefined): string {
  const turns = messages.map((turn) => {
    const calls = turn.tool_calls?.map((call) => (call.function.arguments.length > 2 ? "a" : "-")).join("") ?? "";
    const said = turn.content.trim() === "" ? "" : thinks(turn.content) ? "t" : "c";
    return `${turn.role[0]}${said}${turn.reasoning_content ? "r" : ""}${calls && `(${calls})`}${turn.name ? "n" : ""}`;
  });
  return `${tools?.length ? "T" : ""}${turns.join(" ")}`;
}

interface Marker {
  text: string;
  part: Part;
  turn: number | null;
}

/** The conversation with a marker in place of every part, and the markers. */
export function mark(messages: Message[], tools: Tool[] | undefined) {
  const markers: Marker[] = [];
  const marker = (part: Part, turn: number | null) => {
    const text = `qx${String(markers.length).padStart(5, "0")}xq`;
    markers.push({ text, part, turn });
    return text;
  };
  const marked = messages.map((message, turn): Message => {
    const said = message.content.trim() !== "";
    const thought = message.role === "assistant" && thinks(message.content);
    const part = message.role === "tool" ? "tool_result" : "content";
    const thinking = thought ? `<think>\n${marker("reasoning", turn)}\n</think>\n\n` : "";
    return {
      ...message,
      content: said ? thinking + marker(part, turn) : message.content,
      ...(message.reasoning_content ? { reasoning_content: marker("reasoning", turn) } : {}),
      ...(message.name ? { name: marker("name", turn) } : {}),
      ...(message.tool_calls && {
        tool_calls: message.tool_calls.map((call) => ({
          ...call,
          function: {
            name: marker("tool_calls", turn),
            arguments:
              call.function.arguments.length > 2
                ? JSON.stringify({ value: marker("tool_calls", turn) })
                : call.function.arguments,
          },
        })),
      }),
    };
  });
  const markedTools = tools?.map((tool) => ({
    ...tool,
    function: { ...tool.function, name: marker("tools", null) },
  }));
  return { marked, markedTools, markers };
}

/** Nothing is known: the marked conversation cannot be rendered, so nothing counts as lost. */
function allShown(messages: Message[]): Shown {
  return { lost: [], speaking: new Set(messages.keys()) };
}

function look(render: Render, messages: Message[], tools: Tool[] | undefined): Shown {
  const { marked, markedTools, markers } = mark(messages, tools);
  let text: string;
  try {
    text = render(marked, markedTools);
  } catch {
    return allShown(messages);
  }
  /** An assistant turn is trained as it is asked for: as the last turn. */
  const whenLast = (turn: number): string => {
    try {
      return render(marked.slice(0, turn + 1), markedTools);
    } catch {
      return "";
    }
  };
  const lost: Lost[] = [];
  const speaking = new Set<number>();
  for (const { text: marker, part, turn } of markers) {
    const answer = turn !== null && messages[turn]?.role === "assistant";
    if (!text.includes(marker) && !(answer && whenLast(turn).includes(marker))) {
      if (!lost.some((one) => one.part === part && one.turn === turn)) lost.push({ part, turn });
    } else if (turn !== null && part !== "name") speaking.add(turn);
  }
  return { lost, speaking };
}

/** Creates a function that returns what a template shows of a conversation. Results are cached by shape. */
export function createShown(render: Render): (messages: Message[], tools: Tool[] | undefined) => Shown {
  const known = new Map<string, Shown>();
  return (messages, tools) => {
    const shape = shapeOf(messages, tools);
    let shown = known.get(shape);
    if (!shown) {
      if (known.size >= MAX_SHAPES) known.clear();
      shown = look(render, messages, tools);
      known.set(shape, shown);
    }
    return shown;
  };
}
