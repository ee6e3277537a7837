/**
 * Making the trainer environment: which Python, which PyTorch, what pip's lines mean, and that only one process
 * installs.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureTrainerEnvironment, requirementsName } from "../../src/compute/environment/install.ts";
import { pipProgress } from "../../src/compute/environment/pip.ts";
import { findPython, makeVenv } from "../../src/compute/environment/python.ts";
import { bringsCuda, cpuTorchArguments, torchPin, torchVariant } from "../../src/compute/environment/torch.ts";
import { AppError } from "../../src/errors.ts";
import { tryFileLock } from "../../src/lib/disk/file-lock.ts";
import { openFiles } from "../../src/lib/disk/files.ts";

const place = mkdtempSync(join(tmpdir(), "ftl-env-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));

/** A program that answers like a Python of another kind. */
function program(name: string, script: string): string {
  const path = join(place, name);
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  return path;
}

/** The AppError a promise fails with. */
async function failure(promise: Promise<unknown>): Promise<AppError> {
  const error = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof AppError)) throw new Error(`expected an AppError, got ${error}`);
  return error;
}

describe("finding Python", () => {
  test("the machine's Python is found, with its real path", async () => {
    const python = await findPython(null);
    expect(python.path).toStartWith("/");
    expect(python.minor).toBeGreaterThanOrEqual(10);
  });

  test("a version that is too old is named in the error, with advice", async () => {
    const old = program("python3.8", 'echo "3 8 /usr/bin/python3.8"');
    const error = await failure(findPython(old));
    expect(error.code).toBe("python_missing");
    expect(error.message).toContain("/usr/bin/python3.8 is 3.8");
    expect(error.message).toContain("apt-get install python3");
  });

  test("a Python without venv is refused with the package to install", async () => {
    const bare = program(
      "bare",
      "echo 'The virtual environment was not created: ensurepip is not available' >&2; exit 1",
    );
    const error = await failure(makeVenv({ path: bare, major: 3, minor: 12 }, join(place, "venv")));
    expect(error.code).toBe("venv_missing");
    expect(error.message).toContain("python3.12-venv");
    expect(error.message).toContain("ensurepip is not available");
  });

  test("Python 3.10 gets its own pins", () => {
    expect(requirementsName({ minor: 10 })).toBe("requirements-py310.txt");
    expect(requirementsName({ minor: 11 })).toBe("requirements.txt");
  });

  test("a configured environment without an interpreter is refused with advice", async () => {
    const settings = {
      python: null,
      trainer_env: place,
      torch: "auto",
      environments_dir: null,
      disk_reserve_bytes: 0,
    } as const;
    const error = await failure(ensureTrainerEnvironment(settings, openFiles(join(place, "data"))));
    expect(error).toMatchObject({ code: "trainer_env_missing", param: "trainer_env" });
  });
});

