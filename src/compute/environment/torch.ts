/**
 * Selects the PyTorch build for a machine, so that a machine without an NVIDIA GPU does not download CUDA libraries.
 */
import { readFileSync, rmSync } from "node:fs";
import { AppError } from "../../errors.ts";
import { readPins } from "../../lib/requirements.ts";
import { pipInstall } from "./pip.ts";
import { runLines, WHEELS_ONLY } from "./python.ts";

/** The public index of PyTorch wheels without CUDA. */
const CPU_INDEX = "https://download.pytorch.org/whl/cpu";

/** The requirements file with PyTorch and its CUDA libraries from PyPI, with hashes. */
export const TORCH_REQUIREMENTS = "requirements-torch.txt";

export type TorchVariant = "cpu" | "cuda";

/**
 * True on Linux, where PyTorch without CUDA is not the file on PyPI. The requirements files have no hashes for it, so
 * it is installed in a separate step by version. On other systems, the file on PyPI is used and checked.
 */
export const needsCpuIndex = (variant: TorchVariant): boolean => variant === "cpu" && process.platform === "linux";

/** True when this machine has an NVIDIA driver and a GPU. */
async function hasNvidiaGpu(): Promise<boolean> {
  const command = Bun.which("nvidia-smi");
  if (!command) return false;
  const ran = await runLines([command, "-L"], { timeoutMs: 20_000 }).catch(() => null);
  return ran?.code === 0 && ran.lines.some((line) => line.startsWith("GPU "));
}

/** The PyTorch variant for the setting `torch` on this machine. */
export async function torchVariant(setting: "auto" | "cpu" | "cuda"): Promise<TorchVariant> {
  if (setting !== "auto") return setting;
  return (await hasNvidiaGpu()) ? "cuda" : "cpu";
}

/** The pinned torch requirement (`torch==2.13.0`) of a requirements file. */
export function torchPin(requirements: string): string {
  const pin = readPins(requirements).find(({ name }) => name === "torch");
  if (!pin) throw new Error("the requirements have no pinned torch");
  return `torch==${pin.version}`;
}

/** The used part of pip's installation report. */
interface PipReport {
  install: { metadata: { name: string; version: string; requires_dist?: string[] } }[];
}

/** True when torch in this report depends on the CUDA libraries, which have several gigabytes. */
export function bringsCuda(report: PipReport): boolean {
  const torch = report.install.find((entry) => entry.metadata.name.toLowerCase() === "torch");
  return (torch?.metadata.requires_dist ?? []).some(
    (line) => /^(nvidia|cuda)-/i.test(line) && !line.includes("extra ==") && !/platform_system == "Windows"/.test(line),
  );
}

/**
 * pip arguments that install torch without CUDA on Linux. The version is pinned, but not the file. A dry run of pip,
 * which reads only metadata, checks whether the configured index has a CPU wheel; otherwise PyTorch's CPU index is
 * used.
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
    // Few retries, so that an unreachable index fails in seconds, not minutes.
    const cpu = ["--index-url", CPU_INDEX];
    const fromCpu = await ask([...cpu, "--retries", "1", "--timeout", "20"]);
    if (fromCpu.code === 0) return [...cpu, pin];
    if (ran.code !== 0)
      throw new AppError(
        "unavailable",
        "index_unreachable",
        `pip cannot find ${pin}: no package index is reachable, or none has it. Check the network and the pip settings (pip config list), or set FTL_TRAINER_ENV to an existing environment. pip output: ${ran.lines.slice(-2).join(" ")}`,
      );
    throw new AppError(
      "unavailable",
      "cpu_torch_unreachable",
      `The package index of this machine has PyTorch only with CUDA (several gigabytes), and ${CPU_INDEX} is not reachable. Allow access to it, accept the large download with --torch cuda, or set FTL_TRAINER_ENV to an existing environment.`,
    );
  } finally {
    rmSync(reportPath, { force: true });
  }
}
