/**
 * Import of models by path: only from the configured directories, with links resolved; paths of the server are hidden
 * from members; chat templates are tried first.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import { loadConfig } from "../../src/config.ts";
import { baseModel } from "../../src/db/schema/models.ts";
import { installEnded } from "../../src/models/base/install.ts";
import { type As, createTestApp, type TestApp } from "../support/app.ts";
import { writeModel } from "../support/models.ts";

let t: TestApp;
let dir: string;
let root: string;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "ftl-roots-"));
  root = join(dir, "models");
  mkdirSync(root);
  t = await createTestApp({ config: { import_roots: [root] } });
});
afterAll(async () => {
  await t.close();
  rmSync(dir, { recursive: true, force: true });
});

interface Base {
  status: string;
  error: string | null;
  source: { kind: string; reference: string };
}
const ask = (directory: string, id: string) =>
  t.request("POST", "/v1/base_models/import", { body: { source: "local", directory, id } });
const refusal = async (directory: string) => {
  const answer = await ask(directory, "x");
  return [answer.status, ((await answer.json()) as { error: { message: string } }).error.message] as const;
};
const read = (id: string, as: As = "admin") => t.json<Base>("GET", `/v1/base_models/${id}`, { as });
async function imported(directory: string, id: string): Promise<Base> {
  expect((await ask(directory, id)).status).toBe(200);
  await installEnded(t.ctx, id);
  return read(id);
}

describe("where models may come from", () => {
  test("a directory in a root is imported; the root itself may be reached through a link", async () => {
    expect(await imported(writeModel(join(root, "good")), "good")).toMatchObject({ status: "ready" });
    symlinkSync(root, join(dir, "alias"));
    expect(await imported(join(dir, "alias", "good"), "good-2")).toMatchObject({ status: "ready" });
  });

  test("any other path is refused with the same message whether it exists or not, and the setting is named", async () => {
    const outside = writeModel(join(dir, "outside"));
    symlinkSync(outside, join(root, "way-out"));
    const tries = [outside, join(dir, "nothing"), "/etc", `${root}/../outside`, `${root}-other`, join(root, "way-out")];
    for (const path of tries) {
      const [status, message] = await refusal(path);
      expect([path, status]).toEqual([path, 400]);
      expect(message).toContain(`${path} is outside the directories that models may be imported from: ${root}.`);
      expect(message).toContain("import_roots");
    }
    expect(await refusal(join(root, "absent"))).toEqual([400, expect.stringContaining("is not a directory")]);
  });

  test("the default is the folder `import` of the data directory", async () => {
    const plain = await createTestApp({ config: { import_roots: [] } });
    const body = { source: "local", directory: writeModel(join(plain.dir, "import", "mine")), id: "mine" };
    await plain.json("POST", "/v1/base_models/import", { body });
    await installEnded(plain.ctx, "mine");
    expect(await plain.json("GET", "/v1/base_models/mine")).toMatchObject({ status: "ready" });
    const other = await plain.request("POST", "/v1/base_models/import", { body: { ...body, directory: root } });
    expect([other.status, await other.text()]).toEqual([400, expect.stringContaining(join(plain.dir, "import"))]);
    await plain.close();
  });

  test("the setting accepts absolute paths, separated by commas", () => {
    const roots = (text: string) => loadConfig({ data_dir: dir }, { FTL_IMPORT_ROOTS: text }).import_roots;
    expect(roots("/a b/c, /d")).toEqual(["/a b/c", "/d"]);
    expect(() => roots("models")).toThrow('Setting "import_roots.0": must be absolute');
  });

  test("a link in a model may only lead to a file in the roots", async () => {
    const shared = join(root, "blobs");
    mkdirSync(shared);
    writeFileSync(join(shared, "license"), "free");
    const linked = writeModel(join(root, "linked"));
    symlinkSync(join(shared, "license"), join(linked, "LICENSE"));
    expect(await imported(linked, "linked")).toMatchObject({ status: "ready" });
    for (const [n, target] of ["/etc/passwd", join(dir, "outside", "config.json"), "/nowhere"].entries()) {
      const model = writeModel(join(root, `leads-out-${n}`));
      symlinkSync(target, join(model, "LICENSE"));
      const found = await imported(model, `leads-out-${n}`);
      expect(found.error).toContain("LICENSE is a link that is broken or leads out");
      expect(found.error).not.toContain(target);
      expect(existsSync(t.ctx.files.path("models", `leads-out-${n}`))).toBe(false);
    }
  });
});

describe("paths of the server", () => {
  test("administrators see the full path, members of any organization only its last part", async () => {
    expect((await read("good")).source.reference).toBe(join(root, "good"));
    for (const as of ["member", "other"] as const) {
      expect((await read("good", as)).source.reference).toBe("good");
      const list = await (await t.request("GET", "/v1/base_models", { as })).text();
      const page = await t.request("GET", "/models/good", { as, headers: { accept: "text/html" } });
      expect(list).toContain('"good"');
      expect(list + (await page.text())).not.toContain(dir);
    }
  });

  test("an error with a path is shown to administrators only, one about the model to everyone", async () => {
    const error = `The installation failed: ENOSPC: no space left, copyfile '${root}/a' -> '/srv/b'`;
    const store = (text: string) =>
      t.ctx.write((tx) =>
        tx.update(baseModel).set({ status: "failed", error: text }).where(eq(baseModel.id, "good-2")),
      );
    await store(error);
    expect((await read("good-2")).error).toBe(error);
    expect((await read("good-2", "member")).error).toContain("Administrators of this installation see the reason");
    await store("This model cannot be used. config.json is missing or without `model_type`.");
    expect((await read("good-2", "other")).error).toContain("config.json is missing");
  });
});

describe("files of a model", () => {
  const config = { model_type: "llama", num_hidden_layers: 1 };
  const map = { AutoModel: "m.M" };
  const nested: [string, Record<string, unknown>][] = [
    ["inside text_config", { ...config, text_config: { auto_map: map } }],
    ["inside a list", { ...config, parts: [[{ auto_map: map }]] }],
    ["as text", { ...config, vision: { auto_map: "m.M" } }],
  ];
  test.each(nested)("auto_map %s is refused", async (name, content) => {
    const id = `map-${name.replace(/\W+/g, "-")}`;
    const found = await imported(writeModel(join(root, id), { "config.json": JSON.stringify(content) }), id);
    expect(found).toMatchObject({ status: "failed", error: expect.stringContaining("auto_map") });
  });

  test("a token called auto_map in a vocabulary is allowed", async () => {
    const tokenizer = JSON.stringify({ version: "1.0", model: { type: "BPE", vocab: { auto_map: 7 }, merges: [] } });
    expect(await imported(writeModel(join(root, "token"), { "tokenizer.json": tokenizer }), "token")).toMatchObject({
      status: "ready",
    });
  });

  const loops = (n: number, body: string) =>
    `${"{% for x in range(100000) %}".repeat(n)}${body}${"{% endfor %}".repeat(n)}`;
  const templates: [string, Record<string, string>, string][] = [
    [
      "never ends",
      { "tokenizer_config.json": JSON.stringify({ chat_template: loops(3, "") }) },
      "could not be rendered for a short conversation",
    ],
    ["never ends, in a file of its own", { "chat_template.jinja": loops(3, "") }, "could not be rendered"],
    [
      "never ends, under another name than the usual one",
      { "tokenizer_config.json": JSON.stringify({ chat_template: [{ name: "tool_use", template: loops(3, "") }] }) },
      "could not be rendered",
    ],
    ["writes without end", { "chat_template.jinja": loops(1, "x".repeat(100)) }, "10000000 characters"],
    ["is too long", { "chat_template.jinja": "x".repeat(1_000_001) }, "longer than"],
  ];
  test.each(templates)("a chat template that %s is refused with the reason", async (name, files, says) => {
    const id = `tpl-${templates.findIndex(([one]) => one === name)}`;
    const found = await imported(writeModel(join(root, id), files), id);
    expect(found.status).toBe("failed");
    expect(found.error).toContain(says);
    expect(existsSync(t.ctx.files.path("models", id))).toBe(false);
  });

  test("one that refuses a role is accepted", async () => {
    const template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}ok";
    expect(
      await imported(writeModel(join(root, "strict"), { "chat_template.jinja": template }), "strict"),
    ).toMatchObject({
      status: "ready",
    });
  });
});
