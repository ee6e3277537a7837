/**
 * A run as the offline file of Weights & Biases, which `wandb sync` uploads: records of protobuf in the log format of
 * LevelDB. Numbers of fields are those of wandb's `wandb_internal.proto`.
 */
import { crc32 } from "node:zlib";

const BLOCK = 32_768;
const HEAD = 7;
/** Kinds of pieces: a whole record, or a part of one. */
const KIND = { whole: 1, first: 2, middle: 3, last: 4 };
const FILE_HEAD = Buffer.from([...Buffer.from(":W&B"), 0xe1, 0xbe, 0]);
/** What readers of the file need; wandb itself writes this. */
const MIN_CONSUMER = "0.70.0";

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}
/** A field with bytes, a text or a message; empty texts are left out. */
const field = (number: number, value: Buffer | string): Buffer => {
  const bytes = Buffer.from(value);
  if (value === "") return bytes;
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
};
const integer = (number: number, value: number) => Buffer.concat([varint(number * 8), varint(value)]);
const message = (...fields: Buffer[]) => Buffer.concat(fields);

/** Pieces of the log: a record that crosses the end of a block is split there. */
function framed(records: readonly Buffer[]): Buffer {
  const parts: Buffer[] = [FILE_HEAD];
  let at = FILE_HEAD.length;
  const write = (type: number, data: Buffer) => {
    const head = Buffer.alloc(HEAD);
    head.writeUInt32LE(crc32(data, crc32(Buffer.from([type]))), 0);
    head.writeUInt16LE(data.length, 4);
    head[6] = type;
    parts.push(head, data);
    at += HEAD + data.length;
  };
  for (const record of records) {
    let rest = record;
    for (let first = true; ; first = false) {
      const gap = BLOCK - (at % BLOCK);
      if (gap < HEAD) {
        parts.push(Buffer.alloc(gap));
        at += gap;
      }
      const left = BLOCK - (at % BLOCK);
      const whole = rest.length <= left - HEAD;
      const data = rest.subarray(0, left - HEAD);
      rest = rest.subarray(data.length);
      write(first ? (whole ? KIND.whole : KIND.first) : whole ? KIND.last : KIND.middle, data);
      if (whole) break;
    }
  }
  return Buffer.concat(parts);
}

interface WandbRun {
  id: string;
  project: string;
  entity?: string | undefined;
  name: string;
  tags: readonly string[];
  config: Record<string, unknown>;
  /** Unix seconds. */
  startedAt: number;
  runtimeS: number;
  /** Values by step, in order. */
  history: readonly (readonly [step: number, values: ReadonlyMap<string, number>])[];
}

/** The file of a run that has ended. */
export function wandbFile(run: WandbRun): Buffer {
  const records: Buffer[] = [];
  const add = (number: number, body: Buffer) =>
    records.push(message(integer(1, records.length + 1), field(number, body)));
  const item = (key: string, value: unknown) => message(field(2, key), field(16, JSON.stringify(value)));
  const setting = ([key, value]: [string, unknown]) =>
    field(1, message(field(1, key), field(16, JSON.stringify(value))));

  add(21, field(1, message(field(1, "finetune-lab"), field(2, MIN_CONSUMER))));
  const config = message(...Object.entries(run.config).map(setting));
  add(
    17,
    message(
      field(1, run.id),
      field(2, run.entity ?? ""),
      field(3, run.project),
      field(4, config),
      field(8, run.name),
      ...run.tags.map((tag) => field(10, tag)),
      field(17, integer(1, run.startedAt)),
    ),
  );
  const last = new Map<string, number>();
  for (const [step, values] of run.history) {
    const items = [...values, ["_step", step] as const];
    for (const [key, value] of items) last.set(key, value);
    add(2, message(...items.map(([key, value]) => field(1, item(key, value))), field(2, integer(1, step))));
  }
  add(3, message(...[...last].map(([key, value]) => field(1, item(key, value)))));
  add(18, message(integer(1, 0), integer(2, run.runtimeS)));
  return framed(records);
}
