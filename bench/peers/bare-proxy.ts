/**
 * A minimal proxy on this runtime: reads the request, calls the engine, returns the answer; no key, no limit, no usage
 * row. Prints the port.
 */
const unix = process.argv[2] ?? "";
const server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  async fetch(request) {
    const body = await request.text();
    const reply = await fetch("http://localhost/v1/chat/completions", {
      unix,
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
    });
    return new Response(await reply.text(), { headers: { "content-type": "application/json" } });
  },
});
process.stdout.write(`${server.port}\n`);
