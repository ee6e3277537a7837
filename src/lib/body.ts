/** Reads request bodies whole, with a limit that holds whatever the headers claim. */

/**
 * The whole body; never more than one network chunk above the limit is in memory.
 * @param max bytes
 * @param tooLarge makes the error thrown above the limit
 */
export async function readBytes(request: Request, max: number, tooLarge: () => Error): Promise<Uint8Array> {
  const claimed = request.headers.get("content-length");
  if (Number(claimed ?? 0) > max) throw tooLarge();
  if (!request.body) return new Uint8Array();
  if (claimed !== null) {
    // The server reads no more than was declared.
    const bytes = await request.bytes();
    if (bytes.byteLength > max) throw tooLarge();
    return bytes;
  }
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of request.body) {
    size += piece.byteLength;
    if (size > max) throw tooLarge();
    pieces.push(piece);
  }
  return pieces.length === 1 ? (pieces[0] as Uint8Array) : Buffer.concat(pieces);
}
