/** The events of a response that has ended, made from the response: the same ones every time. */
import { type ChatChunk, createAssembler, type ResponseEvent } from "./assembler.ts";
import type { OutputItem, ResponseView } from "./view.ts";

/** A chunk that gives the whole item. */
function chunkOf(item: OutputItem, index: number): ChatChunk {
  if (item.type === "function_call") {
    const { call_id: id, name, arguments: given } = item;
    return { choices: [{ delta: { tool_calls: [{ index, id, function: { name, arguments: given } }] } }] };
  }
  const [part] = item.content;
  return { choices: [{ delta: { content: part?.text ?? "" }, logprobs: { content: part?.logprobs ?? [] } }] };
}

/** From `response.created` to the last event, with one delta for each item. */
export function eventsOfEnded(response: ResponseView): ResponseEvent[] {
  const { usage: _, ...rest } = response;
  const started: ResponseView = {
    ...rest,
    status: "in_progress",
    completed_at: null,
    error: null,
    incomplete_details: null,
    output: [],
  };
  const assembler = createAssembler(started, () => "");
  const events = assembler.begin();
  for (const [n, item] of response.output.entries()) events.push(...assembler.feed(chunkOf(item, n)));
  if (response.output.length > 0) events.push(...assembler.end(0).events);
  return [...events, assembler.last(response)];
}
