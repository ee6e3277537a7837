/** The state of components while a planned maintenance runs, in the API and on the page. */
import { expect, test } from "bun:test";
import { maintenanceWindow } from "../../src/db/schema/announcements.ts";
import { statusComponent } from "../../src/db/schema/status.ts";
import type { IncidentView, StatusView } from "../../src/insights/status/model.ts";
import { startStatus } from "../../src/insights/status/probe.ts";
import { createTestApp } from "../support/app.ts";
import { fakeClock } from "../support/clock.ts";
import { until } from "../support/live.ts";

const MINUTE = 60_000;

test("components in use are in maintenance while it runs, whatever the probes find; an incident still shows", async () => {
  const clock = fakeClock(Date.parse("2026-03-02T10:00:00Z"));
  const app = await createTestApp({ ctx: { clock } });
  const stop = startStatus(app.ctx);
  await until("a probe", async () => (await app.ctx.db.select().from(statusComponent)).length > 0, 10_000, 1);
  await stop();
  const from = clock.now() + 10 * MINUTE;
  const plan = { reason: "Power", message: "", endpoints: "stay", trainings: "wait", leadMs: 0, mail: false } as const;
  const times = { startsAt: from, endsAt: from + 30 * MINUTE, createdAt: clock.now(), createdBy: "u" };
  await app.ctx.write((tx) => tx.insert(maintenanceWindow).values({ ...plan, ...times, id: "planned" }));
  const read = () => app.json<StatusView>("GET", "/v1/status");
  const statesOf = ({ components }: StatusView) => components.map(({ state }) => state);
  const before = statesOf(await read());
  expect([before[0], before[2]]).toEqual(["operational", "unused"]);

  clock.advance(20 * MINUTE);
  const during = await read();
  expect([during.state, ...statesOf(during)]).toEqual([
    "maintenance",
    "maintenance",
    "maintenance",
    "unused",
    "maintenance",
  ]);
  expect(during.components[0]?.since).toBe(from / 1000);
  const page = await (await app.request("GET", "/status", { headers: { accept: "text/html" } })).text();
  expect(page).toContain("Planned maintenance is in progress");

  const posted = { title: "Requests fail", text: "Wait.", impact: "major", components: ["api"] };
  const { id } = await app.json<IncidentView>("POST", "/v1/admin/incidents", { body: posted });
  const failing = await read();
  expect([failing.state, ...statesOf(failing)]).toEqual(["down", "down", "maintenance", "unused", "maintenance"]);
  await app.json("POST", `/v1/admin/incidents/${id}/updates`, { body: { status: "resolved", text: "Over." } });

  clock.advance(20 * MINUTE);
  expect(statesOf(await read())).toEqual(before);
  await app.close();
});
