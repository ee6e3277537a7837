/** The live stream: exact bytes, resuming without gaps or duplicates, access and its end. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { revokeKey } from "../../src/accounts/api-keys/service.ts";
import { recentOf } from "../../src/training/metrics/recent.ts";
import { openStream } from "../../src/training/metrics/stream.ts";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { makeTrainer, metrics, type TestTrainer } from "../support/attempt.ts";
import { readEventStream, type ServerEvent } from "../support/sse.ts";

let t: TestApp;
beforeAll(async () => {
  t = await createTestApp();
});
afterAll(() => t.close());

const open = async (query: string, headers: Record<string, string> = {}, as: "admin" | "other" = "admin") => {
  const answer = await t.request("GET", `/v1/stream?${query}`, { as, headers });
  expect(answer.status).toBe(200);
  return readEventStream(answer);
};
const isBatch = (event: ServerEvent) => event.event === "batch";
const points = (event: ServerEvent) => (event.data.points as Record<string, [number, number][]>).x ?? [];
const reaches = (step: number) => (event: ServerEvent) => isBatch(event) && points(event).some(([at]) => at === step);

test("a batch arrives byte for byte as documented", async () => {
  const trainer = await makeTrainer(t);
  const answer = await t.request("GET", `/v1/stream?jobs=${trainer.jobId}`);
  expect(answer.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
  const reader = answer.body?.getReader();
  if (!reader) throw new Error("no body");
  const read = async () => new TextDecoder().decode((await reader.read()).value);
  const hello = /^retry: 1000\nid: (\d+)\nevent: hello\ndata: \{"batch_id":(\d+)\}\n\n$/.exec(await read());
  expect(hello?.[1]).toBe(hello?.[2]);
  expect(await read()).toBe(`event: changed\ndata: {"topic":"jobs","id":"${trainer.jobId}","state":"running"}\n\n`);
  await trainer.send([
    metrics(1, { x: 0.5, "train/loss": "NaN" }),
    { at: 1_900_000_000_000, type: "log", level: "info", message: "two\nlines" },
    { type: "phase", phase: "training" },
    { type: "progress", step: 1, total_steps: 2, eta_s: null, fraction: 0.5 },
  ]);
  const id = Number(hello?.[1]) + 1;
  const text = await read();
  const stable = text.replace(/"id":\d+,"at":\d+/, '"id":LINE,"at":TIME');
  expect(stable).toBe(
    `id: ${id}\nevent: batch\ndata: {"job_id":"${trainer.jobId}","batch_id":${id},` +
      '"points":{"x":[[1,0.5]],"train/loss":[[1,null]]},' +
      '"logs":[{"id":LINE,"at":TIME,"level":"info","message":"two\\nlines"}],' +
      '"progress":{"step":1,"total_steps":2,"eta_s":null,"fraction":0.5},"samples":[],"phase":"training"}\n\n',
  );
  await reader.cancel();
});

test("a disconnected reader resumes by the last id and gets every step exactly once", async () => {
  const trainer = await makeTrainer(t);
  const other = await makeTrainer(t);
  const query = `jobs=${trainer.jobId},${other.jobId}`;
  const seen: number[] = [];
  const lines: string[] = [];
  const keep = (events: ServerEvent[]) => {
    for (const event of events.filter((one) => isBatch(one) && one.data.job_id === trainer.jobId)) {
      seen.push(...points(event).map(([step]) => step));
      lines.push(...(event.data.logs as { message: string }[]).map((line) => line.message));
    }
  };
  const send = async (from: number, to: number) => {
    for (let step = from; step <= to; step++) {
      await trainer.send([metrics(step, { x: step }), { type: "log", level: "info", message: `l${step}` }]);
      await other.send([metrics(step, { x: -step })]);
    }
  };
  let stream = await open(query);
  await send(1, 5);
  keep(await stream.until((event) => reaches(-5)(event) || (event.data.job_id === trainer.jobId && reaches(5)(event))));
  await stream.close();
  await send(6, 20);
  // Some steps are written while no reader is connected, then more after it is back.
  stream = await open(query, { "last-event-id": stream.lastId ?? "" });
  const writing = send(21, 30);
  keep(await stream.until((event) => event.data.job_id === trainer.jobId && reaches(30)(event)));
  await writing;
  await stream.close();
  const all = Array.from({ length: 30 }, (_, n) => n + 1);
  expect(seen).toEqual(all);
  expect(lines).toEqual(all.map((n) => `l${n}`));
});

test("a stream continues after the `batch_id` of the metrics that a page has read", async () => {
  const trainer = await makeTrainer(t);
  await trainer.send([metrics(1, { x: 1 })]);
  const { batch_id: after } = await t.json<{ batch_id: number }>("GET", `/v1/jobs/${trainer.jobId}/metrics`);
  await trainer.send([metrics(2, { x: 2 })]);
  const stream = await open(`jobs=${trainer.jobId}&after=${after}`);
  const [first] = (await stream.until(isBatch)).filter(isBatch);
  expect(points(first as ServerEvent)).toEqual([[2, 2]]);
  await stream.close();
});

test("a batch from memory and the same batch from the database are equal", async () => {
  const trainer = await makeTrainer(t);
  const live = await open(`jobs=${trainer.jobId}`);
  const after = ((await live.next())?.data.batch_id as number) ?? 0;
  const prompt = [{ role: "user", content: "q" }];
  await trainer.send([
    ...Array.from({ length: 3000 }, (_, n) => metrics(n, { x: Math.sin(n) * 1e-7, y: n === 1234 ? 1e9 : n / 3 })),
    { type: "sample", step: 2999, row_id: 1, prompt, expected: "a", output: "b" },
    { type: "phase", phase: "saving" },
    { type: "log", level: "warn", message: "zwölf 😀" },
  ]);
  const [fresh] = (await live.until(isBatch)).filter(isBatch);
  await live.close();
  const later = await open(`jobs=${trainer.jobId}&after=${after}`);
  const [again] = (await later.until(isBatch)).filter(isBatch);
  await later.close();
  // Progress is a state and not part of the batch, so a reader that reconnects gets the newest.
  expect(again).toEqual({ ...(fresh as ServerEvent), data: { ...fresh?.data, progress: again?.data.progress } });
  expect(again?.data.progress).toMatchObject({ phase: "saving" });
  expect((fresh?.data.points as Record<string, unknown[]> | undefined)?.y).toContainEqual([1234, 1e9]);
});

test("a reader that is too far behind, or ahead of a restored database, gets a reset", async () => {
  const trainer = await makeTrainer(t);
  const stream = await open(`jobs=${trainer.jobId}`);
  await stream.close();
  const from = Number((await t.json<{ batch_id: number }>("GET", `/v1/jobs/${trainer.jobId}/metrics`)).batch_id);
  const values = Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`k${n}`, n]));
  for (let round = 0; round < 3; round++)
    await trainer.send(Array.from({ length: 700 }, (_, n) => metrics(round * 700 + n, values)));
  const behind = await open(`jobs=${trainer.jobId}&after=${from}`);
  const events = await behind.until((event) => event.event === "reset");
  expect(events.some(isBatch)).toBe(false);
  const newest = events.at(-1)?.data.batch_id as number;
  await trainer.send([metrics(3000, { x: 7 })]);
  const [next] = (await behind.until(isBatch)).filter(isBatch);
  expect(points(next as ServerEvent)).toEqual([[3000, 7]]);
  await behind.close();
  const future = await open(`jobs=${trainer.jobId}&after=${newest + 10_000}`);
  expect((await future.until((event) => event.event === "reset")).at(-1)?.data.job_id).toBe(trainer.jobId);
  await trainer.send([metrics(3001, { x: 8 })]);
  await future.until(reaches(3001));
  await future.close();
});

test("a stalled reader holds only a cursor, and is dropped after a while", async () => {
  const trainer = await makeTrainer(t);
  const timing = { heartbeatMs: 5000, checkMs: 20, stallMs: 60 };
  const request = new Request("http://localhost/v1/stream", { headers: { authorization: `Bearer ${t.keys.admin}` } });
  const body = await openStream(
    t.ctx,
    t.actor("admin"),
    { jobs: [trainer.jobId], topics: [], after: null },
    request,
    timing,
  );
  const reader = body.getReader();
  await reader.read();
  for (let step = 1; step <= 50; step++) await trainer.send([metrics(step, { x: step })]);
  await Bun.sleep(150);
  let chunks = 0;
  while (!(await reader.read()).done) chunks++;
  // Only what was ready before it stalled; the rest was never produced.
  expect(chunks).toBeLessThanOrEqual(2);
});

test("heartbeats are sent while nothing happens", async () => {
  const request = new Request("http://localhost/v1/stream", { headers: { authorization: `Bearer ${t.keys.admin}` } });
  const timing = { heartbeatMs: 60, checkMs: 10_000, stallMs: 10_000 };
  const body = await openStream(t.ctx, t.actor("admin"), { jobs: [], topics: [], after: null }, request, timing);
  const reader = body.getReader();
  await reader.read();
  const text = new TextDecoder().decode((await reader.read()).value);
  expect(text).toBe(": still here\n\n");
  await reader.cancel();
});

test("events of a topic reach only their organization", async () => {
  const [mine, theirs] = [await open("topics=jobs,deployments"), await open("topics=jobs,deployments", {}, "other")];
  const foreign = await makeTrainer(t, { org: t.orgs.b });
  t.ctx.bus.emit("job.changed", { org: t.orgs.b, jobId: foreign.jobId, kind: "train", state: "failed" });
  t.ctx.bus.emit("dataset.changed", { org: t.orgs.a, datasetId: "ds_1", versionId: null });
  t.ctx.bus.emit("deployment.changed", { org: t.orgs.a, deploymentId: "dep_1", state: "ready" });
  const changed = (event: ServerEvent) => event.event === "changed";
  expect((await mine.until(changed)).at(-1)?.data).toEqual({ topic: "deployments", id: "dep_1", state: "ready" });
  expect((await theirs.until(changed)).at(-1)?.data).toEqual({ topic: "jobs", id: foreign.jobId, state: "failed" });
  await Promise.all([mine.close(), theirs.close()]);
  expect((await t.request("GET", "/v1/stream?topics=secrets")).status).toBe(400);
  expect((await t.request("GET", "/v1/stream", { as: "anonymous" })).status).toBe(401);
});

test("a change of the queue is announced to all organizations, without the id of the job", async () => {
  const theirs = await open("topics=queue", {}, "other");
  t.ctx.bus.emit("job.changed", { org: t.orgs.a, jobId: "ftjob-secret", kind: "train", state: "queued" });
  const seen = await theirs.until((event) => event.event === "changed");
  expect(seen.at(-1)?.data).toEqual({ topic: "queue", id: "", state: null });
  expect(JSON.stringify(seen)).not.toContain("ftjob-secret");
  await theirs.close();
});

async function ends(stream: ReturnType<typeof readEventStream>): Promise<boolean> {
  while (await stream.next(2000));
  return true;
}

test("revoking the key ends its streams at once, and no others", async () => {
  const [cut, stays] = [await open("topics=jobs", {}, "other"), await open("topics=jobs")];
  await revokeKey(t.ctx, { ...t.actor("other"), role: "admin" }, t.keyIds.other);
  expect(await ends(cut)).toBe(true);
  t.ctx.bus.emit("job.changed", { org: t.orgs.a, jobId: "ftjob-x", kind: "train", state: "failed" });
  expect((await stays.until((event) => event.event === "changed")).length).toBe(2);
  await stays.close();
});

test("signing out ends the streams of that session and no others", async () => {
  const signIn = async () => {
    const form = { email: t.emails.member, password: PASSWORD };
    const answer = await t.request("POST", "/login", { as: "anonymous", form });
    return {
      cookie: answer.headers
        .getSetCookie()
        .map((one) => one.split(";")[0])
        .join("; "),
    };
  };
  const [first, second] = [await signIn(), await signIn()];
  const [cut, stays] = [await open("topics=jobs", first), await open("topics=jobs", second)];
  await t.request("POST", "/logout", { headers: { ...first, origin: "http://localhost" } });
  expect(await ends(cut)).toBe(true);
  t.ctx.bus.emit("job.changed", { org: t.orgs.a, jobId: "ftjob-y", kind: "train", state: "failed" });
  expect((await stays.until((event) => event.event === "changed")).length).toBe(2);
  await stays.close();
});

test("a real connection outlives Bun's idle limit, and a killed one leaves no reader behind", async () => {
  const server = Bun.serve({ port: 0, idleTimeout: 1, fetch: t.app.fetch });
  t.app.server = server;
  const trainer: TestTrainer = await makeTrainer(t);
  const headers = { authorization: `Bearer ${t.keys.admin}`, host: `localhost:${server.port}` };
  const url = `http://localhost:${server.port}/v1/stream?jobs=${trainer.jobId}`;
  const stop = new AbortController();
  const stream = readEventStream(await fetch(url, { headers, signal: stop.signal }));
  await stream.until((event) => event.event === "changed");
  await Bun.sleep(2500);
  await trainer.send([metrics(1, { x: 1 })]);
  await stream.until(reaches(1));
  expect(recentOf(t.ctx).readers).toBe(1);
  stop.abort();
  for (const end = Date.now() + 3000; recentOf(t.ctx).readers > 0 && Date.now() < end; ) await Bun.sleep(20);
  expect(recentOf(t.ctx).readers).toBe(0);
  await server.stop(true);
});
