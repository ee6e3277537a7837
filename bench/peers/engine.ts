/**
 * The stub engine behind every gateway of bench/gateway.ts: answers a fixed completion immediately, on a Unix socket
 * and on a port. Prints the port.
 */
const reply = JSON.stringify({
  id: "chatcmpl-bench",
  object: "chat.completion",
  created: 1,
  model: "tiny",
  choices: [
    {
      index: 0,
      message: { role: "assistant", content: "The capital of France is Paris." },
      finish_reason: "stop",
      logprobs: null,
    },
  ],
  usage: { prompt_tokens: 24, completion_tokens: 8, total_tokens: 32 },
});
const answer = async (request: Request) => {
  if (request.method === "POST") await request.text();
  return new Response(reply, { headers: { "content-type": "application/json" } });
};
Bun.serve({ unix: process.argv[2] ?? "", fetch: answer });
const tcp = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: answer });
process.stdout.write(`${tcp.port}\n`);