describe("which PyTorch", () => {
  const report = (...requires: string[]) => ({
    install: [{ metadata: { name: "torch", version: "2.13.0", requires_dist: requires } }],
  });
  const cases: [string, ReturnType<typeof report>, boolean][] = [
    ["a CPU wheel needs no NVIDIA library", report("sympy>=1.13.3", "filelock"), false],
    ["the usual Linux wheel does", report('nvidia-nccl-cu13==2.29.7; platform_system == "Linux"'), true],
    ["so does one that asks for the toolkit", report('cuda-toolkit[cublas]==13.0.3; platform_system == "Linux"'), true],
    ["an extra nobody asked for does not count", report('nvidia-foo==1; extra == "foo"'), false],
    ["no torch in the report", { install: [] }, false],
  ];
  test.each(cases)("%s", (_name, given, expected) => {
    expect(bringsCuda(given)).toBe(expected);
  });

  test("a setting is obeyed, and auto chooses CUDA only if nvidia-smi answers", async () => {
    expect(await torchVariant("cuda")).toBe("cuda");
    expect(await torchVariant("cpu")).toBe("cpu");
    if (!Bun.which("nvidia-smi")) expect(await torchVariant("auto")).toBe("cpu");
  });

  test("the pin comes from the requirements", () => {
    expect(torchPin("# first\ntorch==2.13.0\nnumpy==2\n")).toBe("torch==2.13.0");
    expect(() => torchPin("numpy==2\n")).toThrow("no pinned torch");
  });

  /** A pip that has torch with CUDA only, and does not reach PyTorch's own index. */
  const cudaOnly = (reachesCpuIndex: boolean) =>
    program(
      `pip-${reachesCpuIndex}`,
      `case "$*" in
        *whl/cpu*) ${reachesCpuIndex ? "exit 0" : "echo 'ERROR: no matching distribution'; exit 1"} ;;
      esac
      while [ "$1" != --report ]; do shift; done
      echo '${JSON.stringify(report('nvidia-nccl-cu13==2.29.7; platform_system == "Linux"'))}' > "$2"`,
    );

  test("where the index has CUDA only, torch comes from PyTorch's CPU index", async () => {
    const args = await cpuTorchArguments(cudaOnly(true), "torch==2.13.0", join(place, "report.json"));
    expect(args).toEqual(["--index-url", "https://download.pytorch.org/whl/cpu", "torch==2.13.0"]);
  });

  test("if that is unreachable too, nothing is downloaded and the message says what to do", async () => {
    const error = await failure(cpuTorchArguments(cudaOnly(false), "torch==2.13.0", join(place, "report.json")));
    expect(error.code).toBe("cpu_torch_unreachable");
    expect(error.message).toContain("--torch cuda");
    expect(error.message).toContain("FTL_TRAINER_ENV");
  });

  test("without any index the error says so", async () => {
    const offline = program("offline", "echo 'ERROR: Could not find a version' >&2; exit 1");
    const error = await failure(cpuTorchArguments(offline, "torch==2.13.0", join(place, "report.json")));
    expect(error.code).toBe("index_unreachable");
  });
});

describe("progress from pip's output", () => {
  const cases: [string, string | null][] = [
    ["Collecting transformers==5.23.0 (from -r requirements.txt (line 49))", "Found transformers"],
    ["  Downloading pyarrow-26.0.1-cp311-cp311-manylinux_2_28_x86_64.whl (47.7 MB)", "Downloading pyarrow (47.7 MB)"],
    ["Requirement already satisfied: torch==2.13.0 in ./lib", null],
    ["Installing collected packages: a, b, c", "Unpacking packages (3)"],
    ["Looking in indexes: https://example.test/simple", null],
  ];
  test.each(cases)("%s", (line, expected) => {
    const read = pipProgress({ from: 0, to: 1, packages: 10 });
    expect(read(line)?.[0] ?? null).toBe(expected);
  });

  test("the fraction grows with each package and leaves room for unpacking", () => {
    const read = pipProgress({ from: 0.2, to: 1, packages: 2 });
    const shares = ["Collecting a", "Collecting b", "Collecting c"].map((line) => read(line)?.[1] ?? 0);
    expect(shares[0]).toBeLessThan(shares[1] as number);
    expect(shares[2]).toBe(shares[1] as number);
    expect(shares[2]).toBeCloseTo(0.68);
  });
});

describe("the lock between two installers", () => {
  test("is held by one process, and released when that process is killed", async () => {
    const path = join(place, "install.lock");
    const source = JSON.stringify(join(import.meta.dir, "../../src/lib/disk/file-lock.ts"));
    const script = `const { tryFileLock } = await import(${source}); globalThis.held = tryFileLock(${JSON.stringify(path)}); console.log("held"); setInterval(() => {}, 1000);`;
    const other = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "inherit" });
    const { value } = await other.stdout.getReader().read();
    expect(new TextDecoder().decode(value)).toContain("held");
    expect(tryFileLock(path)).toBeNull();
    other.kill("SIGKILL");
    await other.exited;
    const release = tryFileLock(path);
    expect(release).not.toBeNull();
    expect(tryFileLock(path)).toBeNull();
    release?.();
    const again = tryFileLock(path);
    expect(again).not.toBeNull();
    again?.();
  });
});
