/** Use and cost of an organization in the buckets of OpenAI's usage API. A team is its one project. */
import { type SQL, sql } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import type {
  CompletionsResult,
  CompletionsUsageQuery,
  CostsQuery,
  CostsResult,
  NoUsageQuery,
} from "./openai-model.ts";

const SECONDS = { "1m": 60, "1h": 3600, "1d": 86_400 } as const;
type Width = keyof typeof SECONDS;
/** Buckets of a page: without `limit`, and at most. */
const LIMITS: Record<Width, [fallback: number, most: number]> = { "1m": [60, 1440], "1h": [24, 168], "1d": [7, 31] };
const COSTS_LIMIT: [number, number] = [7, 180];
const NONE = "\u0000";

interface Bucket<Result> {
  object: "bucket";
  start_time: number;
  end_time: number;
  results: Result[];
}

interface Page<Result> {
  object: "page";
  data: Bucket<Result>[];
  has_more: boolean;
  next_page: string | null;
}

interface Frame {
  /** Seconds since 1970: the first moment that counts, and the end (exclusive). */
  from: number;
  to: number;
  /** Beginning of the first bucket. */
  first: number;
  size: number;
  count: number;
  next: string | null;
}

/** The buckets of a page. @throws AppError `invalid_limit`, `invalid_period` */
function frameOf(
  ctx: Ctx,
  {
    start_time,
    end_time,
    limit,
    page,
    bucket_width,
  }: { start_time: number; end_time?: number; limit?: number; page?: string; bucket_width: Width },
  [fallback, most]: [number, number],
): Frame {
  const wanted = limit ?? fallback;
  if (wanted > most)
    throw new AppError("invalid", "invalid_limit", `'limit' is at most ${most} for buckets of ${bucket_width}.`, {
      param: "limit",
    });
  const size = SECONDS[bucket_width];
  const end = end_time ?? Math.ceil((ctx.clock.now() + 1) / 1000);
  if (end <= start_time)
    throw new AppError("invalid", "invalid_period", "'end_time' must be later than 'start_time'.", {
      param: "end_time",
    });
  const from = Math.max(start_time, page ? Number(page.slice("page_".length)) : 0);
  const first = Math.floor(from / size) * size;
  const count = Math.max(0, Math.min(wanted, Math.ceil((end - first) / size)));
  const to = Math.min(end, first + count * size);
  return { from, to, first, size, count, next: to < end && count > 0 ? `page_${to}` : null };
}

function pageOf<Result>({ first, size, count, next }: Frame, resultsOf: (bucket: number) => Result[]): Page<Result> {
  const data = Array.from({ length: count }, (_, n): Bucket<Result> => {
    const start_time = first + n * size;
    return { object: "bucket", start_time, end_time: start_time + size, results: resultsOf(n) };
  });
  return { object: "page", data, has_more: next !== null, next_page: next };
}

/** The values of a parameter that clients write with or without brackets. */
const both = <T>(plain: T[] | undefined, bracketed: T[] | undefined): T[] | undefined =>
  plain || bracketed ? [...(plain ?? []), ...(bracketed ?? [])] : undefined;

const within = (column: SQL, values: string[] | undefined): SQL =>
  values ? sql`${column} in ${[...values, NONE]}` : sql`true`;

/** Rows of a bucket by its number. */
const grouped = <Row extends { bucket: number }>(rows: Row[]) => {
  const found = Map.groupBy(rows, ({ bucket }) => bucket);
  return (bucket: number): Row[] => found.get(bucket) ?? [];
};

interface RequestsRow {
  bucket: number;
  user: string | null;
  key: string | null;
  model: string | null;
  requests: number;
  input: number;
  output: number;
}

