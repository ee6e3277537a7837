/** A server that is killed while it erases an account: the next start continues, and nothing personal is left. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { chatLines } from "../support/datasets.ts";
import { type Live, startLive, until } from "../support/live.ts";
import { readFrom } from "./support/bench.ts";

const EMAIL = "vera.lastname@example.test";
let live: Live;
beforeAll(async () => {
  live = await startLive({ env: { FTL_DELETION_GRACE_DAYS: "0" } });
}, 60_000);
afterAll(() => live?.close());

const rows = <T>(sql: string, ...args: string[]) => readFrom<T>(join(live.dir, "lab.db"), sql, args);
/** Files of the data directory with the text; the log of the test's server is not one of them. */
const filesWith = (text: string, folder = live.dir): string[] =>
  readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    const stat = statSync(path, { throwIfNoEntry: false });
    if (!stat || stat.isSocket() || name === "server.log") return [];
    if (stat.isDirectory()) return filesWith(text, path);
    return readFileSync(path).includes(text) ? [path] : [];
  });

test("an account whose erasure was killed twice is erased by the next start; what it created is handed over", async () => {
  const { path } = await live.call<{ path: string }>("POST", "/v1/admin/users", { email: EMAIL });
  const form = new URLSearchParams({ token: path.split("token=")[1] ?? "", password: live.password, name: "Vera" });
  const headers = { origin: live.url };
  const entered = await fetch(`${live.url}/invite`, { method: "POST", body: form, headers, redirect: "manual" });
  expect(entered.status).toBe(303);
  const [person] = await rows<{ id: string }>("SELECT id FROM user WHERE email = ?", EMAIL);
  const id = person?.id ?? "";
  const key = live.cli("key", "create", "--email", EMAIL, "--name", "theirs").trim();
  const data = new FormData();
  data.set("purpose", "fine-tune");
  data.set("file", new File([`${chatLines(3).join("\n")}\n`], "rows.jsonl"));
  const mine = { authorization: `Bearer ${key}` };
  expect((await fetch(`${live.url}/v1/files`, { method: "POST", headers: mine, body: data })).status).toBe(200);
  await live.call("POST", `/v1/admin/users/${id}/deletion`, { reason: "They left" });
  await live.stop();
  expect(filesWith(EMAIL).length).toBeGreaterThan(0);

  const left = async () => {
    const [user, keys, owned] = [
      await rows("SELECT 1 FROM user WHERE id = ?", id),
      await rows("SELECT 1 FROM api_key WHERE user_id = ?", id),
      await rows("SELECT 1 FROM dataset WHERE created_by = ?", id),
    ];
    return [user.length, keys.length, owned.length];
  };
  // Before the notices, and between the keys and the account itself.
  for (const [point, expected] of [
    ["erasure.account@1", [1, 1, 0]],
    ["erasure.account@14", [1, 0, 0]],
  ] as const) {
    // It may be gone before it has answered.
    await live.start({ FTL_FAIL_POINTS: point }).catch(() => {});
    await live.ended();
    expect([point, await left()]).toEqual([point, [...expected]]);
  }
  await live.start();
  await until("the end", async () => {
    const { data } = await live.call<{ data: { state: string }[] }>("GET", "/v1/admin/deletions");
    return data.length === 1 && data[0]?.state === "erased";
  });
  expect(await left()).toEqual([0, 0, 0]);
  expect(await live.call("GET", "/v1/admin/audit/verify")).toMatchObject({ intact: true });
  await live.stop();
  expect(filesWith(EMAIL)).toEqual([]);
}, 120_000);
