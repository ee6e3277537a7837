/** Relays an engine's stream to the client byte for byte and reads from it only what the usage row needs. */
import { type AccessWatch, accessEnded } from "../../accounts/auth/revocation.ts";
import { AppError, errorBody } from "../../errors.ts";
import { eventData, eventSplitter } from "./sse.ts";

/** What the relay read from a stream. */
interface StreamFacts {
  promptTokens: number;
  completionTokens: number;
  finish: string | null;
  /** Monotonic milliseconds when the first content was relayed. */
  firstContentAt: number | null;
  /** Milliseconds spent in this server, without waiting for the engine. */
  busyMs: number;
}

interface Chunk {
  error?: unknown;
  usage?: { prompt_tokens?: number; completion_tokens?: number } | null;
  choices?: { delta?: { content?: unknown; tool_calls?: unknown }; text?: unknown; finish_reason?: string | null }[];
}

/** The engine's name of a model and the one that the client sent. */
export interface Rename {
  from: string;
  to: string;
}

interface RelayOptions {
  /** Relay the usage chunk: only when the client asked for it. */
  keepUsage: boolean;
  /** Sees every chunk as the engine sent it. */
  observe: (chunk: object) => void;
  /** Set when the names differ. */
  rename: Rename | null;
  now: () => number;
  /** The client's access: when it ends, the stream ends, and nothing more is relayed. */
  access: AccessWatch;
  /** Stops the engine: the client disconnected or its access ended. */
  abort: () => void;
  /** Called once, when the stream ends. */
  done: (facts: StreamFacts, how: StreamEnd) => void;
}

/** How a stream ended. `error`: the engine failed mid-stream. `left`: the client disconnected. */
export type StreamEnd = "whole" | "error" | "left" | "access_ended";

const encoder = new TextEncoder();

/** An error event in the form that OpenAI clients expect; they raise it. */
function errorEvent(error: AppError): Uint8Array {
  return encoder.encode(`data: ${JSON.stringify(errorBody(error))}\n\n`);
}

/** Replaces the model name in JSON text. It cannot match inside a JSON string, where quotes are always escaped. */
export function renameModel(text: string, rename: Rename | null): string {
  if (!rename) return text;
  const { from, to } = { from: JSON.stringify(rename.from), to: JSON.stringify(rename.to) };
  return text.replace(`"model":${from}`, () => `"model":${to}`).replace(`"model": ${from}`, () => `"model": ${to}`);
}

/** The stream that the client gets for an engine's stream. */
export function relayStream(source: ReadableStream<Uint8Array>, options: RelayOptions): ReadableStream<Uint8Array> {
  const reader = source.getReader();
  const splitter = eventSplitter();
  const decoder = new TextDecoder();
  const facts: StreamFacts = { promptTokens: 0, completionTokens: 0, finish: null, firstContentAt: null, busyMs: 0 };
  let over = false;
  let sawEnd = false;
  const { access } = options;
  let onEnd: (() => void) | null = null;
  const finish = (how: StreamEnd) => {
    if (over) return;
    over = true;
    if (onEnd) access.signal.removeEventListener("abort", onEnd);
    options.done(facts, how);
  };

  /** Reads one event; returns the bytes to relay, or null to drop it. */
  const pass = (event: Uint8Array): Uint8Array | null => {
    const text = decoder.decode(event);
    const data = eventData(text);
    if (data === null) return event;
    if (data === "[DONE]") {
      sawEnd = true;
      return event;
    }
    const chunk = parseChunk(data);
    if (!chunk) return event;
    options.observe(chunk);
    const choice = chunk.choices?.[0];
    if (choice?.finish_reason) facts.finish = choice.finish_reason;
    if (facts.firstContentAt === null && (choice?.delta?.content || choice?.delta?.tool_calls || choice?.text))
      facts.firstContentAt = options.now();
    if (chunk.usage) {
      facts.promptTokens = chunk.usage.prompt_tokens ?? 0;
      facts.completionTokens = chunk.usage.completion_tokens ?? 0;
      if (!options.keepUsage && chunk.choices?.length === 0) return null;
    }
    if (chunk.error) facts.finish = "error";
    return options.rename ? encoder.encode(renameModel(text, options.rename)) : event;
  };

  return new ReadableStream<Uint8Array>({
    start(controller) {
      // Not in the next pull: a client that reads slowly, or an engine that computes, would keep the stream open.
      onEnd = () => {
        if (over || !access.ended) return;
        options.abort();
        finish("access_ended");
        controller.enqueue(errorEvent(accessEnded()));
        controller.close();
      };
      access.signal.addEventListener("abort", onEnd);
      onEnd();
    },
    async pull(controller) {
      try {
        for (;;) {
          const { done, value } = await reader.read();
          const deciding = access.settled();
          if (deciding) await deciding;
          if (over) return;
          const began = options.now();
          if (done) {
            const rest = splitter.rest();
            if (rest) controller.enqueue(rest);
            if (!sawEnd && facts.finish !== "error") controller.enqueue(errorEvent(engineStopped()));
            finish(sawEnd ? "whole" : "error");
            controller.close();
            return;
          }
          let passed = false;
          for (const event of splitter.feed(value)) {
            const bytes = pass(event);
            if (!bytes) continue;
            passed = true;
            controller.enqueue(bytes);
          }
          facts.busyMs += options.now() - began;
          if (passed) return;
        }
      } catch (cause) {
        if (over) return;
        finish("error");
        controller.enqueue(errorEvent(engineStopped(cause)));
        controller.close();
      }
    },
    cancel() {
      options.abort();
      finish("left");
      reader.cancel().catch(() => {});
    },
  });
}

function engineStopped(cause?: unknown): AppError {
  return new AppError(
    "unavailable",
    "engine_failed",
    "The model's engine stopped in the middle of this answer. Try again.",
    { cause },
  );
}

function parseChunk(data: string): Chunk | null {
  try {
    return JSON.parse(data) as Chunk;
  } catch {
    return null;
  }
}
