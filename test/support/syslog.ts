/** Receivers of syslog for tests: UDP, TCP and TLS, which read RFC 5424 strictly and record every message. */
import { createSocket } from "node:dgram";
import { createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { certificate } from "./mail-server.ts";

/** A message of RFC 5424, taken apart. */
interface SyslogMessage {
  facility: number;
  severity: number;
  timestamp: string;
  hostname: string;
  app: string;
  procid: string;
  msgid: string;
  /** Unescaped values by element and name. */
  data: Record<string, Record<string, string>>;
  /** The text after the byte order mark. */
  text: string;
}

const NAME = "[!#-<>-\\\\^-~]{1,32}";
const VALUE = '"((?:[^"\\\\\\]]|\\\\["\\\\\\]])*)"';
const HEADER = new RegExp(
  "^<(0|[1-9]\\d{0,2})>1 (\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(?:\\.\\d{1,6})?(?:Z|[+-]\\d\\d:\\d\\d)) " +
    "(-|[!-~]{1,255}) (-|[!-~]{1,48}) (-|[!-~]{1,128}) (-|[!-~]{1,32}) ",
);
const ELEMENT = new RegExp(`^\\[(${NAME})((?: ${NAME}=${VALUE})*)\\]`);
const PARAM = new RegExp(` (${NAME})=${VALUE}`, "g");

/** @throws Error when the bytes are not a message of RFC 5424 with UTF-8 text */
export function readSyslog(bytes: Uint8Array): SyslogMessage {
  const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  const header = HEADER.exec(text);
  if (!header) throw new Error(`no header of RFC 5424: ${text.slice(0, 120)}`);
  const [whole, pri, timestamp = "", hostname = "", app = "", procid = "", msgid = ""] = header;
  if (Number(pri) > 191) throw new Error(`the priority is ${pri}`);
  let rest = text.slice(whole.length);
  const data: SyslogMessage["data"] = {};
  for (let found = ELEMENT.exec(rest); found; found = ELEMENT.exec(rest)) {
    const [element, id = "", params = ""] = found;
    if (data[id]) throw new Error(`the element ${id} is there twice`);
    if (id.includes("@") && !/^[^@]+@\d+$/.test(id)) throw new Error(`the name ${id} has no enterprise number`);
    data[id] = Object.fromEntries(
      [...params.matchAll(PARAM)].map(([, name = "", value = ""]) => [name, value.replace(/\\(["\\\]])/g, "$1")]),
    );
    rest = rest.slice(element.length);
  }
  if (Object.keys(data).length === 0) throw new Error("no structured data");
  if (!rest.startsWith(" \ufeff")) throw new Error(`no byte order mark: ${rest.slice(0, 20)}`);
  const priority = Number(pri);
  const fields = { timestamp, hostname, app, procid, msgid, data, text: rest.slice(2) };
  return { facility: priority >> 3, severity: priority & 7, ...fields };
}

export interface SyslogReceiver {
  port: number;
  /** PEM of the authority of the TLS receiver. */
  ca: string;
  messages: SyslogMessage[];
  /** What could not be read. */
  problems: string[];
  /** After this number of messages the receiver breaks connections, without reading further; null = never. */
  breakAfter: number | null;
  close(): Promise<void>;
}

function take(receiver: SyslogReceiver, bytes: Uint8Array): void {
  try {
    receiver.messages.push(readSyslog(bytes));
  } catch (error) {
    receiver.problems.push(String(error));
  }
}

/** Reads frames with octet counting. */
function readFrames(receiver: SyslogReceiver, socket: Socket): void {
  let held = Buffer.alloc(0);
  socket.on("error", () => {});
  socket.on("data", (part: Buffer) => {
    held = Buffer.concat([held, part]);
    for (;;) {
      const match = /^([1-9]\d{0,8}) /.exec(held.subarray(0, 12).toString("latin1"));
      if (!match) {
        if (held.length > 11) receiver.problems.push("a frame without a length");
        return;
      }
      const from = match[0].length;
      const until = from + Number(match[1]);
      if (held.length < until) return;
      if (receiver.breakAfter !== null && receiver.messages.length >= receiver.breakAfter) {
        socket.resetAndDestroy();
        return;
      }
      take(receiver, held.subarray(from, until));
      held = held.subarray(until);
    }
  });
}

export async function startSyslog(transport: "udp" | "tcp" | "tls", port = 0): Promise<SyslogReceiver> {
  const receiver: SyslogReceiver = {
    port,
    ca: "",
    messages: [],
    problems: [],
    breakAfter: null,
    close: async () => {},
  };
  if (transport === "udp") {
    const socket = createSocket("udp4");
    socket.on("message", (bytes) => take(receiver, bytes));
    await new Promise<void>((resolve) => socket.bind(port, "127.0.0.1", resolve));
    receiver.port = socket.address().port;
    receiver.close = () => new Promise((resolve) => socket.close(() => resolve()));
    return receiver;
  }
  const { key, cert } = transport === "tls" ? certificate() : { key: "", cert: "" };
  receiver.ca = cert;
  const open = new Set<Socket>();
  const serve = (socket: Socket) => {
    open.add(socket);
    socket.on("close", () => open.delete(socket));
    readFrames(receiver, socket);
  };
  const server: Server = transport === "tls" ? createTlsServer({ key, cert }, serve) : createServer(serve);
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  receiver.port = (server.address() as { port: number }).port;
  receiver.close = () =>
    new Promise((resolve) => {
      for (const socket of open) socket.destroy();
      server.close(() => resolve());
    });
  return receiver;
}
