/** Page routes of personal data in a version: its rows, a decision, and a repeated scan. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { getDataset, newestVersions } from "../../../src/data/datasets/service.ts";
import { versionOf } from "../../../src/data/datasets/versions.ts";
import { parseWith } from "../../../src/data/files/forms.ts";
import { decide } from "../../../src/data/privacy/decide.ts";
import { foundRows, readPii } from "../../../src/data/privacy/findings.ts";
import { Decide, FoundRowsQuery, foundRowList } from "../../../src/data/privacy/model.ts";
import { scanAgain } from "../../../src/data/privacy/scan.ts";
import { AppError } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { FoundRows, PersonalDataPage } from "./personal-data.tsx";

const LIMIT = "50";
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const Query = v.object({ version: text(100), kind: text(60), after: text(15) });
const Form = v.object({
  version: text(100),
  decision: text(20),
  reason: text(2000),
  style: text(20),
  kinds: v.optional(v.union([v.pipe(v.string(), v.maxLength(60)), v.array(v.pipe(v.string(), v.maxLength(60)))])),
});
const ScanForm = v.object({ version: text(100) });

interface Visit {
  request: Request;
  actor: Actor;
  params: v.InferOutput<typeof Id>;
}

/** Without fields that are empty. */
const filled = (form: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(form).filter(([, value]) => value !== "" && value !== undefined));

async function show(ctx: Ctx, { request, actor, params, query }: Visit & { query: v.InferOutput<typeof Query> }) {
  const dataset = await getDataset(ctx, actor, params.id);
  const version = await versionOf(ctx, actor, params.id, query.version || undefined);
  const newest = (await newestVersions(ctx, [params.id])).get(params.id);
  const page = parseWith(FoundRowsQuery, { ...filled(query), version: version.id, limit: LIMIT });
  const props = {
    dataset,
    version,
    newest: newest?.id === version.id,
    pii: await readPii(ctx, actor, params.id, version.id),
    rows: foundRowList(await foundRows(ctx, actor, params.id, page)),
  };
  return html(pageOf(ctx, request, actor), <PersonalDataPage {...props} />, {
    fragments: { found: () => <FoundRows {...props} /> },
  });
}

const pathOf = (id: string, version: string) =>
  `/datasets/${id}/personal-data${version && `?version=${encodeURIComponent(version)}`}`;

/** Runs a change; a refusal is shown on the page. */
async function attempt(request: Request, back: string, change: () => Promise<[path: string, words: string]>) {
  try {
    const [path, words] = await change();
    return redirect(request, path, words);
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal" || error.kind === "not_found") throw error;
    return redirect(request, back, { kind: "bad", text: error.message });
  }
}

const save = (ctx: Ctx, { request, actor, params, body }: Visit & { body: v.InferOutput<typeof Form> }) =>
  attempt(request, pathOf(params.id, body.version), async () => {
    const { kinds, ...rest } = body;
    const given = parseWith(Decide, { ...filled(rest), ...(kinds === undefined ? {} : { kinds: [kinds].flat() }) });
    await decide(ctx, actor, params.id, given);
    return given.decision === "accept"
      ? [pathOf(params.id, body.version), "Accepted in your name."]
      : [`/datasets/${params.id}`, "The next version is being created."];
  });

const again = (ctx: Ctx, { request, actor, params, body }: Visit & { body: v.InferOutput<typeof ScanForm> }) =>
  attempt(request, pathOf(params.id, body.version), async () => {
    await scanAgain(ctx, actor, params.id, body.version || undefined);
    return [pathOf(params.id, body.version), "The version is scanned again."];
  });

export const personalDataPages = (ctx: Ctx) =>
  new Elysia({ name: "personal-data.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/datasets/:id/personal-data", (visit) => show(ctx, visit), { params: Id, query: Query })
    .post("/datasets/:id/personal-data", (visit) => save(ctx, visit), { params: Id, body: Form })
    .post("/datasets/:id/personal-data/scan", (visit) => again(ctx, visit), { params: Id, body: ScanForm });
