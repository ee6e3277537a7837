/** The peer of bench/http-reads.ts: a minimal handler that lists jobs from the same file. */
import { createClient } from "@libsql/client";
import Fastify from "fastify";

const client = createClient({ url: `file:${process.argv[2]}` });
// The query filters by organization, so that both sides use the same index.
const org = (await client.execute("SELECT org FROM job LIMIT 1")).rows[0].org;
const app = Fastify();
app.get("/v1/fine_tuning/jobs", async (request) => {
  const limit = Number(request.query.limit ?? 20);
  const { rows } = await client.execute({
    sql: "SELECT id, org, kind, name, state, spec, request, metadata, progress, error, result, created_at, finished_at FROM job WHERE org = ? AND kind = 'train' ORDER BY created_at DESC, id DESC LIMIT ?",
    args: [org, limit + 1],
  });
  const data = rows.slice(0, limit).map((row) => {
    const spec = JSON.parse(row.spec);
    return {
      object: "fine_tuning.job",
      id: row.id,
      model: spec.base_model.id,
      created_at: Math.floor(row.created_at / 1000),
      finished_at: row.finished_at && Math.floor(row.finished_at / 1000),
      status: row.state,
      hyperparameters: spec.hyperparameters,
      training_file: spec.dataset.file_id,
      metadata: JSON.parse(row.metadata),
    };
  });
  return { object: "list", data, has_more: rows.length > limit };
});
console.log(await app.listen({ port: 0, host: "127.0.0.1" }));
