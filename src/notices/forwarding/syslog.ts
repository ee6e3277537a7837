/** An entry of the audit log as a syslog message (RFC 5424), and its framing on a stream (RFC 6587, RFC 5425). Pure. */

export const FACILITIES = {
  user: 1,
  auth: 4,
  authpriv: 10,
  audit: 13,
  local0: 16,
  local1: 17,
  local2: 18,
  local3: 19,
  local4: 20,
  local5: 21,
  local6: 22,
  local7: 23,
} as const;
export type Facility = keyof typeof FACILITIES;

const NOTICE = 5;
const WARNING = 4;
/** Refused requests; everything else is a notice. */
const REFUSED = /^(session\.(fail|lock)|key\.refused|access\.denied)$/;
const BOM = "\ufeff";
const APP = "finetune-lab";
/** A value of structured data; ids and actions are shorter. */
const MAX_VALUE = 200;

/** What a message is made of. */
export interface SyslogEntry {
  /** Milliseconds since 1970. */
  at: number;
  action: string;
  /** Null for a test. */
  seq: number | null;
  /** Values of the structured data; null ones are left out. */
  data: Record<string, string | null>;
  /** The text, as JSON, and a shorter one for when the message would be too long. */
  json: string;
  shortJson: string;
}

export interface SyslogSender {
  facility: Facility;
  hostname: string;
  /** The private enterprise number (IANA) in the name of the structured data. */
  enterprise: number;
  version: string;
  /** Bytes of a whole message. */
  maxBytes: number;
}

/** A header field: printable ASCII without spaces, or `-`. */
const header = (text: string, max: number) => text.replace(/[^\x21-\x7e]/g, "").slice(0, max) || "-";

/** A value of structured data: `"`, `\` and `]` are escaped; control characters become spaces. */
function value(text: string): string {
  const clipped = [...text].slice(0, MAX_VALUE).join("");
  return clipped
    .toWellFormed()
    .replace(/\p{Cc}/gu, " ")
    .replace(/["\\\]]/g, "\\$&");
}

const element = (name: string, data: Record<string, string | null>) =>
  `[${[name, ...Object.entries(data).flatMap(([key, text]) => (text === null ? [] : `${key}="${value(text)}"`))].join(" ")}]`;

/** One message, at most `maxBytes` long. The text begins with the byte order mark, which says that it is UTF-8. */
export function syslogMessage(sender: SyslogSender, entry: SyslogEntry): Buffer {
  const severity = REFUSED.test(entry.action) ? WARNING : NOTICE;
  const fields = [
    `<${FACILITIES[sender.facility] * 8 + severity}>1`,
    new Date(entry.at).toISOString(),
    header(sender.hostname, 255),
    APP,
    String(process.pid),
    header(entry.action, 32),
  ];
  const structured = [
    element("origin", { software: "Fine-Tune Lab", swVersion: sender.version }),
    // A number from 1 to 2147483647, as RFC 5424 has it.
    ...(entry.seq === null ? [] : [element("meta", { sequenceId: String(((entry.seq - 1) % 2_147_483_647) + 1) })]),
    element(`audit@${sender.enterprise}`, entry.data),
  ].join("");
  const before = `${[...fields, structured].join(" ")} ${BOM}`;
  const whole = Buffer.from(before + entry.json);
  if (whole.length <= sender.maxBytes) return whole;
  const short = Buffer.from(before + entry.shortJson);
  return short.length <= sender.maxBytes ? short : Buffer.from(before);
}

/** Octet counting: the length in bytes, a space, the message. */
export const framed = (message: Buffer): Buffer => Buffer.concat([Buffer.from(`${message.length} `), message]);
