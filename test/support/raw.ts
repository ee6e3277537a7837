/** One HTTP request written byte by byte on a socket: for heads that no HTTP client would send. */
import { connect } from "node:net";

interface RawAnswer {
  status: number;
  headers: Headers;
  body: string;
}

/**
 * The answer to `text`, read until the server closes; status 0 when it closed without one. Send `connection: close`.
 */
export function sendRaw(url: string, text: string | Uint8Array, timeoutMs = 20_000): Promise<RawAnswer> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    const socket = connect(Number(port), hostname, () => socket.write(text));
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`no answer within ${timeoutMs} ms to ${String(text).slice(0, 200)}`));
    }, timeoutMs);
    socket.on("data", (piece: Buffer) => pieces.push(piece));
    // The server may close while the rest of a body is still being written.
    socket.on("error", () => {});
    socket.on("close", () => {
      clearTimeout(timer);
      const [head = "", ...rest] = Buffer.concat(pieces).toString("utf8").split("\r\n\r\n");
      const [first = "", ...lines] = head.split("\r\n");
      const headers = new Headers();
      for (const line of lines) {
        const at = line.indexOf(":");
        if (at > 0) headers.append(line.slice(0, at), line.slice(at + 1).trim());
      }
      resolve({ status: Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1] ?? 0), headers, body: rest.join("\r\n\r\n") });
    });
  });
}

/** A request with this head, and with a body and its length when there is one. */
export function rawText(
  method: string,
  path: string,
  headers: Record<string, string> | [string, string][],
  body?: string,
): string {
  const lines = (Array.isArray(headers) ? headers : Object.entries(headers)).map(
    ([name, value]) => `${name}: ${value}`,
  );
  if (body !== undefined) lines.push(`content-length: ${Buffer.byteLength(body)}`);
  return `${[`${method} ${path} HTTP/1.1`, ...lines, "connection: close"].join("\r\n")}\r\n\r\n${body ?? ""}`;
}
