/** Pushes over HTTP to a local hub: what arrives, what is refused, and a restart in the middle. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import { liftOrganization, suspendOrganization } from "../../src/accounts/suspension/service.ts";
import { noticeEvent } from "../../src/db/schema/notices.ts";
import { hubPush } from "../../src/db/schema/pushes.ts";
import { sealedIn } from "../../src/db/sealed-columns.ts";
import { sha256Hex } from "../../src/lib/ids.ts";
import { seal } from "../../src/lib/sealed.ts";
import { signatureProblem } from "../../src/lib/signed-json.ts";
import type { PushView } from "../../src/training/pushes/model.ts";
import { pushQueue, startPushes } from "../../src/training/pushes/run.ts";
import { type Asker, createTestApp } from "../support/app.ts";
import { hasBrowser, openBrowser } from "../support/browser.ts";
import { READ_TOKEN, WRITE_TOKEN } from "../support/hub.ts";
import { until } from "../support/live.ts";
import { insertTuned, readyBase } from "../support/models.ts";
import { CONTENT, type PushLab, startPushLab, WEIGHTS } from "../support/pushes.ts";

const PUSHED = [".gitattributes", "README.md", "adapter_config.json", "adapter_model.safetensors", "notes/empty.txt"];

let place: PushLab;
beforeAll(async () => {
  place = await startPushLab();
});
afterAll(() => place.close());
beforeEach(() => place.reset());

describe("a push", () => {
  test("brings the files, the model card and the provenance, and notes the commit", async () => {
    const done = await place.pushed({ message: "First version" });
    expect(done).toMatchObject({
      status: "done",
      error: null,
      format: null,
      branch: "main",
      private: true,
      phase: null,
    });
    expect(done.url).toBe(`${place.hub.url}/${done.repository}`);
    expect(done.bytes_done).toBe(done.bytes ?? -1);
    const repo = place.hub.repos.get(done.repository);
    expect([repo?.private, repo?.messages, repo?.branches.get("main")]).toEqual([
      true,
      ["First version"],
      done.commit ?? "",
    ]);
    const files = place.hub.files(done.repository);
    expect(Object.keys(files).sort()).toEqual([...PUSHED, "passport.json", "small.safetensors"].sort());
    for (const [name, bytes] of Object.entries(CONTENT))
      if (name !== "trainer_state.json") expect([name, files[name]?.equals(bytes)]).toEqual([name, true]);
    expect(files["README.md"]?.toString()).toStartWith(
      "---\nlicense: llama3.2\nlibrary_name: peft\npipeline_tag: text-generation\n",
    );
    expect(signatureProblem(JSON.parse(files["passport.json"]?.toString() ?? ""))).toBeNull();
    // Three parts, the last one short; the token goes to the hub alone.
    expect(place.requests(/^storage PUT \/\w{64}\/\d$/)).toBe(3);
    expect(place.hub.log.filter(({ line, secret }) => secret === line.startsWith("storage"))).toEqual([]);
  });

  test("does not send again what the repository has, and commits only what changed", async () => {
    const first = await place.pushed();
    place.hub.log.length = 0;
    const same = await place.pushed({ repository: first.repository });
    expect(same).toMatchObject({ status: "done", commit: first.commit });
    expect([place.requests(/PUT/), place.requests(/commit/)]).toEqual([0, 0]);
    const repo = place.hub.repos.get(first.repository);
    repo?.commits.get(first.commit ?? "")?.delete("adapter_config.json");
    const next = await place.pushed({ repository: first.repository });
    expect(next.status).toBe("done");
    expect([place.requests(/PUT/), place.requests(/\/commit\//)]).toEqual([0, 1]);
    expect(Object.keys(place.hub.files(first.repository))).toContain("adapter_config.json");
  });

  test("goes to a branch, which is created", async () => {
    const done = await place.pushed({ branch: "v1/test" });
    expect(done.url).toBe(`${place.hub.url}/${done.repository}/tree/v1%2Ftest`);
    expect(Object.keys(place.hub.files(done.repository))).toEqual([".gitattributes"]);
    expect(Object.keys(place.hub.files(done.repository, "v1/test"))).toContain("adapter_model.safetensors");
  });

  test("is listed, audited and announced", async () => {
    const done = await place.pushed();
    const { data } = await place.lab.json<{ data: PushView[] }>("GET", place.path);
    expect(data[0]).toEqual(done);
    const audited = await place.lab.json<{ data: { action: string }[] }>("GET", `/v1/admin/audit?target=${done.id}`);
    expect(audited.data.map(({ action }) => action).sort()).toEqual(["model.push", "model.push.finish"]);
    const [event] = await place.lab.ctx.db.select().from(noticeEvent).where(eq(noticeEvent.subject, done.id));
    expect(event).toMatchObject({ type: "model.push.succeeded", title: `Push to ${done.repository} finished` });
  });

  test("keeps its token out of the database and answers, and deletes it at the end", async () => {
    let release = () => {};
    place.hub.hold = new Promise((resolve) => {
      release = resolve;
    });
    const running = await place.begun();
    await place.uploading();
    const stored = async () =>
      (await place.lab.ctx.db.select().from(hubPush).where(eq(hubPush.id, running.id)))[0]?.secret ?? null;
    expect(await stored()).toBeString();
    expect(JSON.stringify(await place.retrieve(running.id))).not.toContain(WRITE_TOKEN);
    const copy = join(place.lab.dir, "copy.db");
    const db = new Database(join(place.lab.dir, "place.lab.db"));
    db.run(`vacuum into '${copy}'`);
    db.close();
    for (const file of [copy, join(place.lab.dir, "place.lab.db"), join(place.lab.dir, "place.lab.db-wal")])
      if (existsSync(file)) expect([file, readFileSync(file).includes(WRITE_TOKEN)]).toEqual([file, false]);
    release();
    expect((await place.ended(running.id)).status).toBe("done");
    expect(await stored()).toBeNull();
  });

  test("is canceled: nothing is committed, and a second cancellation is refused", async () => {
    place.hub.hold = new Promise(() => {});
    const running = await place.begun();
    await place.uploading();
    const canceled = await place.lab.json<PushView>("POST", `/v1/pushes/${running.id}/cancel`);
    expect(canceled).toMatchObject({ status: "canceled", commit: null, url: null });
    expect(place.hub.repos.get(running.repository)?.messages).toEqual([]);
    const again = await place.lab.request("POST", `/v1/pushes/${running.id}/cancel`);
    expect([again.status, ((await again.json()) as { error: { code: string } }).error.code]).toEqual([
      409,
      "push_ended",
    ]);
  });

  test("of a suspended team stops, and continues when the suspension is lifted", async () => {
    const { ctx } = place.lab;
    const stop = startPushes(ctx);
    const admin = place.lab.actor("otherAdmin");
    place.hub.hold = new Promise(() => {});
    const { id, repository } = await place.begun();
    await place.uploading();
    await suspendOrganization(ctx, admin, place.lab.orgs.a, { reason: "test" });
    await until("the push to stop", async () => !pushQueue(ctx).running.has(id), 10_000, 5);
    place.hub.hold = null;
    const asked = place.hub.log.length;
    // One of another team runs meanwhile, and this one is not taken.
    const [row] = await ctx.db.select().from(hubPush).where(eq(hubPush.id, id));
    if (!row) throw new Error("no push");
    const other = { ...row, id: "push_other", org: place.lab.orgs.b, createdBy: place.lab.users.other, secret: null };
    await ctx.write((tx) => tx.insert(hubPush).values({ ...other, createdAt: row.createdAt + 1 }));
    pushQueue(ctx).kick();
    const statusOf = async (one: string) =>
      (await ctx.db.select().from(hubPush).where(eq(hubPush.id, one)))[0]?.status ?? "";
    await until("the other push to end", async () => (await statusOf("push_other")) === "failed", 10_000, 5);
    expect([await statusOf(id), place.hub.log.length - asked]).toEqual(["running", 0]);
    await liftOrganization(ctx, admin, place.lab.orgs.a);
    expect(await place.ended(id)).toMatchObject({ status: "done", error: null });
    expect(place.hub.repos.get(repository)?.messages).toHaveLength(1);
    stop();
  });

  test("continues after a restart, without the objects that had arrived", async () => {
    const done = await place.pushed();
    place.hub.repos.delete(done.repository);
    place.hub.log.length = 0;
    // As a killed server leaves it: running, the objects on the hub, no commit.
    const secret = seal(place.lab.ctx.secret, sealedIn("push", done.id), WRITE_TOKEN);
    await place.lab.ctx.write((tx) =>
      tx
        .update(hubPush)
        .set({ status: "running", phase: "uploading", secret, commit: null, finishedAt: null })
        .where(eq(hubPush.id, done.id)),
    );
    pushQueue(place.lab.ctx).kick();
    expect(await place.ended(done.id)).toMatchObject({ status: "done", error: null });
    expect([
      place.requests(/^storage/),
      place.hub.objects.size,
      place.hub.repos.get(done.repository)?.messages.length,
    ]).toEqual([0, 2, 1]);
  });
});

describe("what is refused", () => {
  test("a private push to a public repository", async () => {
    const { repository } = await place.pushed({ private: false });
    expect(place.hub.repos.get(repository)?.private).toBe(false);
    const failed = await place.pushed({ repository });
    expect([failed.status, failed.error]).toEqual(["failed", expect.stringContaining("is public on the hub")]);
    expect(place.hub.repos.get(repository)?.messages.length).toBe(1);
  });

  test("a token without write access, and an owner that is not the token's", async () => {
    const read = await place.pushed({ token: READ_TOKEN });
    expect(read.error).toContain("Push with a token that has write access to it. It says: The token cannot write.");
    const foreign = await place.pushed({ repository: "elsewhere/model" });
    expect(foreign.error).toContain(
      'It says: You don\'t have the rights to create a model under the namespace "elsewhere".',
    );
  });

  const cases: [name: string, body: object, as: Asker, code: string, param: string | null][] = [
    ["no owner", { repository: "model" }, "admin", "invalid_value", "repository"],
    ["a path", { repository: "../../x" }, "admin", "invalid_value", "repository"],
    ["a branch with a space", { branch: "a b" }, "admin", "invalid_value", "branch"],
    ["a token with a line break", { token: "hf_a\r\nb" }, "admin", "invalid_value", "token"],
    ["no token, for a member", { token: null }, "member", "token_needed", "token"],
    ["no token, without one of the installation", { token: null }, "admin", "token_needed", "token"],
    ["an export that does not exist", { format: "safetensors" }, "admin", "export_not_finished", "format"],
    ["an unknown field", { visibility: "public" }, "admin", "unknown_parameter", "visibility"],
  ];
  for (const [name, body, as, code, param] of cases)
    test(name, async () => {
      const answer = await place.create({ repository: "acme/none", token: WRITE_TOKEN, ...body }, as);
      const { error } = (await answer.json()) as { error: { code: string; param: string | null } };
      expect([error.code, error.param]).toEqual([code, param]);
      expect(place.hub.log).toEqual([]);
    });

  test("a second push to the same branch, while one is running", async () => {
    place.hub.hold = new Promise(() => {});
    const running = await place.begun();
    const answer = await place.create({
      repository: running.repository.toUpperCase().replace("ACME", "acme"),
      token: WRITE_TOKEN,
    });
    expect([answer.status, await answer.text()]).toEqual([409, expect.stringContaining("push_running")]);
    await place.lab.json("POST", `/v1/pushes/${running.id}/cancel`);
  });

  test("other organizations see no push", async () => {
    const { id } = await place.pushed();
    for (const [method, address] of [
      ["GET", `/v1/pushes/${id}`],
      ["POST", `/v1/pushes/${id}/cancel`],
      ["GET", place.path],
    ] as const)
      expect([address, (await place.lab.request(method, address, { as: "other" })).status]).toEqual([address, 404]);
  });

  for (const [config, code] of [
    [{ offline: true }, "offline"],
    [{ hub_url: "none" }, "hub_disabled"],
  ] as const)
    test(`${code}: every push, by name`, async () => {
      const closed = await createTestApp({ config });
      await readyBase(closed.ctx, "tiny");
      const tuned = await insertTuned(closed.ctx, closed.orgs.a);
      const body = { repository: "acme/none", token: WRITE_TOKEN };
      const answer = await closed.request("POST", `/v1/models/${encodeURIComponent(tuned.id)}/pushes`, { body });
      expect([answer.status, await answer.text()]).toEqual([503, expect.stringContaining(`"${code}"`)]);
      await closed.close();
    });

  test("a storage at a private address that no setting names", async () => {
    const closed = await createTestApp({ config: { hub_url: place.hub.url, hub_token: WRITE_TOKEN } });
    await readyBase(closed.ctx, "tiny");
    const tuned = await insertTuned(closed.ctx, closed.orgs.a);
    const route = `/v1/models/${encodeURIComponent(tuned.id)}/pushes`;
    // Also: an administrator needs no token where the installation has one.
    const { id } = await closed.json<PushView>("POST", route, { body: { repository: place.nextRepo() } });
    let found = await closed.json<PushView>("GET", `/v1/pushes/${id}`);
    while (["waiting", "running"].includes(found.status)) {
      await Bun.sleep(10);
      found = await closed.json<PushView>("GET", `/v1/pushes/${id}`);
    }
    expect([found.status, found.error]).toEqual([
      "failed",
      expect.stringContaining("An administrator can allow this host"),
    ]);
    expect([place.requests(/batch/), place.requests(/^storage/)]).toEqual([1, 0]);
    await closed.close();
  });
});

test.skipIf(!hasBrowser)(
  "the page pushes, shows progress, cancels, and links the repository",
  async () => {
    const browser = await openBrowser(place.lab);
    const { page } = browser;
    await page.goto(`${browser.base}${place.path.replace("/v1", "").replace("/pushes", "")}`);
    const repository = place.nextRepo();
    const fill = async (token: string) => {
      await page.fill("#sheet-push [name=repository]", repository);
      await page.fill("#sheet-push [name=token]", token);
      await page.click("#sheet-push button[type=submit]");
    };
    await page.click("[popovertarget=sheet-push]");
    expect(await page.locator("#sheet-push .notice").textContent()).toContain("Llama 3.2 Community License");
    await fill("two words");
    // Refused: the form is open again, with the reason and what was typed.
    await page.waitForSelector("#sheet-push .notice.bad");
    expect(await page.inputValue("#sheet-push [name=repository]")).toBe(repository);
    let release = () => {};
    place.hub.hold = new Promise((resolve) => {
      release = resolve;
    });
    await fill(WRITE_TOKEN);
    await page.waitForSelector("#push-list :text('Uploading')");
    await page.getByRole("button", { name: "Cancel", exact: true }).click();
    await page.getByRole("button", { name: "Cancel push" }).click();
    await page.waitForSelector("#push-list :text('Canceled')");
    await page.click("[popovertarget=sheet-push]");
    await fill(WRITE_TOKEN);
    await page.waitForSelector("#push-list progress");
    release();
    // Without a reload.
    await page.waitForSelector(`#push-list a[href="${place.hub.url}/${repository}"]`);
    expect(browser.troubles.filter((line) => !line.includes("400"))).toEqual([]);
    await browser.close();
  },
  60_000,
);

const PYTHON = join(process.env.FTL_TRAINER_ENV ?? ".cache/trainer-env", "bin/python");
describe.skipIf(!existsSync(PYTHON))("the hub of these tests", () => {
  test("accepts a folder of Python's client, and has the same files", async () => {
    const folder = join(place.lab.dir, "folder");
    mkdirSync(folder);
    for (const [name, bytes] of Object.entries(CONTENT))
      if (!name.includes("/")) writeFileSync(join(folder, name), bytes);
    const script = `
from huggingface_hub import HfApi
api = HfApi()
api.create_repo("grace/python", private=True)
print(api.upload_folder(repo_id="grace/python", folder_path="${folder}", commit_message="From Python").oid)
api.create_branch("grace/python", branch="v2")
print(sorted((f.path, f.size, f.lfs.sha256 if f.lfs else f.blob_id) for f in api.list_repo_tree("grace/python", revision="v2")))
`;
    const env = {
      HF_ENDPOINT: place.hub.url,
      HF_TOKEN: WRITE_TOKEN,
      HF_HUB_DISABLE_XET: "1",
      HOME: place.lab.dir,
      HF_HOME: place.lab.dir,
    };
    const run = Bun.spawn([PYTHON, "-c", script], { env, stdout: "pipe", stderr: "pipe" });
    const [out, err] = await Promise.all([new Response(run.stdout).text(), new Response(run.stderr).text()]);
    expect([await run.exited, err.includes("Traceback") ? err : ""]).toEqual([0, ""]);
    expect(out).toContain(place.hub.repos.get("grace/python")?.branches.get("main") ?? "none");
    expect(out).toContain(`('adapter_model.safetensors', 150001, '${sha256Hex(WEIGHTS)}')`);
    expect(place.hub.files("grace/python")["adapter_model.safetensors"]?.equals(WEIGHTS)).toBe(true);
  });
});
