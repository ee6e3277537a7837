/** Sends syslog messages over UDP, TCP or TLS. A stream is delivered when the receiver has closed it after us. */
import { createSocket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { isIP, type Socket, connect as tcpConnect } from "node:net";
import { connect as tlsConnect } from "node:tls";
import { framed } from "./syslog.ts";

const TIMEOUT_MS = 15_000;
/** Datagrams sent without a pause. */
const BURST = 20;

interface SyslogAddress {
  host: string;
  port: number;
  transport: "udp" | "tcp" | "tls";
  /** PEM: the authority that signed the receiver's certificate; null = the public ones. */
  ca: string | null;
}

/** One datagram for each message. Nobody confirms them. */
async function sendDatagrams({ host, port }: SyslogAddress, messages: readonly Buffer[]): Promise<void> {
  const { address, family } = await lookup(host);
  const socket = createSocket(family === 6 ? "udp6" : "udp4");
  try {
    const failed = new Promise<never>((_, reject) => socket.once("error", reject));
    failed.catch(() => {});
    for (const [index, message] of messages.entries()) {
      // A receiver's buffer holds few datagrams, and loses the others.
      if (index % BURST === BURST - 1) await Bun.sleep(1);
      await Promise.race([
        failed,
        new Promise<void>((resolve, reject) =>
          socket.send(message, port, address, (error) => (error ? reject(error) : resolve())),
        ),
      ]);
    }
  } finally {
    socket.close();
  }
}

function connect({ host, port, transport, ca }: SyslogAddress): Socket {
  if (transport === "tcp") return tcpConnect({ host, port });
  const servername = isIP(host) ? {} : { servername: host };
  return tlsConnect({ host, port, minVersion: "TLSv1.2", ...servername, ...(ca ? { ca } : {}) });
}

/**
 * A connection for these messages. Syslog has no confirmation: the receiver's end of the stream, after ours, says that
 * it has read everything before it.
 */
function sendStream(to: SyslogAddress, messages: readonly Buffer[], signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = connect(to);
  let ended = false;
  let sent = false;
  const fail = (error: Error) => {
    reject(error);
    socket.destroy();
  };
  const abort = () => fail(new Error("the server is stopping"));
  signal.addEventListener("abort", abort, { once: true });
  socket.setTimeout(TIMEOUT_MS, () =>
    fail(
      new Error(sent ? "the receiver did not close the connection, so it may not have read it" : "no answer in 15 s"),
    ),
  );
  socket.once(to.transport === "tls" ? "secureConnect" : "connect", () => {
    socket.end(Buffer.concat(messages.map(framed)), () => {
      sent = true;
    });
  });
  // What a receiver sends means nothing, but has to be read.
  socket.resume();
  socket.on("end", () => {
    ended = sent;
  });
  socket.on("error", fail);
  socket.on("close", () => {
    signal.removeEventListener("abort", abort);
    if (ended) resolve();
    else reject(new Error("the receiver closed the connection early"));
  });
  return promise;
}

/** Sends messages in order. @throws Error when it is not sure that all arrived; over UDP nothing is ever sure */
export function sendSyslog(to: SyslogAddress, messages: readonly Buffer[], signal: AbortSignal): Promise<void> {
  return to.transport === "udp" ? sendDatagrams(to, messages) : sendStream(to, messages, signal);
}
