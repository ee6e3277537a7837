/** The events of a response, made from the stream of the chat completion behind it, and event streams for clients. */
import type { Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { seconds } from "../../lib/request-fields.ts";
import { eventData, eventSplitter } from "../gateway/sse.ts";
import { type Assembler, BROKEN, type ChatChunk, type ResponseEvent } from "./assembler.ts";
import type { ResponseView } from "./view.ts";

const encoder = new TextEncoder();
const encoded = (events: ResponseEvent[]) =>
  encoder.encode(events.map((each) => `event: ${each.type}\ndata: ${JSON.stringify(each)}\n\n`).join(""));

/** Events as they become known; the last piece also has the response as it ended. */
interface Piece {
  events: ResponseEvent[];
  ended: ResponseView | null;
}

/**
 * The events of a response after its first ones, up to its last one. The response is stored before its last event: the
 * client may refer to it at once. A failure is an event, too.
 * @param source the gateway's stream; it ends with `[DONE]` or with an error object
 */
export async function* piecesOf(
  ctx: Ctx,
  source: ReadableStream<Uint8Array>,
  assembler: Assembler,
  save: (response: ResponseView) => Promise<void>,
): AsyncGenerator<Piece> {
  const reader = source.getReader();
  const splitter = eventSplitter();
  const decoder = new TextDecoder();

  const read = async (piece: Uint8Array): Promise<Piece> => {
    const events: ResponseEvent[] = [];
    for (const each of splitter.feed(piece)) {
      const data = eventData(decoder.decode(each));
      if (data === null) continue;
      if (data !== "[DONE]") {
        events.push(...assembler.feed(JSON.parse(data) as ChatChunk));
        continue;
      }
      const { events: last, response } = assembler.end(seconds(ctx.clock.now()));
      await save(response);
      return { events: [...events, ...last, assembler.last(response)], ended: response };
    }
    return { events, ended: null };
  };

  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) throw new AppError("unavailable", "engine_failed", BROKEN);
      const piece = await read(value);
      if (piece.events.length > 0) yield piece;
      if (piece.ended) return;
    }
  } catch (cause) {
    yield failedPiece(ctx, assembler, cause);
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** The last events of a response that failed; only a message that is meant for the client is in them. */
export function failedPiece(ctx: Ctx, assembler: Assembler, cause: unknown): Piece & { ended: ResponseView } {
  if (!(cause instanceof AppError)) ctx.log("error", "a response failed", { cause });
  const { events, response } = assembler.fail(cause instanceof AppError ? cause.message : BROKEN);
  return { events: [...events, assembler.last(response)], ended: response };
}

/** An event stream of what `source` yields. `source` is ended when the client disconnects. */
export function eventStream(source: AsyncGenerator<ResponseEvent[]>): Response {
  const stream = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await source.next();
      if (done) controller.close();
      else controller.enqueue(encoded(value));
    },
    cancel() {
      source.return(undefined).catch(() => {});
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
