/**
 * Compacts a conversation: the model summarizes it, and a sealed item holds the summary in place of everything but the
 * user's messages.
 */
import type { Actor, Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { newId, randomChars } from "../../lib/ids.ts";
import { seconds } from "../../lib/request-fields.ts";
import { seal, sealedWith, unseal, unsealEarlier } from "../../lib/sealed.ts";
import { sendAs } from "../gateway/ask.ts";
import type { Asking } from "./asking.ts";
import { refusal, rethrow } from "./errors.ts";
import { earlierItems, inputItems, requireItems } from "./history.ts";
import { type Item, textOf } from "./items.ts";
import type { CompactResponse } from "./request.ts";
import { type ChatUsage, usageOf } from "./view.ts";

type Json = Record<string, unknown>;

const MAX_SUMMARY_TOKENS = 512;
const TASK = `Summarize the conversation below for an assistant that continues it without seeing it. Keep instructions, facts, names, numbers, decisions, results of tools, and what is still to do. Write only the summary.`;
/** Clients keep compacted conversations: no table has them. */
const placeOf = (org: string) => ({ kind: "compaction", row: org });

/** A line of the conversation as text: any chat template can show it, also those without tools or system turns. */
function lineOf(item: Item): string {
  if (item.type === "function_call") return `assistant calls ${item.name}(${item.arguments})`;
  if (item.type === "function_call_output") return `result of the call: ${textOf(item.output)}`;
  return "role" in item ? `${item.role}: ${textOf(item.content)}` : "";
}

const isUserMessage = (item: Item | undefined): item is Item & { content: string } =>
  item !== undefined && "role" in item && item.role === "user";
const message = (role: string, content: string): Item => ({ type: "message", role, content });

function open(ctx: Ctx, actor: Actor, sealed: string, param: string): string {
  try {
    return sealedWith(sealed) === null
      ? unsealEarlier(ctx.secret, `compaction ${actor.org}`, sealed)
      : unseal(ctx.secret, placeOf(actor.org), sealed);
  } catch (cause) {
    const why = "Invalid 'encrypted_content': only what /v1/responses/compact of this server returned can be read.";
    throw new AppError("invalid", "invalid_encrypted_content", why, { param, cause });
  }
}

/**
 * The items with the summary of each compaction as the assistant's turn. The user's messages before it become one
 * message: the templates of many models want the turns of user and assistant to alternate.
 * @param earlier how many of the items are not from the request itself
 * @throws AppError `invalid_encrypted_content`
 */
export function expanded(ctx: Ctx, actor: Actor, items: readonly Item[], earlier = 0): Item[] {
  const out: Item[] = [];
  for (const [n, item] of items.entries()) {
    if (item.type !== "compaction") {
      out.push(item);
      continue;
    }
    const param = n < earlier ? "previous_response_id" : `input.${n - earlier}.encrypted_content`;
    const summary = open(ctx, actor, item.encrypted_content, param);
    const asked: string[] = [];
    for (let last = out.at(-1); isUserMessage(last); last = out.at(-1)) {
      asked.unshift(textOf(last.content));
      out.pop();
    }
    out.push(message("user", asked.join("\n\n") || "What did we talk about?"));
    out.push(message("assistant", `Summary of our conversation so far:\n${summary}`));
  }
  return out;
}

/**
 * Asks the model for a summary of the conversation.
 * @returns OpenAI's `response.compaction`: the user's messages and a compaction item, as the input of the next response
 * @throws AppError as chat completions do
 */
export async function compactResponse(
  ctx: Ctx,
  actor: Actor,
  request: CompactResponse,
  { signal, startedAt, requestId }: Asking,
): Promise<Response> {
  const id = newId("response");
  const earlier = await earlierItems(ctx, actor, request.previous_response_id);
  const given = [...earlier, ...(await inputItems(ctx, actor, request.input, id))] as unknown as Item[];
  requireItems(given);
  const lines = expanded(ctx, actor, given, earlier.length).map(lineOf);
  const body: Json = {
    model: request.model,
    messages: [
      ...(request.instructions === undefined ? [] : [{ role: "system", content: request.instructions }]),
      { role: "user", content: `${TASK}\n\n<conversation>\n${lines.join("\n\n")}\n</conversation>` },
    ],
    temperature: 0,
    max_completion_tokens: MAX_SUMMARY_TOKENS,
  };
  const options = { signal, startedAt, id: requestId };
  const reply = await sendAs(ctx, actor, "chat/completions", body, options).catch(rethrow);
  if (!reply.ok) return refusal(reply);
  const { choices, usage } = (await reply.json()) as {
    choices: { message: { content: string | null } }[];
    usage?: ChatUsage;
  };
  const summary = choices[0]?.message.content?.trim() ?? "";
  if (summary === "") {
    const why = "The model wrote no summary. Use another model, or keep the conversation as it is.";
    throw new AppError("unprocessable", "no_summary", why);
  }
  const compaction = {
    id: `cmp_${randomChars(20)}`,
    type: "compaction",
    encrypted_content: seal(ctx.secret, placeOf(actor.org), summary),
  };
  return Response.json({
    id,
    object: "response.compaction",
    created_at: seconds(ctx.clock.now()),
    output: [...given.filter(isUserMessage), compaction],
    usage: usageOf(usage ?? null),
  });
}
