/**
 * The server side of trainer protocol v1 (docs/trainer-protocol.md): spec, data, inputs, events, grades and artifacts,
 * authorized by the token of one attempt.
 */
import { Elysia, status } from "elysia";
import { proofOf } from "../compute/providers/call-home.ts";
import { type ArtifactOpened, type EventsReply, MAX_PART_BYTES, type TrainerEvent } from "../contract/trainer.ts";
import type { Ctx } from "../ctx.ts";
import { AppError, notFound } from "../errors.ts";
import type { AskAs } from "../graders/judge.ts";
import { answers, answersType } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { compareBeforeEnd } from "../training/attempts/first-batch.ts";
import { applyTrainerEvents, pendingCommands } from "../training/attempts/trainer-events.ts";
import { inputInBucket, rowsInBucket } from "../training/mailbox/files.ts";
import { type AttemptRef, refusal } from "../training/metrics/ingest.ts";
import { storeBatch } from "../training/metrics/service.ts";
import { completeArtifact, openArtifact, putPart, WrongOffset } from "../training/trainer-protocol/artifacts.ts";
import { readBytes, readJson } from "../training/trainer-protocol/body.ts";
import { exchangeBootstrap } from "../training/trainer-protocol/bootstrap.ts";
import { readEvents } from "../training/trainer-protocol/events.ts";
import { fileResponse, rowsDigest, rowsResponse } from "../training/trainer-protocol/files.ts";
import { gradesFor } from "../training/trainer-protocol/grade.ts";
import { inputFile, specReply, splitFor } from "../training/trainer-protocol/inputs.ts";
import {
  BootstrapAnswer,
  CompletedAnswer,
  DigestAnswer,
  EventsAnswer,
  GradesAnswer,
  HelloAnswer,
  OpenedAnswer,
  PartAnswer,
  SpecAnswer,
} from "../training/trainer-protocol/model.ts";
import { attemptOf, type Trainer, trainerOf } from "../training/trainer-protocol/token.ts";

/** The trainer of a request. @throws AppError 401, 409 (replaced), 410 (the job has ended) */
async function liveTrainer(ctx: Ctx, request: Request): Promise<Trainer> {
  const trainer = await trainerOf(ctx, request);
  if (trainer.over) throw refusal(trainer.over);
  return trainer;
}

/** The file path at the end of a URL, decoded once. @throws AppError `file_not_found` when it cannot be decoded */
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
    throw new AppError("invalid", "invalid_value", "Invalid 'offset': must be a whole number of bytes", {
      param: "offset",
    });
  return Number(text);
}

/** Stores events and applies them. Before the one that reports success, the first batch is compared. */
async function storeAndApply(ctx: Ctx, attempt: AttemptRef, events: TrainerEvent[]) {
  const store = (some: TrainerEvent[]) =>
    storeBatch(ctx, attempt, some, (tx, fresh) => applyTrainerEvents(ctx, tx, attempt, fresh));
  const success = events.find((event) => event.type === "finished" && event.outcome === "succeeded");
  if (success) {
    await store(events.filter((event) => event.seq < success.seq));
    await compareBeforeEnd(ctx, attempt.id);
  }
  return store(events);
}

async function takeEvents(ctx: Ctx, request: Request): Promise<EventsReply> {
  const attempt = await attemptOf(ctx, request);
  const events = readEvents(await readJson(request));
  if (attempt.over) {
    // The reply to the last batch may have been lost, so stored events are acknowledged again.
    if (events.length > 0 && events.every((event) => event.seq <= attempt.lastSeq))
      return { last_seq: attempt.lastSeq, commands: [] };
    throw refusal(attempt.over);
  }
  const { lastSeq } = await storeAndApply(ctx, attempt, events);
  ctx.failPoint("events.stored");
  return { last_seq: lastSeq, commands: await pendingCommands(ctx, attempt.jobId) };
}

async function sendSplit(ctx: Ctx, request: Request, split: string): Promise<Response> {
  const trainer = await liveTrainer(ctx, request);
  const files = await splitFor(ctx, trainer, split);
  return (await rowsInBucket(ctx, request, trainer.id, files)) ?? rowsResponse(request, files);
}

