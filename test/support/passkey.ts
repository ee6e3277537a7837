/** An authenticator in software: creates passkeys and signs with them, also wrongly where a test asks for it. */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import type { CookieBrowser } from "./cookies.ts";

const sha256 = (data: string | Buffer) => createHash("sha256").update(data).digest();
const base64 = (data: Buffer) => data.toString("base64url");

/** CBOR of a byte string. */
function bytes(data: Buffer): Buffer {
  const head =
    data.length < 24
      ? [0x40 | data.length]
      : data.length < 256
        ? [0x58, data.length]
        : [0x59, data.length >> 8, data.length & 255];
  return Buffer.concat([Buffer.from(head), data]);
}
const text = (value: string) => Buffer.concat([Buffer.from([0x60 | value.length]), Buffer.from(value)]);

/** What differs from a correct answer. */
export interface Wrong {
  origin?: string;
  rpId?: string;
  verified?: boolean;
  counter?: number;
  challenge?: string;
  userHandle?: string;
}

interface CreationOptions {
  challenge: string;
  rp: { id: string };
  user: { id: string };
}
interface RequestOptions {
  challenge: string;
  rpId: string;
}

/** One authenticator with one passkey. `origin` is the page that it is used on. */
export class SoftPasskey {
  readonly id = base64(randomBytes(16));
  counter = 0;
  private key: KeyObject | null = null;
  private userHandle = "";
  constructor(private readonly origin: string) {}

  private authData(rpId: string, flags: number, counter: number, more: Buffer = Buffer.alloc(0)): Buffer {
    const tail = Buffer.alloc(5);
    tail.writeUInt8(flags, 0);
    tail.writeUInt32BE(counter, 1);
    return Buffer.concat([sha256(rpId), tail, more]);
  }

  private clientData(type: string, challenge: string, wrong: Wrong): Buffer {
    const origin = wrong.origin ?? this.origin;
    return Buffer.from(JSON.stringify({ type, challenge: wrong.challenge ?? challenge, origin, crossOrigin: false }));
  }

  /** Answers creation options, as the JSON that a page sends. */
  create(options: CreationOptions, wrong: Wrong = {}): string {
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    this.key = privateKey;
    this.userHandle = options.user.id;
    const { x = "", y = "" } = publicKey.export({ format: "jwk" });
    const cose = Buffer.concat([
      Buffer.from([0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21]),
      bytes(Buffer.from(x, "base64url")),
      Buffer.from([0x22]),
      bytes(Buffer.from(y, "base64url")),
    ]);
    const id = Buffer.from(this.id, "base64url");
    const attested = Buffer.concat([Buffer.alloc(16), Buffer.from([0, id.length]), id, cose]);
    const flags = wrong.verified === false ? 0x41 : 0x45;
    const data = this.authData(wrong.rpId ?? options.rp.id, flags, this.counter, attested);
    const attestation = Buffer.concat([
      Buffer.from([0xa3]),
      text("fmt"),
      text("none"),
      text("attStmt"),
      Buffer.from([0xa0]),
      text("authData"),
      bytes(data),
    ]);
    return this.answer({
      clientDataJSON: base64(this.clientData("webauthn.create", options.challenge, wrong)),
      attestationObject: base64(attestation),
      transports: ["internal", "hybrid"],
    });
  }

  /** Answers request options; the counter grows by one. */
  sign(options: RequestOptions, wrong: Wrong = {}): string {
    if (!this.key) throw new Error("create it first");
    this.counter = wrong.counter ?? this.counter + 1;
    const data = this.authData(wrong.rpId ?? options.rpId, wrong.verified === false ? 0x01 : 0x05, this.counter);
    const client = this.clientData("webauthn.get", options.challenge, wrong);
    const signature = sign("sha256", Buffer.concat([data, sha256(client)]), this.key);
    return this.answer({
      clientDataJSON: base64(client),
      authenticatorData: base64(data),
      signature: base64(signature),
      userHandle: wrong.userHandle ?? this.userHandle,
    });
  }

  private answer(response: object): string {
    const { id } = this;
    return JSON.stringify({ id, rawId: id, type: "public-key", clientExtensionResults: {}, response });
  }
}

/** Adds a passkey in a browser that is signed in. @returns the answer to the form */
export async function addPasskey(
  browser: Pick<CookieBrowser, "send" | "json">,
  name: string,
  key: SoftPasskey,
  wrong?: Wrong,
): Promise<Response> {
  type Asked = { publicKey: CreationOptions; state: string };
  const { publicKey, state } = await browser.json<Asked>("POST", "/settings/two-factor/passkeys/options");
  const form = { name, state, credential: key.create(publicKey, wrong) };
  return browser.send("POST", "/settings/two-factor/passkeys", { form, headers: { accept: "text/html" } });
}

/** Sends the answer of a passkey to a form. @returns what was sent, and the answer */
export async function sendPasskey(
  browser: Pick<CookieBrowser, "send" | "json">,
  path: string,
  purpose: "sign_in" | "second_step",
  key: SoftPasskey,
  wrong?: Wrong,
): Promise<{ form: Record<string, string>; answer: Response }> {
  const { publicKey, state } = await askForSignature(browser, purpose);
  const form = { state, credential: key.sign(publicKey, wrong), next: "/jobs" };
  return { form, answer: await browser.send("POST", path, { form, headers: { accept: "text/html" } }) };
}

/** What a page asks for before a passkey is used. */
export async function askForSignature(
  browser: Pick<CookieBrowser, "send" | "json">,
  purpose: string,
): Promise<{ publicKey: RequestOptions; state: string }> {
  const answer = await browser.send("POST", "/passkey/options", { form: { purpose } });
  return (await answer.json()) as { publicKey: RequestOptions; state: string };
}
