/**
 * Streams all metrics of a job as the event file that TensorBoard reads: records in TFRecord's framing, each an `Event`
 * of `tensorflow/core/util/event.proto`.
 */
import type { Ctx } from "../../ctx.ts";
import { readSteps } from "./steps.ts";

/** The version that every reader of event files expects. */
const FILE_VERSION = "brain.Event:2";
/** CRC-32C (Castagnoli), reflected. */
const POLYNOMIAL = 0x82f63b78;

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ POLYNOMIAL : value >>> 1;
  return value;
});

function crc32c(bytes: Uint8Array): number {
  let value = 0xffffffff;
  for (const byte of bytes) value = (value >>> 8) ^ (TABLE[(value ^ byte) & 255] ?? 0);
  return ~value >>> 0;
}

/** TFRecord rotates and shifts checksums, so that a record within a record is not checked by its own. */
export function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

function framed(record: Buffer): Buffer {
  const head = Buffer.alloc(12);
  head.writeBigUInt64LE(BigInt(record.length));
  head.writeUInt32LE(maskedCrc(head.subarray(0, 8)), 8);
  const tail = Buffer.alloc(4);
  tail.writeUInt32LE(maskedCrc(record));
  return Buffer.concat([head, record, tail]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}
const lengthed = (number: number, value: Buffer) =>
  Buffer.concat([Buffer.from([number * 8 + 2]), varint(value.length), value]);
function double(number: number, value: number): Buffer {
  const bytes = Buffer.alloc(9);
  bytes[0] = number * 8 + 1;
  bytes.writeDoubleLE(value, 1);
  return bytes;
}
/** `Summary.Value`: tag and simple_value. */
function scalar(tag: string, value: number): Buffer {
  const bytes = Buffer.alloc(5);
  bytes[0] = 2 * 8 + 5;
  bytes.writeFloatLE(value, 1);
  return Buffer.concat([lengthed(1, Buffer.from(tag)), bytes]);
}

/** `Event`: wall_time in seconds, step, and a file_version or the values of a summary. */
const event = (at: number, ...rest: Buffer[]) => framed(Buffer.concat([double(1, at / 1000), ...rest]));

/** The pieces of the event file. Missing and non-finite values are left out. */
export async function* tensorboardEvents(ctx: Ctx, jobId: string, startedAt: number): AsyncGenerator<Buffer> {
  const { keys, pieces } = await readSteps(ctx, jobId);
  yield event(startedAt, lengthed(3, Buffer.from(FILE_VERSION)));
  for await (const steps of pieces)
    yield Buffer.concat(
      steps.map(({ step, at, values }) => {
        const scalars = values.flatMap((value, index) =>
          value === null ? [] : [lengthed(1, scalar(keys[index] ?? "", value))],
        );
        return event(at, Buffer.from([2 * 8]), varint(step), lengthed(5, Buffer.concat(scalars)));
      }),
    );
}
