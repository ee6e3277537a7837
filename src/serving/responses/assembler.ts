/**
 * Turns the chunks of a chat completion into the events of a response, in OpenAI's order: every item is added, filled
 * and done before the next one begins.
 */
import { AppError } from "../../errors.ts";
import {
  type ChatUsage,
  endedResponse,
  failedResponse,
  type OutputCall,
  type OutputItem,
  type OutputMessage,
  type OutputText,
  type ResponseView,
} from "./view.ts";

interface TokenLogprob {
  token: string;
  logprob: number;
  bytes?: number[] | null;
  top_logprobs?: TokenLogprob[];
}

/** A chunk of a streamed chat completion; a whole completion is one chunk whose deltas are complete. */
export interface ChatChunk {
  error?: { message?: unknown };
  usage?: ChatUsage | null;
  choices?: {
    delta?: {
      content?: string | null;
      tool_calls?: { index?: number; id?: string; function?: { name?: string; arguments?: string } }[] | null;
    };
    logprobs?: { content?: TokenLogprob[] | null } | null;
    finish_reason?: string | null;
  }[];
}

/** What a client learns when the reason is not meant for it. */
export const BROKEN = "The model's engine stopped in the middle of this answer. Try again.";

export interface ResponseEvent {
  type: string;
  sequence_number: number;
  [field: string]: unknown;
}

/** The id of the n-th output item of a response; `inputId` is that of its n-th input item. */
const outputId = (prefix: string, responseId: string, n: number) => `${prefix}_${responseId.slice(5)}_${n}`;

const plain = ({ token, logprob, bytes, top_logprobs: top = [] }: TokenLogprob) => ({
  token,
  logprob,
  bytes: bytes ?? [],
  top_logprobs: top.map((each) => ({ token: each.token, logprob: each.logprob, bytes: each.bytes ?? [] })),
});

export interface Assembler {
  /** The response exists and waits: only for one in the background, before `begin`. */
  queue(): ResponseEvent[];
  begin(): ResponseEvent[];
  /** @throws AppError with the message of a chunk that reports an error */
  feed(chunk: ChatChunk): ResponseEvent[];
  /** Ends the last item. @returns its events, and the response as it ended */
  end(completedAtS: number): { events: ResponseEvent[]; response: ResponseView };
  fail(message: string): { events: ResponseEvent[]; response: ResponseView };
  /** The last event, which contains the whole response. */
  last(response: ResponseView): ResponseEvent;
}

/** @param newCallId makes ids of tool calls for engines that give them none */
export function createAssembler(started: ResponseView, newCallId: () => string): Assembler {
  const output: OutputItem[] = [];
  const calls = new Map<number, OutputCall>();
  let open: OutputItem | null = null;
  let finish: string | null = null;
  let usage: ChatUsage | null = null;
  let sequence = 0;

  const event = (type: string, fields: object): ResponseEvent => ({ type, ...fields, sequence_number: sequence++ });
  const place = (item: OutputItem) => ({ item_id: item.id, output_index: output.indexOf(item) });
  const copy = <T>(value: T): T => structuredClone(value);

  const added = (item: OutputItem): ResponseEvent[] => {
    const before = close("completed");
    output.push(item);
    open = item;
    return [...before, event("response.output_item.added", { output_index: output.length - 1, item: copy(item) })];
  };

  /** Ends the open item. */
  const close = (status: "completed" | "incomplete"): ResponseEvent[] => {
    const item = open;
    open = null;
    if (!item) return [];
    item.status = status;
    const at = place(item);
    const events: ResponseEvent[] = [];
    if (item.type === "message") {
      for (const [index, part] of item.content.entries()) {
        const where = { ...at, content_index: index };
        events.push(event("response.output_text.done", { ...where, text: part.text, logprobs: part.logprobs }));
        events.push(event("response.content_part.done", { ...where, part: copy(part) }));
      }
    } else {
      const done = { ...at, name: item.name, arguments: item.arguments };
      events.push(event("response.function_call_arguments.done", done));
    }
    events.push(event("response.output_item.done", { output_index: at.output_index, item: copy(item) }));
    return events;
  };

  const openMessage = (): { part: OutputText; message: OutputMessage; events: ResponseEvent[] } => {
    if (open?.type === "message") return { part: open.content[0] as OutputText, message: open, events: [] };
    const message: OutputMessage = {
      id: outputId("msg", started.id, output.length),
      type: "message",
      status: "in_progress",
      role: "assistant",
      content: [],
    };
    const events = added(message);
    const part: OutputText = { type: "output_text", text: "", annotations: [], logprobs: [] };
    message.content.push(part);
    const where = { ...place(message), content_index: 0, part: copy(part) };
    return { part, message, events: [...events, event("response.content_part.added", where)] };
  };

  const text = (delta: string, logprobs: TokenLogprob[]): ResponseEvent[] => {
    const { part, message, events } = openMessage();
    const given = logprobs.map(plain);
    part.text += delta;
    part.logprobs.push(...given);
    const where = { ...place(message), content_index: 0, delta, logprobs: given };
    return [...events, event("response.output_text.delta", where)];
  };

  const call = (index: number, id: string | undefined, name: string, delta: string): ResponseEvent[] => {
    const events: ResponseEvent[] = [];
    let item = calls.get(index);
    if (!item) {
      item = {
        id: outputId("fc", started.id, output.length),
        type: "function_call",
        status: "in_progress",
        call_id: id || newCallId(),
        name,
        arguments: "",
      };
      calls.set(index, item);
      events.push(...added(item));
    }
    if (delta === "") return events;
    item.arguments += delta;
    return [...events, event("response.function_call_arguments.delta", { ...place(item), delta })];
  };

  return {
    queue() {
      const response = { ...started, status: "queued" as const };
      return [event("response.created", { response }), event("response.queued", { response })];
    },
    begin: () => [
      ...(sequence === 0 ? [event("response.created", { response: started })] : []),
      event("response.in_progress", { response: started }),
    ],
    feed(chunk) {
      if (chunk.error) {
        const { message } = chunk.error;
        throw new AppError("unavailable", "engine_failed", typeof message === "string" ? message : BROKEN);
      }
      if (chunk.usage) usage = chunk.usage;
      const choice = chunk.choices?.[0];
      if (!choice) return [];
      const events: ResponseEvent[] = [];
      const { content, tool_calls: given } = choice.delta ?? {};
      if (content) events.push(...text(content, choice.logprobs?.content ?? []));
      for (const [n, each] of (given ?? []).entries())
        events.push(...call(each.index ?? n, each.id, each.function?.name ?? "", each.function?.arguments ?? ""));
      if (choice.finish_reason) finish = choice.finish_reason;
      return events;
    },
    end(completedAtS) {
      const events = output.length === 0 ? openMessage().events : [];
      const response = endedResponse(started, { output, finish, usage, completedAtS });
      events.push(...close(response.status === "incomplete" ? "incomplete" : "completed"));
      return { events, response };
    },
    fail(message) {
      const events = close("incomplete");
      return { events, response: failedResponse(started, output, message) };
    },
    last: (response) => event(`response.${response.status}`, { response }),
  };
}
