/**
 * The server's side of trainer protocol v1 (docs/trainer-protocol.md): spec, data, inputs, events and artifacts, each
 * under the token of one attempt.
 */
import { Elysia } from "elysia";
import { type EventsReply, MAX_PART_BYTES } from "../contract/trainer.ts";
import type { Ctx } from "../ctx.ts";
import { AppError, notFound } from "../errors.ts";
import type { AskAs } from "../graders/judge.ts";
import { session } from "../http/session.ts";
import { applyTrainerEvents, pendingCommands } from "../training/attempts/trainer-events.ts";
import { refusal } from "../training/metrics/ingest.ts";
import { storeBatch } from "../training/metrics/service.ts";
import { completeArtifact, openArtifact, putPart, WrongOffset } from "../training/trainer-protocol/artifacts.ts";
import { readBytes, readJson } from "../training/trainer-protocol/body.ts";
import { readEvents } from "../training/trainer-protocol/events.ts";
import { fileResponse } from "../training/trainer-protocol/files.ts";
import { gradesFor } from "../training/trainer-protocol/grade.ts";
import { inputFile, specReply, splitFiles } from "../training/trainer-protocol/inputs.ts";
import { askingOf, type Trainer, trainerOf } from "../training/trainer-protocol/token.ts";

/** The trainer behind a request. @throws AppError 401; 409 when replaced, 410 when the job has ended */
async function liveTrainer(ctx: Ctx, request: Request): Promise<Trainer> {
  const trainer = await trainerOf(ctx, request);
  if (trainer.over) throw refusal(trainer.over);
  return trainer;
}

/** The rest of a path after `prefix`, decoded once; a path that does not decode names nothing. */
function restOf(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    throw notFound("file", path.slice(0, 200));
  }
}

function offsetOf(request: Request): number {
  const text = new URL(request.url).searchParams.get("offset") ?? "";
  if (!/^\d{1,15}$/.test(text))
    throw new AppError("invalid", "invalid_value", "Invalid 'offset': a whole number of bytes", { param: "offset" });
  return Number(text);
}

async function takeEvents(ctx: Ctx, request: Request): Promise<EventsReply> {
  const asking = await askingOf(ctx, request);
  const events = readEvents(await readJson(request));
  if (asking.over) {
    // The answer to the last batch may have been lost: what is known already is acknowledged again.
    if (events.length > 0 && events.every((event) => event.seq <= asking.lastSeq))
      return { last_seq: asking.lastSeq, commands: [] };
    throw refusal(asking.over);
  }
  const { lastSeq } = await storeBatch(ctx, asking, events, (tx, fresh) => applyTrainerEvents(ctx, tx, asking, fresh));
  ctx.failPoint("events.stored");
  return { last_seq: lastSeq, commands: await pendingCommands(ctx, asking.jobId) };
}

const hide = { detail: { hide: true } } as const;
/** Bodies are read by the handlers, which know their limits, after the token was checked. */
const raw = { ...hide, parse: "none" } as const;

/** @param ask asks models as the person whose job grades by them; handed in, because models are served further on */
export const trainersApi = (ctx: Ctx, ask: AskAs) => {
  const gradeSamples = gradesFor(ctx, ask);
  return new Elysia({ name: "trainers.api", prefix: "/trainer/v1", seed: ctx.installation })
    .use(session(ctx))
    .get("/spec", async ({ request }) => specReply(ctx, await liveTrainer(ctx, request)), hide)
    .get(
      "/data/:split",
      async ({ request, params }) => {
        const trainer = await liveTrainer(ctx, request);
        return fileResponse(request, splitFiles(ctx, trainer, params.split), "application/jsonl");
      },
      hide,
    )
    .get(
      "/inputs/:name/*",
      async ({ request, params }) => {
        const trainer = await liveTrainer(ctx, request);
        const path = await inputFile(ctx, trainer, params.name, restOf(params["*"]));
        return fileResponse(request, [path], "application/octet-stream");
      },
      hide,
    )
    .post(
      "/grade",
      async ({ request, server }) => {
        // Models and Python take their time: longer than a quiet connection is kept.
        server?.timeout(request, 0);
        return gradeSamples(await liveTrainer(ctx, request), await readJson(request), request.signal);
      },
      raw,
    )
    .post("/events", async ({ request }) => takeEvents(ctx, request), raw)
    .post(
      "/artifacts",
      async ({ request }) => {
        const trainer = await liveTrainer(ctx, request);
        return openArtifact(ctx, trainer, await readJson(request));
      },
      raw,
    )
    .put(
      "/artifacts/:id/*",
      async ({ request, params, status }) => {
        const trainer = await liveTrainer(ctx, request);
        const offset = offsetOf(request);
        const bytes = await readBytes(request, MAX_PART_BYTES);
        try {
          return await putPart(ctx, trainer, params.id, restOf(params["*"]), offset, bytes);
        } catch (error) {
          if (!(error instanceof WrongOffset)) throw error;
          const { code, message } = error;
          return status(409, {
            error: { code, message, type: "invalid_request_error", param: "offset" },
            offset: error.offset,
          });
        }
      },
      raw,
    )
    .post(
      "/artifacts/:id/complete",
      async ({ request, params }) => completeArtifact(ctx, await liveTrainer(ctx, request), params.id),
      raw,
    );
};