async function sendInput(ctx: Ctx, request: Request, name: string, path: string): Promise<Response> {
  const trainer = await liveTrainer(ctx, request);
  const input = await inputFile(ctx, trainer, name, restOf(path));
  const sent = await inputInBucket(ctx, request, trainer.id, input);
  return sent ?? fileResponse(request, input.path, "application/octet-stream");
}

async function startArtifact(ctx: Ctx, request: Request): Promise<ArtifactOpened> {
  const trainer = await liveTrainer(ctx, request);
  return openArtifact(ctx, trainer, await readJson(request));
}

async function takePart(ctx: Ctx, request: Request, id: string, path: string) {
  const trainer = await liveTrainer(ctx, request);
  const offset = offsetOf(request);
  const bytes = await readBytes(request, MAX_PART_BYTES);
  try {
    return await putPart(ctx, trainer, id, restOf(path), offset, bytes);
  } catch (error) {
    if (!(error instanceof WrongOffset)) throw error;
    const { code, message } = error;
    return status(409, {
      error: { code, message, type: "invalid_request_error", param: "offset" },
      offset: error.offset,
    });
  }
}

/** Options of a route that is not part of the public API document. */
const hidden = (responses: ReturnType<typeof answers>) => ({ detail: { hide: true, responses } }) as const;
/** The same for routes whose handlers read the body themselves, after the token was checked. */
const raw = (responses: ReturnType<typeof answers>) => ({ ...hidden(responses), parse: "none" }) as const;

/** @param ask asks models on behalf of the job's owner; passed in because models are served by a later area */
export const trainersApi = (ctx: Ctx, ask: AskAs) => {
  const gradeSamples = gradesFor(ctx, ask);
  const grade = async (request: Request, server: Bun.Server<unknown> | null) => {
    // Models and Python can take longer than an idle connection is kept.
    server?.timeout(request, 0);
    return gradeSamples(await liveTrainer(ctx, request), await readJson(request), request.signal);
  };
  return new Elysia({ name: "trainers.api", prefix: "/trainer/v1", seed: ctx.installation })
    .use(session(ctx))
    .get(
      "/hello",
      ({ request }) => ({
        object: "trainer.hello" as const,
        proof: proofOf(ctx, new URL(request.url).searchParams.get("nonce") ?? ""),
      }),
      hidden(answers(HelloAnswer)),
    )
    .post("/bootstrap", ({ request }) => exchangeBootstrap(ctx, request), raw(answers(BootstrapAnswer)))
    .get("/spec", async ({ request }) => specReply(ctx, await liveTrainer(ctx, request)), hidden(answers(SpecAnswer)))
    .get(
      "/data/:split",
      ({ request, params }) => sendSplit(ctx, request, params.split),
      hidden(answersType("application/jsonl", "The rows of the split.")),
    )
    .get(
      "/data/:split/digest",
      async ({ request, params }) =>
        rowsDigest(ctx, await splitFor(ctx, await liveTrainer(ctx, request), params.split)),
      hidden(answers(DigestAnswer)),
    )
    .get(
      "/inputs/:name/*",
      ({ request, params }) => sendInput(ctx, request, params.name, params["*"]),
      hidden(answersType("application/octet-stream", "The file.")),
    )
    .post("/grade", ({ request, server }) => grade(request, server), raw(answers(GradesAnswer)))
    .post("/events", ({ request }) => takeEvents(ctx, request), raw(answers(EventsAnswer)))
    .post("/artifacts", ({ request }) => startArtifact(ctx, request), raw(answers(OpenedAnswer)))
    .put(
      "/artifacts/:id/*",
      ({ request, params }) => takePart(ctx, request, params.id, params["*"]),
      raw(answers(PartAnswer)),
    )
    .post(
      "/artifacts/:id/complete",
      async ({ request, params }) => completeArtifact(ctx, await liveTrainer(ctx, request), params.id),
      raw(answers(CompletedAnswer)),
    );
};
