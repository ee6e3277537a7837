/** Reports the hardware and load of this machine for the list of hosts. */
import { readFileSync, statfsSync } from "node:fs";
import { availableParallelism, freemem, hostname, loadavg, totalmem } from "node:os";
import type { HostReport } from "../../src/contract/provider.ts";

const NVIDIA_TIMEOUT_MS = 20_000;
const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const mb = (bytes: number) => Math.floor(bytes / 2 ** 20);

/** Memory limit of this process in bytes: of its cgroup, or of the machine. */
function memoryLimit(): number {
  try {
    const text = readFileSync("/sys/fs/cgroup/memory.max", "utf8").trim();
    if (/^\d+$/.test(text)) return Math.min(Number(text), totalmem());
  } catch {
    // Without cgroup v2, the memory of the machine is the limit.
  }
  return totalmem();
}

async function run(argv: string[]): Promise<{ ok: boolean; output: string }> {
  const child = Bun.spawn(argv, {
    // Nothing of the server's environment.
    env: { PATH: SYSTEM_PATH, LANG: "C.UTF-8" },
    stdout: "pipe",
    stderr: "pipe",
    stdin: "ignore",
    timeout: NVIDIA_TIMEOUT_MS,
  });
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  // nvidia-smi writes errors to either stream.
  return code === 0
    ? { ok: true, output: out }
    : { ok: false, output: `${out}\n${err}`.trim() || `no answer (${child.signalCode ?? `exit code ${code}`})` };
}

async function nvidia(): Promise<HostReport["nvidia"]> {
  const program = Bun.which("nvidia-smi");
  if (!program) return null;
  const xml = await run([program, "-q", "-x"]);
  if (!xml.ok) return { failure: xml.output };
  const list = await run([program, "-L"]);
  return list.ok ? { xml: xml.output, list: list.output } : { failure: list.output };
}

/** @param dataDir a directory on the disk to report */
export async function thisMachine(dataDir: string): Promise<HostReport> {
  const disk = statfsSync(dataDir);
  const memory = memoryLimit();
  return {
    id: "local",
    name: hostname(),
    cpus: availableParallelism(),
    memoryMb: mb(memory),
    memoryFreeMb: mb(Math.min(freemem(), memory)),
    load: loadavg()[0] ?? null,
    diskMb: mb(disk.blocks * disk.bsize),
    diskFreeMb: mb(disk.bavail * disk.bsize),
    nvidia: await nvidia(),
    problem: null,
  };
}
