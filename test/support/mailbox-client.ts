/** A trainer that uses the mailbox: what `protocol/mailbox.py` does, for tests of the server. */
import { createHmac } from "node:crypto";
import { randomChars, sha256Hex } from "../../src/lib/ids.ts";
import type { TestTrainer } from "./attempt.ts";

interface Addresses {
  renew: string;
  lanes: { put: [string, string]; get: [string, string] }[];
}

type Pair = [put: string, get: string];

const hmac = (key: string, ...parts: (string | Uint8Array)[]) => {
  const made = createHmac("sha256", key);
  for (const part of parts) made.update(part);
  return made.digest();
};

/** Opens what `writeAnswer` has sealed. @throws Error for another nonce */
function unseal(key: string, sealed: Buffer): string {
  const [salt, tag, hidden] = [sealed.subarray(0, 16), sealed.subarray(16, 48), sealed.subarray(48)];
  if (!hmac(key, "tag", salt, hidden).equals(tag)) throw new Error("sealed for somebody else");
  const counter = Buffer.alloc(4);
  return Buffer.from(
    hidden.map((byte, at) => {
      counter.writeUInt32BE(Math.floor(at / 32));
      return byte ^ (hmac(key, "stream", salt, counter)[at % 32] as number);
    }),
  ).toString();
}

/**
 * A request to the bucket with its whole answer, sent again when the bucket fails or the connection breaks, as trainers
 * do: an object that is replaced while it is read may break it.
 */
async function ask(url: string, init?: RequestInit): Promise<Response> {
  for (let left = 3; ; left--) {
    try {
      const answer = await fetch(url, init);
      const body = await answer.arrayBuffer();
      if (answer.status < 500 || left === 0)
        return new Response(body.byteLength > 0 ? body : null, { status: answer.status, headers: answer.headers });
    } catch (problem) {
      if (left === 0) throw problem;
    }
    await Bun.sleep(50);
  }
}

/** One lane of a mailbox; requests go one after the other. */
export class MailboxClient implements Pick<TestTrainer, "call" | "json"> {
  token = "";
  addresses = "";
  private found: Addresses | null = null;
  private n = 0;
  private readonly boot: Pair;

  /** @param lane which lane it uses */
  constructor(
    url: string,
    private readonly lane = 0,
  ) {
    this.boot = JSON.parse(Buffer.from(url.replace("mailbox:", ""), "base64url").toString()) as Pair;
  }

  private async exchange([put, get]: Pair, head: { n: number } & Record<string, unknown>, body: Buffer) {
    const send = async () => {
      const sent = await ask(put, {
        method: "PUT",
        body: Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`), body]),
      });
      if (!sent.ok) throw new Error(`the bucket answered ${sent.status}: ${await sent.text()}`);
    };
    await send();
    const from = Date.now();
    // Without an answer trainers send the same request again; a bucket may lose one that follows a removal.
    for (let sends = 1; Date.now() - from < 30_000; await Bun.sleep(20)) {
      if (Date.now() - from > sends * 8000) {
        await send();
        sends++;
      }
      const answer = await ask(get);
      if (!answer.ok) continue;
      const bytes = Buffer.from(await answer.arrayBuffer());
      const at = bytes.indexOf(10);
      const found = JSON.parse(bytes.subarray(0, at).toString()) as {
        n: number;
        status: number;
        headers: Record<string, string>;
      };
      if (found.n === head.n) return { ...found, body: bytes.subarray(at + 1) };
    }
    throw new Error("no answer in the mailbox");
  }

  async bootstrap(token: string): Promise<void> {
    const nonce = randomChars(40);
    const n = Number.parseInt(sha256Hex(`number ${nonce}`).slice(0, 12), 16);
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const head = { n, method: "POST", path: "/bootstrap", headers };
    const { status, body } = await this.exchange(this.boot, head, Buffer.from(JSON.stringify({ nonce })));
    if (status !== 200) throw new Error(body.toString());
    const answer = JSON.parse(unseal(nonce, body)) as { token: string; addresses: string };
    this.token = answer.token;
    this.found = JSON.parse(await (await ask(answer.addresses)).text()) as Addresses;
    this.addresses = await this.readAddresses();
  }

  async readBoot(): Promise<string> {
    return (await ask(this.boot[1])).text();
  }

  async readAddresses(): Promise<string> {
    return (await ask(this.found?.renew ?? "")).text();
  }

  private pair(): Pair {
    const lane = this.found?.lanes[this.lane];
    if (!lane) throw new Error("no addresses");
    return [lane.put[this.n % 2] as string, lane.get[this.n % 2] as string];
  }

  /** Puts bytes that may be no request. */
  async put(raw: string): Promise<void> {
    this.n++;
    await ask(this.pair()[0], { method: "PUT", body: raw });
  }

  async call(...[method, path, given = {}]: Parameters<TestTrainer["call"]>): Promise<Response> {
    this.n++;
    const headers: Record<string, string> = { authorization: `Bearer ${given.token ?? this.token}`, ...given.headers };
    if (given.body !== undefined) headers["content-type"] = "application/json";
    const raw = given.body === undefined ? given.raw : JSON.stringify(given.body);
    const body = Buffer.from(await new Response(raw).arrayBuffer());
    const answer = await this.exchange(this.pair(), { n: this.n, method, path, headers }, body);
    if (answer.status !== 307)
      return new Response(new Uint8Array(answer.body), { status: answer.status, headers: answer.headers });
    const { range } = headers;
    return ask(answer.headers.location ?? "", { headers: range === undefined ? {} : { range } });
  }

  async json<T = Record<string, unknown>>(...[method, path, given]: Parameters<TestTrainer["json"]>): Promise<T> {
    const answer = await this.call(method, path, given);
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path} answered ${answer.status}: ${text}`);
    return JSON.parse(text) as T;
  }

  /** Waits until `left` gives nothing. */
  async gone(left: () => Promise<string[]>): Promise<void> {
    let last: string[] = [];
    for (const until = Date.now() + 20_000; Date.now() < until; await Bun.sleep(50)) {
      last = await left();
      if (last.length === 0) return;
    }
    throw new Error(`still there: ${last}`);
  }
}
