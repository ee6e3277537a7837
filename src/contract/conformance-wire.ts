/**
 * The wire between a plugin and its vendor in conformance cases: it records every request that goes through the host's
 * `fetch`, and breaks answers on demand.
 */
import { gunzipSync } from "node:zlib";

/** A request that the plugin sent. */
export interface WireCall {
  method: string;
  url: string;
  /** Method, path without ids and operation: the same for every request of one kind. */
  signature: string;
  /** Address and body with everything in them that is encoded: base64, gzip, form fields. */
  readable: string;
  /** Status of the vendor's answer; null when the request was not carried out. */
  status: number | null;
}

/** What happens to the requests that `on` accepts. */
export interface WireFault {
  on: (call: WireCall) => boolean;
  /** How often; default once. */
  times?: number;
  /** The vendor carries the request out before its answer is replaced or lost. */
  after?: boolean;
  /** The answer; absent = none comes. */
  answer?: { status: number; headers?: Record<string, string> };
  /** With no answer: it times out, and the connection does not break. */
  timeout?: boolean;
}

export interface Wire {
  fetch: typeof fetch;
  /** Requests since the last `clear`. */
  calls: WireCall[];
  inject(fault: WireFault): void;
  /** Forgets calls and faults. */
  clear(): void;
}

/** A body that most clients can read an error from. */
const ERROR_BODY = { code: "ftl_test", message: "A fault of the test", title: "ftl_test", error: { code: "ftl_test" } };

function unpacked(word: string): string {
  const bytes = Buffer.from(word, "base64");
  try {
    return bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes).toString() : bytes.toString();
  } catch {
    return "";
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return text;
  }
}

/** A text with its form fields and base64 parts decoded behind it. Base64 in base64 is decoded too. */
function readable(text: string): string {
  const fields = decoded(text.replaceAll("+", "%2B"));
  const parts = (from: string): string[] => (from.match(/[A-Za-z0-9+/]{24,}={0,2}/g) ?? []).map(unpacked);
  const first = parts(fields);
  return [text, decoded(text), ...first, ...first.flatMap(parts)].join("\n");
}

/** Segments of a path that are ids: they contain a digit or are long. `v2` is not one. */
const isId = (segment: string) => segment.length > 20 || (/\d/.test(segment) && !/^v\d+(\.\d+)?$/.test(segment));

function operationOf(headers: Headers, body: string): string {
  const target = headers.get("x-amz-target");
  if (target) return target;
  const [, action] = /(?:^|&)Action=(\w+)/.exec(body) ?? [];
  if (action) return action;
  // GraphQL: the first field.
  const [, field] = /"query"\s?:\s?"[^"{]{0,300}\{(?:\\n|\s){0,40}(\w+)/.exec(body) ?? [];
  return field ?? "";
}

async function bodyOf(input: string | URL | Request, init: RequestInit | undefined): Promise<string> {
  const body = init?.body;
  if (body === undefined || body === null) return input instanceof Request ? input.clone().text() : "";
  return body instanceof Uint8Array ? new TextDecoder().decode(body) : new Response(body as BodyInit).text();
}

/** A wire in front of `send`. */
export function createWire(send: typeof fetch): Wire {
  let faults: WireFault[] = [];
  const wire: Wire = {
    calls: [],
    inject: (fault) => void faults.push({ ...fault }),
    clear() {
      faults = [];
      wire.calls = [];
    },
    fetch: (async (input: string | URL | Request, init?: RequestInit) => {
      const request = input instanceof Request ? input : null;
      const url = request?.url ?? String(input);
      const method = (init?.method ?? request?.method ?? "GET").toUpperCase();
      const body = await bodyOf(input, init);
      const headers = new Headers(init?.headers ?? request?.headers);
      const path = new URL(url).pathname.split("/").map((segment) => (isId(segment) ? "*" : segment));
      const signature = `${method} ${path.join("/")} ${operationOf(headers, body)}`.trim();
      const call: WireCall = { method, url, signature, readable: readable(`${url}\n${body}`), status: null };
      wire.calls.push(call);
      const fault = faults.find((one) => one.on(call));
      const ask = async () => {
        const answer = await send(input as string, init);
        call.status = answer.status;
        return answer;
      };
      if (!fault) return ask();
      fault.times = (fault.times ?? 1) - 1;
      if (fault.times <= 0) faults = faults.filter((one) => one !== fault);
      if (fault.after) await (await ask()).arrayBuffer();
      if (fault.answer)
        return new Response(JSON.stringify({ ...ERROR_BODY, status: fault.answer.status }), {
          status: fault.answer.status,
          headers: { "content-type": "application/json", ...fault.answer.headers },
        });
      if (fault.timeout) throw new DOMException("The operation timed out.", "TimeoutError");
      throw new TypeError("The connection broke.");
    }) as typeof fetch,
  };
  return wire;
}
