/** `chat` against a server of the test that streams as real ones do: pieces cut anywhere, comments, errors. */
import { afterAll, beforeEach, expect, test } from "bun:test";
import { PROGRAM } from "../support/program.ts";

let asked: { model: string; messages: unknown[]; stream?: boolean; max_tokens?: number }[] = [];
/** What the server streams, in pieces of this many bytes. */
let answer = "";
let pieceBytes = 1000;

const server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  async fetch(request) {
    const body = await request.json();
    asked.push(body);
    if (request.headers.get("authorization") !== "Bearer ftl-test") return new Response("", { status: 401 });
    if (!body.stream) return Response.json({ choices: [{ message: { content: "whole" } }] });
    const bytes = Buffer.from(answer);
    return new Response(
      new ReadableStream({
        async start(controller) {
          for (let at = 0; at < bytes.length; at += pieceBytes) {
            controller.enqueue(bytes.subarray(at, at + pieceBytes));
            await Bun.sleep(0);
          }
          controller.close();
        },
      }),
      { headers: { "content-type": "text/event-stream" } },
    );
  },
});
afterAll(() => server.stop(true));
beforeEach(() => {
  asked = [];
  pieceBytes = 1000;
});

const delta = (content: string) => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`;

async function chat(args: string[], input = "") {
  const child = Bun.spawn([...PROGRAM, "chat", "m", ...args], {
    env: { PATH: process.env.PATH ?? "", HOME: "/nonexistent", FTL_URL: server.url.origin, FTL_API_KEY: "ftl-test" },
    stdin: new Blob([input]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code: await child.exited, out, err };
}

test.each([1, 2, 7, 1000])(
  "prints a stream that arrives %d bytes at a time, without control characters",
  async (size) => {
    pieceBytes = size;
    answer = `: comment\n\n${delta("Grüße ")}${delta("\u001b[31mred\u001b[0m")}${delta("\n漢字")}data: {"choices":[]}\n\ndata: [DONE]\n\n`;
    const ran = await chat(["-m", "hi", "--system", "be short", "--max-tokens", "9"]);
    expect(ran).toEqual({ code: 0, out: "Grüße [31mred[0m\n漢字\n", err: "" });
    expect(asked).toEqual([
      {
        model: "m",
        max_tokens: 9,
        messages: [
          { role: "system", content: "be short" },
          { role: "user", content: "hi" },
        ],
        stream: true,
      },
    ]);
  },
);

test("takes the message from a pipe; --json prints the API's object without streaming", async () => {
  const ran = await chat(["--json"], "two\nlines\n");
  expect([ran.code, JSON.parse(ran.out)]).toEqual([0, { choices: [{ message: { content: "whole" } }] }]);
  expect(asked).toEqual([{ model: "m", messages: [{ role: "user", content: "two\nlines" }] }]);
});

test("an error in the middle of a stream ends with exit code 1 and its message", async () => {
  answer = `${delta("partly")}data: ${JSON.stringify({ error: { message: "The endpoint stopped.", code: "gone" } })}\n\n`;
  expect(await chat(["-m", "hi"])).toEqual({ code: 1, out: "partly", err: "The endpoint stopped.\n" });
});

test("on a terminal it is a conversation that keeps its turns until /clear and ends with Ctrl-D", async () => {
  answer = `${delta("fine")}data: [DONE]\n\n`;
  const spawn = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
  const child = Bun.spawn(["python3", "-c", spawn, ...PROGRAM, "chat", "m"], {
    env: {
      PATH: process.env.PATH ?? "",
      HOME: "/",
      TERM: "xterm",
      FTL_URL: server.url.origin,
      FTL_API_KEY: "ftl-test",
    },
    stdin: "pipe",
    stdout: "pipe",
  });
  // Keys are typed once the prompt is there: before that the terminal itself would interpret them.
  let shown = "";
  let typed = false;
  for await (const piece of child.stdout) {
    shown += new TextDecoder().decode(piece);
    if (typed || !shown.includes("> ")) continue;
    typed = true;
    child.stdin.write("one\rtwo\r/clear\rthree\r\u0004");
    await child.stdin.flush();
  }
  expect(await child.exited).toBe(0);
  const turns = asked.map(({ messages }) => messages.map((one) => (one as { content: string }).content).join("|"));
  expect(turns).toEqual(["one", "one|fine|two", "three"]);
});