/** Requests to models and their tokens (completions, responses and embeddings), for callers who see the whole team. */
export async function completionsUsage(
  ctx: Ctx,
  { org }: Actor,
  query: CompletionsUsageQuery,
): Promise<Page<CompletionsResult>> {
  const frame = frameOf(ctx, query, LIMITS[query.bucket_width]);
  const by = new Set<string>(both(query.group_by, query["group_by[]"]) ?? []);
  const column = (name: string, value: string) => (by.has(name) ? sql`${sql.identifier(value)}` : sql`null`);
  const projects = both(query.project_ids, query["project_ids[]"]);
  const none = (projects && !projects.includes(org)) || query.batch === "true";
  const rows = none
    ? []
    : await ctx.db.all<RequestsRow>(
        sql`select cast((at / 1000 - ${frame.first}) / ${frame.size} as integer) bucket, ${column("user_id", "user_id")} user,
            ${column("api_key_id", "key_id")} key, ${column("model", "model")} model, count(*) requests,
            sum(prompt_tokens) input, sum(completion_tokens) output
          from inference where org = ${org} and at >= ${frame.from * 1000} and at < ${frame.to * 1000} and status < 400
            and ${within(sql`user_id`, both(query.user_ids, query["user_ids[]"]))}
            and ${within(sql`key_id`, both(query.api_key_ids, query["api_key_ids[]"]))}
            and ${within(sql`model`, both(query.models, query["models[]"]))}
          group by 1, 2, 3, 4 order by 1, requests desc, 2, 3, 4`,
      );
  const of = grouped(rows);
  return pageOf(frame, (bucket) =>
    of(bucket).map((row) => ({
      object: "organization.usage.completions.result",
      input_tokens: row.input,
      input_cached_tokens: 0,
      output_tokens: row.output,
      input_audio_tokens: 0,
      output_audio_tokens: 0,
      num_model_requests: row.requests,
      project_id: by.has("project_id") ? org : null,
      user_id: row.user,
      api_key_id: row.key,
      model: row.model,
      batch: by.has("batch") ? false : null,
      service_tier: by.has("service_tier") ? "default" : null,
    })),
  );
}

/** Use of a kind that this product does not have: buckets without results. */
export function noUsage(ctx: Ctx, query: NoUsageQuery): Page<never> {
  return pageOf<never>(frameOf(ctx, query, LIMITS[query.bucket_width]), () => []);
}

interface CostRow {
  bucket: number;
  item: string | null;
  key: string | null;
  micros: number;
  quantity: number;
}

/** OpenAI's word for the unit of a meter, and how many of our units it is. */
const UNITS: Record<string, [unit: string, per: number]> = {
  gpu_seconds: ["duration_seconds", 1],
  cpu_seconds: ["duration_seconds", 1],
  endpoint_seconds: ["duration_seconds", 1],
  byte_hours: ["gibibyte_hours", 1024 ** 3],
  input_tokens: ["tokens", 1],
  output_tokens: ["tokens", 1],
  training_tokens: ["tokens", 1],
};

/** Cost by day (UTC), for callers who see the whole team. Line items are meters. */
export async function costs(ctx: Ctx, { org }: Actor, query: CostsQuery): Promise<Page<CostsResult>> {
  const frame = frameOf(ctx, query, COSTS_LIMIT);
  const by = new Set<string>(both(query.group_by, query["group_by[]"]) ?? []);
  const column = (name: string, value: SQL) => (by.has(name) ? value : sql`null`);
  const projects = both(query.project_ids, query["project_ids[]"]);
  const rows =
    projects && !projects.includes(org)
      ? []
      : await ctx.db.all<CostRow>(
          sql`select cast((day / 1000 - ${frame.first}) / ${frame.size} as integer) bucket, ${column("line_item", sql`meter`)} item,
              ${column("api_key_id", sql`nullif(key_id, '')`)} key, sum(micros) * 1.0 micros, sum(quantity) * 1.0 quantity
            from usage_day where org = ${org} and day >= ${frame.first * 1000} and day < ${frame.to * 1000}
              and meter in ${Object.keys(UNITS)} and ${within(sql`key_id`, both(query.api_key_ids, query["api_key_ids[]"]))}
            group by 1, 2, 3 order by 1, micros desc, 2, 3`,
        );
  const of = grouped(rows);
  return pageOf(frame, (bucket) =>
    of(bucket).map(({ item, key, micros, quantity }) => {
      const [unit, per] = (item && UNITS[item]) || [null, 1];
      return {
        object: "organization.costs.result",
        amount: { value: micros / 1_000_000, currency: "usd" },
        line_item: item,
        project_id: by.has("project_id") ? org : null,
        api_key_id: key,
        quantity: unit ? quantity / per : null,
        quantity_unit: unit,
      };
    }),
  );
}
