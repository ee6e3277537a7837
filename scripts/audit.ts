/**
 * `bun run audit [--strict]`: asks the npm registry and the OSV database for known vulnerabilities of every pinned
 * package; what could not be checked is reported as such.
 */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cleanEnvironment } from "../src/lib/child-environment.ts";
import { maintainerTool } from "./environments.ts";
import { ROOT } from "./setup.ts";

const HELP = `bun run audit [--strict]

Looks for known vulnerabilities: \`bun audit\` for bun.lock, pip-audit with the OSV database for trainer/requirements*.txt.
Exit code: 0 nothing was found, 1 something was. What could not be asked is printed as "not checked" and is no failure,
unless --strict is given.`;

/**
 * The result of one source. It is complete only when `unchecked` is empty.
 */
interface Audit {
  source: string;
  /** One line per vulnerability. */
  found: string[];
  /** Why something was not checked. */
  unchecked: string[];
}

interface Ran {
  code: number;
  out: string;
  err: string;
}

const TIMEOUT_MS = 5 * 60_000;

async function run(argv: string[], cwd: string, env: Record<string, string>): Promise<Ran> {
  const child = Bun.spawn(argv, { cwd, env, stdin: "ignore", stdout: "pipe", stderr: "pipe", timeout: TIMEOUT_MS });
  const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code: await child.exited, out, err };
}

function lastLine({ out, err, code }: Ran): string {
  const lines = `${out}\n${err}`.split("\n").map((line) => line.trim());
  return lines.findLast((line) => line !== "")?.slice(0, 300) ?? `exit code ${code}`;
}

function parsed<T>(text: string): T | null {
  try {
    return JSON.parse(text) as T;
  } catch {
    return null;
  }
}

/** Reads `bun audit --json`: an object of advisories by package. Anything else counts as not checked. */
export function readBunAudit(ran: Ran): Audit {
  const answer = parsed<Record<string, { title?: string; severity?: string; url?: string }[]>>(ran.out);
  const audit: Audit = { source: "npm packages (bun audit)", found: [], unchecked: [] };
  if (!answer || typeof answer !== "object" || !Object.values(answer).every(Array.isArray))
    audit.unchecked.push(lastLine(ran));
  else
    for (const [name, advisories] of Object.entries(answer))
      for (const { title, severity, url } of advisories)
        audit.found.push(`${name}: ${severity ?? "unknown severity"}: ${title ?? ""} ${url ?? ""}`.trim());
  if (ran.code !== 0 && audit.found.length === 0 && audit.unchecked.length === 0) audit.unchecked.push(lastLine(ran));
  return audit;
}

interface PipAudit {
  dependencies: {
    name: string;
    version?: string;
    vulns?: { id: string; fix_versions?: string[] }[];
    skip_reason?: string;
  }[];
}

/** Reads `pip-audit -f json`. It exits with 0 even when it skipped packages: those are not checked. */
export function readPipAudit(file: string, ran: Ran): Audit {
  const answer = parsed<PipAudit>(ran.out);
  const audit: Audit = { source: `trainer/${file} (pip-audit)`, found: [], unchecked: [] };
  if (!Array.isArray(answer?.dependencies) || answer.dependencies.length === 0) audit.unchecked.push(lastLine(ran));
  else
    for (const { name, version, vulns, skip_reason } of answer.dependencies) {
      if (skip_reason !== undefined) audit.unchecked.push(`${name}: ${skip_reason}`);
      for (const { id, fix_versions } of vulns ?? [])
        audit.found.push(`${name} ${version}: ${id}, fixed in ${fix_versions?.join(", ") || "no version yet"}`);
    }
  if (ran.code !== 0 && audit.found.length === 0 && audit.unchecked.length === 0) audit.unchecked.push(lastLine(ran));
  return audit;
}

/** `registry` replaces the npm registry of bun's settings. */
export async function auditNpm(root = ROOT, registry?: string): Promise<Audit> {
  const more = registry ? { BUN_CONFIG_REGISTRY: registry } : undefined;
  return readBunAudit(await run([process.execPath, "audit", "--json"], root, cleanEnvironment(more)));
}

async function auditPython(): Promise<Audit[]> {
  let pipAudit: string;
  try {
    pipAudit = await maintainerTool("pip-audit");
  } catch (error) {
    return [{ source: "Python packages (pip-audit)", found: [], unchecked: [String(error).slice(0, 300)] }];
  }
  const files = readdirSync(join(ROOT, "trainer")).filter((name) => /^requirements.*\.txt$/.test(name));
  const cache = mkdtempSync(join(tmpdir(), "ftl-audit-"));
  const options = [
    "--vulnerability-service",
    "osv",
    "--format",
    "json",
    "--progress-spinner",
    "off",
    "--cache-dir",
    cache,
  ];
  const ask = (file: string) =>
    run(
      [pipAudit, ...options, "--disable-pip", "--require-hashes", "-r", join(ROOT, "trainer", file)],
      ROOT,
      cleanEnvironment(),
    );
  return auditFiles(files.sort(), ask).finally(() => rmSync(cache, { recursive: true, force: true }));
}

/** pip-audit could not connect to the database; it has tried several times. */
const UNREACHABLE = /host='api\.osv\.dev'.*Max retries exceeded/;

/** Asks for each file. Once the database cannot be reached, the other files are not checked either. */
export async function auditFiles(files: readonly string[], ask: (file: string) => Promise<Ran>): Promise<Audit[]> {
  const audits: Audit[] = [];
  let gone: Ran | null = null;
  for (const file of files) {
    const ran: Ran = gone ?? (await ask(file));
    if (ran.code !== 0 && UNREACHABLE.test(lastLine(ran))) gone = ran;
    audits.push(readPipAudit(file, ran));
  }
  return audits;
}

/** The audits as lines and an exit code. */
export function verdict(audits: readonly Audit[], strict: boolean): { lines: string[]; code: number } {
  const lines: string[] = [];
  for (const { source, found, unchecked } of audits) {
    for (const line of found) lines.push(`VULNERABLE  ${source}: ${line}`);
    for (const line of unchecked.slice(0, 5)) lines.push(`not checked: ${source}: ${line}`);
    if (unchecked.length > 5) lines.push(`not checked: ${source}: and ${unchecked.length - 5} more`);
    if (found.length + unchecked.length === 0) lines.push(`nothing known: ${source}`);
  }
  const found = audits.some((audit) => audit.found.length > 0);
  const open = audits.some((audit) => audit.unchecked.length > 0);
  return { lines, code: found || (strict && open) ? 1 : 0 };
}

async function main(args: string[]): Promise<number> {
  const unknown = args.find((arg) => arg !== "--strict" && arg !== "--help");
  if (args.includes("--help") || unknown) {
    process.stdout.write(`${unknown ? `${unknown} is unknown.\n` : ""}${HELP}\n`);
    return unknown ? 2 : 0;
  }
  const { lines, code } = verdict([await auditNpm(), ...(await auditPython())], args.includes("--strict"));
  process.stdout.write(`${lines.join("\n")}\n`);
  return code;
}

if (import.meta.main) process.exit(await main(process.argv.slice(2)));
