/** The input items of a response as they are stored, and the conversation that a request continues. */
import type { Actor, Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { getAnswer, type StoredAnswer } from "../stored/store.ts";
import { type Item, isReference } from "./items.ts";
import { isPending } from "./view.ts";

type Json = Record<string, unknown>;

/** Longest conversation in responses. */
const MAX_CHAIN = 500;
/** Item ids contain the id of their response: `msg_ID_0` and `fc_ID_1` of its output, `msg_ID_i0` of its input. */
const ITEM_ID = /^[a-z]+_([0-9a-z]{20})_i?\d+$/;

const PREFIX = { message: "msg", function_call: "fc", function_call_output: "fco", compaction: "cmp" } as const;

function messageContent(role: string, content: unknown): Json[] {
  const type = role === "assistant" ? "output_text" : "input_text";
  const parts = (typeof content === "string" ? [{ type, text: content }] : content) as Json[];
  return parts.map((part) => {
    if (part.type === "refusal") return { type: "refusal", refusal: part.refusal };
    return role === "assistant"
      ? { type: "output_text", text: part.text, annotations: [], logprobs: [] }
      : { type: "input_text", text: part.text };
  });
}

/** An item as `input_items` lists it. */
function stored(item: Exclude<Item, { type: "reasoning" }>, id: string): Json {
  const common = { id: item.id ?? id, status: "completed" };
  if (item.type === "compaction")
    return { type: item.type, id: item.id ?? id, encrypted_content: item.encrypted_content };
  if (item.type === "function_call")
    return { type: item.type, ...common, call_id: item.call_id, name: item.name, arguments: item.arguments };
  if (item.type === "function_call_output")
    return { type: item.type, ...common, call_id: item.call_id, output: item.output };
  const { role, content } = item as { role: string; content: unknown };
  return { type: "message", ...common, role, content: messageContent(role, content) };
}

const itemNotFound = (id: string, param: string) =>
  new AppError(
    "invalid",
    "item_not_found",
    `No stored response has the item '${id.slice(0, 100)}'. Send the item itself, or store the responses it comes from.`,
    { param },
  );

/** Finds items of stored responses by their ids. */
function finder(ctx: Ctx, actor: Actor) {
  const rows = new Map<string, StoredAnswer | null>();
  return async (id: string, param: string): Promise<Json> => {
    const owner = ITEM_ID.exec(id)?.[1];
    if (!owner) throw itemNotFound(id, param);
    const responseId = `resp_${owner}`;
    if (!rows.has(responseId)) {
      const row = await getAnswer(ctx, actor, "response", responseId).catch((error) => {
        if (error instanceof AppError && error.kind === "not_found") return null;
        throw error;
      });
      rows.set(responseId, row);
    }
    const row = rows.get(responseId);
    const found = [...(row?.input ?? []), ...((row?.answer.output ?? []) as Json[])].find((each) => each.id === id);
    if (!found) throw itemNotFound(id, param);
    return found;
  };
}

/** @throws AppError `missing_required_parameter` when there is nothing to answer */
export function requireItems(items: readonly unknown[]): void {
  if (items.length > 0) return;
  const why = "Missing required parameter: 'input'.";
  throw new AppError("invalid", "missing_required_parameter", why, { param: "input" });
}

/**
 * The input of a request as items with ids; references are replaced by their items, and reasoning of other services is
 * left out.
 */
export async function inputItems(ctx: Ctx, actor: Actor, input: unknown, responseId: string): Promise<Json[]> {
  const given = typeof input === "string" ? [{ role: "user", content: input }] : ((input ?? []) as Item[]);
  const find = finder(ctx, actor);
  const items: Json[] = [];
  for (const [n, item] of given.entries()) {
    if (item.type === "reasoning") continue;
    const known = item.type as keyof typeof PREFIX | undefined;
    const prefix = PREFIX[known ?? "message"];
    items.push(
      isReference(item)
        ? await find(item.id, `input.${n}.id`)
        : stored(item as Exclude<Item, { type: "reasoning" }>, `${prefix}_${responseId.slice(5)}_i${n}`),
    );
  }
  return items;
}

/** The items of the responses before this one, oldest first. @throws AppError `previous_response_not_found` */
export async function earlierItems(ctx: Ctx, actor: Actor, previousId: string | undefined): Promise<Json[]> {
  const turns: Json[][] = [];
  for (let id: string | null | undefined = previousId; id; ) {
    if (turns.length >= MAX_CHAIN)
      throw new AppError("invalid", "conversation_too_long", `A conversation has at most ${MAX_CHAIN} responses.`, {
        param: "previous_response_id",
      });
    const missing: string = id;
    const row: StoredAnswer = await getAnswer(ctx, actor, "response", missing).catch((error) => {
      if (!(error instanceof AppError) || error.kind !== "not_found") throw error;
      throw new AppError(
        "invalid",
        "previous_response_not_found",
        `Previous response with id '${missing.slice(0, 100)}' not found: it was not stored, has expired or was deleted.`,
        { param: "previous_response_id" },
      );
    });
    if (isPending(row.answer))
      throw new AppError(
        "invalid",
        "previous_response_pending",
        `Previous response with id '${missing.slice(0, 100)}' has not ended. Wait for it, or cancel it.`,
        { param: "previous_response_id" },
      );
    turns.push([...row.input, ...(row.answer.output as Json[])]);
    id = row.previousId;
  }
  return turns.reverse().flat();
}
