/** Bodies read whole: nothing above the limit, whatever the headers claim. */
import { describe, expect, test } from "bun:test";
import { bodyTooLarge, readBytes, readUpTo } from "../../src/lib/body.ts";

/** A body that never ends, in chunks of 10 bytes; counts the chunks that were asked for. */
function endless() {
  const asked = { chunks: 0, canceled: false };
  const stream = new ReadableStream<Uint8Array>({
    pull(controller) {
      asked.chunks++;
      controller.enqueue(new Uint8Array(10).fill(65));
    },
    cancel() {
      asked.canceled = true;
    },
  });
  return { asked, stream };
}
const post = (body: BodyInit, headers: Record<string, string> = {}) =>
  new Request("http://localhost/", { method: "POST", body, headers });

describe("reading up to a limit", () => {
  test.each([
    [0, 0, false],
    [5, 5, false],
    [10, 10, false],
    [11, 10, true],
  ])("%d bytes with a limit of 10 give %d", async (size, length, truncated) => {
    const body = new Response("x".repeat(size)).body;
    const found = await readUpTo(body, 10);
    expect([found.bytes.byteLength, found.truncated]).toEqual([length, truncated]);
  });

  test("no body is no bytes", async () => {
    expect(await readUpTo(null, 10)).toEqual({ bytes: new Uint8Array(), truncated: false });
  });

  test("stops an endless body and cancels it", async () => {
    const { asked, stream } = endless();
    const { bytes, truncated } = await readUpTo(stream, 25);
    expect([bytes.byteLength, truncated, asked.canceled]).toEqual([25, true, true]);
    expect(asked.chunks).toBeLessThan(10);
  });
});

describe("reading a request", () => {
  test("joins the chunks", async () => {
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        for (const text of ["a", "b", "c"]) controller.enqueue(new TextEncoder().encode(text));
        controller.close();
      },
    });
    expect(new TextDecoder().decode(await readBytes(post(body), 3))).toBe("abc");
  });

  test("refuses a declared length above the limit without reading", async () => {
    const { asked, stream } = endless();
    const request = post(stream, { "content-length": "26" });
    await expect(readBytes(request, 25)).rejects.toMatchObject({ code: "body_too_large" });
    expect(asked.chunks).toBeLessThanOrEqual(1);
  });

  test("refuses a body that is longer than the limit", async () => {
    await expect(readBytes(post(endless().stream), 25)).rejects.toMatchObject({ code: "body_too_large" });
    await expect(readBytes(post("x".repeat(26)), 25)).rejects.toMatchObject({ kind: "too_large" });
  });

  test("the refusal names the limit and what to do", () => {
    expect(bodyTooLarge(2 * 1024 ** 2, "Send smaller parts.").message).toBe(
      "The request body is larger than 2 MiB, the limit at this address. Send smaller parts.",
    );
    expect(bodyTooLarge(99).message).toBe("The request body is larger than 99 bytes, the limit at this address.");
  });
});
