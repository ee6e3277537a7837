/** The event stream of a response, made from the stream of the chat completion behind it. */
import type { Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { seconds } from "../../lib/request-fields.ts";
import { eventData, eventSplitter } from "../gateway/sse.ts";
import { type Assembler, BROKEN, type ChatChunk, type ResponseEvent } from "./assembler.ts";
import type { ResponseView } from "./view.ts";

const encoder = new TextEncoder();
const encoded = (events: ResponseEvent[]) =>
  encoder.encode(events.map((each) => `event: ${each.type}\ndata: ${JSON.stringify(each)}\n\n`).join(""));

/**
 * The client's answer. The response is stored before its last event: the client may refer to it at once.
 * @param source the gateway's stream; it ends with `[DONE]` or with an error object
 */
export function relayEvents(
  ctx: Ctx,
  source: ReadableStream<Uint8Array>,
  assembler: Assembler,
  save: (response: ResponseView) => Promise<void>,
): Response {
  const reader = source.getReader();
  const splitter = eventSplitter();
  const decoder = new TextDecoder();

  /** Events for one piece of the source, and whether the response has ended. */
  const read = async (piece: Uint8Array): Promise<{ events: ResponseEvent[]; over: boolean }> => {
    const events: ResponseEvent[] = [];
    for (const each of splitter.feed(piece)) {
      const data = eventData(decoder.decode(each));
      if (data === null) continue;
      if (data !== "[DONE]") {
        events.push(...assembler.feed(JSON.parse(data) as ChatChunk));
        continue;
      }
      const end = assembler.end(seconds(ctx.clock.now()));
      await save(end.response);
      return { events: [...events, ...end.events, assembler.last(end.response)], over: true };
    }
    return { events, over: false };
  };
  const failed = (cause: unknown): ResponseEvent[] => {
    if (!(cause instanceof AppError)) ctx.log("error", "a streamed response failed", { cause });
    const { events, response } = assembler.fail(cause instanceof AppError ? cause.message : BROKEN);
    return [...events, assembler.last(response)];
  };

  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(encoded(assembler.begin()));
    },
    async pull(controller) {
      try {
        for (;;) {
          const { done, value } = await reader.read();
          if (done) throw new AppError("unavailable", "engine_failed", BROKEN);
          const { events, over } = await read(value);
          if (events.length > 0) controller.enqueue(encoded(events));
          if (over) return controller.close();
          if (events.length > 0) return;
        }
      } catch (cause) {
        controller.enqueue(encoded(failed(cause)));
        controller.close();
        reader.cancel().catch(() => {});
      }
    },
    cancel() {
      reader.cancel().catch(() => {});
    },
  });
  return new Response(stream, {
    headers: {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache",
      // Reverse proxies must not buffer the stream.
      "x-accel-buffering": "no",
    },
  });
}
