/** Joins the chunks of a streamed chat completion to the completion that they are parts of. */

interface ToolCall {
  id?: string;
  type?: string;
  function: { name: string; arguments: string };
}
interface Choice {
  index: number;
  message: { role: "assistant"; content: string | null; refusal: null; tool_calls?: ToolCall[] };
  logprobs: { content: unknown[] } | null;
  finish_reason: string | null;
}

interface Chunk {
  id?: string;
  created?: number;
  usage?: object | null;
  choices?: {
    index?: number;
    delta?: {
      content?: string | null;
      tool_calls?: { index?: number; id?: string; function?: { name?: string; arguments?: string } }[] | null;
    };
    logprobs?: { content?: unknown[] | null } | null;
    finish_reason?: string | null;
  }[];
}

type Delta = NonNullable<NonNullable<Chunk["choices"]>[number]["delta"]>;

function addCalls(choice: Choice, given: Delta["tool_calls"]): void {
  for (const [n, each] of (given ?? []).entries()) {
    choice.message.tool_calls ??= [];
    const calls = choice.message.tool_calls;
    const at = each.index ?? n;
    calls[at] ??= { id: each.id, type: "function", function: { name: "", arguments: "" } };
    calls[at].function.name += each.function?.name ?? "";
    calls[at].function.arguments += each.function?.arguments ?? "";
  }
}

/** @param model as the client wrote it */
export function createCollector(model: string): { add(chunk: object): void; completion(): Record<string, unknown> } {
  const head: { id: string | undefined; created: number } = { id: undefined, created: 0 };
  const choices: Choice[] = [];
  let usage: object | null = null;
  return {
    add(given) {
      const chunk = given as Chunk;
      head.id ??= chunk.id;
      head.created ||= chunk.created ?? 0;
      if (chunk.usage) usage = chunk.usage;
      for (const { index = 0, delta, logprobs, finish_reason: finish } of chunk.choices ?? []) {
        choices[index] ??= {
          index,
          message: { role: "assistant", content: null, refusal: null },
          logprobs: null,
          finish_reason: null,
        };
        const choice = choices[index];
        if (delta?.content) choice.message.content = (choice.message.content ?? "") + delta.content;
        addCalls(choice, delta?.tool_calls);
        if (logprobs?.content)
          choice.logprobs = { content: [...(choice.logprobs?.content ?? []), ...logprobs.content] };
        if (finish) choice.finish_reason = finish;
      }
    },
    completion: () => ({
      ...head,
      object: "chat.completion",
      model,
      choices: choices.filter(Boolean),
      ...(usage ? { usage } : {}),
    }),
  };
}
