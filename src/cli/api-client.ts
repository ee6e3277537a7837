/** A small client of the server's JSON API, for verbs that use it like any other program. */
import { basename } from "node:path";
import { AppError } from "../errors.ts";

export interface ApiClient {
  /** `http://127.0.0.1:3900`, without a trailing slash. */
  url: string;
  key: string;
  call<T>(method: string, path: string, body?: unknown): Promise<T>;
  /** Sends a file as a form, with additional `fields`. */
  upload<T>(path: string, file: string, fields: Record<string, string>): Promise<T>;
}

interface ErrorBody {
  error?: { message?: string; code?: string };
}

/** Throws the server's message when the status is not 2xx. */
async function read<T>(method: string, path: string, answer: Response): Promise<T> {
  const text = await answer.text();
  if (answer.ok) return JSON.parse(text) as T;
  let said: ErrorBody = {};
  try {
    said = JSON.parse(text) as ErrorBody;
  } catch {
    // Not our JSON: report the status.
  }
  const message = said.error?.message ?? `${method} ${path} answered ${answer.status}`;
  throw new AppError(answer.status === 409 ? "conflict" : "unavailable", said.error?.code ?? "server_answer", message);
}

export function apiClient(url: string, key: string, signal?: AbortSignal): ApiClient {
  const authorization = `Bearer ${key}`;
  return {
    url,
    key,
    async call(method, path, body) {
      const answer = await fetch(url + path, {
        method,
        signal,
        headers: { authorization, ...(body === undefined ? {} : { "content-type": "application/json" }) },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
      return read(method, path, answer);
    },
    async upload(path, file, fields) {
      const form = new FormData();
      for (const [name, value] of Object.entries(fields)) form.append(name, value);
      form.append("file", Bun.file(file), basename(file));
      const answer = await fetch(url + path, { method: "POST", signal, headers: { authorization }, body: form });
      return read("POST", path, answer);
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
