/** Checks the ledger of a live database: intervals without holes, exactly once, and sums that agree. Reads only. */
import { type SQL, sql } from "drizzle-orm";
import type { Db } from "../../db/types.ts";
import type { LedgerVerification } from "./model.ts";

/** Most violations of one check that are listed. */
const MOST = 100;

interface Rule {
  name: string;
  /** Selects the number of things that are compared, as `n`. */
  count: SQL;
  /** Selects what is wrong: one text in each row, as `what`. */
  wrong: SQL;
}

/**
 * The rows that say how long attempts ran, with the milliseconds since the start of the attempt at which each begins.
 * Rows of earlier versions cover an attempt as a whole.
 */
const TIME = sql`time_row as (
  select n, source, attempt_id, quantity, meter, to_ms - from_ms as ms,
    cast(substr(source, length(attempt_id) + length(meter) + 3) as integer) as begins
  from meter_interval where attempt_id is not null and meter in ('gpu_seconds', 'cpu_seconds') and reverses is null
    and source not like 'legacy %')`;
/** Attempts that ran and are metered in intervals. */
const RAN = sql`from attempt a where a.started_at is not null
  and not exists (select 1 from meter_interval l where l.source = 'legacy ' || a.id)`;
/** What is metered of rented machines, with the milliseconds since the first at which each interval begins. */
const MACHINE_TIME = sql`machine_row as (
  select r.id, m.source, m.to_ms - m.from_ms as ms,
    cast(substr(m.source, length(r.id) + length(m.meter) + 3) as integer) as begins
  from meter_interval m join rented_machine r on r.id = substr(m.source, 1, instr(m.source, ' ') - 1)
  where m.meter = 'provider_micros')`;
/** Attempts that ran on a machine with a price, and whose machine is gone. */
const PRICED = sql`from attempt a where a.gone_at is not null and a.started_at is not null
  and json_extract(a.offer, '$.pricePerHour') > 0
  and not exists (select 1 from meter_interval l where l.source = 'legacy ' || a.id)`;
/** Whether an interval `m` counts against budget `b` in the period of `u`. */
const OF_BUDGET = sql`m.org = b.org
  and (u.period = 'total' or strftime('%Y-%m', m.from_ms / 1000, 'unixepoch') = u.period)
  and case b.scope when 'user' then m.user_id = b.scope_id when 'key' then m.key_id = b.scope_id
    when 'job' then m.job_id = b.scope_id
    when 'sweep' then m.job_id in (select job_id from trial where sweep_id = b.scope_id) else 1 end`;
const CURRENT = sql`source not like 'legacy %'`;

/** Requests that are metered. */
const COUNTED = sql`n > (select position from meter_cursor where name = 'requests_from')
  and n <= (select position from meter_cursor where name = 'requests')`;

