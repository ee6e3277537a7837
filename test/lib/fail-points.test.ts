/**
 * The places where tests kill the server: off by default, refused where anyone else could reach the server, and struck
 * at the count asked for.
 */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { loadConfig } from "../../src/config.ts";
import { armFailPoints, FAIL_POINTS } from "../../src/lib/fail-points.ts";

const config = (more: Record<string, string>) => loadConfig({}, { FTL_DATA_DIR: "/tmp/ftl-none", ...more });

test("they are off by default", () => {
  expect(config({}).fail_points).toBeNull();
  const failPoint = armFailPoints(null);
  for (const name of Object.keys(FAIL_POINTS)) failPoint(name as keyof typeof FAIL_POINTS);
});

test.each(["0.0.0.0:3900", "10.0.0.5:80", "[::1]:3900"])(
  "they are refused on a server that listens on %s",
  (listen) => {
    expect(() => config({ FTL_LISTEN: listen, FTL_FAIL_POINTS: "exit.seen" })).toThrow(/fail_points.*127\.0\.0\.1/);
    expect(config({ FTL_FAIL_POINTS: "exit.seen" }).fail_points).toBe("exit.seen");
  },
);

test.each(["nonsense", "exit.seen@0", "exit.seen@x", "exit.seen,toString"])("%s is no fail point", (setting) => {
  expect(() => armFailPoints(setting)).toThrow(/"fail_points"/);
});

test.each([
  ["exit.seen", 1],
  ["launch.before@9, exit.seen@3", 3],
])("%s kills the process as kill -9 does, the %d. time", (setting, count) => {
  const source = join(import.meta.dir, "../../src/lib/fail-points.ts");
  const code = `
    const { armFailPoints } = await import(${JSON.stringify(source)});
    const failPoint = armFailPoints(${JSON.stringify(setting)});
    for (let n = 1; n < 9; n++) { process.stdout.write(String(n)); failPoint("exit.seen"); }`;
  const run = Bun.spawnSync([process.execPath, "-e", code]);
  expect(run.signalCode).toBe("SIGKILL");
  expect(run.stdout.toString().at(-1)).toBe(String(count));
});
