/** The queue that askers take turns in: order, bounds, and what happens to work that is not wanted any more. */
import { expect, test } from "bun:test";
import { createFairQueue } from "../../src/lib/fair-queue.ts";

const options = { slots: 1, maxWaiting: 6, maxWaitingEach: 4, code: "things_busy", what: "things" };

/** Work that ends when it is let go, in the order it began. */
function workshop(given: Partial<typeof options> = {}) {
  const queue = createFairQueue({ ...options, ...given });
  const begun: string[] = [];
  const open: (() => void)[] = [];
  const work = (name: string) => () => {
    begun.push(name);
    return new Promise<string>((done) => open.push(() => done(name)));
  };
  const add = (asker: string | null, name: string, signal?: AbortSignal) => {
    const result = queue.run(asker, work(name), signal);
    result.catch(() => {});
    return result;
  };
  const finish = async () => {
    open.shift()?.();
    await Bun.sleep(0);
  };
  return { queue, begun, add, finish };
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => "done",
    (error: { code?: string; kind?: string; message: string }) => `${error.kind} ${error.code}: ${error.message}`,
  );

test("who asks often waits for the others between two of their own", async () => {
  const { begun, add, finish, queue } = workshop();
  for (const name of ["a1", "a2", "a3", "a4"]) add("a", name);
  for (const name of ["b1", "b2"]) add("b", name);
  add("c", "c1");
  await Bun.sleep(0);
  for (let n = 0; n < 7; n++) await finish();
  expect(begun).toEqual(["a1", "b1", "c1", "a2", "b2", "a3", "a4"]);
  expect(queue.counts()).toEqual({ running: 0, waiting: 0 });
});

test("of several slots the one who has least running gets the next", async () => {
  const { begun, add, finish } = workshop({ slots: 3 });
  for (const name of ["a1", "a2", "a3", "a4"]) add("a", name);
  await Bun.sleep(0);
  for (const name of ["b1", "b2"]) add("b", name);
  await finish();
  await finish();
  expect(begun).toEqual(["a1", "a2", "a3", "b1", "a4"]);
  await finish();
  expect(begun.at(-1)).toBe("b2");
});

test("too much waiting is refused, of one asker and of all; the server's own work never is", async () => {
  const { add, queue } = workshop();
  for (const name of ["a1", "a2", "a3", "a4", "a5"]) add("a", name);
  expect(await codeOf(add("a", "a6"))).toBe(
    "rate_limited things_busy: Too many things of yours are already waiting. Try again in a few seconds.",
  );
  add("b", "b1");
  add("c", "c1");
  expect(await codeOf(add("d", "d1"))).toBe(
    "rate_limited things_busy: Too many things are waiting. Try again in a few seconds.",
  );
  add(null, "server");
  expect(queue.counts()).toEqual({ running: 1, waiting: 7 });
});

test("work that is not wanted any more leaves the queue and never begins", async () => {
  const { begun, add, finish, queue } = workshop();
  const leave = new AbortController();
  add("a", "a1");
  const gone = add("a", "a2", leave.signal);
  add("a", "a3");
  leave.abort(new Error("left"));
  expect(await codeOf(gone)).toContain("left");
  expect(queue.counts()).toEqual({ running: 1, waiting: 1 });
  await finish();
  expect(begun).toEqual(["a1", "a3"]);
  expect(await codeOf(add("a", "a4", leave.signal))).toContain("left");
});

test("work that throws gives its slot back", async () => {
  const { queue, add } = workshop();
  expect(await codeOf(queue.run("a", () => Promise.reject(new Error("broken"))))).toContain("broken");
  add("a", "a1");
  expect(queue.counts()).toEqual({ running: 1, waiting: 0 });
});
