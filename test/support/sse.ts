/** Reads a server-sent event stream piece by piece, as a browser would. */

export interface ServerEvent {
  id: string | null;
  event: string;
  data: Record<string, unknown>;
}

interface EventReader {
  /**
   * The next event; comments (heartbeats) are skipped. Null when the stream has ended. Throws after `timeoutMs`.
   */
  next(timeoutMs?: number): Promise<ServerEvent | null>;
  /** Events until `enough` says so, that one included. */
  until(enough: (event: ServerEvent) => boolean, timeoutMs?: number): Promise<ServerEvent[]>;
  /** Id of the last event that had one. */
  readonly lastId: string | null;
  /** Breaks the connection. */
  close(): Promise<void>;
}

export function readEventStream(answer: Response): EventReader {
  if (!answer.body) throw new Error(`no body: ${answer.status}`);
  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  let lastId: string | null = null;

  function take(): ServerEvent | null {
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const block = text.slice(0, end);
      text = text.slice(end + 2);
      const found: ServerEvent = { id: null, event: "message", data: {} };
      let data = "";
      for (const line of block.split("\n")) {
        const [name, ...rest] = line.split(": ");
        if (name === "id") found.id = rest.join(": ");
        else if (name === "event") found.event = rest.join(": ");
        else if (name === "data") data += rest.join(": ");
      }
      if (found.id !== null) lastId = found.id;
      if (data) return { ...found, data: JSON.parse(data) };
    }
    return null;
  }

  const self: EventReader = {
    async next(timeoutMs = 5000) {
      const end = Date.now() + timeoutMs;
      for (;;) {
        const ready = take();
        if (ready) return ready;
        let timer: ReturnType<typeof setTimeout> | undefined;
        const late = new Promise<never>((_, reject) => {
          timer = setTimeout(() => reject(new Error("no event came")), Math.max(1, end - Date.now()));
        });
        const piece = await Promise.race([reader.read(), late]).finally(() => clearTimeout(timer));
        if (piece.done) return null;
        text += decoder.decode(piece.value, { stream: true });
      }
    },
    async until(enough, timeoutMs) {
      const events: ServerEvent[] = [];
      for (;;) {
        const event = await self.next(timeoutMs);
        if (!event) throw new Error(`the stream ended after ${JSON.stringify(events).slice(0, 500)}`);
        events.push(event);
        if (enough(event)) return events;
      }
    },
    get lastId() {
      return lastId;
    },
    close: () => reader.cancel(),
  };
  return self;
}
