/** Takes the screenshots of a list of pages in one size and color scheme, and runs axe on each. */
import { join, resolve } from "node:path";
import type { Browser, BrowserContext, Page } from "playwright-core";

/** Window sizes by name: a phone, a tablet, half a screen, a laptop, a large screen. */
export const SIZES = {
  narrow: { width: 390, height: 844 },
  tablet: { width: 820, height: 1180 },
  half: { width: 1024, height: 768 },
  wide: { width: 1440, height: 900 },
  large: { width: 1920, height: 1080 },
};
export type SizeName = keyof typeof SIZES;
const AXE = resolve(import.meta.dir, "../node_modules/axe-core/axe.min.js");

/** Seeded installations; `new` has no account yet. */
export const SEEDS = ["new", "empty", "full", "failing"] as const;
export type SeedName = (typeof SEEDS)[number];

/** A server with an administrator. */
export interface Site {
  base: string;
  email: string;
  password: string;
  /** One-time links by kind. */
  links?: Record<string, string>;
  /** Cookie headers of other accounts, by name. */
  cookies?: Record<string, string>;
}

/** One page. */
export interface Shot {
  name: string;
  path: string | ((links: Record<string, string | undefined>) => string | undefined);
  /** Before signing in. */
  open?: boolean;
  /** An account of the site's `cookies`; otherwise the administrator. */
  as?: string;
  /** Something to do first. */
  act?: (page: Page) => Promise<unknown>;
  /** Seeds that have this page; all when absent. */
  seeds?: SeedName[];
}

async function signIn(page: Page, site: Site): Promise<void> {
  const { base } = site;
  // With single sign-on the page asks for the address first.
  await page.goto(`${base}/login?password=1`);
  await page.fill("[name=email]", site.email);
  await page.fill("[name=password]", site.password);
  await page.click("button[type=submit]");
  await page.waitForURL(`${base}/`);
}

async function settle(page: Page, shot: Shot): Promise<void> {
  await page.waitForLoadState("load");
  if (await page.locator("ft-chart").count())
    await page.waitForSelector("ft-chart canvas", { timeout: 3000 }).catch(() => null);
  await shot.act?.(page);
  await page.waitForTimeout(350);
}

/** Violations found by axe, one line each. */
async function violations(page: Page): Promise<string[]> {
  await page.addScriptTag({ path: AXE });
  return page.evaluate(async () => {
    const axe = (globalThis as unknown as { axe: { run(options: unknown): Promise<{ violations: Found[] }> } }).axe;
    interface Found {
      id: string;
      help: string;
      nodes: { target: string[]; failureSummary?: string }[];
    }
    const { violations } = await axe.run({ resultTypes: ["violations"] });
    return violations.map(
      (one) =>
        `${one.id}: ${one.help} (${one.nodes.length}): ${one.nodes[0]?.target.join(" ")} ${one.nodes[0]?.failureSummary ?? ""}`,
    );
  });
}

/** Tables that are wider than their place, so that the columns at their end are cut off. */
const cutTables = (page: Page): Promise<string[]> =>
  page.evaluate(() =>
    [...document.querySelectorAll<HTMLElement>("main .table-wrap")]
      .filter((wrap) => wrap.checkVisibility() && wrap.scrollWidth > wrap.clientWidth + 1)
      .map((wrap) => {
        const name = wrap.querySelector("[aria-label]")?.getAttribute("aria-label") ?? wrap.textContent?.slice(0, 40);
        return `the table "${name}" is ${wrap.scrollWidth - wrap.clientWidth} px wider than its place`;
      }),
  );

/** Who opens a page; sorts visitors without an account first. */
const whose = (shot: Shot) => (shot.open ? "" : (shot.as ?? "administrator"));

/** Changes the account of a browser. */
async function become(context: BrowserContext, page: Page, site: Site, as: string | undefined): Promise<void> {
  await context.clearCookies();
  if (as === undefined) return signIn(page, site);
  const pairs = (site.cookies?.[as] ?? "").split("; ").map((pair) => pair.split(/=(.*)/s));
  await context.addCookies(pairs.map(([name = "", value = ""]) => ({ name, value, url: site.base })));
}

interface Round {
  browser: Browser;
  site: Site;
  out: string;
  /** The first part of the names of files: the seed, or `real`. */
  name: string;
  shots: Shot[];
  dark: boolean;
  size: SizeName;
  /** Whether to run axe, which takes longer than the pictures. */
  axe: boolean;
}

/** Takes every shot in one size and color scheme. @returns what was wrong, one line each */
export async function shoot({ browser, site, out, name, shots, dark, size, axe }: Round): Promise<string[]> {
  const { base } = site;
  const troubles: string[] = [];
  const options = {
    viewport: SIZES[size],
    colorScheme: dark ? ("dark" as const) : ("light" as const),
    reducedMotion: "reduce" as const,
  };
  const label = `${name}-${size}-${dark ? "dark" : "light"}`;
  // Screenshots use the real content-security policy; only axe needs it disabled.
  const plain = await browser.newContext(options);
  const lifted = await browser.newContext({ ...options, bypassCSP: true });
  const rounds = [{ context: plain, checks: false }];
  // Other sizes differ in layout, not in colors: axe checks both color schemes at one size, and phones once.
  if (axe && (size === "wide" || (size === "narrow" && !dark))) rounds.push({ context: lifted, checks: true });
  for (const { context, checks } of rounds) {
    const page = await context.newPage();
    let at = "";
    page.on("console", (message) => {
      const wanted = at === "error-fault" ? /status of 500/ : /status of 4\d\d/;
      if (message.type() === "error" && !wanted.test(message.text()))
        troubles.push(`${label} ${at}: ${message.text()}`);
    });
    page.on("pageerror", (error) => troubles.push(`${label} ${at}: ${error.message}`));
    let who = "";
    for (const shot of [...shots].sort((a, b) => whose(a).localeCompare(whose(b)))) {
      if (whose(shot) !== who) await become(context, page, site, shot.as);
      who = whose(shot);
      at = shot.name;
      const url = base + (typeof shot.path === "string" ? shot.path : shot.path(site.links ?? {}));
      // A navigation that the page itself started (a form, a redirect) can interrupt ours once.
      await page.goto(url).catch(() => page.goto(url));
      await settle(page, shot).catch((error: Error) =>
        troubles.push(`${label} ${at}: ${error.message.split("\n")[0]}`),
      );
      if (checks) for (const found of await violations(page)) troubles.push(`${label} ${at}: axe ${found}`);
      else {
        await page.screenshot({ path: join(out, `${shot.name}-${label}.png`), fullPage: false });
        if (!shot.act) await page.screenshot({ path: join(out, `${shot.name}-${label}-whole.png`), fullPage: true });
        const overflow = await page.evaluate(
          () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
        );
        if (overflow > 0) troubles.push(`${label} ${at}: ${overflow} px wider than the screen`);
        // Phones scroll wide tables; elsewhere every column fits.
        if (size !== "narrow") for (const cut of await cutTables(page)) troubles.push(`${label} ${at}: ${cut}`);
      }
    }
    await page.close();
  }
  await plain.close();
  await lifted.close();
  return troubles;
}
