/**
 * Every fault of the fake cloud against every provider of rented machines: no orphan, no second machine, the right kind
 * of failure with the vendor's own code, and no storm of requests.
 */
import { describe, expect, test } from "bun:test";
import type { ProviderErrorKind } from "../../src/contract/provider.ts";
import { FakeCloud, type Machine } from "../support/fake-cloud/core.ts";
import { FAULTS, type Fault, type Operation } from "../support/fake-cloud/faults.ts";
import { type CloudLab, cloudLab, endAs, launchAs, sweepAs } from "../support/fake-cloud/lab.ts";
import { VENDORS } from "../support/fake-cloud/vendors.ts";

interface Row {
  fault: Fault;
  operation?: Operation;
  times?: number;
  /** Kinds of the failures that the host saw, in order. */
  kinds: ProviderErrorKind[];
  /** After a create without an answer the key is not used again until the vendor's list has caught up: 2 to 4 times. */
  waits?: true;
  /** No machine comes of it. */
  refused?: true;
  /** The most requests to create a machine, and of any kind, from the first offer to the last look. */
  creates: number;
  calls: number;
}

const ROWS: Row[] = [
  { fault: "error_before", operation: "types", kinds: ["transient"], creates: 1, calls: 14 },
  { fault: "error_before", operation: "create", kinds: ["transient"], waits: true, creates: 2, calls: 24 },
  { fault: "error_before", operation: "list", kinds: ["transient"], creates: 1, calls: 14 },
  { fault: "error_before", operation: "delete", kinds: [], creates: 1, calls: 14 },
  { fault: "error_after", operation: "create", kinds: [], creates: 1, calls: 14 },
  { fault: "error_after", operation: "delete", kinds: [], creates: 1, calls: 14 },
  { fault: "lost_answer", operation: "create", kinds: [], creates: 1, calls: 14 },
  { fault: "lost_answer", operation: "delete", kinds: [], creates: 1, calls: 14 },
  { fault: "timeout", operation: "create", kinds: [], creates: 1, calls: 14 },
  { fault: "timeout", operation: "list", kinds: ["transient"], creates: 1, calls: 14 },
  { fault: "broken_list", operation: "list", kinds: ["transient"], creates: 1, calls: 14 },
  { fault: "duplicate_create", kinds: [], creates: 1, calls: 14 },
  { fault: "list_lag", kinds: [], creates: 1, calls: 14 },
  { fault: "slow_delete", kinds: [], creates: 1, calls: 30 },
  { fault: "stuck_delete", kinds: [], creates: 1, calls: 14 },
  { fault: "stuck_delete", times: 4, kinds: [], creates: 1, calls: 24 },
  { fault: "zero_quota", times: 9, kinds: ["quota"], refused: true, creates: 1, calls: 10 },
  { fault: "no_balance", times: 9, kinds: ["quota"], refused: true, creates: 1, calls: 10 },
  { fault: "no_capacity", times: 2, kinds: ["no_capacity", "no_capacity"], creates: 3, calls: 20 },
  { fault: "rate_limited", operation: "create", kinds: ["rate_limited"], creates: 2, calls: 14 },
  { fault: "rate_limited_silent", operation: "create", kinds: ["rate_limited"], creates: 2, calls: 16 },
  { fault: "rate_limited", operation: "list", kinds: ["rate_limited"], creates: 1, calls: 14 },
  { fault: "rate_limited", operation: "delete", kinds: [], creates: 1, calls: 14 },
];

const titleOf = ({ fault, operation, times = 1 }: Row) =>
  `${fault}${operation ? ` of ${operation}` : ""}${times > 1 ? `, ${times} times` : ""}`;

const aliveOf = (lab: CloudLab, key: string): Machine[] =>
  lab.cloud.alive().filter((machine) => machine.name.includes(key));

describe.each(Object.keys(VENDORS))("%s", (vendor) => {
  const { plugin, dialect, config, moreCalls } = VENDORS[vendor] as (typeof VENDORS)[string];
  const open = (more: Record<string, unknown> = {}) => cloudLab(plugin, new FakeCloud(dialect), { ...config, ...more });

  test.each(ROWS.map((row) => [titleOf(row), row] as const))(
    "%s",
    async (_title, { fault, operation, times, kinds, waits, refused, creates, calls }) => {
      const lab = open();
      lab.cloud.faults.add(fault, { operation, times });
      const { handle, failures } = await launchAs(lab, "att-1");
      const seen = failures.map((one) => one.providerErrorKind);
      expect(waits ? [...new Set(seen)] : seen).toEqual(kinds);
      if (waits) expect(seen.length).toBeLessThanOrEqual(5);
      for (const one of failures) if (one.providerErrorKind !== "transient") expect(one.vendorCode).toBeTruthy();
      expect(handle === null).toBe(refused === true);
      if (handle) {
        lab.cloud.advance(dialect.bootMs + 60_000);
        expect((await lab.provider.describe(handle)).state).toBe("running");
        lab.cloud.advance(dialect.endMs ?? 0);
        expect(aliveOf(lab, "att-1")).toHaveLength(1);
        // Handles are stored before the machine is known: key and provider alone must find it.
        expect(await endAs(lab, { provider: plugin.id, key: "att-1" })).not.toBeNull();
        expect((await lab.provider.describe(handle)).state).toBe("absent");
      }
      expect(await sweepAs(lab)).toEqual([]);
      expect(lab.cloud.alive()).toEqual([]);
      expect(lab.cloud.faults.happened.get(fault) ?? 0).toBeGreaterThan(0);
      expect(lab.cloud.counts().create ?? 0).toBeLessThanOrEqual(creates);
      expect(lab.cloud.calls.length).toBeLessThanOrEqual(calls + moreCalls);
    },
  );
});

test("every fault of the fake has a row, or its own test in life.test.ts", () => {
  const elsewhere = ["price_raised", "wrong_region"];
  expect([...new Set([...ROWS.map(({ fault }) => fault), ...elsewhere])].sort()).toEqual(Object.keys(FAULTS).sort());
});
