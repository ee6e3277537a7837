/**
 * A real browser on the application in this process: signed in, with every script error and policy violation collected.
 */
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { findChromium } from "../../scripts/setup.ts";
import { type App, createApp } from "../../src/app.ts";
import { PASSWORD, type TestApp } from "./app.ts";

const CHROMIUM = findChromium();
/** Browser tests run where there is a Chromium; `FTL_CHROMIUM` names another. */
export const hasBrowser = CHROMIUM !== null;

export interface TestBrowser {
  base: string;
  page: Page;
  context: BrowserContext;
  /** Script errors, policy violations and failed loads seen so far. */
  troubles: string[];
  /** Releases the port, like a server during a restart. */
  stopServer(): Promise<void>;
  /** Listens again at the same address. */
  startServer(): void;
  close(): Promise<void>;
}

export async function launch(): Promise<Browser> {
  return chromium.launch({
    executablePath: CHROMIUM ?? undefined,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
  });
}

/** Script errors, policy violations and failed loads of `page` from now on, but for complaints like `expected`. */
export function troublesOf(page: Page, expected?: RegExp): string[] {
  const troubles: string[] = [];
  page.on("pageerror", (error) => troubles.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" && !expected?.test(message.text())) troubles.push(message.text());
  });
  return troubles;
}

/** Signs in at `base` and waits for the home page. */
export async function signIn(page: Page, base: string, email: string, password: string): Promise<void> {
  await page.goto(`${base}/login`);
  await page.fill("[name=email]", email);
  await page.fill("[name=password]", password);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.waitForURL(`${base}/`);
}

/** Serves `t` on a free port and opens a page signed in as the administrator. */
export async function openBrowser(t: TestApp, options: { javaScript?: boolean } = {}): Promise<TestBrowser> {
  let app: App = createApp(t.ctx).listen({ port: 0, hostname: "127.0.0.1" }) as App;
  const port = app.server?.port ?? 0;
  const base = `http://127.0.0.1:${port}`;
  const browser = await launch();
  const context = await browser.newContext({
    viewport: { width: 1280, height: 900 },
    javaScriptEnabled: options.javaScript ?? true,
  });
  const page = await context.newPage();
  page.setDefaultTimeout(40_000);
  // The server goes away in some tests.
  const troubles = troublesOf(page, /ERR_CONNECTION|ERR_INCOMPLETE|ERR_EMPTY/);
  await signIn(page, base, t.emails.admin, PASSWORD);
  return {
    base,
    page,
    context,
    troubles,
    async stopServer() {
      await app.stop(true);
    },
    startServer() {
      app = createApp(t.ctx).listen({ port, hostname: "127.0.0.1" }) as App;
    },
    async close() {
      await browser.close();
      await app.stop(true);
    },
  };
}
