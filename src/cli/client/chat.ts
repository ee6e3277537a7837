/** `chat`: talks with a model, streaming its answers; one message with -m or from a pipe, else a conversation. */
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline/promises";
import { AppError } from "../../errors.ts";
import { eventData, eventSplitter } from "../../serving/gateway/sse.ts";
import type { ApiClient } from "../api-client.ts";
import { type Args, EXIT, UsageError, type Verb } from "../command.ts";
import { connect, SERVER_OPTIONS } from "./connection.ts";
import { plainLines, print, printJson, say } from "./output.ts";
import { idOf } from "./resources.ts";

const PATH = "/v1/chat/completions";

interface Turn {
  role: "system" | "user" | "assistant";
  content: string;
}

interface Piece {
  choices?: { delta?: { content?: string | null } }[];
  error?: { message?: string; code?: string };
}

/** Texts of a streamed answer, as they arrive. */
async function* textsOf(answer: Response): AsyncGenerator<string> {
  const splitter = eventSplitter();
  const decoder = new TextDecoder();
  for await (const bytes of answer.body ?? [])
    for (const event of splitter.feed(bytes)) {
      const data = eventData(decoder.decode(event));
      if (data === null || data === "[DONE]") continue;
      const { choices, error } = JSON.parse(data) as Piece;
      if (error) throw new AppError("unavailable", error.code ?? "stream_error", error.message ?? "The answer failed.");
      yield choices?.[0]?.delta?.content ?? "";
    }
}

/** Asks the model, prints the answer as it arrives and returns it. */
async function ask(api: ApiClient, request: Record<string, unknown>): Promise<string> {
  const answer = await api.open("POST", PATH, { ...request, stream: true });
  let whole = "";
  for await (const text of textsOf(answer)) {
    whole += text;
    print(plainLines(text));
  }
  print("\n");
  return whole;
}

async function converse(api: ApiClient, request: Record<string, unknown>, turns: Turn[]): Promise<void> {
  const reader = createInterface({ input: process.stdin, output: process.stderr });
  reader.setPrompt("> ");
  say("Ctrl-D ends the conversation, /clear starts a new one.");
  let closed = false; // Ctrl-D may be typed while an answer arrives
  reader.once("close", () => {
    closed = true;
  });
  reader.prompt();
  let history = [...turns];
  for await (const line of reader) {
    const content = line.trim();
    if (content === "/clear") history = [...turns];
    else if (content) {
      history.push({ role: "user", content });
      history.push({ role: "assistant", content: await ask(api, { ...request, messages: history }) });
    }
    if (!closed) reader.prompt();
  }
  say("");
}

/** The numbers of options that are sent only when given. */
function numbers(args: Args, names: Record<string, string>): Record<string, number> {
  const found: Record<string, number> = {};
  for (const [option, field] of Object.entries(names)) {
    const value = args.text(option);
    if (value === undefined) continue;
    if (!Number.isFinite(Number(value))) throw new UsageError(`--${option} must be a number.`);
    found[field] = Number(value);
  }
  return found;
}

export const chat: Verb = {
  name: "chat",
  summary: "Talks with a model; its answers are streamed.",
  words: "MODEL",
  options: {
    message: { value: "TEXT", short: "m", help: "one message; without it a conversation, or the text of a pipe" },
    system: { value: "TEXT", help: "system message" },
    "max-tokens": { value: "N", help: "most tokens of an answer" },
    temperature: { value: "T", help: "0 for the most likely answer" },
    ...SERVER_OPTIONS,
  },
  notes: "With --json the whole answer is printed as the API's object.",
  async run(args) {
    const model = idOf(args, "model");
    const piped = args.text("message") === undefined && !process.stdin.isTTY;
    const message = piped ? readFileSync(0, "utf8").trim() : args.text("message");
    if (piped && !message) throw new UsageError("Give a message with -m, or on standard input.");
    const system = args.text("system");
    const turns: Turn[] = system ? [{ role: "system", content: system }] : [];
    const request = { model, ...numbers(args, { "max-tokens": "max_tokens", temperature: "temperature" }) };
    const api = connect(args);
    if (message === undefined) {
      if (args.on("json")) throw new UsageError("--json needs a message: -m TEXT.");
      await converse(api, request, turns);
      return EXIT.ok;
    }
    const messages: Turn[] = [...turns, { role: "user", content: message }];
    if (args.on("json")) printJson(await api.call("POST", PATH, { ...request, messages }));
    else await ask(api, { ...request, messages });
    return EXIT.ok;
  },
};
