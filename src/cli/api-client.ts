/** A small client of the server's JSON API, for verbs that use it like any other program. */
import { open } from "node:fs/promises";
import { basename } from "node:path";
import { AppError, ERROR_TABLE, type ErrorKind } from "../errors.ts";

/** Reports bytes sent or received so far. */
type OnBytes = (bytes: number) => void;

export interface ApiClient {
  /** `http://127.0.0.1:3900`, without a trailing slash. */
  url: string;
  key: string;
  call<T>(method: string, path: string, body?: unknown): Promise<T>;
  /** The answer itself, for streams and files; refused requests throw as in `call`. */
  open(method: string, path: string, body?: unknown): Promise<Response>;
  /** Sends a file, piece by piece, with `fields` in the query. */
  upload<T>(path: string, file: string, fields: Record<string, string>, onBytes?: OnBytes): Promise<T>;
  /** Writes an answer into a new file. @throws when the file exists */
  download(path: string, file: string, onBytes?: OnBytes): Promise<void>;
}

interface ErrorBody {
  error?: { message?: string; code?: string; param?: string | null };
}

const KINDS = Object.entries(ERROR_TABLE).map(([kind, { status }]) => [status, kind as ErrorKind] as const);

/** The server's refusal as an error, with its message. */
async function refusal(method: string, path: string, answer: Response): Promise<AppError> {
  let said: ErrorBody = {};
  try {
    said = (await answer.json()) as ErrorBody;
  } catch {
    // Not our JSON: report the status.
  }
  const kind = KINDS.find(([status]) => status === answer.status)?.[1] ?? "unavailable";
  const message = said.error?.message ?? `${method} ${path} answered ${answer.status}`;
  return new AppError(kind, said.error?.code ?? "server_answer", message, { param: said.error?.param });
}

/** A stream of the file's bytes that reports them. */
function fileStream(file: string, onBytes: OnBytes): ReadableStream<Uint8Array> {
  let sent = 0;
  const count = new TransformStream<Uint8Array, Uint8Array>({
    transform(piece, controller) {
      sent += piece.length;
      onBytes(sent);
      controller.enqueue(piece);
    },
  });
  return Bun.file(file).stream().pipeThrough(count);
}

export function apiClient(url: string, key: string, signal?: AbortSignal): ApiClient {
  const authorization = `Bearer ${key}`;
  const send = async (method: string, path: string, headers: Record<string, string>, body?: BodyInit) => {
    let answer: Response;
    try {
      answer = await fetch(url + path, { method, signal, headers: { authorization, ...headers }, body });
    } catch (cause) {
      if (signal?.aborted) throw cause;
      const message = `${url} does not answer. Check that the server runs there, and the address (--url, FTL_URL).`;
      throw new AppError("unavailable", "server_unreachable", message, { cause });
    }
    if (!answer.ok) throw await refusal(method, path, answer);
    return answer;
  };
  const sendJson = (method: string, path: string, body?: unknown) =>
    body === undefined
      ? send(method, path, {})
      : send(method, path, { "content-type": "application/json" }, JSON.stringify(body));
  return {
    url,
    key,
    async call<T>(method: string, path: string, body?: unknown) {
      return (await (await sendJson(method, path, body)).json()) as T;
    },
    open: sendJson,
    async upload<T>(path: string, file: string, fields: Record<string, string>, onBytes: OnBytes = () => {}) {
      const query = new URLSearchParams({ ...fields, filename: basename(file) });
      const headers = { "content-type": "application/octet-stream", "content-length": String(Bun.file(file).size) };
      return (await (await send("POST", `${path}?${query}`, headers, fileStream(file, onBytes))).json()) as T;
    },
    async download(path, file, onBytes = () => {}) {
      const answer = await sendJson("GET", path);
      const out = await open(file, "wx");
      try {
        let received = 0;
        for await (const piece of answer.body ?? []) {
          await out.write(piece);
          received += piece.length;
          onBytes(received);
        }
      } finally {
        await out.close();
      }
    },
  };
}

/** Calls `look` every `everyMs` until it returns a value; for states that take minutes. */
export async function poll<T>(
  look: () => Promise<T | null>,
  options: { everyMs?: number; signal?: AbortSignal } = {},
): Promise<T> {
  for (;;) {
    options.signal?.throwIfAborted();
    const found = await look();
    if (found !== null) return found;
    await Bun.sleep(options.everyMs ?? 500);
  }
}
