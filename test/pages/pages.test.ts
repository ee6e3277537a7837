/** Pages over HTTP: whole pages and fragments, forms with errors, redirects, search, theme. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { and, eq, isNull } from "drizzle-orm";
import { job } from "../../src/db/schema/jobs.ts";
import { safePath } from "../../src/http/html.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { seed } from "../support/seed.ts";
import { idOf } from "../support/seed-rows.ts";

const PAGE = { accept: "text/html" };
const jobId = (n: number) => idOf("ftjob-", n);
const fragment = (id: string) => ({ ...PAGE, "hx-request": "true", "hx-target": `div#${id}` });

let t: TestApp;
beforeAll(async () => {
  t = await createTestApp();
  await seed(t.ctx, t.actor("admin"), "full");
});
afterAll(() => t.close());

const get = async (path: string, headers: Record<string, string> = PAGE) => {
  const answer = await t.request("GET", path, { headers });
  return { status: answer.status, text: await answer.text(), answer };
};

const change = (id: string, values: Partial<typeof job.$inferInsert>) =>
  t.ctx.write((tx) => tx.update(job).set(values).where(eq(job.id, id)));

describe("pages", () => {
  test.each([
    ["/", "Active jobs"],
    ["/jobs", "support-tickets"],
    ["/jobs/new", "SmolLM2-135M-Instruct"],
    [`/jobs/${idOf("ftjob-", 0)}`, "step 88 of 135"],
    [`/jobs/${idOf("job-", 1)}`, "Before and after"],
    [`/jobs/compare?ids=${idOf("ftjob-", 1)},${idOf("ftjob-", 4)}`, "Learning rate"],
    ["/search?q=qa-nightly", "qa-nightly"],
  ])("%s returns a whole page", async (path, words) => {
    const { status, text } = await get(path);
    expect(status).toBe(200);
    expect(text).toStartWith("<!doctype html>");
    expect(text).toContain(words);
    expect(text).not.toMatch(/ style=| on[a-z]+="|<script>/);
  });

  test("a comparison adds and removes runs, keeps its axis, and shows shared answers row by row", async () => {
    const { text } = await get(`/jobs/compare?ids=${jobId(4)},${jobId(8)}&x=tokens`);
    // Links and a form, so that it works without scripts.
    expect(text).toContain(`href="/jobs/compare?ids=${jobId(8)}&amp;x=tokens"`);
    expect(text).toContain(`<option value="${jobId(0)}">`);
    expect(text).not.toContain(`<option value="${jobId(4)}">`);
    expect(text).toContain('<input type="hidden" name="x" value="tokens"/>');
    expect(text).toContain('data-axis="Tokens" data-by="tokens"');
    expect(text.match(/<p class="verdict">[^<]+/)?.[0]).toMatch(/ is better by validation loss: .+ rows\)\.$/);
    const rows = (page: string) => page.match(/<li class="panel" id="row-/g)?.length ?? 0;
    expect(rows(text)).toBe(10);
    const mixed = await get(`/jobs/compare?ids=${jobId(4)},${jobId(8)}&rows=mixed`, fragment("answers"));
    expect(mixed.text).toStartWith('<section id="answers"');
    expect(rows(mixed.text)).toBeGreaterThan(0);
    // In each of these rows one run is correct and the other is wrong.
    expect(mixed.text.match(/ · correct/g)?.length).toBe(rows(mixed.text));
    expect(mixed.text.match(/ · wrong/g)?.length).toBe(rows(mixed.text));
    const three = await get(`/jobs/compare?ids=${jobId(4)}&ids=${jobId(8)}&ids=${jobId(5)}`);
    expect(three.text).toContain("Comparing 3 runs");
  });

  test("a comparison of methods with different settings shows each value under its own setting", async () => {
    const [run] = await t.ctx.db
      .select()
      .from(job)
      .where(eq(job.id, jobId(5)));
    if (run?.spec.kind !== "train") throw new Error("not a training");
    const spec = { ...run.spec, method: { ...run.spec.method, adapter: { type: "full" as const } } };
    await change(jobId(5), { spec });
    const { text } = await get(`/jobs/compare?ids=${jobId(5)},${jobId(4)}&settings=all`);
    const valuesOf = (name: string) =>
      [...(text.split(`<th scope="row">${name}</th>`)[1]?.split("</tr>")[0] ?? "").matchAll(/<td[^>]*>([^<]*)/g)].map(
        ([, value]) => value,
      );
    expect(valuesOf("Adapter")).toEqual(["full fine-tuning", "LoRA"]);
    expect(valuesOf("LoRA rank")).toEqual(["–", "16"]);
    expect(valuesOf("Epochs")[0]).toMatch(/^\d/);
  });

  test("a job names the job that it was created from, also when that was deleted", async () => {
    const refersTo = async (parentId: string) => {
      await change(jobId(5), { parentId });
      return (await get(`/jobs/${jobId(5)}`)).text.match(/<dt>Created from<\/dt><dd>(.*?)<\/dd>/)?.[1];
    };
    expect(await refersTo(jobId(0))).toBe(`<a href="/jobs/${jobId(0)}" class="wrap-any">support-tickets</a>`);
    expect(await refersTo("ftjob-gone")).toBe("ftjob-gone (deleted)");
  });

  test.each([
    ["/datasets", "datasets", "SUPPORT-tick", "support-tickets"],
    ["/evaluations", "evaluations", "rückfragen", "Rückfragen"],
    ["/deployments", "deployments", "support-t", "support-tickets"],
    ["/models", "tuned", "m0001", "m0001"],
    ["/jobs", "job-list", "qa-nightly", "qa-nightly"],
  ])("the list of %s can be searched and reports no matches", async (path, id, words, found) => {
    const rows = (text: string) => text.match(/<tr id="row-/g)?.length ?? 0;
    const all = await get(path, fragment(id));
    expect(all.text).toStartWith(`<section id="${id}"`);
    const some = await get(`${path}?q=${encodeURIComponent(words)}`, fragment(id));
    expect(some.text).toContain(found);
    expect(rows(some.text)).toBeGreaterThan(0);
    expect(rows(some.text)).toBeLessThanOrEqual(rows(all.text));
    const none = await get(`${path}?q=nothing-like-this`, fragment(id));
    expect(none.text).toContain("No matches");
    expect(none.text).toContain(`href="${path}"`);
  });

  test("the list of datasets has the number of training jobs that used each", async () => {
    const { org } = t.actor("admin");
    const jobs = await t.ctx.db
      .select({ spec: job.spec })
      .from(job)
      .where(and(eq(job.org, org), eq(job.kind, "train"), isNull(job.deletedAt)));
    const uses = (id: string) => jobs.filter(({ spec }) => "dataset" in spec && spec.dataset?.dataset_id === id).length;
    const [first, unused] = [idOf("ds_", 0), idOf("ds_", 6)];
    expect([uses(first) > 1, uses(unused)]).toEqual([true, 0]);
    const { text } = await get("/datasets");
    const shown = (id: string) =>
      new RegExp(`<a href="/jobs\\?kind=train&amp;dataset=${id}">(\\d+) jobs</a>`).exec(text)?.[1];
    expect([shown(first), shown(unused)]).toEqual([String(uses(first)), undefined]);
  });

  test("a dataset shows its rows, its problems with line numbers, and why tokens are not counted", async () => {
    const dataset = async (n: number) => (await get(`/datasets/${idOf("ds_", n)}`)).text;
    const plain = await dataset(0);
    expect(plain).toContain("Total tokens");
    expect(plain).toContain("Turn the customer");
    const noted = await dataset(1);
    expect(noted).toMatch(/Duplicate row\.[\s\S]{0,200}>25</);
    expect(noted).toContain("Tokens are not counted");
    expect(noted).toContain("See the base models");
    expect(await dataset(3)).toMatch(/Invalid JSON[\s\S]{0,600}>7</);
  });

  test("an evaluation shows both answers to a row, and can filter for wrong ones", async () => {
    const { text } = await get(`/evaluations/${idOf("eval_", 1)}`);
    expect(text).toContain("The fine-tuned model is better");
    expect(text).toContain("sorry to hear that");
    expect(text).toContain("Fine-tuned · correct");
    const wrong = await get(`/evaluations/${idOf("eval_", 1)}?filter=both_wrong`, fragment("rows"));
    expect(wrong.text).toContain("Fine-tuned · wrong");
    expect(wrong.text).not.toContain("Fine-tuned · correct");
  });

  test("text from users is always escaped", async () => {
    const { text } = await get("/jobs");
    expect(text).toContain("&lt;script>alert(");
    expect(text).not.toContain("<script>alert(");
  });

  test("htmx gets only the targeted fragment", async () => {
    const { text } = await get("/jobs?state=failed", fragment("job-list"));
    expect(text).toStartWith('<section id="job-list"');
    expect(text).toContain("Failed");
    expect(text).not.toContain("Succeeded");
  });

  test("an unknown target gets the whole page", async () => {
    expect((await get("/jobs", fragment("somewhere-else"))).text).toStartWith("<!doctype html>");
  });

  test("the list pages by cursor without gaps", async () => {
    const rows = (text: string) => [...text.matchAll(/id="row-([^"]+)"/g)].map((match) => match[1] ?? "");
    const first = await get("/jobs?kind=train");
    const next = /href="(\/jobs\?kind=train&amp;after=[^"]+)"/.exec(first.text)?.[1]?.replaceAll("&amp;", "&") ?? "";
    const second = await get(next);
    expect(rows(first.text)).toHaveLength(25);
    expect(rows(second.text)).toHaveLength(25);
    expect(rows(first.text).filter((id) => rows(second.text).includes(id))).toEqual([]);
  });

  test("another organization's job is not found", async () => {
    const answer = await t.request("GET", `/jobs/${jobId(0)}`, { as: "other", headers: PAGE });
    expect(answer.status).toBe(404);
  });
});

describe("the new-job form", () => {
  const form = { data: idOf("ds_", 0), model: "smollm2-135m-instruct", method: "sft", name: "", evaluate: "1" };
  const post = async (path: string, changes: Record<string, string>, headers: Record<string, string> = PAGE) => {
    const answer = await t.request("POST", path, { form: { ...form, ...changes }, headers });
    return { status: answer.status, text: await answer.text(), location: answer.headers.get("location") };
  };

  test("the plan shows the resolved value of every auto setting", async () => {
    const { status, text } = await post("/jobs/plan", { n_epochs: "3" }, fragment("job-form"));
    expect(status).toBe(200);
    expect(text).toStartWith('<form id="job-form"');
    expect(text).toContain('placeholder="auto, 0.001"');
    expect(text).toMatch(/name="n_epochs" value="3"/);
    expect(text).toMatch(/Steps<\/dt><dd><span class="num">135</);
  });

  test.each([
    [{ learning_rate: "fast" }, "learning_rate", "Enter a number"],
    [{ n_epochs: "0" }, "n_epochs", "at least 1"],
    [{ batch_size: "2.5" }, "batch_size", "whole number"],
    [{ name: "two words" }, "name", "letters"],
    [{ max_length: "99999" }, "max_length", "8192"],
    [{ data: "ds_none" }, "data", "ds_none"],
    [{ model: "gpt-9" }, "model", "gpt-9"],
  ])("%j is reported beside its field, and the input stays", async (changes, field, words) => {
    const { status, text } = await post("/jobs", changes as Record<string, string>);
    expect(status).toBe(422);
    const error = new RegExp(`id="field-${field}-error"[^]*?</div>`).exec(text)?.[0] ?? "";
    expect(error).toContain(words);
    // A select cannot keep an unknown choice; every other field keeps its input.
    if (field !== "model") expect(text).toContain(`value="${Object.values(changes)[0]}"`);
  });

  test("prompts need a grader: it can start from a template, be tried on a row, and its errors are located", async () => {
    const given = { data: idOf("ds_", 12), method: "auto" };
    const none = await post("/jobs", given);
    expect([none.status, none.text.includes('id="field-grader-error"')]).toEqual([422, true]);
    const started = await post("/jobs/plan", { ...given, start: "text_similarity" });
    expect(started.text).toContain("{{item.answer}}");
    expect(started.text).not.toContain("field-grader-error");
    const check = {
      type: "string_check",
      name: "g",
      operation: "like",
      input: "{{sample.output_text}}",
      reference: "{{item.level}}",
    };
    const grader = JSON.stringify(check, null, 2);
    // A browser sends CRLF line ends in a form, htmx sends LF.
    const native = grader.replaceAll("\n", "\r\n");
    const tried = await post("/jobs/plan", { ...given, grader: native, answer: "level 0 to 2: 012", try: "1" });
    expect(tried.text).toMatch(/This answer to row \d+ gets a reward of 1\./);
    const sent = (/name="outcome" value="([^"]*)"/.exec(tried.text)?.[1] ?? "").replaceAll("&quot;", '"');
    const kept = { ...given, grader, answer: "level 0 to 2: 012", outcome: sent };
    expect((await post("/jobs/plan", kept)).text).toContain("gets a reward of 1");
    expect((await post("/jobs/plan", { ...kept, answer: "another" })).text).not.toContain("gets a reward of");
    const wrong = await post("/jobs/plan", { ...given, grader: grader.replace("item.level", "item.levle") });
    const message = /id="field-grader-error"[\s\S]*?<\/div>/.exec(wrong.text)?.[0] ?? "";
    expect(message).toContain("item has no");
    expect(message).toContain("levle");
    const broken = await post("/jobs/plan", { ...given, grader: "{oops" });
    expect(broken.text).toContain("Not valid JSON");
  });

  test("a decimal comma is accepted", async () => {
    const { text } = await post("/jobs/plan", { learning_rate: "0,002" }, fragment("job-form"));
    expect(text).not.toContain("field-learning_rate-error");
  });

  test("target modules and own validation data become part of the request", async () => {
    const validation = idOf("ds_", 4);
    const { status, location } = await post("/jobs", { name: "own", target_modules: "q_proj, v_proj", validation });
    expect(status).toBe(303);
    const { request } = await t.json<{ request: object }>("GET", `/v1${location}`);
    expect(request).toMatchObject({ target_modules: ["q_proj", "v_proj"], validation_file: validation });
    const wrong = await post("/jobs/plan", { target_modules: "q proj!" }, { ...PAGE });
    expect(wrong.text).toContain('id="field-target_modules-error"');
  });

  test("starting a job opens it, and the form can start from its settings", async () => {
    const { status, location } = await post("/jobs", { learning_rate: "0.002", name: "second-try" });
    expect(status).toBe(303);
    expect(location).toMatch(/^\/jobs\/ftjob-/);
    const id = location?.slice(6) ?? "";
    const { text } = await get(`/jobs/new?from=${id}`);
    expect(text).toMatch(/name="learning_rate" value="0.002"/);
    expect(text).toMatch(/name="name" value="second-try-2"/);
    expect(text).toMatch(/name="n_epochs" value/);
    expect(text).not.toMatch(/name="n_epochs" value="\d/);
  });
});

describe("actions", () => {
  test("an action that the state does not allow returns to the page with the reason", async () => {
    const answer = await t.request("POST", `/jobs/${jobId(1)}/pause`, { form: {}, headers: PAGE });
    expect(answer.status).toBe(303);
    const flash = /flash=([^;]+)/.exec(answer.headers.get("set-cookie") ?? "")?.[1] ?? "";
    expect(JSON.parse(Buffer.from(flash, "base64url").toString())).toMatchObject({ kind: "bad" });
  });

  test("an unknown action is refused", async () => {
    const answer = await t.request("POST", `/jobs/${jobId(1)}/explode`, { form: {}, headers: PAGE });
    expect(answer.status).toBe(400);
  });

  test("the sample dataset is created from the embedded example", async () => {
    const answer = await t.request("POST", "/datasets/sample", { form: {}, headers: PAGE });
    expect(answer.headers.get("location")).toBe("/jobs/new");
    const { data } = await t.json<{ data: { name: string }[] }>("GET", "/v1/datasets?limit=1");
    expect(data[0]?.name).toBe("support-messages");
  });
});

describe("errors", () => {
  test.each([
    ["GET", "/jobs/none", "admin", 404, ["Not found", "No such job: none", "All jobs"]],
    ["GET", "/nothing-here", "admin", 404, ["Not found", "nothing at this address"]],
    ["GET", "/admin", "member", 403, ["Not allowed", "administrator", "member@example.test"]],
    ["POST", `/jobs/${jobId(1)}/explode`, "admin", 400, ["Request refused", "what you typed is still in the form"]],
  ] as const)(
    "%s %s as %p returns an error page with the navigation and a next step",
    async (method, path, as, status, words) => {
      const form = method === "POST" ? { form: {} } : {};
      const answer = await t.request(method, path, { as, headers: PAGE, ...form });
      const text = await answer.text();
      expect(answer.status).toBe(status);
      expect(text).toContain('<nav class="rail"');
      for (const word of words) expect(text).toContain(word);
      expect(text).toContain(answer.headers.get("x-request-id") ?? "none");
    },
  );

  test("the back link leads to the previous page, and never to another site", async () => {
    const from = async (referer: string) =>
      (await get("/jobs/none", { ...PAGE, referer, host: "localhost" })).text.match(
        /href="([^"]*)">[\s\S]{0,200}Go back/,
      );
    expect((await from("http://localhost/jobs?q=x"))?.[1]).toBe("/jobs?q=x");
    expect(await from("http://evil.test/jobs")).toBeNull();
  });

  test("a server error is reported without its message", async () => {
    const broken = await createTestApp();
    broken.app.get("/broken", () => {
      throw new Error("secret internal detail");
    });
    const answer = await broken.request("GET", "/broken", { headers: PAGE });
    const text = await answer.text();
    expect(answer.status).toBe(500);
    expect(text).toContain("Something went wrong");
    expect(text).toContain(answer.headers.get("x-request-id") ?? "none");
    expect(text).not.toContain("secret detail");
    await broken.close();
  });

  test("htmx gets only the message and leaves the page unchanged", async () => {
    const { answer, text } = await get("/jobs/none", fragment("status"));
    expect(answer.status).toBe(404);
    expect(answer.headers.get("hx-reswap")).toBe("none");
    expect(JSON.parse(text).error.message).toBe("No such job: none");
  });

  test("an expired session returns to the same page after sign-in", async () => {
    const cookie = "ftl-session-abcdef=token.signature";
    const ask = (headers: Record<string, string>) =>
      t.request("GET", "/jobs", { as: "anonymous", headers: { ...PAGE, cookie, ...headers } });
    expect((await ask({})).headers.get("location")).toBe("/login?next=%2Fjobs&ended=1");
    const part = await ask({ ...fragment("jobs"), host: "localhost", referer: "http://localhost/jobs/new" });
    expect(part.headers.get("hx-redirect")).toBe("/login?next=%2Fjobs%2Fnew&ended=1");
    const page = await t.request("GET", "/login?next=%2Fjobs&ended=1", { as: "anonymous", headers: PAGE });
    expect(await page.text()).toContain("Your session has ended");
  });
});

describe("assets", () => {
  test("are immutable under their version, and compressed", async () => {
    const { text } = await get("/jobs");
    const address = /href="(\/assets\/[^"]+\.css)"/.exec(text)?.[1] ?? "";
    const answer = await t.request("GET", address, { as: "anonymous", headers: { "accept-encoding": "gzip" } });
    expect(answer.headers.get("cache-control")).toContain("immutable");
    expect(answer.headers.get("content-encoding")).toBe("gzip");
    expect(answer.headers.get("content-type")).toContain("text/css");
  });

  test("unknown names are not found", async () => {
    expect((await t.request("GET", "/assets/v/package.json", { as: "anonymous" })).status).toBe(404);
  });
});

test("the theme buttons choose system, light or dark, and the chosen one is pressed", async () => {
  const signedIn = { ...PAGE, authorization: `Bearer ${t.keys.admin}` };
  const choose = async (theme: string) => {
    const answer = await t.request("POST", "/theme", { form: { theme }, headers: signedIn });
    const cookie = /theme=(\w+)/.exec(answer.headers.get("set-cookie") ?? "")?.[1] ?? "";
    const page = await get("/", { ...signedIn, cookie: `theme=${cookie}` });
    return [
      /value="(\w+)" aria-pressed="true"/.exec(page.text)?.[1],
      /<html[^>]*data-theme="(\w+)"/.exec(page.text)?.[1],
    ];
  };
  expect(await choose("light")).toEqual(["light", "light"]);
  expect(await choose("dark")).toEqual(["dark", "dark"]);
  expect(await choose("system")).toEqual(["system", undefined]);
});

test.each([
  ["/jobs?x=1", "/jobs?x=1"],
  ["//evil.test/", "/"],
  ["/\\evil.test", "/"],
  ["https://evil.test", "/"],
  ["", "/"],
  ["/a\r\nset-cookie: x", "/"],
])("next=%j redirects to %j", (given, expected) => {
  expect(safePath(given)).toBe(expected);
});
