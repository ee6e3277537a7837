/**
 * Takes screenshots of every page, at five widths, light and dark, and runs axe on each; fails on violations and script
 * errors. Without `--real` the installation is seeded; with it a real server makes a real tiny run.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { gt } from "drizzle-orm";
import { chromium } from "playwright-core";
import { createUser } from "../src/accounts/auth/service.ts";
import { createSetupToken } from "../src/accounts/organizations/invitations.ts";
import { createApp, createCtx } from "../src/app.ts";
import { loadConfig } from "../src/config.ts";
import { type Ctx, systemActor } from "../src/ctx.ts";
import { host } from "../src/db/schema/hosts.ts";
import { seed } from "../test/support/seed.ts";
import { addOverdue } from "./screenshots-overdue.ts";
import { EMAIL, PASSWORD, SHOTS } from "./screenshots-pages.ts";
import { addPeople } from "./screenshots-people.ts";
import { addRare } from "./screenshots-rare.ts";
import { startReal } from "./screenshots-real.ts";
import { SEEDS, type SeedName, type Shot, SIZES, type Site, type SizeName, shoot } from "./screenshots-shoot.ts";
import { findChromium, needs } from "./setup.ts";

/** Creates the accounts, and seeds. */
async function fill(ctx: Ctx, name: Exclude<SeedName, "new">) {
  const user = await createUser(ctx, systemActor(), {
    email: EMAIL,
    password: PASSWORD,
    role: "admin",
    orgName: "Alpha",
  });
  const actor = { ...systemActor(user.org), userId: user.id };
  await seed(ctx, actor, name);
  if (name === "full") return addPeople(ctx, actor, PASSWORD);
  if (name === "failing") await addOverdue(ctx, actor);
  return { links: name === "failing" ? await addRare(ctx, actor) : {}, cookies: {} };
}

/** A server on a fresh seeded data directory. */
async function start(name: SeedName): Promise<Site & { stop(): Promise<void> }> {
  const dir = mkdtempSync(join(tmpdir(), "ftl-shots-"));
  // The machines are only rows; they have no engines.
  const hosts = "atlas=unix:///nonexistent/atlas.sock mig=unix:///nonexistent/mig.sock";
  const providers =
    name === "full" || name === "failing"
      ? {
          providers: ["process", "docker"],
          provider_settings: { docker: { hosts } },
          mail_url: "smtp://mail.example.test:587",
          contact_address: "help@example.test",
          abuse_address: "https://example.test/abuse",
          ...(name === "failing" ? { stripe_secret_key: "sk_test_51SeedOfFineTuneLab" } : {}),
        }
      : {};
  const config = loadConfig({ data_dir: dir, listen: "127.0.0.1:0", log_level: "error", ...providers }, {});
  const ctx = await createCtx(config);
  const known: Pick<Site, "links" | "cookies"> =
    name === "new"
      ? { links: { setup: `/setup?token=${await createSetupToken(ctx)}` }, cookies: {} }
      : await fill(ctx, name);
  // Nothing polls the seeded machines, so that their state does not change during the run.
  const hear = setInterval(() => {
    const now = Date.now();
    void ctx.write((tx) =>
      tx
        .update(host)
        .set({ seenAt: now })
        .where(gt(host.seenAt, now - 60_000)),
    );
  }, 10_000);
  const built = createApp(ctx).get("/fault", () => {
    throw new Error("a fault to look at");
  });
  const app = built.listen({ port: 0, hostname: "127.0.0.1" });
  return {
    base: `http://127.0.0.1:${app.server?.port}`,
    email: EMAIL,
    password: PASSWORD,
    ...known,
    async stop() {
      clearInterval(hear);
      await app.stop(true);
      await ctx.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** Seeds of a page that names none. */
const SEEDED: readonly SeedName[] = ["empty", "full", "failing"];
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: "string" },
    only: { type: "string" },
    size: { type: "string" },
    scheme: { type: "string" },
    real: { type: "boolean" },
    "no-axe": { type: "boolean" },
    help: { type: "boolean" },
  },
});
if (values.help || !positionals[0]) {
  console.log(
    `bun scripts/screenshots.ts OUT [--seed ${SEEDS.join("|")} | --real] [--only NAME-PREFIX,…] [--size ${Object.keys(SIZES).join("|")}] [--scheme light|dark] [--no-axe]`,
  );
  process.exit(values.help ? 0 : 2);
}
needs("Chromium");
const out = resolve(positionals[0]);
mkdirSync(out, { recursive: true });
const browser = await chromium.launch({
  executablePath: findChromium() ?? "",
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
const troubles: string[] = [];
const wanted = (shot: Shot) => !values.only || values.only.split(",").some((only) => shot.name.startsWith(only));

/** Takes the shots in every size and color scheme that was asked for. */
async function takeAll(name: string, site: Site, shots: Shot[]): Promise<void> {
  for (const size of Object.keys(SIZES) as SizeName[]) {
    if (values.size && !values.size.split(",").includes(size)) continue;
    for (const dark of [false, true]) {
      if (values.scheme && values.scheme !== (dark ? "dark" : "light")) continue;
      troubles.push(...(await shoot({ browser, site, out, name, shots, dark, size, axe: !values["no-axe"] })));
    }
  }
}

if (values.real) {
  needs("trainer environment", "tiny model");
  const { site, shots, stop } = await startReal();
  await takeAll("real", site, shots.filter(wanted)).finally(stop);
} else
  for (const seedName of SEEDS) {
    if (values.seed && values.seed !== seedName) continue;
    const shots = SHOTS.filter((shot) => (shot.seeds ?? SEEDED).includes(seedName) && wanted(shot));
    if (!shots.length) continue;
    const server = await start(seedName);
    await takeAll(seedName, server, shots);
    await server.stop();
  }
await browser.close();
for (const trouble of [...new Set(troubles)]) console.log(trouble);
console.log(
  troubles.length
    ? `${new Set(troubles).size} troubles`
    : "no violations, no script errors, nothing wider than the screen",
);
process.exit(troubles.length ? 1 : 0);
