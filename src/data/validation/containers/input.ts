/** Streams a file from disk and says how far it is. */
import { createReadStream } from "node:fs";

/** The chunks of a file. `onRead` gets the bytes read so far. */
export async function* countedFile(path: string, onRead: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  let read = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 }) as AsyncIterable<Uint8Array>) {
    read += chunk.length;
    onRead(read);
    yield chunk;
  }
}