const RULES: Rule[] = [
  {
    name: "Intervals of an attempt follow each other without overlap or hole",
    count: sql`with ${TIME} select count(*) as n from time_row`,
    wrong: sql`with ${TIME}, neighbor as (
        select source, begins, lag(begins + ms, 1, 0) over (partition by attempt_id order by begins, n) as due from time_row)
      select source || iif(begins < due, ' overlaps the one before by ', ' follows a hole of ') || abs(begins - due) || ' ms' as what
      from neighbor where begins <> due`,
  },
  {
    name: "Every attempt that ran is metered from its start to its end",
    count: sql`select count(*) as n ${RAN}`,
    wrong: sql`with ${TIME}, total as (select attempt_id, sum(ms) as ms from time_row group by attempt_id),
      due as (select a.id, iif(a.state = 'ended', max(a.ended_at - a.started_at, 0), a.metered_ms) as ms, a.state,
        a.metered_ms as position ${RAN})
      select d.id || ' is metered for ' || coalesce(t.ms, 'no') || ' of ' || d.ms || ' ms' as what from due d
      left join total t on t.attempt_id = d.id
      where coalesce(t.ms, 0) <> d.ms or d.position <> d.ms or (d.state = 'ended' and t.ms is null)`,
  },
  {
    name: "GPU-seconds are whole seconds times the GPUs of the attempt",
    count: sql`with ${TIME} select count(*) as n from time_row where meter = 'gpu_seconds'`,
    wrong: sql`with ${TIME} select t.source || ' has ' || t.quantity || ' GPU-seconds' as what from time_row t
      join attempt a on a.id = t.attempt_id where t.meter = 'gpu_seconds'
      and t.quantity <> ((t.begins + t.ms) / 1000 - t.begins / 1000) * json_extract(a.offer, '$.gpus')`,
  },
  {
    name: "Every rented machine is metered without overlap or hole, from its launch until it is gone",
    count: sql`select count(*) as n from rented_machine`,
    wrong: sql`with ${MACHINE_TIME}, neighbor as (
        select source, begins, lag(begins + ms, 1, 0) over (partition by id order by begins) as due from machine_row),
      total as (select m.id, m.metered_ms as position, iif(m.ended_at is null, m.metered_ms, m.ended_at - m.charged_from) as ms,
        coalesce((select sum(r.ms) from machine_row r where r.id = m.id), 0) as sum_ms from rented_machine m)
      select source || iif(begins < due, ' overlaps the one before by ', ' follows a hole of ') || abs(begins - due) || ' ms' as what
      from neighbor where begins <> due
      union all select id || ' is metered for ' || sum_ms || ' of ' || ms || ' ms' from total where sum_ms <> ms or position <> ms`,
  },
  {
    name: "Every machine of an attempt with a price is metered once",
    count: sql`select count(*) as n ${PRICED}`,
    wrong: sql`with legacy as (select attempt_id, max(to_ms) as till from meter_interval where meter = 'provider_micros'
        and attempt_id is not null and source like attempt_id || ' %' group by attempt_id)
      select a.id || ' has a price and no machine' as what ${PRICED} and not exists (select 1 from legacy l where l.attempt_id = a.id)
      and not exists (select 1 from rented_machine m where m.attempt_id = a.id)
      union all select m.id || ' is metered with ' || m.attempt_id || ' too' from rented_machine m
      join legacy l on l.attempt_id = m.attempt_id where l.till > m.charged_from`,
  },
  {
    name: "No interval crosses an hour, and its free part is within its quantity",
    count: sql`select count(*) as n from meter_interval where ${CURRENT}`,
    wrong: sql`select source || ' lasts from ' || from_ms || ' to ' || to_ms || ', ' || free || ' of ' || quantity || ' free' as what
      from meter_interval where ${CURRENT} and (to_ms < from_ms or to_ms > (from_ms / 3600000 + 1) * 3600000
      or abs(free) > abs(quantity) or free * quantity < 0 or (quantity = free and micros <> 0))`,
  },
  {
    name: "What was taken back is part of an interval that exists",
    count: sql`select count(*) as n from meter_interval where reverses is not null`,
    wrong: sql`select r.source || ' takes back ' || -r.quantity || ' of ' || coalesce(o.quantity, 'nothing') as what
      from meter_interval r left join meter_interval o on o.source = r.reverses where r.reverses is not null
      and (o.n is null or o.reverses is not null or r.org <> o.org or r.meter <> o.meter or r.quantity > 0
        or -r.quantity > o.quantity or -r.micros > o.micros or r.from_ms < o.from_ms or r.to_ms <> o.to_ms)`,
  },
  {
    name: "Every transaction of the ledger adds up to 0",
    count: sql`select count(distinct txn) as n from ledger_entry`,
    wrong: sql`select txn || ' adds up to ' || sum(micros) as what from ledger_entry group by txn having sum(micros) <> 0`,
  },
  {
    name: "Every interval with a price is booked once, for that price",
    count: sql`select count(*) as n from meter_interval where ${CURRENT} and micros <> 0`,
    wrong: sql`select m.source || ' costs ' || m.micros || ' and is booked for ' || coalesce(e.micros, 'nothing') as what
      from meter_interval m left join ledger_entry e on e.txn = 'use ' || m.source and e.account = 'unbilled'
      where m.source not like 'legacy %' and m.micros <> coalesce(e.micros, 0)
      union all select e.txn || ' is booked without an interval' from ledger_entry e where e.account = 'unbilled'
      and e.txn like 'use %' and not exists (select 1 from meter_interval m where m.source = substr(e.txn, 5))`,
  },
  {
    name: "The account unbilled is the sum of the intervals, fees and interest that are on no statement",
    count: sql`select count(distinct org) as n from meter_interval`,
    wrong: sql`with open as (select org, sum(micros) as micros from (
          select org, micros from meter_interval where statement_id is null
          union all select org, micros from late_charge where billed_on is null) group by org),
      booked as (select org, sum(micros) as micros from ledger_entry where account = 'unbilled' group by org),
      everyone as (select org from open union select org from booked)
      select e.org || ' has ' || coalesce(o.micros, 0) || ' unbilled and ' || coalesce(b.micros, 0) || ' booked' as what
      from everyone e left join open o on o.org = e.org left join booked b on b.org = e.org
      where coalesce(o.micros, 0) <> coalesce(b.micros, 0)`,
  },
  {
    name: "The intervals of a statement add up to its lines",
    count: sql`select count(*) as n from statement`,
    wrong: sql`with used as (select statement_id as id, sum(micros) as micros from meter_interval
        where statement_id is not null and statement_id <> 'legacy' group by statement_id),
      lines as (select statement_id as id, sum(micros) as micros from statement_line where meter is not null group by statement_id)
      select u.id || ' has ' || u.micros || ' in intervals and ' || coalesce(l.micros, 0) || ' on its lines' as what
      from used u left join lines l on l.id = u.id where u.micros <> coalesce(l.micros, 0)`,
  },
  {
    name: "The work of a job belongs to its team and to who started it",
    count: sql`select count(distinct job_id) as n from meter_interval where job_id is not null`,
    wrong: sql`select m.source || ' belongs to ' || m.org || ' and ' || m.user_id || ', its job to ' || j.org || ' and ' || j.created_by as what
      from meter_interval m join job j on j.id = m.job_id where m.org <> j.org or m.user_id is not j.created_by`,
  },
  {
    name: "What budgets counted is the sum of the intervals of their period",
    count: sql`select count(*) as n from budget_use`,
    wrong: sql`with counted as (select b.id, u.period, u.micros, u.gpu_seconds,
        (select coalesce(sum(m.micros), 0) from meter_interval m where ${OF_BUDGET}) as sum_micros,
        (select coalesce(sum(m.quantity), 0) from meter_interval m where m.meter = 'gpu_seconds' and ${OF_BUDGET}) as sum_gpu
        from budget_use u join budget b on b.id = u.budget_id)
      select id || ' (' || period || ') counted ' || micros || ' and ' || gpu_seconds || ' GPU-seconds of ' || sum_micros
        || ' and ' || sum_gpu as what from counted where micros <> sum_micros or gpu_seconds <> sum_gpu`,
  },
  {
    name: "Tokens of requests are counted once",
    count: sql`select count(*) as n from inference where ${COUNTED}`,
    wrong: sql`with there as (select coalesce(sum(prompt_tokens), 0) as i, coalesce(sum(completion_tokens), 0) as o from inference
        where ${COUNTED}),
      counted as (select coalesce(sum(iif(meter = 'input_tokens', quantity, 0)), 0) as i,
        coalesce(sum(iif(meter = 'output_tokens', quantity, 0)), 0) as o from meter_interval where source like 'requests %')
      select 'requests have ' || t.i || ' and ' || t.o || ' tokens, intervals ' || c.i || ' and ' || c.o as what
      from there t, counted c where t.i <> c.i or t.o <> c.o`,
  },
];

/** The check that runs, and how many there are. */
export interface VerifyProgress {
  done: number;
  of: number;
  name: string;
}

/**
 * Compares the ledger with itself and with what it was made from. Never repairs anything.
 * @param progress called before each check
 */
export async function verifyLedger(
  db: Db,
  progress: (at: VerifyProgress) => void = () => {},
): Promise<LedgerVerification["checks"]> {
  const checks: LedgerVerification["checks"] = [];
  for (const { name, count, wrong } of RULES) {
    progress({ done: checks.length, of: RULES.length, name });
    const [found] = await db.all<{ n: number }>(count);
    const rows = await db.all<{ what: string }>(sql`${wrong} limit ${MOST}`);
    checks.push({ name, checked: found?.n ?? 0, violations: rows.map(({ what }) => what) });
  }
  return checks;
}
