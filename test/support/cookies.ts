/** A browser without a screen: sends requests of the pages of a test application and keeps its cookies. */
import { type As, PASSWORD, type TestApp } from "./app.ts";

interface Given {
  form?: Record<string, string>;
  body?: unknown;
  headers?: Record<string, string>;
}

export interface CookieBrowser {
  send(method: string, path: string, given?: Given): Promise<Response>;
  /** Sends JSON and reads JSON, whatever the status. */
  json<T>(method: string, path: string, body?: unknown): Promise<T>;
  /** Gives the password; a second step may follow. */
  signIn(as: As, password?: string): Promise<Response>;
  enterCode(code: string): Promise<Response>;
  isSignedIn(): Promise<boolean>;
}

/** A new browser without cookies. */
export function browserOf(t: TestApp): CookieBrowser {
  const jar = new Map<string, string>();
  async function send(method: string, path: string, { headers, ...given }: Given = {}): Promise<Response> {
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
    const answer = await t.request(method, path, {
      ...given,
      as: "anonymous",
      headers: { ...headers, ...(cookie ? { cookie } : {}) },
    });
    for (const each of answer.headers.getSetCookie()) {
      const [pair = "", ...attributes] = each.split("; ");
      const at = pair.indexOf("=");
      if (attributes.includes("Max-Age=0")) jar.delete(pair.slice(0, at));
      else jar.set(pair.slice(0, at), pair.slice(at + 1));
    }
    return answer;
  }
  return {
    send,
    json: async (method, path, body) => (await send(method, path, { body })).json(),
    signIn: (as, password = PASSWORD) =>
      send("POST", "/login", { form: { email: t.emails[as], password, next: "/jobs" } }),
    enterCode: (code) => send("POST", "/login/code", { form: { code, next: "/jobs" } }),
    isSignedIn: async () => (await send("GET", "/v1/me")).status === 200,
  };
}
