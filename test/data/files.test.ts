/** OpenAI's files and uploads over HTTP: what is taken, what is refused and how it is said. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { createTestApp, type TestApp } from "../support/app.ts";

let lab: TestApp;
beforeAll(async () => {
  lab = await createTestApp({ config: { max_upload_bytes: 200_000 } });
});
afterAll(() => lab.close());

const row = (n: number) =>
  JSON.stringify({
    messages: [
      { role: "user", content: `question ${n}` },
      { role: "assistant", content: `answer ${n}` },
    ],
  });
const rows = (count: number) => `${Array.from({ length: count }, (_, i) => row(i)).join("\n")}\n`;

function form(content: string | Uint8Array, fields: Record<string, string> = {}, name = "train.jsonl"): FormData {
  const data = new FormData();
  for (const [key, value] of Object.entries(fields)) data.set(key, value);
  data.set("file", new File([content as BlobPart], name));
  return data;
}

interface FileObject {
  id: string;
  object: string;
  bytes: number;
  created_at: number;
  expires_at?: number;
  filename: string;
  purpose: string;
  status: string;
  status_details?: string;
}
const send = (body: FormData, as: "admin" | "other" = "admin") =>
  lab.request("POST", "/v1/files", { raw: body as unknown as RequestInit["body"], as });
const upload = async (content: string, fields: Record<string, string> = { purpose: "fine-tune" }, name?: string) => {
  const answer = await send(form(content, fields, name));
  expect(answer.status).toBe(200);
  return (await answer.json()) as FileObject;
};
async function failure(answer: Response) {
  const { error } = (await answer.json()) as {
    error: { message: string; type: string; param: string | null; code: string };
  };
  return { status: answer.status, code: error.code, param: error.param, message: error.message };
}
async function processed(id: string): Promise<FileObject> {
  for (let i = 0; i < 200; i++) {
    const file = await lab.json<FileObject>("GET", `/v1/files/${id}`);
    if (file.status !== "uploaded") return file;
    await Bun.sleep(25);
  }
  throw new Error(`file ${id} was never processed`);
}
const leftovers = () => readdirSync(lab.ctx.files.path("tmp"));

describe("files", () => {
  test("a fine-tune file is accepted, validated and returned byte for byte", async () => {
    const content = rows(12);
    const file = await upload(content);
    expect(file).toMatchObject({
      object: "file",
      bytes: content.length,
      filename: "train.jsonl",
      purpose: "fine-tune",
    });
    expect((await processed(file.id)).status).toBe("processed");
    const back = await lab.request("GET", `/v1/files/${file.id}/content`);
    expect(await back.text()).toBe(content);
    expect(back.headers.get("content-disposition")).toContain("train.jsonl");
  });

  test("bytes that are missing on disk are reported, and not as a failure of the server", async () => {
    const file = await upload(rows(10));
    await processed(file.id);
    rmSync(lab.ctx.files.path("files", file.id));
    const answer = await lab.request("GET", `/v1/files/${file.id}/content`);
    expect(answer.status).toBe(410);
    expect(await answer.json()).toMatchObject({ error: { code: "bytes_missing" } });
  });

  test("the purpose may come after the file, and expires_after in brackets", async () => {
    const data = new FormData();
    data.set("file", new File(["hello"], "note.txt"));
    data.set("purpose", "user_data");
    data.set("expires_after[anchor]", "created_at");
    data.set("expires_after[seconds]", "3600");
    const answer = await send(data);
    const file = (await answer.json()) as FileObject;
    expect(file).toMatchObject({ purpose: "user_data", status: "processed" });
    expect((file.expires_at ?? 0) - file.created_at).toBe(3600);
  });

  test("raw bytes with the name in the query are accepted too", async () => {
    const file = await lab.json<FileObject>("POST", "/v1/files?filename=a%20b.jsonl&purpose=fine-tune", {
      raw: rows(3),
      headers: { "content-type": "application/octet-stream" },
    });
    expect(file).toMatchObject({ filename: "a b.jsonl", bytes: rows(3).length });
  });

  test("a path in a file name has no effect", async () => {
    expect((await upload("x", { purpose: "batch" }, "../../etc/passwd")).filename).toBe("passwd");
  });

  const refusals: { name: string; make: () => FormData; status: number; code: string; param: string | null }[] = [
    { name: "no purpose", make: () => form("x"), status: 400, code: "missing_field", param: "purpose" },
    {
      name: "an unknown purpose",
      make: () => form("x", { purpose: "fun" }),
      status: 400,
      code: "invalid_value",
      param: "purpose",
    },
    {
      name: "an expiry below an hour",
      make: () =>
        form("x", { purpose: "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "60" }),
      status: 400,
      code: "invalid_value",
      param: "expires_after.seconds",
    },
    {
      name: "no file",
      make: () => {
        const data = new FormData();
        data.set("purpose", "fine-tune");
        return data;
      },
      status: 400,
      code: "file_missing",
      param: "file",
    },
    {
      name: "a file over the size limit",
      make: () => form("x".repeat(200_001), { purpose: "batch" }),
      status: 413,
      code: "file_too_large",
      param: "file",
    },
  ];
  for (const { name, make, ...expected } of refusals)
    test(`${name} is refused and leaves nothing behind`, async () => {
      expect(await failure(await send(make()))).toMatchObject(expected);
      expect(leftovers()).toEqual([]);
    });

  test("another content type is refused with the accepted ones", async () => {
    const answer = await lab.request("POST", "/v1/files", { body: { purpose: "fine-tune" } });
    const error = await failure(answer);
    expect(error).toMatchObject({ status: 415, code: "unsupported_content_type" });
    expect(error.message).toContain("multipart/form-data");
  });

  test("a body that ends within the file is refused and leaves nothing behind", async () => {
    const answer = await lab.request("POST", "/v1/files", {
      raw: '--b\r\ncontent-disposition: form-data; name="file"; filename="x"\r\n\r\nhalf',
      headers: { "content-type": "multipart/form-data; boundary=b" },
    });
    expect(await failure(answer)).toMatchObject({ status: 400, code: "multipart_broken" });
    expect(leftovers()).toEqual([]);
  });

  test("files are listed in pages that do not overlap", async () => {
    const mine = await createTestApp();
    try {
      for (let i = 0; i < 5; i++)
        await mine.json("POST", `/v1/files?filename=${i}.txt&purpose=user_data`, {
          raw: "x",
          headers: { "content-type": "text/plain" },
        });
      const seen: string[] = [];
      let after = "";
      for (let more = true; more; ) {
        const page = await mine.json<{
          data: FileObject[];
          has_more: boolean;
          last_id: string;
          first_id: string;
          object: string;
        }>("GET", `/v1/files?limit=2${after && `&after=${after}`}`);
        expect(page.object).toBe("list");
        expect(page.last_id).toBe(page.data.at(-1)?.id ?? "");
        seen.push(...page.data.map((file) => file.filename));
        after = page.last_id;
        more = page.has_more;
      }
      expect(seen.sort()).toEqual(["0.txt", "1.txt", "2.txt", "3.txt", "4.txt"]);
      const other = await mine.json<{ data: FileObject[] }>("GET", "/v1/files", { as: "other" });
      expect(other.data).toEqual([]);
    } finally {
      await mine.close();
    }
  });

  test("a file of another organization is not found", async () => {
    const file = await upload(rows(2));
    for (const [method, path] of [
      ["GET", `/v1/files/${file.id}`],
      ["GET", `/v1/files/${file.id}/content`],
      ["DELETE", `/v1/files/${file.id}`],
    ] as const)
      expect((await lab.request(method, path, { as: "other" })).status).toBe(404);
  });

  test("deleting a file removes its bytes and the dataset that has no other file", async () => {
    const file = await upload(rows(12));
    await processed(file.id);
    const before = await lab.json<{ data: { id: string; version: { file_id: string; id: string } }[] }>(
      "GET",
      "/v1/datasets",
    );
    const made = before.data.find((each) => each.version.file_id === file.id);
    expect(made).toBeDefined();
    expect(await lab.json("DELETE", `/v1/files/${file.id}`)).toMatchObject({
      id: file.id,
      object: "file",
      deleted: true,
    });
    expect(existsSync(lab.ctx.files.path("files", file.id))).toBe(false);
    expect(existsSync(lab.ctx.files.path("datasets", made?.version.id ?? ""))).toBe(false);
    expect((await lab.request("GET", `/v1/files/${file.id}`)).status).toBe(404);
    expect((await lab.request("GET", `/v1/datasets/${made?.id}`)).status).toBe(404);
  });
});

describe("uploads", () => {
  const begin = (bytes: number, fields = {}) =>
    lab.json<{ id: string; status: string }>("POST", "/v1/uploads", {
      body: { filename: "big.jsonl", purpose: "fine-tune", bytes, mime_type: "text/jsonl", ...fields },
    });
  const part = async (id: string, content: string) => {
    const data = new FormData();
    data.set("data", new File([content], "blob"));
    return lab.json<{ id: string; object: string }>("POST", `/v1/uploads/${id}/parts`, {
      raw: data as unknown as RequestInit["body"],
    });
  };
  const md5 = (text: string) => createHash("md5").update(text).digest("hex");

  test("parts become one file in the order of the final request", async () => {
    const content = rows(40);
    const [a, b, c] = [content.slice(0, 700), content.slice(700, 1500), content.slice(1500)];
    const made = await begin(content.length);
    expect(made).toMatchObject({ object: "upload", status: "pending" });
    const [third, first, second] = await Promise.all([part(made.id, c), part(made.id, a), part(made.id, b)]);
    expect(first).toMatchObject({ object: "upload.part", upload_id: made.id });
    const body = { part_ids: [first.id, second.id, third.id], md5: md5(content) };
    const done = await lab.json<{ status: string; file: FileObject }>("POST", `/v1/uploads/${made.id}/complete`, {
      body,
    });
    expect(done.status).toBe("completed");
    expect(await (await lab.request("GET", `/v1/files/${done.file.id}/content`)).text()).toBe(content);
    const again = await lab.json<{ file: FileObject }>("POST", `/v1/uploads/${made.id}/complete`, { body });
    expect(again.file.id).toBe(done.file.id);
    expect((await processed(done.file.id)).status).toBe("processed");
  });

  test("two simultaneous completions create one file", async () => {
    const made = await begin(5);
    const one = await part(made.id, "hello");
    const answers = await Promise.all(
      [1, 2].map(() =>
        lab.json<{ file: FileObject }>("POST", `/v1/uploads/${made.id}/complete`, { body: { part_ids: [one.id] } }),
      ),
    );
    expect(answers[0]?.file.id).toBe(answers[1]?.file.id ?? "");
  });

  test("a wrong size, a wrong md5 or an unknown part is refused, and the upload stays open", async () => {
    const made = await begin(10);
    const one = await part(made.id, "hello");
    const complete = async (body: object) =>
      failure(await lab.request("POST", `/v1/uploads/${made.id}/complete`, { body }));
    expect(await complete({ part_ids: [one.id] })).toMatchObject({ status: 400, code: "bytes_mismatch" });
    const two = await part(made.id, "world");
    expect(await complete({ part_ids: [one.id, two.id], md5: md5("worldhello") })).toMatchObject({
      status: 400,
      code: "md5_mismatch",
      param: "md5",
    });
    expect(await complete({ part_ids: [one.id, "part_none"] })).toMatchObject({ status: 400, code: "unknown_part" });
    const done = await lab.request("POST", `/v1/uploads/${made.id}/complete`, {
      body: { part_ids: [one.id, two.id], md5: md5("helloworld") },
    });
    expect(done.status).toBe(200);
    expect(await failure(await lab.request("POST", `/v1/uploads/${made.id}/cancel`))).toMatchObject({
      status: 400,
      code: "upload_not_pending",
    });
  });

  test("a canceled upload accepts no part and leaves no bytes", async () => {
    const made = await begin(5);
    await part(made.id, "hello");
    expect(await lab.json<{ status: string }>("POST", `/v1/uploads/${made.id}/cancel`)).toMatchObject({
      status: "cancelled",
    });
    expect(existsSync(lab.ctx.files.path("uploads", made.id))).toBe(false);
    const data = new FormData();
    data.set("data", new File(["x"], "blob"));
    const late = await lab.request("POST", `/v1/uploads/${made.id}/parts`, {
      raw: data as unknown as RequestInit["body"],
    });
    expect(await failure(late)).toMatchObject({ status: 400, code: "upload_not_pending" });
    expect(leftovers()).toEqual([]);
  });

  test("more bytes than the limit are refused at the start", async () => {
    const answer = await lab.request("POST", "/v1/uploads", {
      body: { filename: "x", purpose: "fine-tune", bytes: 300_000, mime_type: "text/jsonl" },
    });
    expect(await failure(answer)).toMatchObject({ status: 413, code: "file_too_large", param: "bytes" });
  });
});
