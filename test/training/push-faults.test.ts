/** Faults of a hub at each step of a push: temporary ones are overcome, others end it with a reason. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Fault, WRITE_TOKEN } from "../support/hub.ts";
import { CONTENT, type PushLab, startPushLab } from "../support/pushes.ts";

let place: PushLab;
beforeAll(async () => {
  place = await startPushLab();
});
afterAll(() => place.close());
beforeEach(() => place.reset());

const fault = (on: RegExp, status: number, more: Partial<Fault> = {}) =>
  place.hub.faults.push({ on, status, times: 1, headers: { "retry-after": "0" }, ...more });

describe("faults of the hub", () => {
  const temporary: [name: string, on: RegExp, status: number][] = [
    ["a limit of requests", /GET \/api\/models/, 429],
    ["a busy hub at the list of files", /tree/, 503],
    ["a busy hub before the upload", /preupload/, 500],
    ["a broken gateway at the batch", /batch/, 502],
    ["an error of the storage", /^storage PUT/, 500],
    ["an expired address of the storage", /^storage PUT/, 403],
    ["an error while parts are put together", /complete_multipart/, 504],
    ["a busy hub at the commit", /\/commit\//, 503],
  ];
  for (const [name, on, status] of temporary)
    test(`${name} is overcome`, async () => {
      fault(on, status);
      const done = await place.pushed();
      expect([done.status, done.error, place.hub.faults[0]?.times]).toEqual(["done", null, 0]);
      expect(place.hub.repos.get(done.repository)?.messages.length).toBe(1);
    });

  test("a commit whose answer is lost is not made twice", async () => {
    fault(/\/commit\//, 502, { after: true });
    const done = await place.pushed();
    const repo = place.hub.repos.get(done.repository);
    expect([done.status, done.commit, repo?.messages.length]).toEqual(["done", repo?.branches.get("main") ?? "", 1]);
  });

  test("a connection that breaks is made again", async () => {
    fault(/^storage PUT/, 0, { breaks: true });
    expect(await place.pushed()).toMatchObject({ status: "done", error: null });
  });

  const final: [status: number, on: RegExp, sentence: string][] = [
    [401, /GET \/api\/models/, "does not accept the token"],
    [403, /preupload/, "denies writing to"],
    [404, /batch/, "does not have acme/"],
    [409, /\/commit\//, "reports a conflict in"],
    [413, /^storage/, "refuses the files of"],
    [400, /\/commit\//, "refused the request (400). It says: bad front matter …"],
    [307, /GET \/api\/models/, "it was renamed"],
    [200, /tree/, "is not one of the hub's API"],
  ];
  for (const [status, on, sentence] of final)
    test(`${status} ends the push with a reason`, async () => {
      fault(on, status, { times: 9, body: JSON.stringify({ error: `bad front matter ${WRITE_TOKEN}` }) });
      const failed = await place.pushed();
      expect([failed.status, failed.error]).toEqual(["failed", expect.stringContaining(sentence)]);
      expect(failed.error).not.toContain(WRITE_TOKEN);
    });

  test("a hub that stays away ends the push, and a new one continues", async () => {
    fault(/\/commit\//, 503, { times: 99 });
    const failed = await place.pushed();
    expect([failed.status, failed.error]).toEqual(["failed", expect.stringContaining("answered 503 several times")]);
    const sent = place.requests(/^storage PUT/);
    place.hub.faults.length = 0;
    expect(await place.pushed({ repository: failed.repository })).toMatchObject({ status: "done" });
    expect(place.requests(/^storage PUT/)).toBe(sent);
  });

  test("files that are damaged on this server are not sent", async () => {
    const file = join(place.lab.ctx.files.path("artifacts", place.artifactId), "small.safetensors");
    writeFileSync(file, Buffer.alloc(1000, 4));
    const failed = await place.pushed();
    writeFileSync(file, CONTENT["small.safetensors"] ?? "");
    expect([failed.status, failed.error]).toEqual([
      "failed",
      expect.stringContaining("are damaged (small.safetensors"),
    ]);
    expect(place.hub.log).toEqual([]);
  });
});
