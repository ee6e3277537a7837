/** Makes small safetensors files, whole or broken on purpose. */

/**
 * Bytes of a file with these tensors (float32), in order, one after the other. `metadata` makes equal tensors differ in
 * bytes.
 */
export function safetensors(tensors: Record<string, number[]>, metadata: Record<string, string> = {}): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let at = 0;
  for (const [name, values] of Object.entries(tensors)) {
    header[name] = { dtype: "F32", shape: [values.length], data_offsets: [at, at + values.length * 4] };
    at += values.length * 4;
  }
  return withHeader(JSON.stringify(header), new Uint8Array(new Float32Array(Object.values(tensors).flat()).buffer));
}

/** Bytes of a file with any header text and data. */
export function withHeader(header: string, data: Uint8Array): Uint8Array {
  const text = new TextEncoder().encode(header);
  const length = new Uint8Array(new BigUint64Array([BigInt(text.byteLength)]).buffer);
  return new Uint8Array(Buffer.concat([length, text, data]));
}
