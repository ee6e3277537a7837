/**
 * Decides which PyTorch a machine gets, so that one without an NVIDIA card is not made to download gigabytes of CUDA.
 */
import { readFileSync, rmSync } from "node:fs";
import { AppError } from "../../errors.ts";
import { readPins } from "../../lib/requirements.ts";
import { pipInstall } from "./pip.ts";
import { runLines, WHEELS_ONLY } from "./python.ts";

/** PyTorch's public index of wheels without CUDA. */
const CPU_INDEX = "https://download.pytorch.org/whl/cpu";

/** PyTorch and the CUDA libraries it names, as PyPI has them, with hashes. */
export const TORCH_REQUIREMENTS = "requirements-torch.txt";

export type TorchVariant = "cpu" | "cuda";

/**
 * True where PyTorch without CUDA is another file than PyPI's: on Linux. The requirement files hold no hashes of it,
 * so it is installed in a step of its own, by version; everywhere else PyPI's file is the one, and is checked.
 */
export const needsCpuIndex = (variant: TorchVariant): boolean => variant === "cpu" && process.platform === "linux";

/** True when an NVIDIA driver answers here. */
async function hasNvidiaGpu(): Promise<boolean> {
  const command = Bun.which("nvidia-smi");
  if (!command) return false;
  const ran = await runLines([command, "-L"], { timeoutMs: 20_000 }).catch(() => null);
  return ran?.code === 0 && ran.lines.some((line) => line.startsWith("GPU "));
}

/** What the setting `torch` means on this machine. */
export async function torchVariant(setting: "auto" | "cpu" | "cuda"): Promise<TorchVariant> {
  if (setting !== "auto") return setting;
  return (await hasNvidiaGpu()) ? "cuda" : "cpu";
}

/** The pinned torch requirement (`torch==2.13.0`) of a requirement file. */
export function torchPin(requirements: string): string {
  const pin = readPins(requirements).find(({ name }) => name === "torch");
  if (!pin) throw new Error("the requirements name no pinned torch");
  return `torch==${pin.version}`;
}

/** One entry of pip's installation report, as far as it is used here. */
interface PipReport {
  install: { metadata: { name: string; version: string; requires_dist?: string[] } }[];
}

/** True when the torch of this report brings NVIDIA's libraries along (they are gigabytes). */
export function bringsCuda(report: PipReport): boolean {
  const torch = report.install.find((entry) => entry.metadata.name.toLowerCase() === "torch");
  return (torch?.metadata.requires_dist ?? []).some(
    (line) => /^(nvidia|cuda)-/i.test(line) && !line.includes("extra ==") && !/platform_system == "Windows"/.test(line),
  );
}

/**
 * pip arguments that install torch on Linux without CUDA: the version is pinned, the file is the index's word.
 * Asks pip first what it would take (a dry run of one package reads metadata only): a machine whose index already
 * serves a CPU wheel keeps it, all others are sent to PyTorch's CPU index.
 * @throws AppError `index_unreachable`, `cpu_torch_unreachable`
 */
export async function cpuTorchArguments(
  python: string,
  pin: string,
  reportPath: string,
  signal?: AbortSignal,
): Promise<string[]> {
  const pip = [...pipInstall(python), ...WHEELS_ONLY, "--dry-run", "--quiet", "--no-deps", "--ignore-installed"];
  const ask = (extra: string[]) =>
    runLines([...pip, "--report", reportPath, ...extra, pin], { signal, timeoutMs: 300_000 });
  try {
    const ran = await ask([]);
    if (ran.code === 0) {
      const report = JSON.parse(readFileSync(reportPath, "utf8")) as PipReport;
      if (!bringsCuda(report)) return [pin];
    }
    // Settings without a retry: an unreachable index should say so in seconds, not minutes.
    const cpu = ["--index-url", CPU_INDEX];
    const fromCpu = await ask([...cpu, "--retries", "1", "--timeout", "20"]);
    if (fromCpu.code === 0) return [...cpu, pin];
    if (ran.code !== 0)
      throw new AppError(
        "unavailable",
        "index_unreachable",
        `pip finds no ${pin}: no package index is reachable from here, or none has it. Check the network or pip's own settings (pip config list), or set FTL_TRAINER_ENV to an environment made elsewhere. pip said: ${ran.lines.slice(-2).join(" ")}`,
      );
    throw new AppError(
      "unavailable",
      "cpu_torch_unreachable",
      `The package index of this machine has PyTorch with CUDA only (several gigabytes), and ${CPU_INDEX} cannot be reached. Let this machine reach it, or accept the big download with --torch cuda, or set FTL_TRAINER_ENV to an environment made elsewhere.`,
    );
  } finally {
    rmSync(reportPath, { force: true });
  }
}
